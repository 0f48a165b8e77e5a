//! Loading a system call filter (seccomp(2)).

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use crate::{Error, ErrorKind, Result};

/// One instruction of classic BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub value: u32,
}

/// Filters the calling thread from now on; `flags` are
/// `SECCOMP_FILTER_FLAG_*`. Needs CAP_SYS_ADMIN or no_new_privs.
pub fn load(program: &[Instruction], flags: u64) -> Result<()> {
    install(program, flags).map(|_| ())
}

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` (Linux 5.0).
const NEW_LISTENER: u64 = 1 << 3;

/// As [`load`] with a program that asks somebody; `hand_over` gives them the
/// descriptor on which they are asked. From here on the caller may only
/// execute another program.
///
/// Any system call of ours may be one that is asked about, so `hand_over` runs
/// on a thread from before the filter, and we wait for it without one.
pub fn load_with_listener(
    program: &[Instruction],
    flags: u64,
    hand_over: impl FnOnce(OwnedFd) -> Result<()> + Send + 'static,
) -> Result<()> {
    let slot = Arc::new(Slot {
        number: AtomicI32::new(NONE_YET),
        outcome: AtomicI32::new(NONE_YET),
    });
    let theirs = Arc::clone(&slot);
    let thread = std::thread::Builder::new()
        .stack_size(256 << 10)
        .spawn(move || theirs.serve(hand_over))
        .map_err(Error::from)?;
    let listener = match install(program, flags | NEW_LISTENER) {
        Ok(listener) => listener,
        Err(error) => {
            slot.number.store(GIVEN_UP, Ordering::Release);
            // The filter is not in force: waiting is allowed.
            let _ = thread.join();
            return Err(error);
        }
    };
    slot.number.store(listener, Ordering::Release);
    // Letting go of a thread that has ended gives its memory back.
    std::mem::forget(thread);
    loop {
        match slot.outcome.load(Ordering::Acquire) {
            NONE_YET => std::hint::spin_loop(),
            0 => return Ok(()),
            errno => return Err(Error::from_errno(errno)),
        }
    }
}

const NONE_YET: i32 = -1;
const GIVEN_UP: i32 = -2;

/// What the two threads tell each other.
struct Slot {
    /// The descriptor's number.
    number: AtomicI32,
    /// 0, or an error number.
    outcome: AtomicI32,
}

impl Slot {
    fn serve(&self, hand_over: impl FnOnce(OwnedFd) -> Result<()>) {
        let number = loop {
            match self.number.load(Ordering::Acquire) {
                // Whoever could wake us may make no system call.
                NONE_YET => std::thread::sleep(Duration::from_micros(50)),
                GIVEN_UP => return,
                number => break number,
            }
        };
        // SAFETY: the kernel made it for the thread that loaded the filter,
        // which passed its number on and does not use it.
        let listener = unsafe { OwnedFd::from_raw_fd(number) };
        let outcome = match hand_over(listener) {
            Ok(()) => 0,
            Err(error) => error.errno().unwrap_or(libc::EIO),
        };
        self.outcome.store(outcome, Ordering::Release);
    }
}

fn install(program: &[Instruction], flags: u64) -> Result<i32> {
    let mut filter: Vec<libc::sock_filter> = program
        .iter()
        .map(|instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.jump_true,
            jf: instruction.jump_false,
            k: instruction.value,
        })
        .collect();
    let length = u16::try_from(filter.len())
        .map_err(|_| Error::new(ErrorKind::InvalidInput, "the seccomp filter is too long"))?;
    let program = libc::sock_fprog {
        len: length,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program points to `len` live instructions; the kernel copies
    // and verifies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    match result {
        -1 => Err(Error::from(std::io::Error::last_os_error())),
        listener => Ok(i32::try_from(listener).unwrap_or_default()),
    }
}
