//! Threads: made, told who they are, given their registers, let go.

use sys::ptrace::{self, Registers, register};
use sys::{Context as _, Error, ErrorKind, Result};

use super::{
    LIMITS, MUNMAP, Puppet, RSEQ, SIGALTSTACK, Work, credentials, signals, sockets, timers, tree,
};
use crate::image::hex;
use crate::image::schema::{Backing, Process, ProcessState, Thread as Saved};
use crate::inject::{Program, Thread, find_syscall};

const PRCTL: u32 = 157;
const SETPRIORITY: u32 = 141;
const SCHED_SETSCHEDULER: u32 = 144;
const SCHED_SETAFFINITY: u32 = 203;
const SET_TID_ADDRESS: u32 = 218;
const SET_ROBUST_LIST: u32 = 273;
const PRLIMIT: u32 = 302;
const PR_SET_PDEATHSIG: i32 = 1;
const PR_SET_DUMPABLE: i32 = 4;
const PR_SET_NAME: i32 = 15;
const PR_SET_TIMERSLACK: i32 = 29;
/// CLONE_VM, _FS, _FILES, _SIGHAND, _THREAD, _SYSVSEM
const THREAD: u64 = 0x5_0f00;
const SS_ONSTACK: u64 = 1;
const SIGSTOP: i32 = 19;
/// Threads that are made by one program.
const TOGETHER: usize = 1024;

/// Makes the threads beside the main one.
pub(super) fn make(puppet: &mut Puppet, what: &Process) -> Result<()> {
    let others = what.threads.get(1..).unwrap_or_default();
    for some in others.chunks(TOGETHER) {
        let mut program = Program::default();
        for saved in some {
            tree::clone(&mut program, THREAD, 0, saved.tid);
        }
        let made = puppet.run(&program)?.children;
        if made.len() != some.len() {
            return Err(Error::new(ErrorKind::Internal, "a new thread was lost"));
        }
        for (tid, saved) in made.into_iter().zip(some) {
            tree::await_birth(tid)?;
            puppet.others.push(Thread {
                tid,
                inner_tid: saved.tid,
                inner_pid: what.pid,
            });
        }
    }
    Ok(())
}

/// The last that each thread but the main one does as ours.
pub(super) fn finish_others(puppet: &Puppet, what: &Process, work: &Work<'_>) -> Result<()> {
    let others = puppet.others.iter().zip(what.threads.iter().skip(1));
    for (thread, saved) in others {
        let mut program = Program::default();
        settle(&mut program, what, saved)?;
        credentials::become_again(&mut program, saved, work.bounds)?;
        let run = |program: &Program| thread.run(puppet.area, program);
        run(&program)
            .and_then(|_| credentials::confine(run, work.bounds))
            .context(|| format!("thread {}", saved.tid))?;
    }
    Ok(())
}

/// Adds the last that the main thread does as ours, which is the last of its
/// process: what it sets bounds the other threads too.
pub(super) fn finish(program: &mut Program, what: &Process, work: &Work<'_>) -> Result<()> {
    let Some(main) = what.threads.first() else {
        return Err(Error::new(ErrorKind::Corrupt, "a process without threads"));
    };
    settle(program, what, main)?;
    signals::queue_for_process(program, what.pid, &what.pending)?;
    limits(program, what, &work.hard_limits);
    credentials::become_again(program, main, work.bounds)?;
    // A change of ids makes a process undumpable and forgets the signal.
    program.attempt(PRCTL, &[PR_SET_DUMPABLE.into(), what.dumpable.into()]);
    let death = what.parent_death_signal;
    program.call(
        "set the parent death signal",
        PRCTL,
        &[PR_SET_PDEATHSIG.into(), death.into()],
    );
    timers::set(program, what);
    sockets::listen_again(program, what, work);
    Ok(())
}

