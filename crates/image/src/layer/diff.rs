//! A directory in overlayfs' form becomes a layer tar, always the same bytes
//! for the same directory: sorted, with pax headers only where needed.
//!
//! The directory may belong to a running container: it is walked by open
//! directories, no link is followed, nothing but regular files is opened.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use sys::{Context, Error, ErrorKind, Result};

use super::tar::{Device, Entry, EntryKind, NAME_MAX, Segment, Timestamp, Writer, display_name};
use super::{whiteout, xattrs};
use crate::buffer::CHUNK;
use crate::tree;

/// Whether the tar has an entry for the root itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    Described,
    Omitted,
}

/// Directories open at once.
const MAX_DEPTH: usize = 512;

/// Writes the layer tar of `upper` to `sink`, and gives the sink back. Paths
/// (relative, as in the tar) for which `omit` holds are left out, with all
/// that is in them.
pub fn diff<W: Write>(
    upper: &OwnedFd,
    root: Root,
    omit: &dyn Fn(&[u8]) -> bool,
    sink: W,
) -> Result<W> {
    let mut packer = Packer {
        writer: Writer::new(sink),
        inodes: HashMap::new(),
        buffer: vec![0; CHUNK],
    };
    if root == Root::Described {
        let stat = rustix::fs::fstat(upper)?;
        let mut entry = entry_of(b".", &stat, EntryKind::Directory);
        entry.xattrs = xattrs::read(upper)?;
        packer.writer.begin(&entry)?;
    }
    let mut levels = vec![Level::new(upper.try_clone()?, Vec::new())?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.next() else {
            levels.pop();
            continue;
        };
        let path = level.path_of(&name);
        if omit(&path) {
            continue;
        }
        let below = packer
            .pack(&level.directory, &name, &path)
            .context(|| format!("pack {}", display_name(&path)))?;
        if let Some(directory) = below {
            if levels.len() >= MAX_DEPTH {
                return Err(invalid("directories are nested too deeply"));
            }
            levels.push(Level::new(directory, path)?);
        }
    }
    packer.writer.finish()
}

struct Level {
    directory: OwnedFd,
    path: Vec<u8>,
    names: std::vec::IntoIter<Vec<u8>>,
}

impl Level {
    fn new(directory: OwnedFd, path: Vec<u8>) -> Result<Self> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(Self {
            directory,
            path,
            names: names.into_iter(),
        })
    }

    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() {
            name.to_vec()
        } else {
            [&self.path, &b"/"[..], name].concat()
        }
    }
}

