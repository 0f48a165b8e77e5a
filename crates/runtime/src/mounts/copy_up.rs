//! `tmpcopyup`: a tmpfs that begins with what the image has at its place.
//! Every name is opened below the directory that it was read from and no
//! symlink is followed, so that nothing outside of that place is copied.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, Timestamps, chmodat, chownat, mkdirat, mknodat,
    openat, readlinkat, statat, symlinkat, utimensat,
};
use rustix::fs::{Gid, Timespec, Uid};
use rustix::io::Errno;
use sys::{Context as _, Result};

use super::root::Root;
use crate::sandbox::invalid;

/// Deeper trees than this are somebody's joke.
const MOST_LEVELS: usize = 64;

/// Copies what is at `place` in the root into the file system `mount`.
pub(crate) fn copy(root: &Root, place: &Path, mount: &OwnedFd) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let source = match root.open(place, flags) {
        Ok(source) => source,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    // An O_PATH descriptor cannot be read or written through.
    let target = openat(mount, ".", flags | OFlags::CLOEXEC, Mode::empty())?;
    copy_directory(source.as_fd(), target.as_fd(), MOST_LEVELS)
        .context(|| format!("copy {} into the tmpfs on it", place.display()))
}

fn copy_directory(source: BorrowedFd<'_>, target: BorrowedFd<'_>, levels: usize) -> Result<()> {
    if levels == 0 {
        return Err(invalid(format!(
            "it is deeper than {MOST_LEVELS} directories"
        )));
    }
    for entry in Dir::read_from(source)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        copy_entry(source, target, name, levels)
            .context(|| format!("copy {}", name.to_string_lossy()))?;
    }
    Ok(())
}

fn copy_entry(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    name: &CStr,
    levels: usize,
) -> Result<()> {
    let stat = statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let open = |flags| -> Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(openat(source, name, flags, Mode::empty())?)
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(target, name, Mode::from(0o700))?;
            let from = open(OFlags::RDONLY | OFlags::DIRECTORY)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let into = openat(target, name, flags, Mode::empty())?;
            copy_directory(from.as_fd(), into.as_fd(), levels - 1)?;
        }
        FileType::RegularFile => {
            let from = open(OFlags::RDONLY)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let into = openat(target, name, flags, Mode::from(0o600))?;
            copy_bytes(&from, &into)?;
        }
        FileType::Symlink => {
            let to = readlinkat(source, name, Vec::new())?;
            symlinkat(to.as_c_str(), target, name)?;
        }
        kind @ (FileType::Fifo | FileType::Socket) => {
            mknodat(target, name, kind, Mode::from(0o600), 0)?;
        }
        // The container's devices are those of its specification.
        _ => return Ok(()),
    }
    copy_metadata(target, name, &stat)
}

fn copy_bytes(from: &OwnedFd, into: &OwnedFd) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = rustix::io::read(from, &mut buffer)?;
        let mut rest = &buffer[..count];
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            let written = rustix::io::write(into, rest)?;
            rest = &rest[written..];
        }
    }
}

fn copy_metadata(target: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    chownat(target, name, Some(uid), Some(gid), nofollow)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        // After the owner, whose change clears the set-id bits.
        chmodat(
            target,
            name,
            Mode::from_raw_mode(stat.st_mode),
            AtFlags::empty(),
        )?;
    }
    let time = |seconds, nanos: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanos).unwrap_or_default(),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(utimensat(target, name, &times, nofollow)?)
}
