//! Watching, signalling and reaping one process through a descriptor, which
//! never means another process with the same number.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    Code(u8),
    /// Number of the signal.
    Signal(i32),
}

/// A descriptor for the process that has `pid` now. It turns readable when
/// the process ends. `NotFound` if there is none.
pub fn open(pid: i32) -> Result<OwnedFd> {
    let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 0) else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{pid} is not a process id"),
        ));
    };
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(pidfd),
        Err(Errno::SRCH) => Err(gone()),
        Err(errno) => Err(errno.into()),
    }
}

/// Sends `signal` (any number, real-time ones included; 0 only checks).
/// `NotFound` if the process is gone.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    let pidfd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed and so open; the null siginfo asks
    // for the default one; the kernel checks the signal's number.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd,
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) {
        return Err(gone());
    }
    Err(error.into())
}

/// Reaps a child; waits until it ends.
pub fn wait(pidfd: impl AsFd) -> Result<Exit> {
    let pidfd = pidfd.as_fd();
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                if let Some(code) = status.exit_status() {
                    return Ok(Exit::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)));
                }
                return Ok(Exit::Signal(status.terminating_signal().unwrap_or(0)));
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "the process is gone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn reaps_codes_and_signals() {
        for (script, exit) in [
            ("exit 7", Exit::Code(7)),
            ("kill -9 $$", Exit::Signal(9)),
            ("exit 0", Exit::Code(0)),
        ] {
            let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let pidfd = open(child.id().cast_signed()).unwrap();
            assert_eq!(wait(&pidfd).unwrap(), exit);
            assert!(child.wait().is_err(), "it was reaped already");
            let error = send_signal(&pidfd, 0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
        assert_eq!(open(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
