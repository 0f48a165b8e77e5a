//! Extended attributes of files, as far as they belong to an image.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;
use sys::Result;

use super::whiteout::OVERLAY_XATTRS;

/// Names and values, sorted by name.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Whether an attribute travels with an image. Overlayfs' own marks do not,
/// and labels of the host's security policy are the host's to set.
pub(crate) fn travels(name: &[u8]) -> bool {
    !name.starts_with(OVERLAY_XATTRS)
        && !matches!(
            name,
            b"security.selinux" | b"security.ima" | b"security.evm" | b"security.apparmor"
        )
}

/// Of an open file.
pub(crate) fn read(file: impl AsFd) -> Result<Xattrs> {
    let file = file.as_fd();
    collect(
        |list| rustix::fs::flistxattr(file, list),
        |name, value| rustix::fs::fgetxattr(file, name, value),
    )
}

/// Of a file that is only held (`O_PATH`): links, devices.
pub(crate) fn read_held(file: BorrowedFd<'_>) -> Result<Xattrs> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    collect(
        |list| rustix::fs::listxattr(&*path, list),
        |name, value| rustix::fs::getxattr(&*path, name, value),
    )
}

fn collect(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> Result<Xattrs> {
    let mut names = vec![0_u8; 256];
    let length = loop {
        match list(&mut names) {
            Ok(length) => break length,
            Err(Errno::RANGE) if names.len() < 1 << 20 => names.resize(names.len() * 16, 0),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    };
    let names = names[..length].split(|byte| *byte == 0);
    let mut xattrs = Vec::new();
    for name in names.filter(|name| !name.is_empty() && travels(name)) {
        let mut value = vec![0_u8; 256];
        let length = loop {
            match get(name, &mut value) {
                Ok(length) => break Some(length),
                Err(Errno::RANGE) if value.len() < 1 << 20 => value.resize(value.len() * 16, 0),
                // Removed meanwhile.
                Err(Errno::NODATA) => break None,
                Err(error) => return Err(error.into()),
            }
        };
        if let Some(length) = length {
            value.truncate(length);
            xattrs.push((name.to_vec(), value));
        }
    }
    xattrs.sort();
    Ok(xattrs)
}
