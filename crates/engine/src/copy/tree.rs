//! Copies what is held to a name in a directory: whole trees, with links,
//! holes, times and modes, following nothing.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use sys::{Context as _, Error, ErrorKind, Result};

use super::DEPTH_MAX;
use super::mirror::Notes;

/// As the kernel: bytes of one extended attribute, and of the names of all.
const XATTR_SIZE_MAX: usize = 64 << 10;
const XATTR_LIST_MAX: usize = 64 << 10;

/// Whose the copies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// As the originals; their attributes come along.
    Kept,
    /// As [`Ownership::Kept`], with overlayfs' own notes: they are layers.
    KeptInLayers,
    /// Somebody's; attributes, which may be privileges, stay behind.
    Of(u32, u32),
}

/// One act of copying.
pub(crate) struct Copier<'a> {
    ownership: Ownership,
    /// Where the names in `links` begin.
    top: BorrowedFd<'a>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), PathBuf>,
    bytes: u64,
    /// What was copied is noted, for a second look.
    pub(super) notes: Option<Notes>,
}

impl<'a> Copier<'a> {
    pub(crate) fn new(top: BorrowedFd<'a>, ownership: Ownership) -> Self {
        Self {
            ownership,
            top,
            links: HashMap::new(),
            bytes: 0,
            notes: None,
        }
    }

    /// Bytes of files so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is in `source` goes into `into`, which gets its attributes.
    pub(crate) fn directory(&mut self, source: &OwnedFd, into: &OwnedFd) -> Result<()> {
        self.members(source, into, Path::new(""), DEPTH_MAX)?;
        let stat = rustix::fs::fstat(source)?;
        self.attributes(source.as_fd(), into.as_fd(), &stat)
    }

    /// What is in `source` goes into `into`, which stays as it is.
    pub(crate) fn content(&mut self, source: &OwnedFd, into: &OwnedFd) -> Result<()> {
        self.members(source, into, Path::new(""), DEPTH_MAX)
    }

    /// What `held` holds becomes `name` in `into`, the top.
    pub(crate) fn entry(&mut self, held: &OwnedFd, into: &OwnedFd, name: &OsStr) -> Result<()> {
        let name = std::ffi::CString::new(name.as_bytes())
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "a name holds a zero byte"))?;
        self.one(held, into, &name, Path::new(""), DEPTH_MAX)
    }

    fn members(&mut self, source: &OwnedFd, into: &OwnedFd, at: &Path, depth: usize) -> Result<()> {
        if depth == 0 {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "directories are nested too deeply",
            ));
        }
        for entry in Dir::read_from(source)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let held = match rustix::fs::openat(source, name, flags, Mode::empty()) {
                Ok(held) => held,
                // Removed meanwhile.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno.into()),
            };
            self.one(&held, into, name, at, depth - 1).context(|| {
                at.join(OsStr::from_bytes(name.to_bytes()))
                    .display()
                    .to_string()
            })?;
        }
        Ok(())
    }

    pub(super) fn one(
        &mut self,
        held: &OwnedFd,
        into: &OwnedFd,
        name: &CStr,
        at: &Path,
        depth: usize,
    ) -> Result<()> {
        let stat = rustix::fs::fstat(held)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let path = at.join(OsStr::from_bytes(name.to_bytes()));
        if kind == FileType::Directory {
            if let Some(notes) = &mut self.notes {
                notes.note_directory(&path, &stat);
            }
            return self.directory_as(held, into, name, (&stat, &path), depth);
        }
        // Before it is read: what is written meanwhile is a change.
        if let Some(notes) = &mut self.notes {
            notes.note(&path, &stat);
        }
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                make_way(into, name)?;
                rustix::fs::linkat(self.top, first, into, name, AtFlags::empty())?;
                return Ok(());
            }
            self.links.insert(key, path);
        }
        match kind {
            FileType::RegularFile => self.file_as(held, into, name, &stat),
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(held, "", Vec::new())?;
                make_way(into, name)?;
                rustix::fs::symlinkat(&*link, into, name)?;
                self.own(into, name, &stat)
            }
            _ => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                make_way(into, name)?;
                rustix::fs::mknodat(into, name, kind, mode, stat.st_rdev)?;
                self.own(into, name, &stat)?;
                rustix::fs::chmodat(into, name, mode, AtFlags::empty())?;
                Ok(())
            }
        }
    }

    fn directory_as(
        &mut self,
        held: &OwnedFd,
        into: &OwnedFd,
        name: &CStr,
        (stat, path): (&Stat, &Path),
        depth: usize,
    ) -> Result<()> {
        match rustix::fs::mkdirat(into, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = match rustix::fs::openat(into, name, flags, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "a directory cannot be copied over what is no directory",
                ));
            }
            to => to?,
        };
        let from = rustix::fs::openat(held, ".", flags, Mode::empty())?;
        self.members(&from, &to, path, depth)?;
        self.attributes(from.as_fd(), to.as_fd(), stat)
    }

    fn file_as(&mut self, held: &OwnedFd, into: &OwnedFd, name: &CStr, stat: &Stat) -> Result<()> {
        // What is held is a regular file, whatever its name means by now.
        let again = format!("/proc/self/fd/{}", held.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mut from = File::from(rustix::fs::openat(CWD, &again, flags, Mode::empty())?);
        let mut to = File::from(create(into, name)?);
        // On a file system that shares blocks nothing is copied.
        if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
            std::io::copy(&mut from, &mut to)?;
        }
        self.bytes += u64::try_from(stat.st_size).unwrap_or_default();
        self.attributes(from.as_fd(), to.as_fd(), stat)
    }

    fn own(&self, into: &OwnedFd, name: &CStr, stat: &Stat) -> Result<()> {
        let (user, group) = self.owner(stat);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::chownat(into, name, user, group, flags)?)
    }

    fn owner(&self, stat: &Stat) -> (Option<Uid>, Option<Gid>) {
        let (uid, gid) = match self.ownership {
            Ownership::Kept | Ownership::KeptInLayers => (stat.st_uid, stat.st_gid),
            Ownership::Of(uid, gid) => (uid, gid),
        };
        (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    }

    /// The attributes of a directory, to another one.
    pub(super) fn attributes_of(&self, from: &OwnedFd, to: &OwnedFd) -> Result<()> {
        self.attributes(from.as_fd(), to.as_fd(), &rustix::fs::fstat(from)?)
    }

    /// Owner first: changing it drops the set-id bits.
    fn attributes(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
        let (user, group) = self.owner(stat);
        rustix::fs::fchown(to, user, group)?;
        rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        if matches!(self.ownership, Ownership::Kept | Ownership::KeptInLayers) {
            let opaque = self.ownership == Ownership::KeptInLayers;
            copy_xattrs(from, to, opaque)?;
        }
        let time = |seconds: i64, nanos: u64| Timespec {
            tv_sec: seconds,
            tv_nsec: i64::try_from(nanos).unwrap_or_default(),
        };
        rustix::fs::futimens(
            to,
            &Timestamps {
                last_access: time(stat.st_atime, stat.st_atime_nsec),
                last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
            },
        )?;
        Ok(())
    }
}

