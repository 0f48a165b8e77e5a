//! A program's entry without the standard library's preparations, for a
//! program that is started once per container: they are 19 system calls, most
//! of them for a handler of stack overflows that a small program with one
//! thread can do without.

use std::ffi::{CStr, c_char};
use std::os::fd::IntoRawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use rustix::fs::{Mode, OFlags};

/// Defines the program's `main`. The crate says `#![no_main]` and gives a
/// function that takes nothing, calls [`prepare`] and returns the exit code;
/// [`std::env::args_os`] works as ever.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        // SAFETY: with `#![no_main]` nothing else in the program has this
        // name, and the signature is the one that the C library calls.
        #[unsafe(no_mangle)]
        extern "C" fn main(
            _argc: ::core::ffi::c_int,
            argv: *mut *const ::core::ffi::c_char,
        ) -> ::core::ffi::c_int {
            // SAFETY: they are the arguments that the C library gives to main.
            unsafe { $crate::entry::enter($main, argv) }
        }
    };
}

/// What main was called with.
static ARGUMENTS: AtomicPtr<*const c_char> = AtomicPtr::new(null_mut());

/// Keeps the arguments; then the program. For [`entry!`].
///
/// # Safety
/// `argv` is a list of pointers to strings that end with zero, ends with null,
/// and lives as long as the program.
#[doc(hidden)]
pub unsafe fn enter(main: fn() -> u8, argv: *mut *const c_char) -> i32 {
    ARGUMENTS.store(argv, Ordering::Relaxed);
    i32::from(main())
}

/// What of the preparations matters, for main to call before it opens a file
/// that it keeps or writes a word.
pub fn prepare() {
    fill_standard_streams();
    // A reader that goes away is an error of the write, not our end.
    // SAFETY: to ignore a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// The arguments, program name first, without memory being asked for; none in
/// a program that did not begin with [`entry!`].
pub fn arguments() -> impl Iterator<Item = &'static CStr> {
    let mut next = argv();
    std::iter::from_fn(move || {
        // SAFETY: by the promise to `enter` there is an entry here, as long as
        // the one before was not the null that ends the list.
        let argument = unsafe { next.as_ref() }
            .copied()
            .filter(|one| !one.is_null())?;
        // SAFETY: the list goes on after an entry that is not null.
        next = unsafe { next.add(1) };
        // SAFETY: by the same promise.
        Some(unsafe { CStr::from_ptr(argument) })
    })
}

/// The list itself, as execve(2) takes it; null without one.
pub(crate) fn argv() -> *const *const c_char {
    ARGUMENTS.load(Ordering::Relaxed)
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
