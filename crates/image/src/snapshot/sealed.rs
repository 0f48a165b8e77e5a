//! Snapshots of a container: its writable directory is sealed as it is, and an
//! empty one put on top. Nothing is copied. Of a container that runs, which
//! goes on writing where it is, a snapshot is a copy of that directory.
//!
//! ```text
//! snapshots/active/<id>/layers.json   what is sealed, and what of it is in use; below it
//!                                     the files of a template, if it is a clone
//! snapshots/active/<id>/sealed/<n>    a directory that was `upper` once
//! ```
//! The record is written first; [`OverlaySnapshots::heal`] makes the directories
//! fit it, now or after a crash. Who changes anything here holds the
//! container's lock, and but for copies the container does not run.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spec::ChainId;
use state::{ContainerId, Durability, Record, Timestamp};
use sys::{Context as _, Error, ErrorKind, Result};

use super::overlay::{OverlaySnapshots, copy_attributes};
use crate::tree;

/// Overlayfs takes 500 directories, the image's included.
const SEALED_MAX: usize = 300;

/// What lies between a container's image and its writable directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Layers {
    /// The template whose files lie below all others of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<ContainerId>,
    /// Sealed directories that it stands on, lowest first.
    current: Vec<u64>,
    snapshots: Vec<Snapshot>,
    /// Number of the next one.
    next: u64,
    /// The writable directory is not wanted any more.
    #[serde(default)]
    discard_upper: bool,
}

/// A state of a container's files that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub name: String,
    pub created: Timestamp,
    /// Sealed directories, lowest first.
    layers: Vec<u64>,
}

/// A snapshot in the making, of a container that runs.
#[derive(Debug)]
pub struct Copying {
    pub name: String,
    /// What is copied.
    pub from: PathBuf,
    /// An empty directory.
    pub into: PathBuf,
    number: u64,
}

impl OverlaySnapshots {
    /// The directories that a container stands on and its image does not
    /// have, lowest first.
    pub(crate) fn sealed(&self, id: &ContainerId) -> Result<Vec<PathBuf>> {
        let layers = self.layers(id)?.unwrap_or_default();
        Ok(self.above_image(id, &layers, &layers.current))
    }

    /// As [`OverlaySnapshots::prepare`], with the files of a template between
    /// the image and the writable layer.
    pub fn prepare_on(
        &self,
        id: &ContainerId,
        chain: &[ChainId],
        template: &ContainerId,
    ) -> Result<()> {
        self.prepare(id, chain)?;
        let layers = Layers {
            base: Some(*template),
            ..Layers::default()
        };
        let prepare = || -> Result<()> {
            let base = self.layout.template(template).join("layer");
            let below = tree::open_directory(&base)?;
            copy_attributes(&below, &tree::open_directory(&self.upper(id))?)?;
            self.keep(id, &layers, Durability::Fast)
        };
        let prepared = prepare();
        if prepared.is_err() {
            let _ = self.remove(id);
        }
        prepared.context(|| format!("prepare the files of container {}", id.short()))
    }

    /// Seals what a container wrote, under a name that is free (or the next of
    /// `snap0`, `snap1` …). Gives the name.
    pub fn seal(&self, id: &ContainerId, chain: &[ChainId], name: Option<&str>) -> Result<String> {
        let mut layers = self.layers(id)?.unwrap_or_default();
        let name = layers.free_name(name)?;
        layers.check_room()?;
        layers.current.push(layers.next);
        layers.next += 1;
        layers.snapshots.push(Snapshot {
            name: name.clone(),
            created: Timestamp::now(),
            layers: layers.current.clone(),
        });
        self.keep(id, &layers, Durability::Synced)?;
        self.heal(id, chain)?;
        Ok(name)
    }

