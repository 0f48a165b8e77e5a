//! What the mount API of Linux 5.2 needs beyond rustix: mount_setattr(2) and
//! the kernel's own words when a file system refuses its options.

pub mod at_once;

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    open_tree,
};

use crate::{Context as _, Error, ErrorKind, Result};

/// Which mounts of a tree a change reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// This mount.
    One,
    /// It and all below.
    Tree,
}

/// How mounts travel between namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Private,
    Shared,
    Slave,
    Unbindable,
}

/// A change of mount attributes (`MOUNT_ATTR_*` bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttributeChange {
    pub set: u64,
    pub clear: u64,
    pub propagation: Option<Propagation>,
}

impl AttributeChange {
    fn for_kernel(self) -> libc::mount_attr {
        libc::mount_attr {
            attr_set: self.set,
            attr_clr: self.clear,
            propagation: match self.propagation {
                None => 0,
                Some(Propagation::Private) => libc::MS_PRIVATE,
                Some(Propagation::Shared) => libc::MS_SHARED,
                Some(Propagation::Slave) => libc::MS_SLAVE,
                Some(Propagation::Unbindable) => libc::MS_UNBINDABLE,
            },
            userns_fd: 0,
        }
    }
}

/// As [`change`], of the mount at `path`; nobody else may change what it leads
/// to.
pub fn change_at(path: &Path, depth: Depth, change: AttributeChange) -> Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(ErrorKind::InvalidInput, "the path has a zero byte in it"))?;
    set_attributes((libc::AT_FDCWD, &path), depth, &change.for_kernel())
}

/// mount_setattr(2) on the mount that `fd` is on the root of (Linux 5.12);
/// nothing if nothing is to be changed.
pub fn change(fd: BorrowedFd<'_>, depth: Depth, change: AttributeChange) -> Result<()> {
    if change == AttributeChange::default() {
        return Ok(());
    }
    set_attributes((fd.as_raw_fd(), c""), depth, &change.for_kernel())
}

/// Lets the files of a detached mount show the ids that the user namespace
/// `users` maps theirs to (Linux 5.12, by file system).
pub fn map_ids(fd: BorrowedFd<'_>, depth: Depth, users: BorrowedFd<'_>) -> Result<()> {
    /// `MOUNT_ATTR_IDMAP` of linux/mount.h.
    const MAP_IDS: u64 = 0x0010_0000;
    let attributes = libc::mount_attr {
        attr_set: MAP_IDS,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(users.as_raw_fd().cast_unsigned()),
    };
    set_attributes((fd.as_raw_fd(), c""), depth, &attributes)
}

fn set_attributes(
    (fd, path): (RawFd, &CStr),
    depth: Depth,
    attributes: &libc::mount_attr,
) -> Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if depth == Depth::Tree {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a null-terminated string and the size is the
    // structure's own.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            std::mem::size_of::<libc::mount_attr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Error::from(std::io::Error::last_os_error())),
    }
}

/// Holds what `subpath` names below `source`, or `source` itself if it is
/// empty. Links in `source` are followed; those below it lead nowhere else
/// (`EXDEV`), whoever changes them meanwhile.
pub fn hold_below(source: &Path, subpath: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let top = openat(CWD, source, flags, Mode::empty())?;
    if subpath.as_os_str().is_empty() {
        return Ok(top);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    Ok(crate::path::openat2(
        &top,
        subpath,
        flags,
        Mode::empty(),
        resolve,
    )?)
}

/// A detached copy of the mount at `fd` (any path on it).
pub fn copy_tree(fd: BorrowedFd<'_>, depth: Depth) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if depth == Depth::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(fd, "", flags)?)
}

/// Puts a detached mount on what `target` is open on; no path is walked.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

/// As [`attach`], relative to a directory: `name` must not be open to anybody
/// who could put a symlink in its place.
pub fn attach_at(mount: BorrowedFd<'_>, directory: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(mount, "", directory, name, flags)?)
}

/// Puts a detached mount over what is at `path` on the host, symlinks followed.
pub fn attach_over(mount: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    Ok(move_mount(mount, "", rustix::fs::CWD, path, flags)?)
}

/// A file system being configured; what the kernel has to say about a refusal
/// becomes part of the error.
#[derive(Debug)]
pub struct FileSystem {
    kind: String,
    context: OwnedFd,
}

/// The descriptor of the configuration, to be closed with others.
impl From<FileSystem> for OwnedFd {
    fn from(file_system: FileSystem) -> Self {
        file_system.context
    }
}

impl FileSystem {
    /// fsopen(2).
    pub fn open(kind: &str) -> Result<Self> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .context(|| format!("open file system {kind}"))?;
        Ok(Self {
            kind: kind.to_owned(),
            context,
        })
    }

    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        fsconfig_set_string(&self.context, key, value)
            .map_err(|errno| self.explain(errno))
            .context(|| format!("set option {key}={value} of {}", self.kind))
    }

    pub fn set_flag(&self, key: &str) -> Result<()> {
        fsconfig_set_flag(&self.context, key)
            .map_err(|errno| self.explain(errno))
            .context(|| format!("set option {key} of {}", self.kind))
    }

    pub fn set_fd(&self, key: &str, fd: BorrowedFd<'_>) -> Result<()> {
        fsconfig_set_fd(&self.context, key, fd)
            .map_err(|errno| self.explain(errno))
            .context(|| format!("set option {key} of {}", self.kind))
    }

    /// Makes it and a detached mount of it.
    pub fn mount(&self, attributes: MountAttrFlags) -> Result<OwnedFd> {
        fsconfig_create(&self.context)
            .map_err(|errno| self.explain(errno))
            .context(|| format!("make file system {}", self.kind))?;
        fsmount(&self.context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .context(|| format!("mount file system {}", self.kind))
    }

    /// The last message of the context, as `e overlay: …`.
    fn explain(&self, errno: rustix::io::Errno) -> Error {
        let mut error = Error::from(errno);
        let mut buffer = [0_u8; 512];
        while let Ok(count) = rustix::io::read(&self.context, &mut buffer) {
            let message = String::from_utf8_lossy(&buffer[..count]);
            error = error.wrap(message.trim().trim_start_matches("e ").to_owned());
            if count == 0 {
                break;
            }
        }
        error
    }
}