/// A new file under the name; what was there is replaced, not written to,
/// except for a mount, which cannot be.
pub(super) fn create(into: &OwnedFd, name: &CStr) -> Result<OwnedFd> {
    let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    match rustix::fs::openat(into, name, new, mode) {
        Err(Errno::EXIST) => {}
        made => return Ok(made?),
    }
    match rustix::fs::unlinkat(into, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(rustix::fs::openat(into, name, new, mode)?),
        Err(Errno::BUSY) => {
            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = rustix::fs::openat(into, name, flags, Mode::empty())?;
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
            if kind != FileType::RegularFile {
                return Err(Errno::BUSY.into());
            }
            rustix::fs::ftruncate(&file, 0)?;
            Ok(file)
        }
        Err(Errno::ISDIR) => Err(Error::new(
            ErrorKind::InvalidInput,
            "a file cannot be copied over a directory",
        )),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes away what is under the name, unless it is a directory.
pub(super) fn make_way(into: &OwnedFd, name: &CStr) -> Result<()> {
    match rustix::fs::unlinkat(into, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// All but overlayfs' own, where both sides have them; of those, with
/// `opaque`, that a directory hides what is below.
fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>, opaque: bool) -> Result<()> {
    let names = xattr_names(from)?;
    if names.is_empty() {
        return Ok(());
    }
    let mut value = vec![0u8; XATTR_SIZE_MAX];
    for name in &names {
        let name = name.as_slice();
        let stays =
            name.starts_with(b"trusted.overlay.") && !(opaque && name == b"trusted.overlay.opaque");
        if stays {
            continue;
        }
        let size = rustix::fs::fgetxattr(from, name, &mut value)?;
        match rustix::fs::fsetxattr(to, name, &value[..size], XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Names of a file's extended attributes; none where there are no such.
pub(super) fn xattr_names(file: BorrowedFd<'_>) -> Result<BTreeSet<Vec<u8>>> {
    let mut names = vec![0u8; XATTR_LIST_MAX];
    let length = match rustix::fs::flistxattr(file, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let names = names[..length].split(|byte| *byte == 0);
    Ok(names
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}
