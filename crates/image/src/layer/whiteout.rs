//! Deletions: `.wh.` names in layer tars (OCI image specification, layer.md,
//! "Whiteouts"), character devices 0/0 and an attribute in overlayfs.

use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode, Stat, XattrFlags};
use rustix::io::Errno;
use sys::Result;

/// What starts the name of a deletion.
pub const PREFIX: &[u8] = b".wh.";
/// Marks its directory: nothing of the layers below is in it.
pub const OPAQUE_NAME: &[u8] = b".wh..wh..opq";
/// What starts overlayfs' own attributes, which are no part of an image.
pub const OVERLAY_XATTRS: &[u8] = b"trusted.overlay.";

const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// What the name of an entry in a layer tar means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    Name,
    Deletes(&'a [u8]),
    Opaque,
    /// aufs kept its own things under such names.
    Nothing,
}

/// `None` if it deletes something that is no name.
pub(crate) fn meaning(name: &[u8]) -> Option<Meaning<'_>> {
    if name == OPAQUE_NAME {
        return Some(Meaning::Opaque);
    }
    match name.strip_prefix(PREFIX) {
        None => Some(Meaning::Name),
        Some(rest) if rest.starts_with(PREFIX) => Some(Meaning::Nothing),
        Some(b"" | b"." | b"..") => None,
        Some(deleted) => Some(Meaning::Deletes(deleted)),
    }
}

/// Whether overlayfs takes this for a deletion.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Makes a deletion in overlayfs' form.
pub(crate) fn make_whiteout(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    rustix::fs::mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0)
}

/// Hides what the layers below have in this directory.
pub(crate) fn make_opaque(directory: BorrowedFd<'_>) -> Result<()> {
    Ok(rustix::fs::fsetxattr(
        directory,
        OPAQUE_XATTR,
        b"y",
        XattrFlags::empty(),
    )?)
}

/// Whether the layers below are hidden in this directory.
pub(crate) fn is_opaque(directory: BorrowedFd<'_>) -> Result<bool> {
    let mut value = [0_u8; 8];
    match rustix::fs::fgetxattr(directory, OPAQUE_XATTR, &mut value[..]) {
        Ok(1) => Ok(value[0] == b'y'),
        // Longer is not ours and means nothing to the kernel either.
        Ok(_) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
