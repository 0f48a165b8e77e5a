//! Watching over the pages of a process, and giving it those that it lacks:
//! userfaultfd(2).
//!
//! Such a descriptor belongs to the memory of the process that made it,
//! whoever holds it: the call is made inside of that process, everything here
//! from outside.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd, OwnedFd, RawFd};

use crate::{Error, ErrorKind, Result};

/// `userfaultfd`, and the flag that lets everybody make the call: such a
/// descriptor cannot serve faults of the kernel, which only
/// [`Userfault::for_written`] can do without.
pub const CALL: u32 = 323;
pub const USER_MODE_ONLY: u32 = 1;
pub const CLOSE_ON_EXEC: u32 = 0o2_000_000;
/// Without it nobody can wait for [`Userfault::next`].
pub const NONBLOCKING: u32 = 0o4_000;

const API_VERSION: u64 = 0xaa;
const API: u64 = 0xc018_aa3f;
const REGISTER: u64 = 0xc020_aa00;
const UNREGISTER: u64 = 0x8010_aa01;
const WAKE: u64 = 0x8010_aa02;
const COPY: u64 = 0xc028_aa03;
const ZERO_PAGE: u64 = 0xc020_aa04;
const MODE_MISSING: u64 = 1;
const MODE_WRITE_PROTECT: u64 = 1 << 1;
/// `UFFD_FEATURE_*`
const EVENT_FORK: u64 = 1 << 1;
const EVENT_REMAP: u64 = 1 << 2;
const EVENT_REMOVE: u64 = 1 << 3;
const EVENT_UNMAP: u64 = 1 << 6;
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

#[repr(C)]
struct CopyArgument {
    to: u64,
    from: u64,
    length: u64,
    mode: u64,
    /// Set by the kernel: bytes, or an error.
    copied: i64,
}

#[repr(C)]
struct ZeroArgument {
    range: Range,
    mode: u64,
    zeroed: i64,
}

/// `struct uffd_msg`: what follows the event has three numbers at most.
#[repr(C)]
#[derive(Default)]
struct Message {
    event: u8,
    reserved: [u8; 7],
    numbers: [u64; 3],
}

/// What happened to memory that is waited for ([`Userfault::for_missing`]).
/// Whoever did anything but use it stands until this is read.
#[derive(Debug)]
pub enum Event {
    /// Somebody stands because a page is not there.
    Missing { address: u64 },
    /// There is a copy of all of it, in a new process: pages that are missing
    /// here are missing there.
    Forked(Userfault),
    /// It is elsewhere from now on, and so are pages that are missing.
    Moved { from: u64, to: u64, length: u64 },
    /// The pages are gone; if anything is there afterwards, it is zero.
    Dropped { start: u64, end: u64 },
}

/// What became of pages that were given to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// The first of them, so many bytes.
    Bytes(u64),
    /// The first one is there already.
    Present,
    /// Events have to be read first.
    Changing,
    /// They do not all lie in one mapping that is waited for.
    Elsewhere,
    /// The process has no such memory any more.
    Gone,
}

impl Userfault {
    /// Takes a new descriptor for giving pages to the process. Nobody else can
    /// make use of it.
    pub fn for_filling(fd: OwnedFd) -> Result<Self> {
        Self::with_features(fd, 0)
    }

    /// As [`Userfault::for_filling`], for a process that runs meanwhile and
    /// changes its memory. Needs `CAP_SYS_PTRACE`.
    pub fn for_missing(fd: OwnedFd) -> Result<Self> {
        Self::with_features(fd, EVENT_FORK | EVENT_REMAP | EVENT_REMOVE | EVENT_UNMAP)
    }

    /// Takes a new descriptor for noting which pages are written, without
    /// anybody having to wait (Linux 6.7): [`crate::pagemap`] tells them.
    pub fn for_written(fd: OwnedFd) -> Result<Self> {
        Self::with_features(
            fd,
            WRITE_PROTECT_ASYNC | WRITE_PROTECT_UNPOPULATED | WRITE_PROTECT_ALL_FILES,
        )
    }

    fn with_features(fd: OwnedFd, features: u64) -> Result<Self> {
        let mut argument = ApiArgument {
            api: API_VERSION,
            features,
            ioctls: 0,
        };
        let address = (&raw mut argument) as u64;
        control(fd.as_fd(), API, address)?;
        Ok(Self(fd))
    }

    /// Begins to note writes to a page-aligned range. Ranges that are watched
    /// already stay so; `EBUSY` if by somebody else.
    pub fn note_writes(&self, start: u64, end: u64) -> Result<()> {
        self.register(start, end, MODE_WRITE_PROTECT)
    }

