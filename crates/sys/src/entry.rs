//! A program's entry without the standard library's preparations, for a
//! program that is started once per container: they are 19 system calls, most
//! of them for a handler of stack overflows that a small program with one
//! thread can do without.

use std::os::fd::IntoRawFd;

use rustix::fs::{Mode, OFlags};

/// Defines the program's `main`. The crate says `#![no_main]` and gives a
/// function that takes nothing and returns the exit code;
/// [`std::env::args_os`] works as ever.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        // SAFETY: with `#![no_main]` nothing else in the program has this
        // name, and the signature is the one that the C library calls.
        #[unsafe(no_mangle)]
        extern "C" fn main(
            _argc: ::core::ffi::c_int,
            _argv: *const *const ::core::ffi::c_char,
        ) -> ::core::ffi::c_int {
            $crate::entry::enter($main)
        }
    };
}

/// What of the preparations matters, then the program. For [`entry!`].
#[doc(hidden)]
pub fn enter(main: fn() -> u8) -> i32 {
    fill_standard_streams();
    // A reader that goes away is an error of the write, not our end.
    // SAFETY: to ignore a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    i32::from(main())
}

/// A closed standard stream would be the number of the next file that is
/// opened, and what is written to it would go there.
fn fill_standard_streams() {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    });
    // SAFETY: the array is ours and its length is told.
    let closed = unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) };
    if closed <= 0 {
        return;
    }
    for stream in streams {
        if stream.revents & libc::POLLNVAL != 0 {
            // It gets the lowest free number, which is this one.
            let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty());
            let _ = null.map(IntoRawFd::into_raw_fd);
        }
    }
}
