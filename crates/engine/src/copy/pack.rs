//! A tree becomes a tar, following nothing.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use image::layer::tar::{Device, Entry, EntryKind, Timestamp, Writer};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;
use sys::{Context as _, Error, ErrorKind, Result};

use super::DEPTH_MAX;
use super::place::Source;

/// Whether what is mounted inside belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mounts {
    Included,
    /// Only what they are mounted on.
    LeftOut,
}

/// `STATX_ATTR_MOUNT_ROOT` (Linux 5.8).
const MOUNT_ROOT: u64 = 0x2000;
const CHUNK: usize = 256 << 10;

/// Writes `source` and everything below it to `sink` as a tar whose names
/// begin with the source's own (with `.` if it is content).
pub(crate) fn pack<W: Write>(source: &Source, mounts: Mounts, sink: W) -> Result<W> {
    let mut packer = Packer {
        writer: Writer::new(sink),
        mounts,
        links: HashMap::new(),
        buffer: vec![0; CHUNK],
    };
    let name = source.name.as_encoded_bytes();
    let path = if source.is_content { b"." } else { name };
    packer.pack(&source.held, path, DEPTH_MAX)?;
    packer.writer.finish()
}

struct Packer<W> {
    writer: Writer<W>,
    mounts: Mounts,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl<W: Write> Packer<W> {
    fn pack(&mut self, held: &OwnedFd, path: &[u8], depth: usize) -> Result<()> {
        let stat = rustix::fs::fstat(held)?;
        let is_left_out = path != b"." && self.mounts == Mounts::LeftOut && is_mount_root(held)?;
        let device = Device {
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                self.writer
                    .begin(&entry(path, &stat, EntryKind::Directory))?;
                if is_left_out {
                    return Ok(());
                }
                return self.members(held, path, depth);
            }
            FileType::RegularFile => {
                if let Some(first) = self.first_name(&stat, path) {
                    return self
                        .writer
                        .begin(&entry(path, &stat, EntryKind::HardLink(first)));
                }
                let size = if is_left_out { 0 } else { stat.st_size };
                return self.file(held, path, &stat, u64::try_from(size).unwrap_or_default());
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(held, "", Vec::new())?;
                EntryKind::Symlink(link.into_bytes())
            }
            FileType::Fifo => EntryKind::Fifo,
            FileType::CharacterDevice => EntryKind::CharDevice(device),
            FileType::BlockDevice => EntryKind::BlockDevice(device),
            // A socket is nothing without who listens to it.
            _ => return Ok(()),
        };
        self.writer.begin(&entry(path, &stat, kind))
    }

    fn members(&mut self, held: &OwnedFd, path: &[u8], depth: usize) -> Result<()> {
        if depth == 0 {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "directories are nested too deeply",
            ));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(held, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let name = entry?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let held = match rustix::fs::openat(&directory, &name, flags, Mode::empty()) {
                Ok(held) => held,
                // Removed meanwhile.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let path = match path {
                b"." => name.to_bytes().to_vec(),
                path => [path, b"/", name.to_bytes()].concat(),
            };
            self.pack(&held, &path, depth - 1)
                .context(|| String::from_utf8_lossy(&path).into_owned())?;
        }
        Ok(())
    }

    fn first_name(&mut self, stat: &Stat, path: &[u8]) -> Option<Vec<u8>> {
        if stat.st_nlink < 2 {
            return None;
        }
        let key = (stat.st_dev, stat.st_ino);
        let first = self.links.get(&key).cloned();
        if first.is_none() {
            self.links.insert(key, path.to_vec());
        }
        first
    }

    /// A file that shrinks meanwhile is filled up with zeroes: its length was
    /// announced.
    fn file(&mut self, held: &OwnedFd, path: &[u8], stat: &Stat, size: u64) -> Result<()> {
        let mut about = entry(path, stat, EntryKind::File);
        about.size = size;
        self.writer.begin(&about)?;
        if size == 0 {
            return Ok(());
        }
        // What is held is a regular file, whatever its name means by now.
        let again = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &again, flags, Mode::empty())?;
        let mut left = size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let length = match rustix::io::read(&file, &mut self.buffer[..wanted]) {
                Ok(0) => {
                    self.buffer[..wanted].fill(0);
                    wanted
                }
                Ok(length) => length,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            self.writer.data(&self.buffer[..length])?;
            left -= length as u64;
        }
        Ok(())
    }
}

fn is_mount_root(held: &OwnedFd) -> Result<bool> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    let statx = rustix::fs::statx(held, "", flags, StatxFlags::BASIC_STATS)?;
    Ok(statx.stx_attributes.bits() & MOUNT_ROOT != 0)
}

fn entry(path: &[u8], stat: &Stat, kind: EntryKind) -> Entry {
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
