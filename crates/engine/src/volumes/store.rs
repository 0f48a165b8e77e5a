//! Volumes as directories: made, removed and repaired as transactions.
//!
//! ```text
//! volumes/<name>/volume.json   what is known of it
//! volumes/<name>/_data         what containers see: with it there is a volume
//! volumes/<name>/.new-…        one being filled; renamed to _data
//! volumes/.removed-…           one that is gone, on its way out
//! ```

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use state::{ContainerId, Durability, FileLock, Layout, Record, RootFs, Timestamp};
use sys::{Context as _, Error, ErrorKind, Errors, Result};

use super::record::{ANONYMOUS_LABEL, Backing, VolumeRecord};
use super::{populate, quota};

/// Begins the names of what is on its way out. No volume's name does.
const REMOVED: &str = ".removed-";
/// Somebody else may remove the directory that we wait for.
const TRIES: usize = 10;

/// The directory that containers see.
pub(crate) fn data(layout: &Layout, name: &str) -> PathBuf {
    layout.volumes().join(name).join("_data")
}

fn record_path(layout: &Layout, name: &str) -> PathBuf {
    layout.volumes().join(name).join("volume.json")
}

/// Where this host has a volume's files, if it has.
pub(crate) fn directory(layout: &Layout, name: &str) -> Option<PathBuf> {
    match read(layout, name).ok()??.backing().ok()? {
        Backing::Own => Some(data(layout, name)),
        Backing::Bind(path) => Some(path),
        Backing::FileSystem { .. } => None,
    }
}

/// Whether there is such a volume.
pub(crate) fn exists(layout: &Layout, name: &str) -> bool {
    data(layout, name).is_dir()
}

/// Whether it is a directory of the store's own, and no mount of another
/// place.
pub(crate) fn is_own(layout: &Layout, name: &str) -> Result<bool> {
    let Some(record) = read(layout, name)? else {
        return Ok(false);
    };
    Ok(matches!(record.backing()?, Backing::Own))
}

/// What is known of a volume that is there; `None` if it is not.
pub(crate) fn read(layout: &Layout, name: &str) -> Result<Option<VolumeRecord>> {
    let data = data(layout, name);
    if !data.is_dir() {
        return Ok(None);
    }
    if let Some(record) = Record::read_if_exists(&record_path(layout, name))? {
        return Ok(Some(record));
    }
    // Made by a version that kept no records.
    let mut record = VolumeRecord::new(BTreeMap::new(), BTreeMap::new())?;
    if name.parse::<ContainerId>().is_ok() {
        record.labels.insert(ANONYMOUS_LABEL.into(), String::new());
    }
    if let Ok(time) = data.metadata().and_then(|metadata| metadata.created())
        && let Ok(since) = time.duration_since(std::time::UNIX_EPOCH)
    {
        record.created = Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(0));
    }
    Ok(Some(record))
}

/// What [`ensure`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ensured {
    Made,
    WasThere,
}

/// What a new volume begins with: the image's content at `target`.
pub(crate) struct Content<'a> {
    pub(crate) rootfs: &'a RootFs,
    pub(crate) target: &'a Path,
}

/// Makes the volume, as `wanted` says, if it is not there. A new or empty one
/// gets the content, if there is any, with owner and mode of the image's
/// directory.
pub(crate) fn ensure(
    layout: &Layout,
    name: &str,
    wanted: &VolumeRecord,
    content: Option<&Content<'_>>,
) -> Result<Ensured> {
    let fill = |fresh: &Path| match content {
        Some(content) => populate::populate(content.rootfs, content.target, fresh),
        None => Ok(()),
    };
    make(layout, name, wanted, content.is_some(), &fill).context(|| format!("make volume {name}"))
}

/// Makes a volume that is not there and lets `fill` put files into it;
/// `Conflict` if it is there.
pub(crate) fn make_filled(
    layout: &Layout,
    name: &str,
    wanted: &VolumeRecord,
    fill: &dyn Fn(&Path) -> Result<()>,
) -> Result<()> {
    let taken = || {
        Error::new(
            ErrorKind::Conflict,
            format!("volume {name} is there already"),
        )
    };
    if exists(layout, name) {
        return Err(taken());
    }
    match make(layout, name, wanted, false, fill).context(|| format!("make volume {name}"))? {
        Ensured::Made => Ok(()),
        Ensured::WasThere => Err(taken()),
    }
}

