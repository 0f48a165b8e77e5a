//! Volumes: directories that outlive containers.
//!
//! ```text
//! volumes/<name>/_data     what containers see
//! volumes/<name>/.new-…    a volume being filled; renamed to _data
//! ```

mod populate;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use state::{FileLock, Layout, RootFs};
use sys::{Context as _, Errors, Result};

/// The directory that containers see.
pub(crate) fn data(layout: &Layout, name: &str) -> PathBuf {
    layout.volumes().join(name).join("_data")
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

/// Makes the volume if it is not there. A new or empty one gets the content,
/// if there is any, with owner and mode of the image's directory.
pub(crate) fn ensure(
    layout: &Layout,
    name: &str,
    content: Option<&Content<'_>>,
) -> Result<Ensured> {
    let ensure = || -> Result<Ensured> {
        let data = data(layout, name);
        let directory = layout.volumes().join(name);
        if is_filled(&data)? {
            return Ok(Ensured::WasThere);
        }
        make_directory(&directory)?;
        // Two containers may want to fill it at once.
        let _lock = FileLock::exclusive_existing(&directory)?;
        let was_there = data.exists();
        if is_filled(&data)? || (was_there && content.is_none()) {
            return Ok(Ensured::WasThere);
        }
        let fresh = directory.join(format!(".new-{}", std::process::id()));
        remove_tree(&fresh)?;
        DirBuilder::new().mode(0o755).create(&fresh)?;
        if let Some(content) = content {
            populate::populate(content.rootfs, content.target, &fresh)?;
        }
        // Replaces an empty directory, from one moment to the next.
        fs::rename(&fresh, &data)?;
        Ok(if was_there {
            Ensured::WasThere
        } else {
            Ensured::Made
        })
    };
    ensure().context(|| format!("make volume {name}"))
}

/// Takes the volume away with everything in it. Fine if it is not there.
pub(crate) fn remove(layout: &Layout, name: &str) -> Result<()> {
    remove_tree(&layout.volumes().join(name)).context(|| format!("remove volume {name}"))
}

/// Removes half-filled directories of dead processes. Gives the names of
/// volumes that were never finished and are removed.
pub(crate) fn repair(layout: &Layout) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    let mut errors = Errors::new();
    for entry in crate::entries(&layout.volumes())? {
        let directory = layout.volumes().join(&entry);
        let Ok(Some(_lock)) = FileLock::try_exclusive_existing(&directory) else {
            continue;
        };
        for inner in crate::entries(&directory)? {
            if inner.starts_with(".new-") {
                errors.keep(remove_tree(&directory.join(inner)));
            }
        }
        // Fails, as it should, if there is data.
        if fs::remove_dir(&directory).is_ok() {
            removed.push(entry);
        }
    }
    errors.into_result()?;
    Ok(removed)
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
