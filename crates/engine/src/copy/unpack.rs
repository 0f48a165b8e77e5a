//! A tar's files go into a directory of a container. The tar is as hostile as
//! the container: no name leads out of the directory, none goes through a
//! link.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{BufReader, Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use image::layer::tar::{Entry, EntryKind, Reader};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use sys::{Context as _, Error, ErrorKind, Result};

use super::tree::{create, make_way};

/// Places every entry of `tar` below `into`; gives the bytes of files.
pub(crate) fn unpack(tar: impl Read, into: &OwnedFd) -> Result<u64> {
    let mut reader = Reader::new(BufReader::with_capacity(256 << 10, tar));
    let mut bytes = 0;
    let mut directories = Vec::new();
    while let Some(entry) = reader.next_entry().context(|| "read the tar")? {
        let shown = || String::from_utf8_lossy(&entry.path).into_owned();
        let Some(path) = inside(&entry.path).context(shown)? else {
            // The directory itself: it is the container's.
            continue;
        };
        bytes += place(&mut reader, &entry, into, &path).context(shown)?;
        if entry.kind == EntryKind::Directory {
            directories.push((path, entry));
        }
    }
    // Last, and the deepest first: what came into them changed their times.
    for (path, entry) in directories.into_iter().rev() {
        let directory = open_directory(into, &path)?;
        finish(&directory, &entry)?;
    }
    Ok(bytes)
}

/// The name as a path below the directory; `None` for the directory itself.
fn inside(name: &[u8]) -> Result<Option<PathBuf>> {
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir | Component::RootDir => {}
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "the name leads out of the directory",
                ));
            }
        }
    }
    Ok((!path.as_os_str().is_empty()).then_some(path))
}

fn place<R: std::io::BufRead>(
    reader: &mut Reader<R>,
    entry: &Entry,
    into: &OwnedFd,
    path: &Path,
) -> Result<u64> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => make_directories(into, parent)?,
        _ => into.try_clone().context(|| "hold the directory")?,
    };
    let name = CString::new(path.file_name().unwrap_or_default().as_bytes())
        .map_err(|_| Error::new(ErrorKind::InvalidInput, "a name holds a zero byte"))?;
    let mode = Mode::from_raw_mode(entry.mode & 0o7777);
    let node = |kind, device: (u32, u32)| -> Result<()> {
        make_way(&parent, &name)?;
        let device = rustix::fs::makedev(device.0, device.1);
        rustix::fs::mknodat(&parent, &name, kind, mode, device)?;
        own(&parent, &name, entry)?;
        rustix::fs::chmodat(&parent, &name, mode, AtFlags::empty())?;
        Ok(())
    };
    match &entry.kind {
        EntryKind::File => {
            let mut file = File::from(create(&parent, &name)?);
            let mut bytes = 0;
            while let Some(chunk) = reader.next_chunk()? {
                use std::os::unix::fs::FileExt as _;
                file.write_all_at(chunk.bytes, chunk.offset)?;
                bytes += chunk.bytes.len() as u64;
            }
            file.flush()?;
            // Holes at the end are written by nobody.
            file.set_len(entry.size)?;
            finish(&file.into(), entry)?;
            return Ok(bytes);
        }
        EntryKind::Directory => match rustix::fs::mkdirat(&parent, &name, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => drop(open_directory(
                &parent,
                Path::new(OsStr::from_bytes(name.to_bytes())),
            )?),
            Err(errno) => return Err(errno.into()),
        },
        EntryKind::Symlink(target) => {
            make_way(&parent, &name)?;
            rustix::fs::symlinkat(target.as_slice(), &parent, &name)?;
            own(&parent, &name, entry)?;
        }
        EntryKind::HardLink(target) => {
            let target = inside(target)?.ok_or_else(|| {
                Error::new(ErrorKind::InvalidInput, "a directory cannot be linked")
            })?;
            let (from, last) = (target.parent(), target.file_name().unwrap_or_default());
            let from = match from {
                Some(from) if !from.as_os_str().is_empty() => open_directory(into, from)?,
                _ => into.try_clone().context(|| "hold the directory")?,
            };
            make_way(&parent, &name)?;
            rustix::fs::linkat(&from, last, &parent, &name, AtFlags::empty())?;
        }
        EntryKind::Fifo => node(FileType::Fifo, (0, 0))?,
        EntryKind::CharDevice(device) => {
            node(FileType::CharacterDevice, (device.major, device.minor))?;
        }
        EntryKind::BlockDevice(device) => {
            node(FileType::BlockDevice, (device.major, device.minor))?;
        }
    }
    Ok(0)
}

/// Opens `path` below the directory, through no link.
fn open_directory(into: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match sys::path::openat2(into, path, flags, Mode::empty(), resolve) {
        Err(Errno::LOOP | Errno::NOTDIR) => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{} is no directory of its own", path.display()),
        )),
        opened => Ok(opened?),
    }
}

fn make_directories(into: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    match open_directory(into, path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened,
    }
    let mut at = into.try_clone().context(|| "hold the directory")?;
    for part in path.components() {
        match rustix::fs::mkdirat(&at, part.as_os_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        at = open_directory(&at, Path::new(part.as_os_str()))?;
    }
    Ok(at)
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )
}

fn own(parent: &OwnedFd, name: &CString, entry: &Entry) -> Result<()> {
    let (user, group) = owner(entry);
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::chownat(parent, name, user, group, flags)?)
}

/// Owner first: changing it drops the set-id bits.
fn finish(file: &OwnedFd, entry: &Entry) -> Result<()> {
    let (user, group) = owner(entry);
    rustix::fs::fchown(file, user, group)?;
    rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(entry.mode & 0o7777))?;
    let time = Timespec {
        tv_sec: entry.mtime.seconds,
        tv_nsec: i64::from(entry.mtime.nanoseconds),
    };
    rustix::fs::futimens(
        file,
        &Timestamps {
            last_access: time,
            last_modification: time,
        },
    )?;
    Ok(())
}
