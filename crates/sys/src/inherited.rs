//! Descriptors that a process was started with, at agreed numbers.

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, ErrorKind, Result};

/// Numbers that were taken, as bits.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Makes sure that the descriptors from 3 on, `count` of them, were inherited,
/// to be handed on to a program: none is a descriptor of our own, which all
/// are close-on-exec.
pub fn verify(count: u32) -> Result<()> {
    for number in 3..3 + count.cast_signed() {
        // SAFETY: F_GETFD only asks whether the number is open, and how.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("descriptor {number} is to be handed on and is not open"),
            ));
        }
    }
    Ok(())
}

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
    // SAFETY: F_SETFD of a number that nobody took changes nothing else.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return refuse("is not open");
    }
    // SAFETY: it is open, and by the bit nobody took it before; whoever
    // started us gave it to us to own.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
