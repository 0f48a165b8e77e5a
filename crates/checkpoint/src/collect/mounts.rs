//! File systems whose content would be lost.

use std::fs;

use sys::{Error, ErrorKind, Result};

use crate::procfs;

/// Files in memory file systems are not carried yet. `/dev` and what is below
/// `/sys` (control groups) are the runtime's own and made again.
pub(super) fn refuse_lost_content(init: i32) -> Result<()> {
    let text = procfs::text(&format!("/proc/{init}/mountinfo"))?;
    for line in text.lines() {
        let Some((mount, kind)) = line.split_once(" - ") else {
            continue;
        };
        let place = mount.split(' ').nth(4).unwrap_or("/");
        let is_made_again = place == "/dev" || place == "/" || place.starts_with("/sys/");
        if !kind.starts_with("tmpfs ") || is_made_again {
            continue;
        }
        // It is none where a file was bound over another.
        let Ok(mut entries) = fs::read_dir(format!("/proc/{init}/root{place}")) else {
            continue;
        };
        if entries.next().is_some() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "there are files in the memory file system {place}, which is not carried yet; \
                     remove them, or mount a volume there"
                ),
            ));
        }
    }
    Ok(())
}
