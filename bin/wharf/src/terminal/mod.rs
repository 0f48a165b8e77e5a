//! The user's terminal: raw mode, its size, keys that detach, and the loop
//! between it and a container.
//!
//! Start reading at [`session`].

pub(crate) mod detach_keys;
pub(crate) mod raw;
pub(crate) mod session;
pub(crate) mod signals;

use std::os::fd::AsFd;

use spec::runtime::ConsoleSize;

/// Of the terminal that is `fd`, if it is one that knows.
pub(crate) fn size_of(fd: impl AsFd) -> Option<ConsoleSize> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(ConsoleSize {
        height: size.ws_row,
        width: size.ws_col,
    })
}

/// Of the terminal that stdout, stdin or stderr is.
pub(crate) fn size() -> Option<ConsoleSize> {
    size_of(std::io::stdout())
        .or_else(|| size_of(std::io::stdin()))
        .or_else(|| size_of(std::io::stderr()))
}
