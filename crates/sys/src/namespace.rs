//! Joining and leaving namespaces.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::{Error, Result};

/// setns(2) with `fd` a namespace or a pidfd (Linux 5.8) and `CLONE_NEW*`
/// flags, all of them in one call.
pub fn join(fd: BorrowedFd<'_>, namespaces: i32) -> Result<()> {
    // SAFETY: setns takes no pointers.
    check(unsafe { libc::setns(fd.as_raw_fd(), namespaces) })
}

/// The kind of the namespace that `fd` is: a `CLONE_NEW*` flag. An error for
/// what is no namespace.
pub fn kind(fd: BorrowedFd<'_>) -> Result<i32> {
    /// `NS_GET_NSTYPE` of linux/nsfs.h.
    const GET_TYPE: libc::Ioctl = 0xb703;
    // SAFETY: this request takes no argument.
    match unsafe { libc::ioctl(fd.as_raw_fd(), GET_TYPE) } {
        -1 => Err(Error::from(std::io::Error::last_os_error())),
        kind => Ok(kind),
    }
}

/// unshare(2) with `CLONE_NEW*` flags (and `CLONE_NEWTIME`); sharing of
/// memory and descriptors cannot be changed with this.
pub fn unshare(namespaces: i32) -> Result<()> {
    let allowed = libc::CLONE_NEWNS
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWTIME;
    // SAFETY: of the flags let through none touches memory or descriptors.
    check(unsafe { libc::unshare(namespaces & allowed) })
}

/// Gives the calling thread a working directory of its own.
pub fn own_working_directory() -> Result<()> {
    // SAFETY: the working directory, root and umask are copied; neither
    // memory nor descriptors are touched.
    check(unsafe { libc::unshare(libc::CLONE_FS) })
}

fn check(result: libc::c_int) -> Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(Error::from(std::io::Error::last_os_error())),
    }
}
