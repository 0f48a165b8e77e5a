//! Becoming another program: execve(2), signals, descriptors, prctl(2).

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::fs::{Mode, OFlags};

use crate::{Error, Result};

/// execve(2); returns only on failure.
pub fn execute(program: &CStr, args: &[CString], env: &[CString]) -> Result<Infallible> {
    let array = |texts: &[CString]| -> Vec<*const libc::c_char> {
        let mut all: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        all.push(std::ptr::null());
        all
    };
    let (args, env) = (array(args), array(env));
    // SAFETY: both arrays end with null and their strings are alive.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Err(Error::from(std::io::Error::last_os_error()))
}

/// Marks every descriptor from `first` on close-on-exec (Linux 5.11).
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: only flags change; whoever owns the descriptors still does.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Error::from(std::io::Error::last_os_error())),
    }
}

/// Closes every descriptor above standard error except those in `keep`. For
/// the child of a clone that never executes another program and uses none of
/// what it inherited: owners of closed descriptors must not be used again.
pub fn close_all_except(keep: &[BorrowedFd<'_>]) -> Result<()> {
    let mut keep: Vec<u32> = keep
        .iter()
        .map(|fd| fd.as_raw_fd().cast_unsigned())
        .filter(|fd| *fd > 2)
        .collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: the caller of `close_all_except` gave up what it closes.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    match result {
        0 => Ok(()),
        _ => Err(Error::from(std::io::Error::last_os_error())),
    }
}

/// The highest signal number of Linux (signal(7)).
const LAST_SIGNAL: i32 = 64;
/// Bytes of the kernel's signal set.
const KERNEL_SIGNAL_SET: usize = 8;

/// No signal blocked, none ignored: what a program expects to begin with. For
/// the child of [`crate::clone::clone_child`], which has no handlers.
pub fn reset_signals() -> Result<()> {
    // Mostly there is one; each costs a system call.
    let ignored = ignored_signals().unwrap_or(u64::MAX);
    for signal in (1..=LAST_SIGNAL).filter(|signal| ignored & (1 << (signal - 1)) != 0) {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            let default: libc::sigaction = {
                // SAFETY: all zero is SIG_DFL with no flags and an empty mask.
                unsafe { std::mem::zeroed() }
            };
            // The system call itself: the C library refuses the two signals
            // that it keeps for its threads, and its posix_spawn leaves them
            // ignored.
            // SAFETY: the default action runs no code of ours. The kernel's
            // structure is not larger than the C library's, and zero in both.
            unsafe {
                libc::syscall(
                    libc::SYS_rt_sigaction,
                    signal,
                    &raw const default,
                    std::ptr::null_mut::<libc::sigaction>(),
                    KERNEL_SIGNAL_SET,
                );
            }
        }
    }
    unblock_signals()
}

/// No signal blocked.
pub fn unblock_signals() -> Result<()> {
    let mut none = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset fills the set before it is read.
    let result = unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut())
    };
    match result {
        0 => Ok(()),
        _ => Err(Error::from(std::io::Error::last_os_error())),
    }
}

/// The signals that we ignore, the first in the lowest bit (proc(5), `SigIgn`).
fn ignored_signals() -> Option<u64> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open("/proc/self/status", flags, Mode::empty()).ok()?;
    let mut text = [0; 4096];
    let length = rustix::io::read(&file, &mut text[..]).ok()?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Blocks every signal, so that they can be waited for.
pub fn block_signals() -> Result<()> {
    let mut all = std::mem::MaybeUninit::uninit();
    // SAFETY: sigfillset fills the set before it is read.
    let result = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut())
    };
    match result {
        0 => Ok(()),
        _ => Err(Error::from(std::io::Error::last_os_error())),
    }
}

/// Waits for any signal (all have to be blocked); its number.
pub fn next_signal() -> Result<i32> {
    let mut all = std::mem::MaybeUninit::uninit();
    // SAFETY: sigfillset fills the set before it is read; no information
    // about the signal is asked for.
    let signal = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigwaitinfo(all.as_ptr(), std::ptr::null_mut())
    };
    if signal < 0 {
        return Err(Error::from(std::io::Error::last_os_error()));
    }
    Ok(signal)
}

/// Sends `signal`, real-time ones included, to the process of a pidfd.
pub fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: a null siginfo is allowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Error::from(std::io::Error::last_os_error())),
    }
}

/// The pid of a pidfd's process as we see it; `None` when it was reaped or is
/// in no pid namespace below ours.
pub fn pid_of(pidfd: BorrowedFd<'_>) -> Result<Option<i32>> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pid = text
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .and_then(|pid| pid.trim().parse::<i32>().ok());
    Ok(pid.filter(|pid| *pid > 0))
}

/// Sends `signal` to a process, or with a negative pid to a group.
pub fn signal_pid(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: kill takes no pointers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(Error::from(std::io::Error::last_os_error())),
    }
}

/// dup2(2) onto one of the standard descriptors, which nobody owns.
pub fn duplicate_to(from: BorrowedFd<'_>, standard: i32) -> Result<()> {
    if !(0..=2).contains(&standard) {
        return Err(Error::from_errno(libc::EINVAL));
    }
    // SAFETY: no OwnedFd holds a standard descriptor.
    match unsafe { libc::dup2(from.as_raw_fd(), standard) } {
        -1 => Err(Error::from(std::io::Error::last_os_error())),
        _ => Ok(()),
    }
}
