//! clone3(2) into new namespaces and a cgroup (Linux 5.7).

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use crate::{Error, ErrorKind, Result};

pub use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWTIME,
    CLONE_NEWUSER, CLONE_NEWUTS,
};

/// The libc crate's constants overflow their type.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A child's pid, as we see it, and its pidfd (close-on-exec).
#[derive(Debug)]
pub struct Child {
    pub pid: i32,
    pub pidfd: OwnedFd,
}

/// Makes a child that runs `child` on a copy of our memory and then exits
/// with the code it returns. It has none of our signal handlers; what we ignore
/// it ignores. `namespaces` are `CLONE_NEW*` flags; `cgroup` is
/// the directory of a cgroup v2 group to be born in.
///
/// Only for processes with one thread: locks held by other threads would stay
/// locked in the copy. `Internal` otherwise.
pub fn clone_child(
    namespaces: i32,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> Result<Child> {
    clone(Parent::Caller, namespaces, cgroup, child)
}

/// As [`clone_child`], but the new process is a child of our own parent, which
/// has to wait for it.
pub fn clone_sibling(namespaces: i32, child: impl FnOnce() -> i32) -> Result<Child> {
    clone(Parent::OfCaller, namespaces, None, child)
}

/// As [`clone_child`], but the child and we have one table of descriptors: what
/// one opens or closes, the other has or has no more, and what both need stays
/// open when either dies. Who owns which is up to the caller.
pub fn clone_beside(child: impl FnOnce() -> i32) -> Result<Child> {
    clone(Parent::Caller, libc::CLONE_FILES, None, child)
}

/// Whose child it becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parent {
    Caller,
    OfCaller,
}

fn clone(
    parent: Parent,
    flags: i32,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> Result<Child> {
    assert_single_thread()?;
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all-zero is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(flags.cast_unsigned())
        | u64::from(libc::CLONE_PIDFD.cast_unsigned())
        | CLONE_CLEAR_SIGHAND;
    args.pidfd = (&raw mut pidfd) as u64;
    match parent {
        Parent::Caller => args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned()),
        // The signal is the one that our own end sends.
        Parent::OfCaller => args.flags |= u64::from(libc::CLONE_PARENT.cast_unsigned()),
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without CLONE_VM this is a fork: the child has its own copy of
    // our memory and stack. We are the only thread, so no lock is held by a
    // thread that the copy lacks. `pidfd` lives on this frame.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            std::mem::size_of::<libc::clone_args>(),
        )
    };
    match pid {
        -1 => Err(Error::from(std::io::Error::last_os_error())),
        0 => {
            let code = child();
            exit_now(code)
        }
        pid => Ok(Child {
            pid: i32::try_from(pid).unwrap_or(i32::MAX),
            // SAFETY: the kernel stored a fresh descriptor there.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// Ends the process without running destructors or exit handlers, which belong
/// to the process that we are a copy of.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// The kernel refuses CLONE_THREAD in unshare(2) exactly when there are more
/// threads, and does nothing when there are not.
fn assert_single_thread() -> Result<()> {
    // SAFETY: for a single thread these flags change nothing; otherwise EINVAL.
    let result = unsafe { libc::unshare(libc::CLONE_THREAD) };
    if result == 0 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Internal,
        "a process with several threads cannot clone a container",
    ))
}
