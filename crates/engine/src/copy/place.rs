//! What the two paths of a `cp` mean, by Docker's rules.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use sys::{Context as _, Error, ErrorKind, Result};

/// One of the two sides: the host or a container.
pub(crate) struct Side<'a> {
    root: &'a OwnedFd,
    resolve: ResolveFlags,
}

/// What is copied.
pub(crate) struct Source {
    /// Held, not open: whatever its name means by now.
    pub(crate) held: OwnedFd,
    pub(crate) stat: Stat,
    pub(crate) name: OsString,
    /// `DIR/.`: what is in it, not it itself.
    pub(crate) is_content: bool,
}

/// Where it goes.
pub(crate) struct Target {
    pub(crate) directory: OwnedFd,
    /// `None`: into the directory itself.
    pub(crate) name: Option<OsString>,
}

/// As the kernel.
const LINKS_MAX: u32 = 40;

const HELD: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

impl<'a> Side<'a> {
    /// Nothing leads out of `root`, whatever links are in it.
    pub(crate) fn container(root: &'a OwnedFd) -> Self {
        Self {
            root,
            resolve: ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        }
    }

    /// The caller's own files.
    pub(crate) fn host(root: &'a OwnedFd) -> Self {
        Self {
            root,
            resolve: ResolveFlags::empty(),
        }
    }

    fn hold(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        sys::path::openat2(self.root, path, HELD | flags, Mode::empty(), self.resolve)
    }

    /// What `path` (absolute) names. A link at its end is followed if `follow`
    /// says so, or if a slash does.
    pub(crate) fn source(&self, path: &Path, follow: bool) -> Result<Source> {
        let act = || format!("find {}", path.display());
        let text = path.as_os_str().as_encoded_bytes();
        let is_content = text.ends_with(b"/.") || text == b".";
        let is_directory = is_content || text.ends_with(b"/");
        let flags = if follow || is_directory {
            OFlags::empty()
        } else {
            OFlags::NOFOLLOW
        };
        let held = self.hold(path, flags).context(act)?;
        let stat = rustix::fs::fstat(&held).context(act)?;
        if is_directory && FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Error::from(Errno::NOTDIR)).context(act);
        }
        let name = match path.components().next_back() {
            Some(Component::Normal(name)) => name.to_owned(),
            // `..` and the root have no name of their own.
            _ => OsString::from("root"),
        };
        Ok(Source {
            held,
            stat,
            is_content: is_content || path.parent().is_none(),
            name,
        })
    }

    /// Where to put `source` if it is copied to `path` (absolute).
    pub(crate) fn target(&self, path: &Path, source: &Source) -> Result<Target> {
        self.target_of(path, source, LINKS_MAX)
    }

    fn target_of(&self, path: &Path, source: &Source, links: u32) -> Result<Target> {
        let act = || format!("find {}", path.display());
        let source_is_directory =
            FileType::from_raw_mode(source.stat.st_mode) == FileType::Directory;
        let must_be_directory = {
            let text = path.as_os_str().as_encoded_bytes();
            text.ends_with(b"/") || text.ends_with(b"/.")
        };
        match self.hold(path, OFlags::empty()) {
            Ok(held) => {
                let stat = rustix::fs::fstat(&held).context(act)?;
                let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                match (is_directory, source_is_directory) {
                    (true, true) if source.is_content => Ok(Target {
                        directory: held,
                        name: None,
                    }),
                    (true, _) => Ok(Target {
                        directory: held,
                        name: Some(source.name.clone()),
                    }),
                    (false, true) => Err(Error::new(
                        ErrorKind::InvalidInput,
                        format!(
                            "{} is a file: a directory cannot be copied over it",
                            path.display()
                        ),
                    )),
                    (false, false) if must_be_directory => {
                        Err(Error::from(Errno::NOTDIR)).context(act)
                    }
                    (false, false) => self.through_link(path, source, links),
                }
            }
            Err(Errno::NOENT) if must_be_directory && !source_is_directory => Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no directory {}", path.display()),
            )),
            Err(Errno::NOENT) => self.through_link(path, source, links),
            Err(errno) => Err(errno).context(act),
        }
    }

    /// A directory that is there.
    pub(crate) fn directory(&self, path: &Path) -> Result<OwnedFd> {
        self.hold(path, OFlags::DIRECTORY)
            .context(|| format!("find the directory {}", path.display()))
    }

    /// As [`Side::target`], after the link at the end of `path`, if it is one.
    fn through_link(&self, path: &Path, source: &Source, links: u32) -> Result<Target> {
        let act = || format!("find {}", path.display());
        let is_link = |held: &OwnedFd| {
            let stat = rustix::fs::fstat(held);
            stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
        };
        match self.hold(path, OFlags::NOFOLLOW) {
            Ok(held) if is_link(&held) => {
                if links == 0 {
                    return Err(Error::from(Errno::LOOP)).context(act);
                }
                let target = rustix::fs::readlinkat(&held, "", Vec::new()).context(act)?;
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                let parent = path.parent().unwrap_or(Path::new("/"));
                self.target_of(&parent.join(target), source, links - 1)
            }
            _ => self.missing(path),
        }
    }

    /// The directory above, and a name in it.
    fn missing(&self, path: &Path) -> Result<Target> {
        let name = path.file_name().map(OsStr::to_owned).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{} names no file", path.display()),
            )
        })?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        Ok(Target {
            directory: self.directory(parent)?,
            name: Some(name),
        })
    }
}

/// The root of the host.
pub(crate) fn host_root() -> Result<OwnedFd> {
    rustix::fs::openat(CWD, "/", HELD | OFlags::DIRECTORY, Mode::empty()).context(|| "open /")
}

impl Source {
    /// Its entries can be read.
    pub(crate) fn open_directory(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(self.held.as_fd(), ".", flags, Mode::empty())
            .context(|| "open the directory")
    }
}
