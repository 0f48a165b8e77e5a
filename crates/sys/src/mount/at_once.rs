//! mount(2): one call for what the mount API of Linux 5.2 takes six for, where
//! nobody needs a descriptor of the new mount. Both ends are named through the
//! /proc of whoever mounts, by descriptors in /proc/self/fd: as with that API,
//! no path of a container is walked.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount, mount_bind};

/// Where to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// On what it is open on.
    On(BorrowedFd<'a>),
    /// On the directory of that name in it: nobody else may have write access
    /// there, or it could be a symlink by now.
    In(BorrowedFd<'a>, &'a OsStr),
}

impl Target<'_> {
    fn path(self) -> PathBuf {
        match self {
            Self::On(fd) => by_descriptor(fd),
            Self::In(fd, name) => by_descriptor(fd).join(name),
        }
    }
}

/// The name of an open file.
pub fn by_descriptor(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// The file systems of the kernel's own that parse their options one by one
/// however they come, and for which nothing is in a name.
const PLAIN: [&str; 5] = ["proc", "tmpfs", "devpts", "mqueue", "sysfs"];

/// `MOUNT_ATTR_*` bit and flag of mount(2).
const FLAGS: [(u64, MountFlags); 8] = [
    (0x1, MountFlags::RDONLY),
    (0x2, MountFlags::NOSUID),
    (0x4, MountFlags::NODEV),
    (0x8, MountFlags::NOEXEC),
    (0x10, MountFlags::NOATIME),
    (0x20, MountFlags::STRICTATIME),
    (0x80, MountFlags::NODIRATIME),
    // MS_NOSYMFOLLOW of Linux 5.10.
    (0x0020_0000, MountFlags::from_bits_retain(0x100)),
];

/// Mounts a file system of `kind`, with the options (key and value) and the
/// `MOUNT_ATTR_*` bits that are given. False if it did not come to be, for
/// what reason ever: the long way then works, or says why not.
#[must_use]
pub fn file_system(
    (kind, source): (&str, &str),
    options: &[(String, Option<String>)],
    attributes: u64,
    target: Target<'_>,
) -> bool {
    if !PLAIN.contains(&kind) {
        return false;
    }
    let Some(data) = data(options) else {
        return false;
    };
    let mut flags = MountFlags::empty();
    let mut rest = attributes;
    for (attribute, flag) in FLAGS {
        if rest & attribute != 0 {
            rest &= !attribute;
            flags |= flag;
        }
    }
    rest == 0 && mount(source, target.path(), kind, flags, data.as_c_str()).is_ok()
}

/// Options as one string, if no separator is hidden in one and they fit into
/// the page that the kernel takes.
fn data(options: &[(String, Option<String>)]) -> Option<CString> {
    let words: Vec<String> = options
        .iter()
        .map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        })
        .collect();
    let fit = |word: &String| !word.is_empty() && !word.contains([',', '\\', '"']);
    let all = words.join(",");
    if !words.iter().all(fit) || all.len() >= 4096 {
        return None;
    }
    CString::new(all).ok()
}

/// Binds what is at `source` (that mount alone). False as above.
#[must_use]
pub fn bind(source: &Path, target: Target<'_>) -> bool {
    mount_bind(source.as_os_str().as_bytes(), target.path()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(key: &str, value: Option<&str>) -> (String, Option<String>) {
        (key.to_owned(), value.map(str::to_owned))
    }

    #[test]
    fn joins_options_that_stay_apart() {
        let plain = [option("mode", Some("755")), option("newinstance", None)];
        let joined = data(&plain).unwrap();
        assert_eq!(joined.as_c_str(), c"mode=755,newinstance");
        assert_eq!(data(&[]).unwrap().as_c_str(), c"");
    }

    #[test]
    fn leaves_what_would_be_read_otherwise() {
        for value in ["1,uid=0", "a\\,b", "s0:c1,c2", "\"x\"", "a\0b"] {
            assert_eq!(data(&[option("size", Some(value))]), None, "{value:?}");
        }
        let long = "x".repeat(4096);
        assert_eq!(data(&[option("size", Some(&long))]), None);
    }

    #[test]
    fn does_not_mount_what_it_does_not_know() {
        let root = std::fs::File::open("/").unwrap();
        let target = Target::In(std::os::fd::AsFd::as_fd(&root), OsStr::new("nowhere"));
        assert!(!file_system(("overlay", "none"), &[], 0, target));
        assert!(!file_system(("tmpfs", "none"), &[], 1 << 40, target));
    }
}
