//! Whether files can share their blocks.

use std::path::Path;

use rustix::fs::{Mode, OFlags, ioctl_ficlone, open};

/// Whether a file below `directory` can be a copy-on-write copy of another
/// (`FICLONE`): tried with two files without names, of one block each. What
/// does not tell has none.
pub(crate) fn has_reflinks(directory: &Path) -> bool {
    let file = || {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        open(directory, flags, Mode::RUSR | Mode::WUSR)
    };
    let (Ok(from), Ok(to)) = (file(), file()) else {
        return false;
    };
    rustix::io::write(&from, &[0; 4096]).is_ok() && ioctl_ficlone(&to, &from).is_ok()
}
