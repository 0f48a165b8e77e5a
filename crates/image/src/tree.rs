//! Directory trees that images and containers made, so of any depth and with
//! anything in them: removing and measuring them.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::{Context, Result};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Levels that are open at once; deeper trees are taken apart in pieces.
const MAX_DEPTH: usize = 64;

/// Opens a directory that we made ourselves, by path.
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())
        .context(|| format!("open {}", path.display()))
}

/// Opens the directory `name` of `parent`, never following a link.
pub(crate) fn open_child(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())
}

/// Removes `path` and everything below it; nothing there is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    remove_at(CWD, path.as_os_str().as_encoded_bytes())
        .context(|| format!("remove {}", path.display()))
}

/// Removes `name` of `parent` and everything below it. Links are removed, not
/// followed; nothing there is fine, and so is somebody who removes the same.
pub(crate) fn remove_at(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says EISDIR, POSIX EPERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let Some(top) = there(open_child(parent, name))? else {
        return Ok(());
    };
    // Each round cuts MAX_DEPTH levels; what is deeper was moved to the top.
    let mut moved = 0;
    loop {
        let before = moved;
        empty(&top, &top, &mut moved, MAX_DEPTH)?;
        if moved == before {
            break;
        }
    }
    there(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR))?;
    Ok(())
}

/// `None` for what is gone.
fn there<T>(outcome: rustix::io::Result<T>) -> Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn empty(directory: &OwnedFd, top: &OwnedFd, moved: &mut u64, depth: usize) -> Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Most directories are empty by now or hold little.
        match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        if depth == 0 {
            let aside = format!(".deep-{moved}-{}", std::process::id());
            *moved += 1;
            there(rustix::fs::renameat(directory, name, top, aside.as_str()))?;
            continue;
        }
        if let Some(child) = there(open_child(directory.as_fd(), name.to_bytes()))? {
            empty(&child, top, moved, depth - 1)?;
            there(rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR))?;
        }
    }
    Ok(())
}

/// Bytes on disk below `path`, each inode once. What vanishes meanwhile, or
/// lies deeper than any sane tree, is not counted.
pub fn disk_usage(path: &Path) -> Result<u64> {
    let top = open_directory(path)?;
    let mut seen = HashSet::new();
    let mut open = vec![(Dir::read_from(&top)?, top)];
    let mut blocks = 0;
    while let Some((entries, directory)) = open.last_mut() {
        let Some(entry) = entries.next() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(&*directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory || stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino)) {
            blocks += u64::try_from(stat.st_blocks).unwrap_or_default();
        }
        if is_directory
            && open.len() < 512
            && let Some((_, directory)) = open.last()
            && let Ok(child) = open_child(directory.as_fd(), name.to_bytes())
        {
            open.push((Dir::read_from(&child)?, child));
        }
    }
    Ok(blocks * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_trees_deeper_than_any_path() {
        let scratch = tempfile::tempdir().unwrap();
        let top = open_directory(scratch.path()).unwrap();
        let mut at = top.try_clone().unwrap();
        for level in 0..1500 {
            rustix::fs::mkdirat(&at, "directory", Mode::from_raw_mode(0o755)).unwrap();
            if level % 100 == 0 {
                rustix::fs::symlinkat("/", &at, "link").unwrap();
            }
            at = open_child(at.as_fd(), b"directory").unwrap();
        }
        remove_at(top.as_fd(), b"directory").unwrap();
        remove_at(top.as_fd(), b"link").unwrap();
        remove_at(top.as_fd(), b"link").unwrap();
        assert_eq!(scratch.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn counts_each_inode_once() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("a"), vec![1; 64 << 10]).unwrap();
        let once = disk_usage(scratch.path()).unwrap();
        std::fs::hard_link(scratch.path().join("a"), scratch.path().join("b")).unwrap();
        assert_eq!(disk_usage(scratch.path()).unwrap(), once);
        assert!(once >= 64 << 10);
    }
}
