//! Pseudo-terminals, seen from the side that holds the master.

use std::os::fd::{AsFd, AsRawFd as _};

use rustix::io::Errno;
use rustix::termios::Winsize;

use crate::{Error, Result};

/// Sets the size in characters; the kernel tells the foreground process
/// (SIGWINCH) if it changed.
pub fn set_size(master: impl AsFd, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    loop {
        match rustix::termios::tcsetwinsize(&master, size) {
            Err(Errno::INTR) => {}
            result => return result.map_err(Error::from),
        }
    }
}

/// Bytes of `struct termios2`.
pub const SETTINGS: usize = 44;

/// The device that the terminal behind any of its ends is, as the kernel
/// writes it (`new_encode_dev`). An error if it was hung up.
pub fn device(end: impl AsFd) -> Result<u32> {
    ask(end, libc::TIOCGDEV).map(u32::from_ne_bytes)
}

/// `struct termios2` of the terminal behind either end.
pub fn settings(end: impl AsFd) -> Result<[u8; SETTINGS]> {
    ask(end, libc::TCGETS2)
}

/// Rows, columns, and both in pixels.
pub fn size(end: impl AsFd) -> Result<[u16; 4]> {
    let bytes: [u8; 8] = ask(end, libc::TIOCGWINSZ)?;
    let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    Ok([word(0), word(2), word(4), word(6)])
}

/// What is between the two ends; 0 is the ordinary one.
pub fn line_discipline(end: impl AsFd) -> Result<i32> {
    ask(end, libc::TIOCGETD).map(i32::from_ne_bytes)
}

/// Whether a slave can be opened only after an unlock.
pub fn is_locked(master: impl AsFd) -> Result<bool> {
    ask(master, libc::TIOCGPTLCK).map(|answer: [u8; 4]| answer != [0; 4])
}

/// Whether the master reads packets with what happens to it.
pub fn is_telling(master: impl AsFd) -> Result<bool> {
    ask(master, libc::TIOCGPKT).map(|answer: [u8; 4]| answer != [0; 4])
}

fn ask<const LENGTH: usize>(end: impl AsFd, request: libc::Ioctl) -> Result<[u8; LENGTH]> {
    let mut answer = [0; LENGTH];
    // SAFETY: each request of this file writes as many bytes as its caller
    // has room for: an int, a `struct winsize` or a `struct termios2`.
    let result = unsafe {
        libc::ioctl(
            end.as_fd().as_raw_fd(),
            request,
            answer.as_mut_ptr().cast::<libc::c_void>(),
        )
    };
    if result < 0 {
        return Err(Error::from(std::io::Error::last_os_error()));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, grantpt, openpt, unlockpt};

    #[test]
    fn sets_the_size() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        super::set_size(&master, 40, 132).unwrap();
        let size = rustix::termios::tcgetwinsize(&master).unwrap();
        assert_eq!((size.ws_row, size.ws_col), (40, 132));
    }

    #[test]
    fn says_what_it_is() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        assert!(super::is_locked(&master).unwrap());
        unlockpt(&master).unwrap();
        assert!(!super::is_locked(&master).unwrap() && !super::is_telling(&master).unwrap());
        assert_eq!(super::device(&master).unwrap() >> 8 & 0xfff, 136);
        assert_eq!(super::line_discipline(&master).unwrap(), 0);
        super::set_size(&master, 40, 132).unwrap();
        assert_eq!(super::size(&master).unwrap(), [40, 132, 0, 0]);
        assert_ne!(super::settings(&master).unwrap(), [0; super::SETTINGS]);
    }
}
