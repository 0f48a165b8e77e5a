//! A tracee and what it is made to do.

use sys::ptrace::{self, Stop, register};
use sys::{Context as _, Error, ErrorKind, Result, process_vm};

use super::program::{Arg, CALL_SIZE, Call, Outcome, Program, encode_call, number, too_large};
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
        self.begin(area, program)?.end()
    }

    /// Makes it begin with `program`; others can be made to run theirs
    /// meanwhile.
    pub(crate) fn begin<'a>(&self, area: Area, program: &'a Program) -> Result<Running<'a>> {
        if program.data.len() as u64 > area.data_size() {
            return Err(too_large());
        }
        if !program.data.is_empty() {
            process_vm::write(self.tid, area.data(), &program.data_at(area.data()))
                .context(|| format!("write to process {}", self.tid))?;
        }
        let running = Running {
            thread: *self,
            area,
            program,
            results: Vec::with_capacity(program.calls.len()),
        };
        running.resume()?;
        Ok(running)
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

/// A program that a tracee is busy with.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    thread: Thread,
    area: Area,
    program: &'a Program,
    /// Of the calls that are done.
    results: Vec<i64>,
}

impl Running<'_> {
    /// Waits until the tracee stands again, with all calls done.
    pub(crate) fn end(mut self) -> Result<Outcome> {
        let tid = self.thread.tid;
        let mut children = Vec::new();
        while !self.calls().is_empty() {
            self.wait(&mut children)?;
            let count = self.calls().len();
            let mut bytes = vec![0; count * CALL_SIZE];
            process_vm::read_exact(tid, self.area.calls(), &mut bytes)?;
            let these: Vec<i64> = (0..count)
                .map(|index| number(&bytes, index * CALL_SIZE + 56).cast_signed())
                .collect();
            self.program.check(self.results.len(), &these)?;
            self.results.extend(these);
            self.resume()?;
        }
        let mut data = vec![0; self.program.data.len()];
        if !data.is_empty() {
            process_vm::read_exact(tid, self.area.data(), &mut data)?;
        }
        Ok(Outcome {
            results: self.results,
            data,
            children,
        })
    }

    /// Those that are being made, or are the next: as many as there is room for.
    fn calls(&self) -> &[Call] {
        let left = &self.program.calls[self.results.len()..];
        &left[..left.len().min(self.area.calls_max())]
    }

    /// The last call that the tracee makes of these, with which it stands.
    fn last(&self) -> u64 {
        self.area.calls() + (self.calls().len() * CALL_SIZE) as u64
    }

    /// Lets it make [`Running::calls`], if there are any.
    fn resume(&self) -> Result<()> {
        let (thread, area) = (self.thread, self.area);
        if self.calls().is_empty() {
            return Ok(());
        }
        let mut bytes = Program::encode(self.calls(), area.data());
        let end = [
            Arg::from(thread.inner_pid),
            Arg::from(thread.inner_tid),
            Arg::from(END),
            Arg::Value(0),
            Arg::Value(0),
            Arg::Value(0),
        ];
        encode_call(&mut bytes, TGKILL, true, end, 0);
        process_vm::write(thread.tid, area.calls(), &bytes)?;
        let mut registers = ptrace::registers(thread.tid)?;
        registers.0[register::RIP] = area.base;
        registers.0[register::R15] = area.calls();
        registers.0[register::R13] = self.last();
        // Not in a system call: the kernel is not to restart one.
        registers.0[register::ORIG_RAX] = u64::MAX;
        ptrace::set_registers(thread.tid, &registers)?;
        ptrace::go_on(thread.tid, 0)
    }

    fn wait(&self, children: &mut Vec<i32>) -> Result<()> {
        let tid = self.thread.tid;
        loop {
            match ptrace::wait(tid)? {
                Stop::Signal(END) => {
                    let now = ptrace::registers(tid)?;
                    if now.0[register::RIP] == self.area.base + AFTER_CALL
                        && now.0[register::R15] == self.last()
                    {
                        return Ok(());
                    }
                    // Somebody else's; nobody would have handled it now.
                    ptrace::go_on(tid, 0)?;
                }
                Stop::Event(_) => {
                    let child = ptrace::event_message(tid)?;
                    children.push(i32::try_from(child).unwrap_or(0));
                    ptrace::go_on(tid, 0)?;
                }
                Stop::Interrupted | Stop::WithGroup(_) => ptrace::go_on(tid, 0)?,
                Stop::Signal(signal) => {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        format!("process {tid} got signal {signal} of our code"),
                    ));
                }
                Stop::Gone => return Err(gone(tid)),
            }
        }
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
