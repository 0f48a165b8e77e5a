//! Watching and steering another thread: ptrace(2).
//!
//! Everything here acts on a *tracee*, which is never the caller: whatever is
//! written to it, our own memory stays what it is.

use std::ptr::null_mut;

use crate::{Error, ErrorKind, Result};

/// Options of [`seize`].
pub const KILL_WITH_TRACER: u64 = 0x0010_0000;
/// The tracee's system call filters are out of force while it is traced
/// (needs CAP_SYS_ADMIN; Linux 4.3).
pub const SUSPEND_SECCOMP: u64 = 0x0020_0000;
/// Its new processes and threads become tracees too.
pub const FOLLOW_CHILDREN: u64 = 0x2 | 0x4 | 0x8;

const NT_PRSTATUS: u64 = 1;
const NT_X86_XSTATE: u64 = 0x202;
/// More than any processor's extended state (AMX: about 11 KiB).
const XSTATE_MAX: usize = 32 << 10;
/// The kernel's signal set.
const MASK_SIZE: u64 = 8;
const PEEK_SHARED: u32 = 1;
const EVENT_STOP: i32 = 128;
const GET_RSEQ_CONFIGURATION: u32 = 0x420f;
const SECCOMP_GET_FILTER: u32 = 0x420c;

/// The general registers of x86-64, in the kernel's order
/// (`struct user_regs_struct`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers(pub [u64; 27]);

/// Places in [`Registers`].
pub mod register {
    pub const R15: usize = 0;
    pub const R14: usize = 1;
    pub const R13: usize = 2;
    pub const R10: usize = 7;
    pub const R9: usize = 8;
    pub const R8: usize = 9;
    pub const RAX: usize = 10;
    pub const RDX: usize = 12;
    pub const RSI: usize = 13;
    pub const RDI: usize = 14;
    pub const ORIG_RAX: usize = 15;
    pub const RIP: usize = 16;
    pub const EFLAGS: usize = 18;
    pub const RSP: usize = 19;
}

/// What a tracee did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It stands because it was asked to, or was born traced.
    Interrupted,
    /// It stands with its group (SIGSTOP and its kin).
    WithGroup(i32),
    /// `PTRACE_EVENT_*` other than a stop.
    Event(i32),
    /// It is about to receive a signal.
    Signal(i32),
    /// It ended.
    Gone,
}

/// Where a thread's restartable sequences live (rseq(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rseq {
    pub address: u64,
    pub size: u32,
    pub signature: u32,
    pub flags: u32,
}

/// Makes `tid` a tracee that goes on running (Linux 3.4).
pub fn seize(tid: i32, options: u64) -> Result<()> {
    request(libc::PTRACE_SEIZE, tid, 0, options).map(drop)
}

/// Asks it to stand; [`wait`] says when it does.
pub fn interrupt(tid: i32) -> Result<()> {
    request(libc::PTRACE_INTERRUPT, tid, 0, 0).map(drop)
}

/// Lets it run, `signal` delivered if it is not 0.
pub fn go_on(tid: i32, signal: i32) -> Result<()> {
    request(libc::PTRACE_CONT, tid, 0, number(signal)).map(drop)
}

/// Lets it run one instruction.
pub fn step(tid: i32) -> Result<()> {
    request(libc::PTRACE_SINGLESTEP, tid, 0, 0).map(drop)
}

/// Lets go of it; it runs.
pub fn detach(tid: i32, signal: i32) -> Result<()> {
    request(libc::PTRACE_DETACH, tid, 0, number(signal)).map(drop)
}

/// Its general registers.
pub fn registers(tid: i32) -> Result<Registers> {
    let mut all = Registers::default();
    let mut part = libc::iovec {
        iov_base: all.0.as_mut_ptr().cast(),
        iov_len: size_of::<Registers>(),
    };
    let address = (&raw mut part) as u64;
    request(libc::PTRACE_GETREGSET, tid, NT_PRSTATUS, address)?;
    Ok(all)
}

/// Replaces its general registers.
pub fn set_registers(tid: i32, registers: &Registers) -> Result<()> {
    let mut copy = *registers;
    let mut part = libc::iovec {
        iov_base: copy.0.as_mut_ptr().cast(),
        iov_len: size_of::<Registers>(),
    };
    let address = (&raw mut part) as u64;
    request(libc::PTRACE_SETREGSET, tid, NT_PRSTATUS, address).map(drop)
}

/// Its floating point and vector registers, as XSAVE has them.
pub fn extended_state(tid: i32) -> Result<Vec<u8>> {
    let mut state = vec![0u8; XSTATE_MAX];
    let mut part = libc::iovec {
        iov_base: state.as_mut_ptr().cast(),
        iov_len: state.len(),
    };
    let address = (&raw mut part) as u64;
    request(libc::PTRACE_GETREGSET, tid, NT_X86_XSTATE, address)?;
    state.truncate(part.iov_len);
    Ok(state)
}

/// Replaces them; `InvalidInput` if this processor has other ones.
pub fn set_extended_state(tid: i32, state: &[u8]) -> Result<()> {
    let mut copy = state.to_vec();
    let mut part = libc::iovec {
        iov_base: copy.as_mut_ptr().cast(),
        iov_len: copy.len(),
    };
    let address = (&raw mut part) as u64;
    request(libc::PTRACE_SETREGSET, tid, NT_X86_XSTATE, address).map(drop)
}

/// The signals that it blocks, bit 0 for signal 1.
pub fn signal_mask(tid: i32) -> Result<u64> {
    let mut mask = 0u64;
    let address = (&raw mut mask) as u64;
    request(libc::PTRACE_GETSIGMASK, tid, MASK_SIZE, address)?;
    Ok(mask)
}