    /// Whoever uses a page of this page-aligned range that is not there waits
    /// until it is given. `EBUSY` as for [`Userfault::note_writes`].
    pub fn hold_missing(&self, start: u64, end: u64) -> Result<()> {
        self.register(start, end, MODE_MISSING)
    }

    fn register(&self, start: u64, end: u64, mode: u64) -> Result<()> {
        let mut argument = RegisterArgument {
            start,
            length: end - start,
            mode,
            ioctls: 0,
        };
        control(self.0.as_fd(), REGISTER, (&raw mut argument) as u64)
    }

    /// Makes `bytes`, whole pages, the content of pages at `start` that are not
    /// there, and wakes who waits for them.
    pub fn give(&self, start: u64, bytes: &[u8]) -> Result<Given> {
        let mut argument = CopyArgument {
            to: start,
            from: bytes.as_ptr() as u64,
            length: bytes.len() as u64,
            mode: 0,
            copied: 0,
        };
        let done = control(self.0.as_fd(), COPY, (&raw mut argument) as u64);
        given(done, argument.copied, argument.length)
    }

    /// As [`Userfault::give`], of zeros.
    pub fn give_zeros(&self, start: u64, length: u64) -> Result<Given> {
        let mut argument = ZeroArgument {
            range: Range { start, length },
            mode: 0,
            zeroed: 0,
        };
        let done = control(self.0.as_fd(), ZERO_PAGE, (&raw mut argument) as u64);
        given(done, argument.zeroed, length)
    }

    /// Lets who waits for these pages look again.
    pub fn wake(&self, start: u64, end: u64) -> Result<()> {
        let mut argument = Range {
            start,
            length: end - start,
        };
        control(self.0.as_fd(), WAKE, (&raw mut argument) as u64)
    }

    /// The next event, if there is one.
    pub fn next(&self) -> Result<Option<Event>> {
        let mut message = Message::default();
        let length = size_of::<Message>();
        // SAFETY: the kernel writes one message, plain numbers, into ours.
        let read = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut message).cast(), length) };
        if read < 0 {
            let error = std::io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Ok(None),
                _ => Err(error.into()),
            };
        }
        let [first, second, third] = message.numbers;
        Ok(Some(match message.event {
            // The first number says how it was to be used.
            0x12 => Event::Missing { address: second },
            0x13 => {
                let number = i32::try_from(first & 0xffff_ffff).unwrap_or(-1);
                // SAFETY: the kernel has just made this descriptor for us.
                Event::Forked(Self(unsafe { OwnedFd::from_raw_fd(number) }))
            }
            0x14 => Event::Moved {
                from: first,
                to: second,
                length: third,
            },
            0x15 | 0x16 => Event::Dropped {
                start: first,
                end: second,
            },
            other => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("userfaultfd tells of event {other:#x}"),
                ));
            }
        }))
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

impl IntoRawFd for Userfault {
    /// For somebody else who has the same table of descriptors.
    fn into_raw_fd(self) -> RawFd {
        self.0.into_raw_fd()
    }
}

/// Closes every such descriptor of this process, when whoever owned them in a
/// table that was shared ([`crate::clone::clone_beside`]) is gone. The caller
/// has none of its own.
pub fn close_abandoned() -> Result<()> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let leads_to = std::fs::read_link(entry.path()).unwrap_or_default();
        let number = entry.file_name().to_str().and_then(|it| it.parse().ok());
        if leads_to.as_os_str() == "anon_inode:[userfaultfd]"
            && let Some(number) = number
        {
            found.push(number);
        }
    }
    for number in found {
        // SAFETY: it is a userfaultfd, of which the caller says that nobody
        // owns it any more.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
    Ok(())
}

impl AsFd for Userfault {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the kernel says of pages that it was to put somewhere; before Linux
/// 6.15 it leaves `bytes` alone if there were none.
fn given(done: Result<()>, bytes: i64, length: u64) -> Result<Given> {
    let Err(error) = done else {
        return Ok(Given::Bytes(length));
    };
    match (u64::try_from(bytes), error.errno()) {
        (Ok(bytes @ 1..), Some(libc::EAGAIN)) => Ok(Given::Bytes(bytes)),
        (_, Some(libc::EAGAIN)) => Ok(Given::Changing),
        (_, Some(libc::EEXIST)) => Ok(Given::Present),
        (_, Some(libc::ENOENT)) => Ok(Given::Elsewhere),
        (_, Some(libc::ESRCH)) => Ok(Given::Gone),
        _ => Err(error),
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
