//! Signals as a readable descriptor, and signals that do nothing.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;

use crate::{Error, Result};

/// Signals that are blocked for this thread and read from a descriptor.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

impl SignalFd {
    /// Blocks `signals` for this thread; call it before other threads exist.
    /// A child inherits the block: whoever clones one has to clear it.
    pub fn new(signals: &[i32]) -> Result<Self> {
        let set = set_of(signals);
        // SAFETY: both pointers are to live, initialised values or null.
        if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } != 0
        {
            return Err(std::io::Error::last_os_error().into());
        }
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: `set` is initialised; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, flags) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        // SAFETY: the call just made this descriptor and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// The number of the next signal that came, `None` if none did.
    pub fn read(&self) -> Result<Option<i32>> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        loop {
            match rustix::io::read(&self.fd, &mut info) {
                Ok(_) => {
                    // The number is the first field.
                    let number = i32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
                    return Ok(Some(number));
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::from(errno)),
            }
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes `signals` do nothing to this process. Unlike ignoring, that ends
/// with execve: a program that we start gets the default again.
pub fn tolerate(signals: &[i32]) -> Result<()> {
    extern "C" fn nothing(_signal: libc::c_int) {}
    for signal in signals {
        // SAFETY: all zeroes is a valid sigaction (no flags, empty mask).
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: the handler touches nothing, so it may run at any point.
        if unsafe { libc::sigaction(*signal, &raw const action, std::ptr::null_mut()) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    }
    Ok(())
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set that it is given.
    let mut set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    };
    for signal in signals {
        // SAFETY: the set is initialised; a wrong number changes nothing.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_blocks() {
        let signals = SignalFd::new(&[libc::SIGUSR1]).unwrap();
        assert_eq!(signals.read().unwrap(), None);
        // SAFETY: sends a blocked signal to this very thread.
        unsafe { libc::raise(libc::SIGUSR1) };
        assert_eq!(signals.read().unwrap(), Some(libc::SIGUSR1));
        assert_eq!(signals.read().unwrap(), None);
    }

    #[test]
    fn survives_what_it_tolerates() {
        tolerate(&[libc::SIGUSR2]).unwrap();
        // SAFETY: the handler for it was just installed.
        unsafe { libc::raise(libc::SIGUSR2) };
        assert!(tolerate(&[libc::SIGKILL]).is_err());
    }
}
