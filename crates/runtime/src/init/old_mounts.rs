//! What is mounted beside the container's root, for where the old root cannot
//! be unmounted as a whole.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxFlags, statx};
use sys::{Context as _, Result};

use crate::mounts::root::Root;

/// The mounts of the namespace that are neither the old root nor in the new.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OldMounts(Vec<PathBuf>);

impl OldMounts {
    /// To be called while the host's /proc is in sight.
    pub(super) fn look(root: &Root) -> Result<Self> {
        let flags = AtFlags::EMPTY_PATH;
        let found = statx(root.as_fd(), "", flags, StatxFlags::MNT_ID)
            .context(|| "look at the root's mount")?;
        let table = "/proc/self/mountinfo";
        let text = std::fs::read_to_string(table).context(|| format!("read {table}"))?;
        Ok(Self::in_table(&text, found.stx_mnt_id))
    }

    /// So that what was mounted on another goes before that.
    pub(super) fn others_last_first(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().rev().map(PathBuf::as_path)
    }

    /// `mountinfo` of proc(5): a mount comes after the one that it is on.
    fn in_table(text: &str, root: u64) -> Self {
        let mut inside = BTreeSet::from([root]);
        let mut others = Vec::new();
        for line in text.lines() {
            let mut fields = line.split(' ');
            let mut number = || fields.next().and_then(|field| field.parse::<u64>().ok());
            let (Some(id), Some(parent)) = (number(), number()) else {
                continue;
            };
            let Some(place) = fields.nth(2) else {
                continue;
            };
            if inside.contains(&id) || inside.contains(&parent) {
                inside.insert(id);
            } else if place != "/" {
                others.push(unescaped(place));
            }
        }
        Self(others)
    }
}

/// Spaces and the like are written as `\040`.
fn unescaped(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let taken = if code.is_some() { 3 } else { 0 };
        bytes.push(code.unwrap_or(*first));
        rest = &after[taken..];
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_hosts_mounts_from_the_containers() {
        let table = "1 1 0:2 / / rw - rootfs rootfs rw\n\
                     20 1 0:20 / /proc rw - proc proc rw\n\
                     21 1 8:1 / /a\\040b rw - ext4 /dev/sda1 rw\n\
                     30 21 0:30 / /a\\040b/root rw - overlay overlay rw\n\
                     31 30 0:31 / /a\\040b/root/dev rw - tmpfs tmpfs rw\n\
                     32 31 0:32 / /a\\040b/root/dev/pts rw - devpts devpts rw\n";
        let mounts = OldMounts::in_table(table, 30);
        let left: Vec<_> = mounts.others_last_first().collect();
        assert_eq!(left, [Path::new("/a b"), Path::new("/proc")]);
    }
}
