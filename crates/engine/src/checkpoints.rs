//! Checkpoints: containers at one instant, under names.
//!
//! ```text
//! checkpoints/<name>/checkpoint.json    what it is; written before it gets its name
//! checkpoints/<name>/memory/            its processes (docs/checkpoint.md)
//! checkpoints/<name>/layer/             its writable layer, in overlayfs' form
//! checkpoints/<name>/volumes/<n>/       its anonymous volumes, in the order of its mounts
//! checkpoints/.new-<id>/                one that is being made or removed
//! ```
//! Whoever uses one holds its directory's lock shared, whoever removes it
//! exclusively.

mod archive;
mod trust;

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use state::checkpoint::CHECKPOINT_VERSION;
use state::{CheckpointRecord, ContainerId, ContainerName, FileLock, Layout, Record};
use sys::{Context as _, Error, ErrorKind, Errors, Result};

use crate::{Engine, entries, volumes};

pub use archive::{ExportRequest, ImportRequest};

/// Begins the names of what is not finished. No checkpoint's name does.
pub(crate) const UNFINISHED: &str = ".new-";

/// The checkpoints of a store; one method is one verb.
#[derive(Clone, Debug)]
pub struct Checkpoints<'a> {
    engine: &'a Engine,
}

/// One checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub name: ContainerName,
    pub record: CheckpointRecord,
}

impl<'a> Checkpoints<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine }
    }

    /// All of them, the newest first.
    pub fn list(&self) -> Result<Vec<Checkpoint>> {
        let mut all = all(self.engine.layout())?;
        all.sort_by_key(|one| std::cmp::Reverse(one.record.created));
        Ok(all)
    }

    /// `NotFound`: "no such checkpoint: x".
    pub fn inspect(&self, name: &str) -> Result<Checkpoint> {
        let (_lock, checkpoint) = self.hold(name)?;
        Ok(checkpoint)
    }

    /// Takes it away; containers that were restored from it do not need it.
    pub fn remove(&self, name: &str) -> Result<()> {
        let name = parse(name)?;
        let path = place(self.engine.layout(), &name);
        let _lock = match FileLock::exclusive_existing(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing(&name)),
            lock => lock?,
        };
        let gone = staging(self.engine.layout())?;
        fs::rename(&path, &gone).context(|| format!("remove {}", path.display()))?;
        volumes::remove_tree(&gone)
    }

    /// A checkpoint that is not removed meanwhile.
    pub(crate) fn hold(&self, name: &str) -> Result<(FileLock, Checkpoint)> {
        let name = parse(name)?;
        let path = place(self.engine.layout(), &name);
        let lock = match FileLock::shared_existing(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing(&name)),
            lock => lock?,
        };
        let record = read(&path)?;
        Ok((lock, Checkpoint { name, record }))
    }
}

/// A checkpoint in the making: gone again unless it gets its name.
#[derive(Debug)]
pub(crate) struct Unfinished {
    path: PathBuf,
    /// Keeps a sweep away.
    _lock: FileLock,
    named: bool,
}

impl Unfinished {
    /// `AlreadyExists` if there is one of that name.
    pub(crate) fn begin(layout: &Layout, name: &ContainerName) -> Result<Self> {
        if place(layout, name).exists() {
            return Err(exists(name));
        }
        let path = staging(layout)?;
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .context(|| format!("make {}", path.display()))?;
        let lock = FileLock::exclusive_existing(&path)?;
        Ok(Self {
            path,
            _lock: lock,
            named: false,
        })
    }

    pub(crate) fn memory(&self) -> PathBuf {
        self.path.join("memory")
    }

    pub(crate) fn layer(&self) -> PathBuf {
        self.path.join("layer")
    }

    pub(crate) fn volume(&self, number: usize) -> PathBuf {
        self.path.join("volumes").join(number.to_string())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it is; syncs all of it to the disk.
    pub(crate) fn complete(&self, record: &CheckpointRecord) -> Result<()> {
        Record::create(&record_path(&self.path), record)?;
        let sync = || -> Result<()> {
            rustix::fs::syncfs(File::open(&self.path)?)?;
            Ok(())
        };
        sync().context(|| format!("write {} to the disk", self.path.display()))
    }

    /// From here on it counts.
    pub(crate) fn name(mut self, layout: &Layout, name: &ContainerName) -> Result<()> {
        let to = place(layout, name);
        let moved = rustix::fs::renameat_with(CWD, &self.path, CWD, &to, RenameFlags::NOREPLACE);
        if moved == Err(rustix::io::Errno::EXIST) {
            return Err(exists(name));
        }
        moved.context(|| format!("make {}", to.display()))?;
        self.named = true;
        let sync = || -> Result<()> {
            File::open(layout.checkpoints())?.sync_all()?;
            Ok(())
        };
        sync().context(|| format!("write {} to the disk", to.display()))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.named {
            // What brought us here is what is told; a repair finds the rest.
            let _ = volumes::remove_tree(&self.path);
        }
    }
}

/// All that can be read; what is just being removed is passed over.
pub(crate) fn all(layout: &Layout) -> Result<Vec<Checkpoint>> {
    let mut all = Vec::new();
    for entry in entries(&layout.checkpoints())? {
        let Ok(name) = entry.parse::<ContainerName>() else {
            continue;
        };
        match read(&place(layout, &name)) {
            Ok(record) => all.push(Checkpoint { name, record }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Where a checkpoint is.
pub(crate) fn place(layout: &Layout, name: &ContainerName) -> PathBuf {
    layout.checkpoints().join(name.as_str())
}

pub(crate) fn parse(name: &str) -> Result<ContainerName> {
    name.parse()
        .map_err(|error: sys::Error| error.wrap("invalid name of a checkpoint"))
}

/// Bytes on the disk, all of it.
pub(crate) fn size(layout: &Layout, name: &ContainerName) -> Result<u64> {
    image::disk_usage(&place(layout, name))
}

/// Removes what dead processes left; says how many.
pub(crate) fn repair(layout: &Layout) -> Result<usize> {
    let mut errors = Errors::new();
    let mut removed = 0;
    for entry in entries(&layout.checkpoints())? {
        let path = layout.checkpoints().join(&entry);
        if !entry.starts_with(UNFINISHED) {
            continue;
        }
        let Ok(Some(_lock)) = FileLock::try_exclusive_existing(&path) else {
            continue;
        };
        if errors.keep(volumes::remove_tree(&path)).is_some() {
            removed += 1;
        }
    }
    errors.into_result()?;
    Ok(removed)
}

fn read(path: &Path) -> Result<CheckpointRecord> {
    let record: CheckpointRecord = Record::read(&record_path(path))?;
    if record.version != CHECKPOINT_VERSION {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{} has form {} of a checkpoint, and this program knows form {CHECKPOINT_VERSION}",
                path.display(),
                record.version
            ),
        ));
    }
    Ok(record)
}

fn record_path(path: &Path) -> PathBuf {
    path.join("checkpoint.json")
}

/// A name for what is not finished; makes the directory that it goes to.
fn staging(layout: &Layout) -> Result<PathBuf> {
    let directory = layout.checkpoints();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .context(|| format!("make {}", directory.display()))?;
    let id = ContainerId::random()?;
    Ok(directory.join(format!("{UNFINISHED}{}", id.short())))
}

fn missing(name: &ContainerName) -> Error {
    Error::new(ErrorKind::NotFound, format!("no such checkpoint: {name}"))
}

fn exists(name: &ContainerName) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        format!("there is a checkpoint {name} already: remove it, or choose another name"),
    )
}