fn settle(program: &mut Program, what: &Process, saved: &Saved) -> Result<()> {
    let (address, flags, size) = saved.signal_stack;
    let stack = [address, flags & !SS_ONSTACK, size];
    let stack = program.data(&stack.map(u64::to_le_bytes).concat());
    program.call("set the signal stack", SIGALTSTACK, &[stack.into()]);
    program.call(
        "set where the thread's end is written",
        SET_TID_ADDRESS,
        &[saved.clear_tid.into()],
    );
    let (head, length) = saved.robust_list;
    if head != 0 {
        let arguments = [head.into(), length.into()];
        program.call("set the list of locks", SET_ROBUST_LIST, &arguments);
    }
    if let Some((address, size, signature)) = saved.rseq {
        let arguments = [address.into(), size.into(), 0.into(), signature.into()];
        program.call("register rseq", RSEQ, &arguments);
    }
    let name = program.text(saved.name.as_bytes());
    program.call("set the name", PRCTL, &[PR_SET_NAME.into(), name.into()]);
    if saved.nice != 0 {
        let nice = saved.nice;
        program.attempt(SETPRIORITY, &[0.into(), 0.into(), nice.into()]);
    }
    if let Some((policy, priority)) = saved.scheduling {
        let priority = program.data(&priority.to_le_bytes());
        program.attempt(
            SCHED_SETSCHEDULER,
            &[0.into(), policy.into(), priority.into()],
        );
    }
    if let Some(mask) = &saved.affinity {
        let mut bytes = hex::decode(mask)?;
        bytes.reverse();
        let length = bytes.len() as u64;
        let mask = program.data(&bytes);
        program.attempt(SCHED_SETAFFINITY, &[0.into(), length.into(), mask.into()]);
    }
    let slack = saved.timer_slack;
    program.attempt(PRCTL, &[PR_SET_TIMERSLACK.into(), slack.into()]);
    signals::queue_for_thread(program, what.pid, saved.tid, &saved.pending)
}

/// Beyond the hard limits that are in force nobody can go.
fn limits(program: &mut Program, what: &Process, most: &[u64; LIMITS]) {
    for (resource, ((soft, hard), most)) in what.limits.iter().zip(most).enumerate() {
        let new = [*soft.min(most), *hard.min(most)];
        let new = program.data(&new.map(u64::to_le_bytes).concat());
        let arguments = [0.into(), (resource as u64).into(), new.into(), 0.into()];
        program.call("set a limit", PRLIMIT, &arguments);
    }
}

/// Takes our code away and gives every thread its registers: nothing that can
/// fail is left for [`let_go`].
pub(super) fn equip(puppet: &Puppet, what: &Process) -> Result<()> {
    let vdso = what
        .memory
        .mappings
        .iter()
        .find(|mapping| mapping.backing == Backing::Vdso)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "a process without a vdso"))?;
    let syscall = find_syscall(puppet.thread.tid, vdso.start, vdso.end)?;
    let area = [puppet.area.base, puppet.area.size];
    puppet.thread.single(syscall, MUNMAP, &area)?;
    let threads = || std::iter::once(&puppet.thread).chain(&puppet.others);
    for (thread, saved) in threads().zip(&what.threads) {
        let set = || -> Result<()> {
            ptrace::set_extended_state(thread.tid, &hex::decode(&saved.extended)?)?;
            ptrace::set_registers(thread.tid, &resumable(saved)?)?;
            ptrace::set_signal_mask(thread.tid, saved.signal_mask)
        };
        set().context(|| format!("set the registers of thread {}", saved.tid))?;
    }
    Ok(())
}

pub(super) fn let_go(puppet: &Puppet, what: &Process) -> Result<()> {
    if what.state == ProcessState::Stopped {
        sys::process::signal_pid(puppet.thread.tid, SIGSTOP)?;
    }
    for thread in std::iter::once(&puppet.thread).chain(&puppet.others) {
        ptrace::detach(thread.tid, 0).context(|| "let go of a new process")?;
    }
    Ok(())
}

/// The kernel restarts the system call that was interrupted, or tells the
/// program about a signal, as it would have. What it remembered beside the
/// registers is gone: such calls begin again, sleeps with what was left.
fn resumable(saved: &Saved) -> Result<Registers> {
    const RESTART_BLOCK: i64 = -516;
    const RESTART_UNLESS_HANDLED: i64 = -514;
    const NANOSLEEP: u64 = 35;
    const CLOCK_NANOSLEEP: u64 = 230;
    let all: [u64; 27] = saved
        .registers
        .as_slice()
        .try_into()
        .map_err(|_| Error::new(ErrorKind::Corrupt, "a thread without registers"))?;
    let mut registers = Registers(all);
    let place = &mut registers.0;
    if place[register::ORIG_RAX] != u64::MAX && place[register::RAX].cast_signed() == RESTART_BLOCK
    {
        place[register::RAX] = RESTART_UNLESS_HANDLED.cast_unsigned();
        match place[register::ORIG_RAX] {
            NANOSLEEP if place[register::RSI] != 0 => {
                place[register::RDI] = place[register::RSI];
            }
            CLOCK_NANOSLEEP if place[register::R10] != 0 => {
                place[register::RDX] = place[register::R10];
            }
            _ => {}
        }
    }
    Ok(registers)
}
