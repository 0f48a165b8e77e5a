//! The container's root, opened once. Every path in it is resolved by the
//! kernel below this descriptor, so that no symlink, however often it is
//! exchanged, leads out.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat};
use rustix::io::Errno;
use sys::path::openat2;
use sys::{Context as _, Error, ErrorKind, Result};

/// The descriptor.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

/// What a mount point has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Directory,
    File,
}

impl Root {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Opens `path` in the root; symlinks are followed as the container would.
    pub(crate) fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.open_with(path, flags, ResolveFlags::empty())
    }

    /// As [`Root::open`] where no part may be a symlink.
    pub(crate) fn open_without_symlinks(
        &self,
        path: &Path,
        flags: OFlags,
    ) -> Result<OwnedFd, Errno> {
        self.open_with(path, flags | OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS)
    }

    fn open_with(&self, path: &Path, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        let flags = flags | OFlags::CLOEXEC;
        openat2(&self.0, path, flags, Mode::empty(), resolve)
    }

    /// The mount point at `path`, made if it is missing; an O_PATH descriptor.
    pub(crate) fn mount_point(&self, path: &Path, shape: Shape) -> Result<OwnedFd> {
        let flags = match shape {
            Shape::Directory => OFlags::PATH | OFlags::DIRECTORY,
            Shape::File => OFlags::PATH,
        };
        match self.open(path, flags) {
            Ok(fd) => Ok(fd),
            Err(Errno::NOENT) => self
                .make(path, shape)
                .context(|| "it is missing in the root file system, and to make it"),
            Err(errno) => Err(errno.into()),
        }
        .context(|| format!("open mount point {} in the container", path.display()))
    }

    /// Makes the directory `path` if it is missing. What cannot be made is for
    /// whoever uses it to complain about.
    pub(crate) fn ensure_directory(&self, path: &Path) -> Result<()> {
        if path == Path::new("/") {
            return Ok(());
        }
        if let Err(Errno::NOENT) = self.open(path, OFlags::PATH | OFlags::DIRECTORY) {
            self.make(path, Shape::Directory)
                .context(|| format!("make directory {} in the container", path.display()))?;
        }
        Ok(())
    }

    /// A mount point none of whose parts may be a symlink, for file systems
    /// that the container's security rests on (/proc, /sys).
    pub(crate) fn plain_mount_point(&self, path: &Path) -> Result<OwnedFd> {
        self.plain_mount_point_of(path, Shape::Directory)
    }

    /// As [`Root::plain_mount_point`], of either shape.
    pub(crate) fn plain_mount_point_of(&self, path: &Path, shape: Shape) -> Result<OwnedFd> {
        let flags = match shape {
            Shape::Directory => OFlags::PATH | OFlags::DIRECTORY,
            Shape::File => OFlags::PATH,
        };
        let open = || {
            let fd = self.open_without_symlinks(path, flags)?;
            if shape == Shape::Directory {
                return Ok(fd);
            }
            // A link as the last part is opened itself.
            match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
                FileType::Symlink => Err(Errno::LOOP),
                FileType::Directory => Err(Errno::ISDIR),
                _ => Ok(fd),
            }
        };
        let opened = match open() {
            Err(Errno::NOENT) => {
                self.make(path, shape)?;
                open()
            }
            opened => opened,
        };
        match opened {
            Err(Errno::ISDIR) => Err(Error::new(ErrorKind::InvalidInput, "it is a directory")),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(Error::new(
                ErrorKind::InvalidInput,
                "it is a symlink or no directory",
            )),
            done => done.map_err(Error::from),
        }
        .context(|| format!("open mount point {} in the container", path.display()))
    }

    /// Makes the missing parts of `path` one by one, each below the
    /// descriptor of the one before, and opens the last.
    fn make(&self, path: &Path, shape: Shape) -> Result<OwnedFd> {
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        let names: Vec<&OsStr> = path.iter().filter(|part| *part != "/").collect();
        let Some((last, parents)) = names.split_last() else {
            return Ok(self.open(Path::new("/"), directory)?);
        };
        // Mostly only the last part is missing.
        let parent = PathBuf::from_iter(parents);
        let at = match self.open(&Path::new("/").join(parent), directory) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => self.make_all(parents)?,
            Err(errno) => return Err(errno.into()),
        };
        match shape {
            Shape::Directory => make_directory(at.as_fd(), last),
            Shape::File => {
                let flags = OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::WRONLY
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                match rustix::fs::openat(&at, *last, flags, Mode::from(0o644)) {
                    Ok(_) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
                open_child(at.as_fd(), last, OFlags::PATH)
            }
        }
    }

    fn make_all(&self, names: &[&OsStr]) -> Result<OwnedFd> {
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        let mut walked = PathBuf::from("/");
        let mut at = self.open(&walked, directory)?;
        for name in names {
            walked.push(name);
            at = match self.open(&walked, directory) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => make_directory(at.as_fd(), name)?,
                Err(errno) => return Err(errno.into()),
            };
        }
        Ok(at)
    }

    /// A file of the container that we read: regular, not larger than
    /// `limit`; `None` if it is missing or anything else.
    pub(crate) fn read_file(&self, path: &Path, limit: usize) -> Result<Option<Vec<u8>>> {
        // Non-blocking: a FIFO in the image must not hold us up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match self.open(path, flags) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::XDEV) => {
                return Ok(None);
            }
            Err(errno) => return Err(Error::from(errno)).context(|| reading(path)),
        };
        let stat = fstat(&fd).context(|| reading(path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let too_large = || {
            Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{} in the container is larger than {limit} bytes",
                    path.display()
                ),
            )
        };
        if usize::try_from(stat.st_size).unwrap_or(usize::MAX) > limit {
            return Err(too_large());
        }
        let mut content = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = rustix::io::read(&fd, &mut buffer).context(|| reading(path))?;
            if count == 0 {
                return Ok(Some(content));
            }
            if content.len() + count > limit {
                return Err(too_large());
            }
            content.extend_from_slice(&buffer[..count]);
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn make_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    match mkdirat(parent, name, Mode::from(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    open_child(parent, name, OFlags::PATH | OFlags::DIRECTORY)
}

/// Opens what was just made; if somebody put a symlink there, it is refused.
fn open_child(parent: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(openat2(parent, name, flags, Mode::empty(), resolve)?)
}

fn reading(path: &Path) -> String {
    format!("read {} in the container", path.display())
}
