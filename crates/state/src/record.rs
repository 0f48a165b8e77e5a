//! Versioned JSON files, replaced as a whole: a reader sees the old one or
//! the new one, never half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::ProcessRef;

/// Larger than any record we write; a larger file is not ours.
const SIZE_MAX: u64 = 16 << 20;

/// What a write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of this process. No fsync: for the run path.
    Fast,
    /// A power cut.
    Synced,
}

/// Reading and replacing one JSON file.
pub struct Record;

impl Record {
    /// Reads `path`; `NotFound` if it is not there, `Corrupt` if it is not ours.
    pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
        let read = || -> Result<T> {
            let mut file = File::open(path)?;
            // Most records are read in one call: a regular file that gives less
            // than asked for has ended.
            let mut start = [0; 8192];
            let length = file.read(&mut start)?;
            let mut text = Vec::new();
            let text = if length < start.len() {
                &start[..length]
            } else {
                text.extend_from_slice(&start);
                file.take(SIZE_MAX).read_to_end(&mut text)?;
                &text
            };
            serde_json::from_slice(text)
                .map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))
        };
        read().context(|| format!("read {}", path.display()))
    }

    /// As [`Record::read`], with `None` if it is not there.
    pub fn read_if_exists<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
        match Self::read(path) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces `path` by `value`; mode 0600.
    pub fn write<T: Serialize>(path: &Path, value: &T, durability: Durability) -> Result<()> {
        let text = serde_json::to_vec(value)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        replace(path, &text, durability).context(|| format!("write {}", path.display()))
    }

    /// Writes a file that does not exist yet and that nobody looks for before
    /// its directory is complete, so no rename is needed.
    pub fn create<T: Serialize>(path: &Path, value: &T) -> Result<()> {
        let create = || -> Result<()> {
            let text = serde_json::to_vec(value)
                .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            file.write_all(&text)?;
            Ok(())
        };
        create().context(|| format!("write {}", path.display()))
    }

    /// Whether `file_name` is what a writer that died left beside its record.
    pub fn is_abandoned(file_name: &str) -> bool {
        let thread = file_name
            .strip_prefix('.')
            .and_then(|rest| rest.rsplit_once('.'))
            .and_then(|(_, thread)| thread.parse().ok());
        thread.is_some_and(|thread| match ProcessRef::of(thread) {
            Ok(writer) => !writer.is_alive(),
            Err(error) => error.kind() == ErrorKind::NotFound,
        })
    }
}

/// Replaces the file as a whole: temporary name beside it, then rename.
pub fn replace(path: &Path, content: &[u8], durability: Durability) -> Result<()> {
    let directory = path
        .parent()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "a record needs a directory"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The thread id tells apart two threads, the process id two processes.
    let thread = rustix::thread::gettid();
    let temporary = directory.join(format!(".{name}.{}", thread.as_raw_nonzero()));
    let written = (|| -> Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        if durability == Durability::Synced {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        if durability == Durability::Synced {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    })();
    if written.is_err() {
        // The first failure is what the user needs to know.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_writer_left_is_known() {
        let own = rustix::thread::gettid().as_raw_nonzero();
        // Above the largest number that a thread can have.
        for (name, abandoned) in [
            (".r.json.4194305".to_owned(), true),
            (format!(".r.json.{own}"), false),
            ("r.json".to_owned(), false),
            (".lock".to_owned(), false),
            (".r.json.x1".to_owned(), false),
        ] {
            assert_eq!(Record::is_abandoned(&name), abandoned, "{name}");
        }
    }

    #[test]
    fn a_reader_never_sees_half_a_record() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        assert_eq!(Record::read_if_exists::<Vec<u32>>(&path).unwrap(), None);
        Record::write(&path, &vec![0u32; 1000], Durability::Synced).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4u32 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..50 {
                        Record::write(path, &vec![writer; 1000], Durability::Fast).unwrap();
                    }
                });
            }
            for _ in 0..100 {
                let values: Vec<u32> = Record::read(&path).unwrap();
                assert!(values.len() == 1000 && values.iter().all(|value| *value == values[0]));
            }
        });
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn garbage_is_corrupt_and_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        fs::write(&path, "{").unwrap();
        let error = Record::read::<Vec<u32>>(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("r.json"));
    }
}
