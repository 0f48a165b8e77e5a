//! `log` → `log.1` → `log.2` …: the newest has the lowest number.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Moves `path` out of the way. At most `max_files` files (at least 2) exist
/// once a new `path` was made.
pub(super) fn rotate(path: &Path, max_files: u32) -> io::Result<()> {
    for number in (1..max_files.saturating_sub(1)).rev() {
        match fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    fs::rename(path, numbered(path, 1))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}
