//! Network namespaces: make one, act inside of one.
//!
//! Both use a thread that ends with the call, so the caller's own namespace
//! never changes.

use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::{Context, Error, ErrorKind, Result};

/// The calling thread's network namespace.
pub fn current() -> Result<OwnedFd> {
    File::open("/proc/thread-self/ns/net")
        .map(OwnedFd::from)
        .context(|| "open /proc/thread-self/ns/net")
}

/// Makes a network namespace, lets `prepare` act inside of it, and returns
/// it. It lives as long as the descriptor.
pub fn create(prepare: impl FnOnce() -> Result<()> + Send) -> Result<OwnedFd> {
    on_thread(|| {
        // SAFETY: `CLONE_NEWNET` changes nothing that memory safety rests on
        // (descriptors and memory stay shared), and only this thread.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context(|| "create network namespace")?;
        prepare()?;
        current()
    })
}

/// Runs `act` inside of the namespace `netns`. Sockets opened there stay in
/// that namespace when they are handed out.
pub fn within<T: Send>(netns: BorrowedFd<'_>, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_thread(|| {
        move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
            .context(|| "enter network namespace")?;
        act()
    })
}

fn on_thread<T: Send>(act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .stack_size(256 * 1024)
            .spawn_scoped(scope, act)
            .context(|| "start thread")?
            .join()
            .unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Internal,
                    "a thread inside of a network namespace failed",
                ))
            })
    })
}
