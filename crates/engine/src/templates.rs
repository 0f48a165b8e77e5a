//! Templates: containers at one instant, which others are cloned from.
//!
//! ```text
//! templates/<id>/template.json     what it is; written when all of it is there
//! templates/<id>/memory/           its processes, for as long as clones may be made
//! templates/<id>/layer/            its writable layer: the files of clones lie on it
//! templates/<id>/volumes/<n>/      its volumes, likewise
//! templates/<id>/users/<id>        one file for each clone
//! templates/.gone-<id>/            one that is being removed
//! ```
//! Whoever makes one holds its directory's lock, whoever makes clones of one
//! that is kept shares it. It stays while it
//! has a name, and its files while it has users; whoever takes away the last
//! of these takes away the rest ([`release`]).

mod memory;

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use state::template::TEMPLATE_VERSION;
use state::{ContainerId, ContainerName, Durability, FileLock, Layout, Record, TemplateRecord};
use sys::{Context as _, Error, ErrorKind, Errors, Result};

use crate::{Engine, entries, volumes};

pub(crate) use memory::Warm;

/// Begins the names of what is being removed.
pub(crate) const GONE: &str = ".gone-";

/// The templates of a store that have names; one method is one verb.
#[derive(Clone, Debug)]
pub struct Templates<'a> {
    engine: &'a Engine,
}

/// One template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    pub id: ContainerId,
    pub record: TemplateRecord,
    /// Its clones.
    pub users: Vec<ContainerId>,
}

impl<'a> Templates<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine }
    }

    /// All that have a name, the newest first.
    pub fn list(&self) -> Result<Vec<Template>> {
        let mut all = all(self.engine.layout())?;
        all.retain(|one| one.record.name.is_some());
        all.sort_by_key(|one| std::cmp::Reverse(one.record.created));
        Ok(all)
    }

    /// `NotFound`: "no such template: x".
    pub fn inspect(&self, name: &str) -> Result<Template> {
        find(self.engine.layout(), name)?.ok_or_else(|| missing(name))
    }

    /// No more clones of it; those that there are keep its files.
    pub fn remove(&self, name: &str) -> Result<()> {
        let layout = self.engine.layout();
        let template = find(layout, name)?.ok_or_else(|| missing(name))?;
        let held = Held::take(layout, &template.id)?.ok_or_else(|| missing(name))?;
        held.forget_name()?;
        drop(held);
        Ok(())
    }
}

/// A template in the making, or one that clones are made of: it is not taken
/// away meanwhile.
#[derive(Debug)]
pub(crate) struct Held {
    layout: Layout,
    id: ContainerId,
    lock: Option<FileLock>,
}

impl Held {
    /// A new one, of which nothing is there yet.
    pub(crate) fn begin(layout: &Layout) -> Result<Self> {
        let id = ContainerId::random()?;
        let path = layout.template(&id);
        let make = |path: &Path, recursive| {
            DirBuilder::new()
                .recursive(recursive)
                .mode(0o700)
                .create(path)
                .context(|| format!("make {}", path.display()))
        };
        make(&layout.templates(), true)?;
        make(&path, false)?;
        let lock = FileLock::exclusive_existing(&path)?;
        let held = Self {
            layout: layout.clone(),
            id,
            lock: Some(lock),
        };
        make(&path.join("users"), false)?;
        Ok(held)
    }

