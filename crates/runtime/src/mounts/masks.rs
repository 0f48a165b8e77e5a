//! Hiding paths and making them read-only.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, major, minor, openat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use sys::mount::at_once::{self, Target};
use sys::mount::{AttributeChange, Depth, FileSystem, attach, change, copy_tree};
use sys::spent::Spent;
use sys::{Context as _, Error, ErrorKind, Result};

use super::plan::libc_attr;
use super::root::Root;

/// What is put over masked paths, opened on the host.
#[derive(Debug)]
pub(crate) struct MaskSources {
    null: OwnedFd,
}

/// To be closed with others.
impl From<MaskSources> for OwnedFd {
    fn from(sources: MaskSources) -> Self {
        sources.null
    }
}

impl MaskSources {
    /// The host's /dev/null, verified to be it.
    pub(crate) fn open() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let null = openat(CWD, "/dev/null", flags, Mode::empty()).context(|| "open /dev/null")?;
        let stat = fstat(&null).context(|| "look at /dev/null")?;
        let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
        if !is_null {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "/dev/null is not the null device",
            ));
        }
        Ok(Self { null })
    }
}

/// Hides each path that exists: a directory under an empty one, anything else
/// under the null device. `at_once`: the host's /proc is in sight.
pub(crate) fn mask(
    root: &Root,
    (paths, sources, at_once): (&[PathBuf], &MaskSources, bool),
    spent: &mut Spent,
) -> Result<()> {
    // Attached to the first directory; the others get copies of it.
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let mut hide = || -> Result<()> {
            let Some(target) = open_if_there(root, path)? else {
                return Ok(());
            };
            // Most of what is hidden in /sys is a directory.
            let first = if path.starts_with("/sys") {
                Cover::Empty
            } else {
                Cover::Null
            };
            if at_once && mask_at_once(&target, sources, first) {
                spent.add(target);
                return Ok(());
            }
            let stat = fstat(&target)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                let cover = copy_tree(sources.null.as_fd(), Depth::One)?;
                return put(cover, target, spent);
            }
            match &empty {
                Some(empty) => {
                    let cover = copy_tree(empty.as_fd(), Depth::One)?;
                    put(cover, target, spent)
                }
                None => attach(empty.insert(empty_directory()?).as_fd(), target.as_fd()),
            }
        };
        hide().context(|| format!("mask {}", path.display()))?;
    }
    Ok(())
}

/// What to try first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cover {
    Null,
    Empty,
}

/// Of the two, the one that does not fit is refused by the kernel: a file is
/// not mounted on a directory, nor a directory on a file.
fn mask_at_once(target: &OwnedFd, sources: &MaskSources, first: Cover) -> bool {
    let on = Target::On(target.as_fd());
    let null = || at_once::bind(&at_once::by_descriptor(sources.null.as_fd()), on);
    let empty = || {
        let options = EMPTY.map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
        at_once::file_system(("tmpfs", "none"), &options, SEALED, on)
    };
    (first == Cover::Null && null()) || empty() || (first == Cover::Empty && null())
}

/// Makes each path that exists read-only, with all below it.
pub(crate) fn protect(root: &Root, paths: &[PathBuf], spent: &mut Spent) -> Result<()> {
    for path in paths {
        let mut protect = || -> Result<()> {
            let Some(target) = open_if_there(root, path)? else {
                return Ok(());
            };
            let tree = copy_tree(target.as_fd(), Depth::Tree)?;
            change(tree.as_fd(), Depth::Tree, read_only())?;
            put(tree, target, spent)
        };
        protect().context(|| format!("make {} read-only", path.display()))?;
    }
    Ok(())
}

fn put(mount: OwnedFd, target: OwnedFd, spent: &mut Spent) -> Result<()> {
    attach(mount.as_fd(), target.as_fd())?;
    spent.add(mount);
    spent.add(target);
    Ok(())
}

pub(crate) fn read_only() -> AttributeChange {
    AttributeChange {
        set: libc_attr::RDONLY,
        ..AttributeChange::default()
    }
}

fn open_if_there(root: &Root, path: &Path) -> Result<Option<OwnedFd>> {
    match root.open(path, OFlags::PATH) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// A tmpfs that holds nothing and takes nothing.
const EMPTY: [(&str, &str); 2] = [("size", "0"), ("nr_inodes", "1")];
const SEALED: u64 = libc_attr::RDONLY | libc_attr::NOSUID | libc_attr::NODEV | libc_attr::NOEXEC;

fn empty_directory() -> Result<OwnedFd> {
    let tmpfs = FileSystem::open("tmpfs")?;
    for (key, value) in EMPTY {
        tmpfs.set(key, value)?;
    }
    let flags = u32::try_from(SEALED).unwrap_or_default();
    tmpfs.mount(MountAttrFlags::from_bits_retain(flags))
}
