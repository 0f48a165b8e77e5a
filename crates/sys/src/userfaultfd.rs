//! Watching over the pages of a process: userfaultfd(2).
//!
//! Such a descriptor belongs to the memory of the process that made it,
//! whoever holds it: the call is made inside of that process, everything here
//! from outside.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use crate::{Error, Result};

/// `userfaultfd`, and the flag that lets everybody make the call: such a
/// descriptor cannot serve faults of the kernel, which only [`Mode::Written`]
/// can do without.
pub const CALL: u32 = 323;
pub const USER_MODE_ONLY: u32 = 1;
pub const CLOSE_ON_EXEC: u32 = 0o2_000_000;

const API_VERSION: u64 = 0xaa;
const API: u64 = 0xc018_aa3f;
const REGISTER: u64 = 0xc020_aa00;
const UNREGISTER: u64 = 0x8010_aa01;
const MODE_WRITE_PROTECT: u64 = 1 << 1;
/// `UFFD_FEATURE_*`
const WRITE_PROTECT_ALL_FILES: u64 = 1 << 12;
const WRITE_PROTECT_UNPOPULATED: u64 = 1 << 13;
const WRITE_PROTECT_ASYNC: u64 = 1 << 15;

/// A descriptor of userfaultfd(2). When the last copy of it is closed, its
/// memory is watched no more.
#[derive(Debug)]
pub struct Userfault(OwnedFd);

#[repr(C)]
struct ApiArgument {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct RegisterArgument {
    start: u64,
    length: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct Range {
    start: u64,
    length: u64,
}

impl Userfault {
    /// Takes a new descriptor for noting which pages are written, without
    /// anybody having to wait (Linux 6.7): [`crate::pagemap`] tells them.
    pub fn for_written(fd: OwnedFd) -> Result<Self> {
        let mut argument = ApiArgument {
            api: API_VERSION,
            features: WRITE_PROTECT_ASYNC | WRITE_PROTECT_UNPOPULATED | WRITE_PROTECT_ALL_FILES,
            ioctls: 0,
        };
        let address = (&raw mut argument) as u64;
        control(fd.as_fd(), API, address)?;
        Ok(Self(fd))
    }

    /// Begins to note writes to a page-aligned range. Ranges that are watched
    /// already stay so; `EBUSY` if by somebody else.
    pub fn note_writes(&self, start: u64, end: u64) -> Result<()> {
        let mut argument = RegisterArgument {
            start,
            length: end - start,
            mode: MODE_WRITE_PROTECT,
            ioctls: 0,
        };
        control(self.0.as_fd(), REGISTER, (&raw mut argument) as u64)
    }

    /// Ends the watch over a range.
    pub fn forget(&self, start: u64, end: u64) -> Result<()> {
        let mut argument = Range {
            start,
            length: end - start,
        };
        control(self.0.as_fd(), UNREGISTER, (&raw mut argument) as u64)
    }
}

fn control(fd: BorrowedFd<'_>, request: u64, argument: u64) -> Result<()> {
    // SAFETY: each caller passes the address of a live structure of the type
    // that the request takes; the ranges in it are of another process's
    // memory, which the kernel checks.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    if result < 0 {
        return Err(Error::from(std::io::Error::last_os_error()));
    }
    Ok(())
}