    /// `None` if it is gone; waits for whoever has it.
    fn take(layout: &Layout, id: &ContainerId) -> Result<Option<Self>> {
        match FileLock::exclusive_existing(&layout.template(id)) {
            Ok(lock) => Ok(Some(Self {
                layout: layout.clone(),
                id: *id,
                lock: Some(lock),
            })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One that has a name, to make clones of, together with others who do.
    pub(crate) fn named(layout: &Layout, name: &str) -> Result<Option<Self>> {
        let Some(template) = find(layout, name)? else {
            return Ok(None);
        };
        let lock = match FileLock::shared_existing(&layout.template(&template.id)) {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let held = Self {
            layout: layout.clone(),
            id: template.id,
            lock: Some(lock),
        };
        // It may have lost it meanwhile.
        Ok(held.record()?.name.is_some().then_some(held))
    }

    pub(crate) fn id(&self) -> &ContainerId {
        &self.id
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.layout.template(&self.id)
    }

    pub(crate) fn memory(&self) -> PathBuf {
        self.path().join("memory")
    }

    pub(crate) fn record(&self) -> Result<TemplateRecord> {
        read(&self.path())
    }

    /// All of it is there. `AlreadyExists` if there is one of its name.
    pub(crate) fn complete(&self, record: &TemplateRecord) -> Result<()> {
        let _names = FileLock::exclusive(&names_lock(&self.layout))?;
        if let Some(name) = &record.name {
            check_free(&self.layout, name)?;
        }
        let durability = match record.name {
            Some(_) => Durability::Synced,
            None => Durability::Fast,
        };
        Record::write(&record_path(&self.path()), record, durability)
    }

    /// It goes when its clones do.
    pub(crate) fn forget_name(&self) -> Result<()> {
        let record = TemplateRecord {
            name: None,
            ..self.record()?
        };
        Record::write(&record_path(&self.path()), &record, Durability::Synced)
    }

    /// Notes whose files lie on it.
    pub(crate) fn add_user(&self, user: &ContainerId) -> Result<()> {
        let path = self.path().join("users").join(user.to_string());
        File::create_new(&path)
            .map(drop)
            .context(|| format!("write {}", path.display()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.lock.take());
        // What cannot be removed is found by a repair.
        let _ = sweep(&self.layout, &self.id);
    }
}

/// `user` has none of its files any more.
pub(crate) fn release(layout: &Layout, id: &ContainerId, user: &ContainerId) -> Result<()> {
    let path = layout.template(id).join("users").join(user.to_string());
    volumes::remove_tree_or_file(&path)?;
    sweep(layout, id).map(drop)
}

/// Takes away what nobody needs of a template; says whether all of it went.
/// Whoever has it does that when done.
fn sweep(layout: &Layout, id: &ContainerId) -> Result<bool> {
    let path = layout.template(id);
    loop {
        let lock = match FileLock::try_exclusive_existing(&path) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let record: Option<TemplateRecord> = Record::read_if_exists(&record_path(&path))?;
        if record.is_some_and(|record| record.name.is_some()) {
            return Ok(false);
        }
        memory::end(layout, id)?;
        volumes::remove_tree(&path.join("memory"))?;
        match fs::remove_dir(path.join("users")) {
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context(|| format!("remove {}", path.display()));
            }
            _ => {
                let gone = layout.templates().join(format!("{GONE}{}", id.short()));
                fs::rename(&path, &gone).context(|| format!("remove {}", path.display()))?;
                return volumes::remove_tree(&gone).map(|()| true);
            }
        }
        drop(lock);
        // Somebody who left meanwhile found it locked, and went.
        if !entries(&path.join("users"))?.is_empty() {
            return Ok(false);
        }
    }
}

/// Removes what dead processes left; says how many templates went. Nobody
/// creates a container meanwhile; `exists` tells which there are.
pub(crate) fn repair(layout: &Layout, exists: &dyn Fn(&ContainerId) -> bool) -> Result<usize> {
    let mut errors = Errors::new();
    let mut removed = 0;
    for entry in entries(&layout.templates())? {
        let path = layout.templates().join(&entry);
        if entry.starts_with(GONE) {
            removed += usize::from(errors.keep(volumes::remove_tree(&path)).is_some());
            continue;
        }
        let Ok(id) = entry.parse::<ContainerId>() else {
            continue;
        };
        for user in users(&path)? {
            if !exists(&user) {
                errors.keep(release(layout, &id, &user));
            }
        }
        errors.keep(sweep(layout, &id));
        removed += usize::from(!path.exists());
    }
    errors.keep(memory::repair(layout));
    errors.into_result()?;
    Ok(removed)
}

/// All that can be read; what is being made or removed is passed over.
pub(crate) fn all(layout: &Layout) -> Result<Vec<Template>> {
    let mut all = Vec::new();
    for entry in entries(&layout.templates())? {
        let Ok(id) = entry.parse::<ContainerId>() else {
            continue;
        };
        let path = layout.template(&id);
        match read(&path) {
            Ok(record) => all.push(Template {
                id,
                record,
                users: users(&path)?,
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Bytes on the disk, all of it.
pub(crate) fn size(layout: &Layout, id: &ContainerId) -> Result<u64> {
    image::disk_usage(&layout.template(id))
}

/// Whether the container is noted as one that has its files.
pub(crate) fn has_user(layout: &Layout, id: &ContainerId, user: &ContainerId) -> bool {
    let users = layout.template(id).join("users");
    users.join(user.to_string()).exists()
}

/// `AlreadyExists` if there is one of that name.
pub(crate) fn check_free(layout: &Layout, name: &ContainerName) -> Result<()> {
    match find(layout, name.as_str())? {
        Some(_) => Err(exists(name)),
        None => Ok(()),
    }
}

fn find(layout: &Layout, name: &str) -> Result<Option<Template>> {
    let is_meant = |one: &Template| {
        one.record
            .name
            .as_ref()
            .is_some_and(|own| own.as_str() == name)
    };
    Ok(all(layout)?.into_iter().find(is_meant))
}

fn users(path: &Path) -> Result<Vec<ContainerId>> {
    let names = entries(&path.join("users"))?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

fn read(path: &Path) -> Result<TemplateRecord> {
    let record: TemplateRecord = Record::read(&record_path(path))?;
    if record.version != TEMPLATE_VERSION {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{} has form {} of a template, and this program knows form {TEMPLATE_VERSION}",
                path.display(),
                record.version
            ),
        ));
    }
    Ok(record)
}

fn record_path(path: &Path) -> PathBuf {
    path.join("template.json")
}

/// Whoever gives a name holds it.
fn names_lock(layout: &Layout) -> PathBuf {
    layout.templates().join(".names")
}

fn missing(name: &str) -> Error {
    let shown: String = name.chars().take(80).collect();
    Error::new(ErrorKind::NotFound, format!("no such template: {shown}"))
}

fn exists(name: &ContainerName) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        format!("there is a template {name} already: remove it, or choose another name"),
    )
}