pub fn set_signal_mask(tid: i32, mask: u64) -> Result<()> {
    let address = (&raw const mask) as u64;
    request(libc::PTRACE_SETSIGMASK, tid, MASK_SIZE, address).map(drop)
}

/// The signals that wait for it (or, `shared`, for its process), each a
/// `siginfo_t` of 128 bytes.
pub fn pending_signals(tid: i32, shared: bool) -> Result<Vec<[u8; 128]>> {
    const BATCH: usize = 32;
    #[repr(C)]
    struct Peek {
        offset: u64,
        flags: u32,
        count: i32,
    }
    let mut all = Vec::new();
    loop {
        let peek = Peek {
            offset: all.len() as u64,
            flags: if shared { PEEK_SHARED } else { 0 },
            count: 32,
        };
        let mut batch = [[0u8; 128]; BATCH];
        let peek_at = (&raw const peek) as u64;
        let batch_at = (&raw mut batch) as u64;
        let found = request(libc::PTRACE_PEEKSIGINFO, tid, peek_at, batch_at)?;
        let found = usize::try_from(found).unwrap_or(0).min(BATCH);
        all.extend_from_slice(&batch[..found]);
        if found < BATCH {
            return Ok(all);
        }
    }
}

/// Its restartable sequences (Linux 5.13); none if it registered none.
pub fn rseq(tid: i32) -> Result<Option<Rseq>> {
    #[repr(C)]
    #[derive(Default)]
    struct Configuration {
        address: u64,
        size: u32,
        signature: u32,
        flags: u32,
        pad: u32,
    }
    let mut found = Configuration::default();
    let address = (&raw mut found) as u64;
    let size = size_of::<Configuration>() as u64;
    request(GET_RSEQ_CONFIGURATION, tid, size, address)?;
    Ok((found.address != 0).then_some(Rseq {
        address: found.address,
        size: found.size,
        signature: found.signature,
        flags: found.flags,
    }))
}

/// The system call filter that was loaded `index` filters before the last
/// one; none if there are not so many.
pub fn filter(tid: i32, index: u32) -> Result<Option<Vec<crate::seccomp::Instruction>>> {
    let ask = |into: u64| request(SECCOMP_GET_FILTER, tid, u64::from(index), into);
    let count = match ask(0) {
        Ok(count) => usize::try_from(count).unwrap_or(0),
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EINVAL)) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let empty = libc::sock_filter {
        code: 0,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let mut program = vec![empty; count];
    ask(program.as_mut_ptr() as u64)?;
    let instruction = |it: &libc::sock_filter| crate::seccomp::Instruction {
        code: it.code,
        jump_true: it.jt,
        jump_false: it.jf,
        value: it.k,
    };
    Ok(Some(program.iter().map(instruction).collect()))
}

/// What belongs to the event that it stands at: the pid of a new child.
pub fn event_message(tid: i32) -> Result<u64> {
    let mut message = 0u64;
    let address = (&raw mut message) as u64;
    request(libc::PTRACE_GETEVENTMSG, tid, 0, address)?;
    Ok(message)
}

/// Waits until the tracee `tid` stands or ends.
pub fn wait(tid: i32) -> Result<Stop> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is alive; no other memory is involved.
        let result = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL) };
        if result < 0 {
            let error = std::io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::EINTR) {
                continue;
            }
            return Err(Error::from(error));
        }
        return Ok(stop_of(status));
    }
}

/// Waits until every tracee and every child of ours has ended.
pub fn wait_for_all() -> Result<()> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is alive; no other memory is involved.
        let result = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        if result < 0 {
            let error = std::io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::ECHILD) => return Ok(()),
                _ => return Err(Error::from(error)),
            }
        }
    }
}

fn stop_of(status: i32) -> Stop {
    if !libc::WIFSTOPPED(status) {
        return Stop::Gone;
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        0 => Stop::Signal(signal),
        EVENT_STOP if signal == libc::SIGTRAP => Stop::Interrupted,
        EVENT_STOP => Stop::WithGroup(signal),
        event => Stop::Event(event),
    }
}

fn number(signal: i32) -> u64 {
    u64::from(signal.unsigned_abs())
}

/// A request whose address and data are numbers, or point to memory that the
/// caller in this file keeps alive and sized as the request wants it.
fn request(request: u32, tid: i32, address: u64, data: u64) -> Result<i64> {
    if tid <= 0 {
        return Err(Error::new(ErrorKind::Internal, "not a thread to trace"));
    }
    let at = |value: u64| {
        null_mut::<libc::c_void>().wrapping_byte_add(usize::try_from(value).unwrap_or(0))
    };
    // SAFETY: the kernel reads and writes only what the callers above hand
    // over; the tracee is another thread group (a thread cannot trace its
    // own), so what is done to it does not touch our memory.
    let result = unsafe { libc::ptrace(request, tid, at(address), at(data)) };
    if result == -1 {
        return Err(Error::from(std::io::Error::last_os_error()));
    }
    Ok(result)
}

/// As [`wait`], but not for ever: none if it neither stood nor ended in time.
pub fn wait_until(tid: i32, deadline: std::time::Instant) -> Result<Option<Stop>> {
    let mut pause = std::time::Duration::from_micros(20);
    loop {
        let mut status = 0;
        // SAFETY: `status` is alive; no other memory is involved.
        let result = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | libc::WNOHANG) };
        match result {
            0 if std::time::Instant::now() >= deadline => return Ok(None),
            0 => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(std::time::Duration::from_millis(2));
            }
            -1 => {
                let error = std::io::Error::last_os_error();
                if error.raw_os_error() != Some(libc::EINTR) {
                    return Err(Error::from(error));
                }
            }
            _ => return Ok(Some(stop_of(status))),
        }
    }
}
