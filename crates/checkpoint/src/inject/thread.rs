//! A tracee and what it is made to do.

use sys::ptrace::{self, Stop, register};
use sys::{Context as _, Error, ErrorKind, Result, process_vm};

use super::program::{Arg, CALL_SIZE, Outcome, Program, encode_call, number, too_large};
use super::{AFTER_CALL, CODE};

const TGKILL: u32 = 234;
/// Ends a program: a signal that does nothing where nobody handles it.
const END: i32 = 28;
const TRAP: i32 = 5;
/// Every signal blocked but the two that programs end with.
const QUIET: u64 = !(1 << (END - 1) | 1 << (TRAP - 1));

/// Memory of a tracee for code, calls and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) base: u64,
    pub(crate) size: u64,
}

impl Area {
    const CODE_SIZE: u64 = 4096;

    fn calls(self) -> u64 {
        self.base + Self::CODE_SIZE
    }

    fn calls_size(self) -> u64 {
        (self.size - Self::CODE_SIZE) / 4 / 4096 * 4096
    }

    fn data(self) -> u64 {
        self.calls() + self.calls_size()
    }

    pub(crate) fn data_size(self) -> u64 {
        self.base + self.size - self.data()
    }

    fn calls_max(self) -> usize {
        usize::try_from(self.calls_size()).unwrap_or(0) / CALL_SIZE - 1
    }
}

/// A tracee that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    /// As we see it.
    pub(crate) tid: i32,
    /// As it sees itself.
    pub(crate) inner_tid: i32,
    pub(crate) inner_pid: i32,
}

impl Thread {
    /// Blocks what could interrupt; before the first program.
    pub(crate) fn quiet(&self) -> Result<()> {
        ptrace::set_signal_mask(self.tid, QUIET)
    }

    /// Puts the code into its area, which is mapped and may be executed.
    pub(crate) fn install(&self, area: Area) -> Result<()> {
        process_vm::write(self.tid, area.base, &CODE)
    }

    /// Makes it run `program` and stand again.
    pub(crate) fn run(&self, area: Area, program: &Program) -> Result<Outcome> {
        if program.data.len() as u64 > area.data_size() {
            return Err(too_large());
        }
        if !program.data.is_empty() {
            process_vm::write(self.tid, area.data(), &program.data_at(area.data()))
                .context(|| format!("write to process {}", self.tid))?;
        }
        let mut results = Vec::with_capacity(program.calls.len());
        let mut children = Vec::new();
        for calls in program.calls.chunks(area.calls_max()) {
            let mut bytes = Program::encode(calls, area.data());
            let end = [
                Arg::from(self.inner_pid),
                Arg::from(self.inner_tid),
                Arg::from(END),
                Arg::Value(0),
                Arg::Value(0),
                Arg::Value(0),
            ];
            encode_call(&mut bytes, TGKILL, true, end, 0);
            process_vm::write(self.tid, area.calls(), &bytes)?;
            self.resume(area, calls.len(), &mut children)?;
            process_vm::read_exact(self.tid, area.calls(), &mut bytes)?;
            let these: Vec<i64> = (0..calls.len())
                .map(|index| number(&bytes, index * CALL_SIZE + 56).cast_signed())
                .collect();
            program.check(results.len(), &these)?;
            results.extend(these);
        }
        let mut data = vec![0; program.data.len()];
        if !data.is_empty() {
            process_vm::read_exact(self.tid, area.data(), &mut data)?;
        }
        Ok(Outcome {
            results,
            data,
            children,
        })
    }

    fn resume(&self, area: Area, calls: usize, children: &mut Vec<i32>) -> Result<()> {
        let last = area.calls() + (calls * CALL_SIZE) as u64;
        let mut registers = ptrace::registers(self.tid)?;
        registers.0[register::RIP] = area.base;
        registers.0[register::R15] = area.calls();
        registers.0[register::R13] = last;
        // Not in a system call: the kernel is not to restart one.
        registers.0[register::ORIG_RAX] = u64::MAX;
        ptrace::set_registers(self.tid, &registers)?;
        ptrace::go_on(self.tid, 0)?;
        loop {
            match ptrace::wait(self.tid)? {
                Stop::Signal(END) => {
                    let now = ptrace::registers(self.tid)?;
                    if now.0[register::RIP] == area.base + AFTER_CALL
                        && now.0[register::R15] == last
                    {
                        return Ok(());
                    }
                    // Somebody else's; nobody would have handled it now.
                    ptrace::go_on(self.tid, 0)?;
                }
                Stop::Event(_) => {
                    let child = ptrace::event_message(self.tid)?;
                    children.push(i32::try_from(child).unwrap_or(0));
                    ptrace::go_on(self.tid, 0)?;
                }
                Stop::Interrupted | Stop::WithGroup(_) => ptrace::go_on(self.tid, 0)?,
                Stop::Signal(signal) => {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        format!("process {} got signal {signal} of our code", self.tid),
                    ));
                }
                Stop::Gone => return Err(gone(self.tid)),
            }
        }
    }

    /// One system call without code of ours: by the instruction at `syscall`.
    pub(crate) fn single(&self, syscall: u64, call: u32, arguments: &[u64]) -> Result<u64> {
        let before = ptrace::registers(self.tid)?;
        let mut registers = before;
        let places = [
            register::RDI,
            register::RSI,
            register::RDX,
            register::R10,
            register::R8,
            register::R9,
        ];
        for (place, argument) in places.iter().zip(arguments) {
            registers.0[*place] = *argument;
        }
        registers.0[register::RAX] = u64::from(call);
        registers.0[register::ORIG_RAX] = u64::MAX;
        registers.0[register::RIP] = syscall;
        ptrace::set_registers(self.tid, &registers)?;
        ptrace::step(self.tid)?;
        loop {
            match ptrace::wait(self.tid)? {
                Stop::Signal(TRAP) => break,
                Stop::Gone => return Err(gone(self.tid)),
                _ => ptrace::step(self.tid)?,
            }
        }
        let result = ptrace::registers(self.tid)?.0[register::RAX].cast_signed();
        ptrace::set_registers(self.tid, &before)?;
        if (-4095..0).contains(&result) {
            return Err(Error::from_errno(i32::try_from(-result).unwrap_or(0)));
        }
        Ok(result.cast_unsigned())
    }
}

/// Where in the executable memory from `start` to `end` of a tracee a system
/// call instruction is: the vdso always has one.
pub(crate) fn find_syscall(tid: i32, start: u64, end: u64) -> Result<u64> {
    let length = usize::try_from(end - start).unwrap_or(0).min(64 << 10);
    let mut code = vec![0; length];
    process_vm::read_exact(tid, start, &mut code)?;
    code.windows(2)
        .position(|pair| pair == [0x0f, 0x05])
        .map(|offset| start + offset as u64)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("process {tid} has no system call instruction in its vdso"),
            )
        })
}

pub(crate) fn gone(tid: i32) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("process {tid} ended while it was looked at"),
    )
}
