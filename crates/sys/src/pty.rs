//! Pseudo-terminals, seen from the side that holds the master.

use std::os::fd::AsFd;

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
}
