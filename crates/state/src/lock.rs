//! Locks between processes: flock(2) on a file, released on drop and by the
//! kernel when the holder dies.
//!
//! Lock order: name, then container, then volume or network, then image store.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::FlockOperation;
use sys::{Context as _, Error, ErrorKind, Result};

/// A held lock.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits until nobody else holds it.
    pub fn exclusive(path: &Path) -> Result<Self> {
        Self::take(path, FlockOperation::LockExclusive)
    }

    /// Waits until nobody holds it exclusively.
    pub fn shared(path: &Path) -> Result<Self> {
        Self::take(path, FlockOperation::LockShared)
    }

    /// `None` if somebody holds it.
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        match Self::take(path, FlockOperation::NonBlockingLockExclusive) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.errno() == Some(rustix::io::Errno::WOULDBLOCK.raw_os_error()) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Locks the file behind an existing path that may be removed by its
    /// holder (a container's directory): fails with `NotFound` if it was.
    pub fn exclusive_existing(path: &Path) -> Result<Self> {
        Self::take_existing(path, FlockOperation::LockExclusive)
    }

    /// As [`FileLock::exclusive_existing`], shared.
    pub fn shared_existing(path: &Path) -> Result<Self> {
        Self::take_existing(path, FlockOperation::LockShared)
    }

    /// As [`FileLock::exclusive_existing`]; `None` if somebody holds it.
    pub fn try_exclusive_existing(path: &Path) -> Result<Option<Self>> {
        let operation = FlockOperation::NonBlockingLockExclusive;
        match Self::take_existing(path, operation) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.errno() == Some(rustix::io::Errno::WOULDBLOCK.raw_os_error()) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn take_existing(path: &Path, operation: FlockOperation) -> Result<Self> {
        let lock = || -> Result<Self> {
            let file = File::open(path)?;
            flock(&file, operation)?;
            // It may have been removed while we waited.
            if rustix::fs::fstat(&file)?.st_nlink == 0 {
                return Err(Error::from_errno(rustix::io::Errno::NOENT.raw_os_error()));
            }
            Ok(Self { _file: file })
        };
        lock().context(|| format!("lock {}", path.display()))
    }

    fn take(path: &Path, operation: FlockOperation) -> Result<Self> {
        let lock = || -> Result<Self> {
            let mut options = OpenOptions::new();
            let file = options
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)?;
            flock(&file, operation)?;
            Ok(Self { _file: file })
        };
        lock().context(|| format!("lock {}", path.display()))
    }
}

fn flock(file: &File, operation: FlockOperation) -> Result<()> {
    loop {
        match rustix::fs::flock(file, operation) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                let error = Error::from(errno);
                return Err(match errno {
                    rustix::io::Errno::WOULDBLOCK => error.with_kind(ErrorKind::Unavailable),
                    _ => error,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_others_until_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = FileLock::exclusive(&path).unwrap();
        assert!(FileLock::try_exclusive(&path).unwrap().is_none());
        drop(held);
        assert!(FileLock::try_exclusive(&path).unwrap().is_some());
    }

    #[test]
    fn a_removed_directory_cannot_be_locked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c");
        let error = FileLock::exclusive_existing(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        std::fs::create_dir(&path).unwrap();
        let held = FileLock::exclusive_existing(&path).unwrap();
        assert!(FileLock::try_exclusive_existing(&path).unwrap().is_none());
        drop(held);
        assert!(FileLock::try_exclusive_existing(&path).unwrap().is_some());
    }
}
