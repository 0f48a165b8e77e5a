//! Where the next entry goes: the open directories from the root of the tree
//! that a layer unpacks to down to the last entry's parent.
//!
//! Entries of a tar come directory by directory, so most need no lookup at
//! all. Every step is one component opened without following links; a
//! symbolic link on the way is read and resolved here, inside the root, so
//! nothing outside can be reached whatever the layer holds. Leaving a
//! directory sets its time again, which making its children changed.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, Timespec, Timestamps};
use rustix::io::Errno;
use sys::{Context, Error, ErrorKind, Result};

use super::tar::Timestamp;
use super::whiteout;
use crate::tree::{open_child, remove_at};

/// Directories that are open at once, of one layer.
const MAX_OPEN: usize = 48;
/// Links in one path, as the kernel's limit.
const MAX_LINKS: usize = 40;

#[derive(Debug)]
pub(super) struct Directories {
    /// The root first; never empty.
    frames: Vec<Frame>,
    /// Directories that no entry described so far, by real path.
    implied: BTreeSet<Vec<u8>>,
}

#[derive(Debug)]
struct Frame {
    /// The component that led here.
    name: Vec<u8>,
    /// The path from the root without links; empty for the root.
    real: Vec<u8>,
    /// Closed when too many are open, opened again by `real`.
    fd: Option<OwnedFd>,
    time: Timestamp,
    /// The time has to be set again.
    touched: bool,
    /// New members get the directory's group.
    sets_group: bool,
}

/// A directory to work in.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) fd: BorrowedFd<'a>,
    pub(super) sets_group: bool,
}

impl Directories {
    pub(super) fn new(root: OwnedFd) -> Result<Self> {
        let frame = Frame::new(Vec::new(), Vec::new(), root)?;
        Ok(Self {
            frames: vec![frame],
            implied: BTreeSet::new(),
        })
    }