fn make(
    layout: &Layout,
    name: &str,
    wanted: &VolumeRecord,
    refill: bool,
    fill: &dyn Fn(&Path) -> Result<()>,
) -> Result<Ensured> {
    let data = data(layout, name);
    let directory = layout.volumes().join(name);
    if is_filled(&data)? {
        return Ok(Ensured::WasThere);
    }
    // Two containers may want to fill it at once.
    let _lock = lock_made(&directory)?;
    let record = read(layout, name)?;
    let was_there = record.is_some();
    if is_filled(&data)? || (was_there && !refill) {
        return Ok(Ensured::WasThere);
    }
    let record = record.unwrap_or_else(|| wanted.clone());
    // The host's directory gets the content in its place, if it is empty.
    if let Backing::Bind(path) = record.backing()?
        && refill
        && path.is_dir()
        && !is_filled(&path)?
    {
        fill(&path)?;
    }
    if was_there && record.backing()? != Backing::Own {
        return Ok(Ensured::WasThere);
    }
    remove_unfinished(&directory)?;
    let fresh = directory.join(format!(".new-{}", std::process::id()));
    DirBuilder::new().mode(0o755).create(&fresh)?;
    match record.size()? {
        // The one that it takes the place of is limited.
        Some(_) if was_there => quota::inherit(&data, &fresh)?,
        Some(size) => quota::limit(&[&fresh], size)?,
        None => {}
    }
    if record.backing()? == Backing::Own {
        fill(&fresh)?;
    }
    if !was_there {
        let path = record_path(layout, name);
        Record::write(&path, &record, Durability::Fast)?;
    }
    // Replaces an empty directory, from one moment to the next.
    fs::rename(&fresh, &data)?;
    Ok(if was_there {
        Ensured::WasThere
    } else {
        Ensured::Made
    })
}

/// What died while it was being filled; the caller holds the lock.
fn remove_unfinished(directory: &Path) -> Result<()> {
    for entry in crate::entries(directory)? {
        if entry.starts_with(".new-") {
            remove_tree(&directory.join(entry))?;
        }
    }
    Ok(())
}

/// The volume's directory, made if it is not there, and locked.
fn lock_made(directory: &Path) -> Result<FileLock> {
    for _ in 0..TRIES {
        make_directory(directory)?;
        match FileLock::exclusive_existing(directory) {
            // It was removed meanwhile, or is locked under its new name.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(lock) if directory.exists() => return Ok(lock),
            Ok(_) => {}
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "somebody removes it again and again",
    ))
}

/// Takes the volume away with everything in it. Fine if it is not there.
pub(crate) fn remove(layout: &Layout, name: &str) -> Result<()> {
    remove_now(layout, name).context(|| format!("remove volume {name}"))
}

fn remove_now(layout: &Layout, name: &str) -> Result<()> {
    let directory = layout.volumes().join(name);
    let _lock = match FileLock::exclusive_existing(&directory) {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if let Some(record) = read(layout, name)?
        && record.size()?.is_some()
    {
        quota::forget(&data(layout, name))?;
    }
    // Half a volume is never seen: from here on there is none.
    let gone = layout
        .volumes()
        .join(format!("{REMOVED}{}-{name}", std::process::id()));
    remove_tree(&gone)?;
    fs::rename(&directory, &gone)?;
    remove_tree(&gone)
}

/// Removes what dead processes left of volumes that were being made or
/// removed. Gives the names of those that were never finished.
pub(crate) fn repair(layout: &Layout) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    let mut errors = Errors::new();
    for entry in crate::entries(&layout.volumes())? {
        let directory = layout.volumes().join(&entry);
        let Ok(Some(_lock)) = FileLock::try_exclusive_existing(&directory) else {
            continue;
        };
        if entry.starts_with(REMOVED) {
            errors.keep(remove_tree(&directory));
            continue;
        }
        errors.keep(remove_unfinished(&directory));
        if !exists(layout, &entry) && errors.keep(remove_tree(&directory)).is_some() {
            removed.push(entry);
        }
    }
    errors.into_result()?;
    Ok(removed)
}

/// The names of all volumes, sorted.
pub(crate) fn names(layout: &Layout) -> Result<Vec<String>> {
    let mut names = crate::entries(&layout.volumes())?;
    names.retain(|name| !name.starts_with('.') && exists(layout, name));
    names.sort();
    Ok(names)
}

fn is_filled(data: &Path) -> Result<bool> {
    match fs::read_dir(data) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn make_directory(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

/// A file, or a directory with all in it. Fine if it is not there.
pub(crate) fn remove_tree_or_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => remove_tree(path),
        Err(error) => Err(error).context(|| format!("remove {}", path.display())),
    }
}

/// std's is safe against links that are swapped in meanwhile.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