    /// A place for a copy of what a container that runs has written, to be made
    /// a snapshot by [`OverlaySnapshots::keep_copy`], under a name as for
    /// [`OverlaySnapshots::seal`]. What is there before that is nobody's.
    pub fn begin_copy(&self, id: &ContainerId, name: Option<&str>) -> Result<Copying> {
        let layers = self.layers(id)?.unwrap_or_default();
        let name = layers.free_name(name)?;
        layers.check_room()?;
        // By the record a copy is known that was not finished.
        self.keep(id, &layers, Durability::Fast)?;
        let number = layers.next;
        let into = self.sealed_root(id).join(number.to_string());
        tree::remove(&into)?;
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&into)
            .context(|| format!("make {}", into.display()))?;
        Ok(Copying {
            name,
            from: self.upper(id),
            into,
            number,
        })
    }

    /// The copy is as it should be: there is a snapshot.
    pub fn keep_copy(&self, id: &ContainerId, copying: &Copying) -> Result<()> {
        let directory = fs::File::open(&copying.into)?;
        rustix::fs::syncfs(&directory).context(|| "sync the snapshot")?;
        let mut layers = self.layers(id)?.unwrap_or_default();
        layers.next = copying.number + 1;
        let below = layers.current.iter().copied();
        layers.snapshots.push(Snapshot {
            name: copying.name.clone(),
            created: Timestamp::now(),
            layers: below.chain([copying.number]).collect(),
        });
        self.keep(id, &layers, Durability::Synced)
    }

    /// Nothing came of it.
    pub fn drop_copy(&self, copying: &Copying) -> Result<()> {
        tree::remove(&copying.into)
    }

    /// Snapshots of a container with the bytes that were written since the one
    /// before, oldest first.
    pub fn snapshots(&self, id: &ContainerId) -> Result<Vec<(Snapshot, u64)>> {
        let layers = self.layers(id)?.unwrap_or_default();
        let with_size = |snapshot: Snapshot| {
            let top = snapshot.layers.last().copied();
            let path = self.paths(id, top.as_slice()).pop();
            let size = path.map_or(Ok(0), |path| tree::disk_usage(&path))?;
            Ok((snapshot, size))
        };
        layers.snapshots.into_iter().map(with_size).collect()
    }

    /// Forgets a snapshot. What only it needed goes.
    pub fn forget(&self, id: &ContainerId, chain: &[ChainId], name: &str) -> Result<()> {
        let mut layers = self.layers(id)?.unwrap_or_default();
        let before = layers.snapshots.len();
        layers.snapshots.retain(|one| one.name != name);
        if layers.snapshots.len() == before {
            return Err(missing(name));
        }
        self.keep(id, &layers, Durability::Synced)?;
        self.heal(id, chain)
    }

    /// Goes back to a snapshot. What was written since and is in no other is
    /// lost.
    pub fn restore(&self, id: &ContainerId, chain: &[ChainId], name: &str) -> Result<()> {
        let mut layers = self.layers(id)?.unwrap_or_default();
        layers.current = layers.find(name)?.layers.clone();
        layers.discard_upper = true;
        self.keep(id, &layers, Durability::Synced)?;
        self.heal(id, chain)
    }

    /// Makes the place for what a container writes to its view of a volume,
    /// whose topmost directory is `below`.
    pub fn prepare_volume(&self, id: &ContainerId, number: u32, below: &Path) -> Result<()> {
        let place = self.layout.cloned_volume(id, number);
        let make = |path: &Path, mode| -> Result<()> {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(path)?;
            Ok(())
        };
        let prepare = || -> Result<()> {
            make(&place, 0o700)?;
            make(&place.join("work"), 0o700)?;
            let upper = place.join("upper");
            make(&upper, 0o755)?;
            copy_attributes(
                &tree::open_directory(below)?,
                &tree::open_directory(&upper)?,
            )
        };
        prepare().context(|| format!("make {}", place.display()))
    }

    /// The directories of a snapshot, or of the present state, lowest first.
    pub(super) fn state(&self, id: &ContainerId, name: Option<&str>) -> Result<Vec<PathBuf>> {
        let layers = self.layers(id)?.unwrap_or_default();
        let Some(name) = name else {
            let mut paths = self.above_image(id, &layers, &layers.current);
            paths.push(self.upper(id));
            return Ok(paths);
        };
        Ok(self.above_image(id, &layers, &layers.find(name)?.layers))
    }

    /// Makes the directories fit the record. Fine if they do.
    pub fn heal(&self, id: &ContainerId, chain: &[ChainId]) -> Result<()> {
        let Some(mut layers) = self.layers(id)? else {
            return Ok(());
        };
        let mut heal = || -> Result<()> {
            let upper = self.upper(id);
            if layers.discard_upper {
                tree::remove(&upper)?;
                self.make_upper(id, chain, &layers)?;
                layers.discard_upper = false;
                self.keep(id, &layers, Durability::Synced)?;
            } else if let Some(top) = self.paths(id, &layers.current).pop()
                && !top.exists()
            {
                fs::rename(&upper, &top)?;
            }
            if !upper.exists() {
                self.make_upper(id, chain, &layers)?;
            }
            self.remove_unused(id, &layers)
        };
        heal().context(|| format!("settle the snapshots of container {}", id.short()))
    }

    /// An empty writable directory whose root looks as what is below.
    fn make_upper(&self, id: &ContainerId, chain: &[ChainId], layers: &Layers) -> Result<()> {
        let below = self.above_image(id, layers, &layers.current).pop();
        let below = below.unwrap_or_else(|| self.top(chain));
        let (upper, new) = (self.upper(id), self.upper(id).with_extension("new"));
        tree::remove(&new)?;
        fs::DirBuilder::new().mode(0o755).create(&new)?;
        copy_attributes(&tree::open_directory(&below)?, &tree::open_directory(&new)?)?;
        fs::rename(&new, &upper)?;
        Ok(())
    }

    fn remove_unused(&self, id: &ContainerId, layers: &Layers) -> Result<()> {
        let snapshots = layers.snapshots.iter().flat_map(|one| &one.layers);
        let used: BTreeSet<String> = snapshots
            .chain(&layers.current)
            .map(u64::to_string)
            .collect();
        let directory = self.sealed_root(id);
        for entry in fs::read_dir(&directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !used.contains(&name) {
                tree::remove(&directory.join(name))?;
            }
        }
        Ok(())
    }

    fn layers(&self, id: &ContainerId) -> Result<Option<Layers>> {
        Record::read_if_exists(&self.record(id))
    }

    fn keep(&self, id: &ContainerId, layers: &Layers, durability: Durability) -> Result<()> {
        let sealed = self.sealed_root(id);
        match fs::DirBuilder::new().mode(0o700).create(&sealed) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).context(|| format!("make {}", sealed.display()));
            }
            _ => {}
        }
        Record::write(&self.record(id), layers, durability)
    }

    fn record(&self, id: &ContainerId) -> PathBuf {
        self.upper(id).with_file_name("layers.json")
    }

    fn sealed_root(&self, id: &ContainerId) -> PathBuf {
        self.upper(id).with_file_name("sealed")
    }

    /// The template's files, if there are any, and sealed directories.
    fn above_image(&self, id: &ContainerId, layers: &Layers, sealed: &[u64]) -> Vec<PathBuf> {
        let base = layers.base.iter();
        base.flat_map(|template| template_layers(&self.layout.template(template)))
            .chain(self.paths(id, sealed))
            .collect()
    }

    fn paths(&self, id: &ContainerId, numbers: &[u64]) -> Vec<PathBuf> {
        let root = self.sealed_root(id);
        let path = |number: &u64| root.join(number.to_string());
        numbers.iter().map(path).collect()
    }
}