    pub(super) fn root(&self) -> Result<BorrowedFd<'_>> {
        // The root is never closed.
        (self.frames.first())
            .and_then(|frame| frame.fd.as_ref())
            .map(AsFd::as_fd)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the root of a layer was closed"))
    }

    /// Takes in what an entry made of the root, and the time that it is left
    /// with.
    pub(super) fn root_described(&mut self, time: Timestamp) -> Result<()> {
        let stat = rustix::fs::fstat(self.root()?)?;
        let frame = &mut self.frames[0];
        frame.sets_group = Mode::from_raw_mode(stat.st_mode).contains(Mode::SGID);
        frame.time = time;
        frame.touched = true;
        Ok(())
    }

    /// Goes to the directory `path` to change its members; makes what is
    /// missing of it.
    pub(super) fn enter(&mut self, path: &[&[u8]]) -> Result<Place<'_>> {
        let shared = (self.frames[1..].iter().zip(path))
            .take_while(|(frame, name)| frame.name == **name)
            .count();
        self.leave_until(shared + 1)?;
        for name in &path[shared..] {
            self.descend(name)?;
        }
        let last = self.frames.len() - 1;
        self.reopen(last)?;
        let frame = &mut self.frames[last];
        frame.touched = true;
        Ok(Place {
            sets_group: frame.sets_group,
            fd: match &frame.fd {
                Some(fd) => fd.as_fd(),
                None => return Err(Error::new(ErrorKind::Internal, "a directory was closed")),
            },
        })
    }

    /// Goes on into a directory of the current one that an entry described,
    /// which will be left with the entry's time.
    pub(super) fn enter_described(
        &mut self,
        name: &[u8],
        time: Timestamp,
        fd: OwnedFd,
    ) -> Result<()> {
        let real = join(&self.frames[self.frames.len() - 1].real, name);
        self.implied.remove(&real);
        let mut frame = Frame::new(name.to_vec(), real, fd)?;
        frame.time = time;
        frame.touched = true;
        self.push(frame);
        Ok(())
    }

    /// Opens an existing directory without going there.
    pub(super) fn open(&self, path: &[&[u8]]) -> Result<OwnedFd> {
        let (fd, _) = self.walk(&[], &path.join(&b'/'))?;
        Ok(fd)
    }

    /// Leaves all directories; gives those that no entry described.
    pub(super) fn finish(mut self) -> Result<Vec<Vec<u8>>> {
        self.leave_until(0)?;
        Ok(self.implied.into_iter().collect())
    }

    fn leave_until(&mut self, depth: usize) -> Result<()> {
        while self.frames.len() > depth {
            let last = self.frames.len() - 1;
            if self.frames[last].touched {
                self.reopen(last)?;
            }
            let Some(frame) = self.frames.pop() else {
                break;
            };
            if let (true, Some(fd)) = (frame.touched, &frame.fd) {
                rustix::fs::futimens(fd, &times(frame.time)).context(|| "set time of directory")?;
            }
        }
        Ok(())
    }

    fn reopen(&mut self, index: usize) -> Result<()> {
        if self.frames[index].fd.is_none() {
            let (fd, _) = self.walk(&[], &self.frames[index].real)?;
            self.frames[index].fd = Some(fd);
        }
        Ok(())
    }

    fn push(&mut self, frame: Frame) {
        self.frames.push(frame);
        if let Some(index) = self
            .frames
            .len()
            .checked_sub(MAX_OPEN)
            .filter(|index| *index > 0)
        {
            self.frames[index].fd = None;
        }
    }

    fn descend(&mut self, name: &[u8]) -> Result<()> {
        let last = self.frames.len() - 1;
        self.reopen(last)?;
        let parent = &mut self.frames[last];
        let Some(fd) = &parent.fd else {
            return Err(Error::new(ErrorKind::Internal, "a directory was closed"));
        };
        let frame = match open_child(fd.as_fd(), name) {
            Ok(child) => Frame::new(name.to_vec(), join(&parent.real, name), child)?,
            Err(Errno::NOENT) => {
                parent.touched = true;
                let child = make_implied(fd.as_fd(), name)?;
                let real = join(&parent.real, name);
                self.implied.insert(real.clone());
                Frame::new(name.to_vec(), real, child)?
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let stat = rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if whiteout::is_whiteout(&stat) {
                    // Deleted below and made anew here: nothing shines through.
                    parent.touched = true;
                    remove_at(fd.as_fd(), name)?;
                    let child = make_implied(fd.as_fd(), name)?;
                    whiteout::make_opaque(child.as_fd())?;
                    Frame::new(name.to_vec(), join(&parent.real, name), child)?
                } else if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                    let target = rustix::fs::readlinkat(fd, name, Vec::new())?;
                    let base = parent.real.clone();
                    let (child, real) = self.walk(&base, target.as_bytes())?;
                    Frame::new(name.to_vec(), real, child)?
                } else {
                    return Err(Error::from_errno(libc_enotdir()));
                }
            }
            Err(error) => return Err(error.into()),
        };
        self.push(frame);
        Ok(())
    }

    /// Resolves `path`, seen from the directory `base` (a real path), inside
    /// the root as `chroot` would: `..` stops there, absolute links start
    /// there. Gives the directory and its real path.
    fn walk(&self, base: &[u8], path: &[u8]) -> Result<(OwnedFd, Vec<u8>)> {
        let mut links = 0;
        let mut todo: Vec<Vec<u8>> = Vec::new();
        let mut real: Vec<(Vec<u8>, OwnedFd)> = Vec::new();
        let root = self.root()?;
        let add = |todo: &mut Vec<Vec<u8>>, path: &[u8]| {
            todo.extend(path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
        };
        add(&mut todo, path);
        if !path.starts_with(b"/") {
            add(&mut todo, base);
        }
        while let Some(name) = todo.pop() {
            if name.is_empty() || name == b"." {
                continue;
            }
            if name == b".." {
                real.pop();
                continue;
            }
            if real.len() >= 512 {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "directories are nested too deeply",
                ));
            }
            let parent = real.last().map_or(root, |(_, fd)| fd.as_fd());
            match open_child(parent, &name) {
                Ok(fd) => real.push((name, fd)),
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let target = match rustix::fs::readlinkat(parent, &*name, Vec::new()) {
                        Ok(target) => target,
                        Err(Errno::INVAL) => return Err(Error::from_errno(libc_enotdir())),
                        Err(error) => return Err(error.into()),
                    };
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    if target.as_bytes().starts_with(b"/") {
                        real.clear();
                    }
                    add(&mut todo, target.as_bytes());
                }
                Err(error) => return Err(error.into()),
            }
        }
        let path = real.iter().map(|(name, _)| &name[..]).collect::<Vec<_>>();
        let path = path.join(&b'/');
        let fd = match real.pop() {
            Some((_, fd)) => fd,
            None => root.try_clone_to_owned()?,
        };
        Ok((fd, path))
    }
}

impl Frame {
    fn new(name: Vec<u8>, real: Vec<u8>, fd: OwnedFd) -> Result<Self> {
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Self {
            name,
            real,
            fd: Some(fd),
            time: Timestamp {
                seconds: stat.st_mtime,
                nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
            },
            touched: false,
            sets_group: Mode::from_raw_mode(stat.st_mode).contains(Mode::SGID),
        })
    }
}

/// A directory that an entry's path mentions: as Docker makes them, until the
/// layers below say better.
fn make_implied(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let mode = Mode::from_raw_mode(0o755);
    rustix::fs::mkdirat(parent, name, mode)?;
    let fd = open_child(parent, name)?;
    rustix::fs::fchmod(&fd, mode)?;
    Ok(fd)
}

/// Both times of a file.
pub(crate) fn times(time: Timestamp) -> Timestamps {
    let time = Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        name.to_vec()
    } else {
        [parent, b"/", name].concat()
    }
}

fn libc_enotdir() -> i32 {
    Errno::NOTDIR.raw_os_error()
}