struct Packer<W> {
    writer: Writer<W>,
    /// The first name of each inode that has several.
    inodes: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl<W: Write> Packer<W> {
    /// Packs one name; gives the directory to go on in, if it is one.
    fn pack(&mut self, parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Ok(held) => held,
            // A running container removed it.
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&held)?;
        if whiteout::is_whiteout(&stat) {
            self.pack_whiteout(path)?;
            return Ok(None);
        }
        if name.starts_with(whiteout::PREFIX) {
            return Err(invalid(
                "names that begin with .wh. mean deletions in an image",
            ));
        }
        if path.len() > NAME_MAX {
            return Err(invalid("the path is longer than 4096 bytes"));
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.pack_directory(parent, name, path).map(Some);
        }
        if kind == FileType::Socket {
            return Ok(None);
        }
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.inodes.get(&inode) {
                let link = EntryKind::HardLink(first.clone());
                self.writer.begin(&entry_of(path, &stat, link))?;
                return Ok(None);
            }
            self.inodes.insert(inode, path.to_vec());
        }
        let device = Device {
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
        };
        let kind = match kind {
            FileType::RegularFile => {
                self.pack_file(&held, path)?;
                return Ok(None);
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&held, "", Vec::new())?;
                EntryKind::Symlink(target.into_bytes())
            }
            FileType::Fifo => EntryKind::Fifo,
            FileType::CharacterDevice => EntryKind::CharDevice(device),
            FileType::BlockDevice => EntryKind::BlockDevice(device),
            _ => return Ok(None),
        };
        let mut entry = entry_of(path, &stat, kind);
        entry.xattrs = xattrs::read_held(held.as_fd())?;
        self.writer.begin(&entry)?;
        Ok(None)
    }

    fn pack_whiteout(&mut self, path: &[u8]) -> Result<()> {
        let at = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = path.split_at(at.map_or(0, |slash| slash + 1));
        self.writer.begin(&Entry {
            path: [parent, whiteout::PREFIX, name].concat(),
            ..Entry::default()
        })
    }

    fn pack_directory(&mut self, parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<OwnedFd> {
        let directory = tree::open_child(parent.as_fd(), name)?;
        let stat = rustix::fs::fstat(&directory)?;
        let mut entry = entry_of(path, &stat, EntryKind::Directory);
        entry.xattrs = xattrs::read(&directory)?;
        self.writer.begin(&entry)?;
        if whiteout::is_opaque(directory.as_fd())? {
            self.writer.begin(&Entry {
                path: [path, b"/", whiteout::OPAQUE_NAME].concat(),
                ..Entry::default()
            })?;
        }
        Ok(directory)
    }

    fn pack_file(&mut self, held: &OwnedFd, path: &[u8]) -> Result<()> {
        // What is held is a regular file, whatever its name means by now.
        let again = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOATIME;
        let file = rustix::fs::openat(CWD, &again, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        let mut entry = entry_of(path, &stat, EntryKind::File);
        entry.size = u64::try_from(stat.st_size).unwrap_or_default();
        entry.xattrs = xattrs::read(&file)?;
        let blocks = u64::try_from(stat.st_blocks).unwrap_or_default();
        let whole = [Segment {
            offset: 0,
            length: entry.size,
        }];
        let segments = if blocks * 512 < entry.size {
            find_data(&file, entry.size)?
        } else {
            whole.to_vec()
        };
        if segments == whole || entry.size == 0 {
            self.writer.begin(&entry)?;
        } else {
            self.writer.begin_sparse(&entry, &segments)?;
        }
        for segment in segments {
            self.copy(&file, segment)?;
        }
        Ok(())
    }

    /// A file that shrinks meanwhile is filled up with zeroes: its length
    /// was announced.
    fn copy(&mut self, file: &OwnedFd, segment: Segment) -> Result<()> {
        let (mut at, mut left) = (segment.offset, segment.length);
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let length = match rustix::io::pread(file, &mut self.buffer[..wanted], at) {
                Ok(0) => {
                    self.buffer[..wanted].fill(0);
                    wanted
                }
                Ok(length) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            self.writer.data(&self.buffer[..length])?;
            at += length as u64;
            left -= length as u64;
        }
        Ok(())
    }
}

/// Where a file has data; the rest is holes.
fn find_data(file: &OwnedFd, size: u64) -> Result<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.min(size),
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(Errno::NXIO) => size,
            Err(error) => return Err(error.into()),
        };
        if end <= start {
            break;
        }
        segments.push(Segment {
            offset: start,
            length: end - start,
        });
        at = end;
    }
    Ok(segments)
}

fn entry_of(path: &[u8], stat: &Stat, kind: EntryKind) -> Entry {
    Entry {
        path: path.to_vec(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: 0,
        mtime: Timestamp {
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
        },
        xattrs: Vec::new(),
    }
}

/// Whether two directories look the same, members apart.
pub(crate) fn looks_alike(a: &OwnedFd, b: &OwnedFd) -> Result<bool> {
    let look = |file| -> Result<_> {
        let stat = rustix::fs::fstat(file)?;
        let owner = (stat.st_uid, stat.st_gid);
        let time = (stat.st_mtime, stat.st_mtime_nsec);
        Ok((stat.st_mode, owner, time, xattrs::read(file)?))
    };
    Ok(look(a)? == look(b)?)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
