//! Files of memory file systems, put back from outside: below the mount that
//! the specification makes, never through a link or into another mount.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use sys::path::openat2;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::collect::memory_files::{open, own};
use crate::copies;
use crate::image::PageFiles;
use crate::image::schema::{Checkpoint, Entry, EntryKind, MemoryFiles};

/// Permissions of files that are put back: no rights of others with them.
const OF_FILES: u32 = 0o1777;
const OF_DIRECTORIES: u32 = 0o3777;

pub(super) fn make(init: i32, checkpoint: &Checkpoint, pages: &PageFiles) -> Result<()> {
    if checkpoint.memory_files.is_empty() {
        return Ok(());
    }
    let path = format!("/proc/{init}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).context(|| format!("open {path}"))?;
    let mounts = own(&init.to_string())?;
    for files in &checkpoint.memory_files {
        let mut here = mounts.iter().rev().filter(|it| it.place == files.place);
        let directory = match here.next() {
            Some(mount) => open(&root, mount)?,
            None => None,
        };
        let directory = directory.ok_or_else(|| {
            Error::new(
                ErrorKind::Conflict,
                format!(
                    "the checkpoint has files of the memory file system {}, and the specification \
                     mounts none there; restore with the mounts that the container had",
                    files.place
                ),
            )
        })?;
        fill(&directory, files, pages)?;
    }
    Ok(())
}

fn fill(directory: &OwnedFd, files: &MemoryFiles, pages: &PageFiles) -> Result<()> {
    let named = |entry: &Entry| format!("put back {}/{}", files.place, entry.path);
    for entry in &files.entries {
        put(directory, entry, pages).context(|| named(entry))?;
    }
    // What is made in a directory changes it.
    for entry in files.entries.iter().rev() {
        if entry.what == EntryKind::Directory {
            settle(directory, entry, OF_DIRECTORIES).context(|| named(entry))?;
        }
    }
    Ok(())
}

fn put(directory: &OwnedFd, entry: &Entry, pages: &PageFiles) -> Result<()> {
    let (parent, name) = parent_of(directory, &entry.path)?;
    match &entry.what {
        EntryKind::Directory => match rustix::fs::mkdirat(&parent, name, Mode::from(0o700)) {
            // A place for another mount.
            Err(Errno::EXIST) => return Ok(()),
            made => return Ok(made?),
        },
        EntryKind::File { size, pages: runs } => {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            let file = openat2(&parent, name, flags, Mode::from(0o600), resolve)?;
            copies::fill_runs(pages, &file, runs)?;
            // Not before: a whole page may have been written to its end.
            rustix::fs::ftruncate(&file, *size)?;
        }
        EntryKind::Link { to } => rustix::fs::symlinkat(to.as_str(), &parent, name)?,
        EntryKind::Again { of } => {
            let (other, old) = parent_of(directory, of)?;
            return Ok(rustix::fs::linkat(
                &other,
                old,
                &parent,
                name,
                AtFlags::empty(),
            )?);
        }
        EntryKind::Fifo | EntryKind::Socket => {
            let kind = if entry.what == EntryKind::Fifo {
                FileType::Fifo
            } else {
                FileType::Socket
            };
            rustix::fs::mknodat(&parent, name, kind, Mode::from(0o600), 0)?;
        }
    }
    settle(directory, entry, OF_FILES)
}

/// Owner, permissions, time.
fn settle(directory: &OwnedFd, entry: &Entry, kept: u32) -> Result<()> {
    let (parent, name) = parent_of(directory, &entry.path)?;
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    let no_follow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(&parent, name, Some(uid), Some(gid), no_follow)?;
    if !matches!(entry.what, EntryKind::Link { .. }) {
        // It was just made, and is no link.
        let mode = Mode::from(entry.mode & kept);
        rustix::fs::chmodat(&parent, name, mode, AtFlags::empty())?;
    }
    let time = Timespec {
        tv_sec: entry.modified.0,
        tv_nsec: entry.modified.1.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(&parent, name, &times, no_follow)?)
}

/// The directory that a path of the checkpoint ends in, and the last name.
fn parent_of<'a>(directory: &OwnedFd, path: &'a str) -> Result<(OwnedFd, &'a str)> {
    let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok((
        openat2(directory, parent, flags, Mode::empty(), resolve)?,
        name,
    ))
}
