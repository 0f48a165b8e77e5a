//! Whether two processes share a thing of the kernel: kcmp(2).

use crate::{Error, Result};

/// Kinds of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    Memory,
    Descriptors,
    Directories,
    SignalHandlers,
    /// What the end of a thread does to System V semaphores (`SEM_UNDO`);
    /// whoever has nothing to undo shares that with us.
    SemaphoreUndo,
}

/// Whether descriptor `one` of process `first` and `two` of `second` are one
/// open file description.
pub fn same_description(first: (i32, i32), second: (i32, i32)) -> Result<bool> {
    let number = |fd: i32| u64::from(fd.cast_unsigned());
    compare(first.0, second.0, 0, number(first.1), number(second.1))
}

/// Whether two threads share `what`.
pub fn shares(first: i32, second: i32, what: Shared) -> Result<bool> {
    let kind = match what {
        Shared::Memory => 1,
        Shared::Descriptors => 2,
        Shared::Directories => 3,
        Shared::SignalHandlers => 4,
        Shared::SemaphoreUndo => 6,
    };
    compare(first, second, kind, 0, 0)
}

/// Whether the file that epoll descriptor `epoll` of `owner` watches as
/// number `watched` (the `index`th of that number) is descriptor `fd` of
/// `process`.
pub fn is_watched(
    process: i32,
    fd: i32,
    owner: i32,
    epoll: i32,
    watched: i32,
    index: u32,
) -> Result<bool> {
    let slot = [epoll.cast_unsigned(), watched.cast_unsigned(), index];
    let address = (&raw const slot) as u64;
    compare(process, owner, 7, u64::from(fd.cast_unsigned()), address)
}

fn compare(first: i32, second: i32, kind: i32, one: u64, two: u64) -> Result<bool> {
    // SAFETY: for the kinds of this file the last two arguments are numbers,
    // but for KCMP_EPOLL_TFD, where `is_watched` keeps the structure alive.
    let result = unsafe { libc::syscall(libc::SYS_kcmp, first, second, kind, one, two) };
    match result {
        -1 => Err(Error::from(std::io::Error::last_os_error())),
        order => Ok(order == 0),
    }
}
