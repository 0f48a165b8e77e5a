//! Looking up paths that a container may be changing.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// Renames elsewhere spoil one look in many; spoiling as many as these in a
/// row takes intent.
const TRIES: u32 = 10_000;

/// openat2(2), tried again when the kernel asks for it: a rename or a mount
/// anywhere on the machine may race with a `..` on the way, and then it cannot
/// be sure to have stayed below `directory`. `EAGAIN` if that does not end.
pub fn openat2(
    directory: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    for _ in 1..TRIES {
        match rustix::fs::openat2(directory.as_fd(), path, flags, mode, resolve) {
            Err(Errno::AGAIN) => {}
            done => return done,
        }
    }
    rustix::fs::openat2(directory, path, flags, mode, resolve)
}
