//! Descriptors that a process was started with, at agreed numbers.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::FdFlags;

use crate::{Context as _, Error, ErrorKind, Result};

/// Numbers that were taken, as bits.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Takes over descriptor `number` (3 to 63) and marks it close-on-exec. Each
/// number can be taken once. To be called at the start of the program, before
/// anything else is opened.
pub fn take(number: i32) -> Result<OwnedFd> {
    let refuse = |why: &str| {
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!("descriptor {number} {why}"),
        ))
    };
    if !(3..64).contains(&number) {
        return refuse("is not one that can be handed over");
    }
    let bit = 1 << number;
    if TAKEN.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
        return refuse("was taken already");
    }
    // SAFETY: F_GETFD only asks whether the number is open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return refuse("is not open");
    }
    // SAFETY: it is open, and by the bit nobody took it before; whoever
    // started us gave it to us to own.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC)
        .context(|| format!("keep descriptor {number} to ourselves"))?;
    Ok(fd)
}

/// Closes every descriptor from `first` on that nobody took, those numbered
/// `keep` excepted. As [`take`], for the start of the program only.
pub fn close_others(first: i32, keep: &[&OwnedFd]) -> Result<()> {
    let mut kept: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok())
        .collect();
    kept.sort_unstable();
    let mut from = u32::try_from(first.max(3)).unwrap_or(3);
    for number in kept.into_iter().chain([u32::MAX]) {
        let last = if number == u32::MAX {
            number
        } else {
            number.saturating_sub(1)
        };
        if number > from || number == u32::MAX {
            // SAFETY: nothing in this range has an owner in this process, by
            // the contract of this function.
            if unsafe { libc::syscall(libc::SYS_close_range, from, last, 0) } != 0 {
                return Err(std::io::Error::last_os_error())
                    .context(|| "close what was inherited by accident");
            }
        }
        from = from.max(number.saturating_add(1));
    }
    Ok(())
}
