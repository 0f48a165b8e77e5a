//! What inotify descriptors watch: last of all, from outside, so that nobody
//! hears of what the restore itself does to files.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{WatchFlags, add_watch, remove_watch};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use sys::path::openat2;
use sys::{Context as _, Error, ErrorKind, Result};

use super::Work;
use crate::image::schema::{Kind, Watch};
use crate::inject::Program;

const INOTIFY_INIT1: u32 = 294;
const O_NONBLOCK: u32 = 0o4000;
/// Numbers to pass over where none can be asked for.
const TRIES: i32 = 1 << 16;

pub(super) fn make(program: &mut Program, flags: u32) {
    let flags = flags & O_NONBLOCK;
    program.call("make an inotify", INOTIFY_INIT1, &[flags.into()]);
}

/// Copies of ours of those that were made, while they are all in one pool.
pub(super) struct Watchers<'a> {
    all: Vec<(OwnedFd, &'a [Watch])>,
    /// Of the container.
    root: OwnedFd,
}

impl<'a> Watchers<'a> {
    pub(super) fn take(init: i32, pidfd: BorrowedFd<'_>, work: &Work<'a>) -> Result<Self> {
        let path = format!("/proc/{init}/root");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty());
        let root = root.context(|| format!("open {path}"))?;
        let mut all = Vec::new();
        for (place, description) in work.checkpoint.descriptions.iter().enumerate() {
            if let Kind::Inotify { watches } = &description.kind {
                let fd = work.pool.description(place);
                let ours = pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty())
                    .context(|| "take an inotify")?;
                all.push((ours, watches.as_slice()));
            }
        }
        Ok(Self { all, root })
    }

    pub(super) fn watch(self) -> Result<()> {
        for (inotify, watches) in &self.all {
            for watch in *watches {
                one(inotify, watch, &self.root).context(|| format!("watch {}", watch.path))?;
            }
        }
        Ok(())
    }
}

fn one(inotify: &OwnedFd, watch: &Watch, root: &OwnedFd) -> Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(root, &watch.path, flags, Mode::empty(), resolve)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mask = WatchFlags::from_bits_retain(watch.mask);
    // Before Linux 4.17 numbers are counted up.
    let _ = sys::inotify::set_next(inotify.as_fd(), watch.number);
    for _ in 0..TRIES {
        let number = add_watch(inotify, &path, mask)?;
        if number == watch.number {
            return Ok(());
        }
        if number > watch.number {
            break;
        }
        remove_watch(inotify, number)?;
        drain(inotify)?;
    }
    Err(Error::new(
        ErrorKind::Conflict,
        "its number cannot be had again",
    ))
}

/// What was removed says so.
fn drain(inotify: &OwnedFd) -> Result<()> {
    let mut buffer = [0; 4096];
    if rustix::io::ioctl_fionread(inotify)? > 0 {
        rustix::io::read(inotify, &mut buffer)?;
    }
    Ok(())
}