/// The directories of what a template has a copy of, lowest first.
pub fn template_layers(place: &Path) -> Vec<PathBuf> {
    let below = Some(place.join("below")).filter(|below| below.exists());
    below.into_iter().chain([place.join("layer")]).collect()
}

impl Layers {
    /// `name` if it is free, or the next of `snap0`, `snap1` …
    fn free_name(&self, name: Option<&str>) -> Result<String> {
        let taken = |name: &str| self.snapshots.iter().any(|one| one.name == name);
        match name {
            Some(name) if taken(name) => Err(Error::new(
                ErrorKind::Conflict,
                format!("there is a snapshot {name} already"),
            )),
            Some(name) => check_name(name),
            None => {
                let mut names = (0_u64..).map(|number| format!("snap{number}"));
                Ok(names.find(|name| !taken(name)).unwrap_or_default())
            }
        }
    }

    fn check_room(&self) -> Result<()> {
        if self.current.len() < SEALED_MAX {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "{SEALED_MAX} snapshots lie below the container: \
                 commit it to an image and begin anew from that"
            ),
        ))
    }

    fn find(&self, name: &str) -> Result<&Snapshot> {
        let mut all = self.snapshots.iter();
        all.find(|one| one.name == name)
            .ok_or_else(|| missing(name))
    }
}

fn missing(name: &str) -> Error {
    let shown: String = name.chars().take(80).collect();
    Error::new(ErrorKind::NotFound, format!("no such snapshot: {shown}"))
}

fn check_name(name: &str) -> Result<String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && name.len() <= 128 && name.bytes().all(fine) {
        return Ok(name.to_owned());
    }
    let shown: String = name.chars().take(80).collect();
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("invalid name of a snapshot {shown:?}: letters, digits, '_', '.' and '-' are"),
    ))
}
