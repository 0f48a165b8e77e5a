//! One thread: registers, signals, where the kernel writes for it, who it is.

use sys::ptrace::{self, Registers, register};
use sys::{Result, process_vm};

use super::{Inside, credentials, signals};
use crate::freeze::{StoppedThread, refusal};
use crate::image::hex;
use crate::image::pack;
use crate::image::schema::Thread;
use crate::inject::{Arg, Program};
use crate::procfs::Status;

const SIGALTSTACK: u32 = 131;
const PRCTL: u32 = 157;
const GETPRIORITY: u32 = 140;
const SCHED_GETPARAM: u32 = 143;
const SCHED_GETSCHEDULER: u32 = 145;
const GET_ROBUST_LIST: u32 = 274;
const PR_GET_SECUREBITS: i32 = 27;
const PR_GET_TIMERSLACK: i32 = 30;
const PR_GET_TID_ADDRESS: i32 = 40;

pub(super) fn collect(pid: i32, stopped: &StoppedThread, inside: &Inside) -> Result<Thread> {
    let tid = stopped.thread.tid;
    let status = Status::read(&format!("/proc/{pid}/task/{tid}"))?;
    let mut program = Program::default();
    let stack = program.room(24);
    let address = program.room(8);
    let robust = program.room(16);
    let robust_length = Arg::Data(crate::inject::tail(robust, 8));
    let parameters = program.room(8);
    program.call(
        "read the signal stack",
        SIGALTSTACK,
        &[Arg::Value(0), stack.into()],
    );
    program.call(
        "read where the thread's end is written",
        PRCTL,
        &[Arg::from(PR_GET_TID_ADDRESS), address.into()],
    );
    program.call(
        "read the list of locks",
        GET_ROBUST_LIST,
        &[Arg::from(0), robust.into(), robust_length],
    );
    let bits = program.call("read secure bits", PRCTL, &[Arg::from(PR_GET_SECUREBITS)]);
    let slack = program.call("read timer slack", PRCTL, &[Arg::from(PR_GET_TIMERSLACK)]);
    let nice = program.call(
        "read the priority",
        GETPRIORITY,
        &[Arg::from(0), Arg::from(0)],
    );
    let policy = program.call("read the policy", SCHED_GETSCHEDULER, &[Arg::from(0)]);
    program.call(
        "read the policy",
        SCHED_GETPARAM,
        &[Arg::from(0), parameters.into()],
    );
    let outcome = stopped.thread.run(inside.area, &program)?;
    let policy = u32::try_from(outcome.value(policy)?).unwrap_or(0);
    let priority = u32::try_from(outcome.number(parameters, 0) & 0xffff_ffff).unwrap_or(0);
    Ok(Thread {
        tid: stopped.thread.inner_tid,
        name: crate::procfs::text(&format!("/proc/{pid}/task/{tid}/comm"))?
            .trim_end_matches('\n')
            .to_owned(),
        registers: with_its_call(tid, stopped.registers).0.to_vec(),
        extended: hex::encode(&ptrace::extended_state(tid)?),
        signal_mask: stopped.signal_mask,
        signal_stack: (
            outcome.number(stack, 0),
            outcome.number(stack, 1) & 0xffff_ffff,
            outcome.number(stack, 2),
        ),
        pending: signals::pending(tid, false)?,
        rseq: ptrace::rseq(tid)
            .ok()
            .flatten()
            .map(|rseq| (rseq.address, rseq.size, rseq.signature)),
        robust_list: (outcome.number(robust, 0), outcome.number(robust, 1)),
        clear_tid: outcome.number(address, 0),
        credentials: credentials::collect(&status, outcome.value(bits)?),
        filters: filters(pid, tid, &status)?,
        // 20 - nice, so that it is never an error.
        nice: 20 - i32::try_from(outcome.value(nice)?).unwrap_or(20),
        scheduling: (policy != 0).then_some((policy, priority)),
        affinity: affinity(&status)?,
        timer_slack: outcome.value(slack)?,
    })
}

/// A call that was interrupted once before is being continued by another one,
/// restart_syscall(2), which means nothing elsewhere. What it was is written
/// in the code before it; where that is not to be seen, it ends with EINTR.
fn with_its_call(tid: i32, mut registers: Registers) -> Registers {
    const RESTART_SYSCALL: u64 = 219;
    /// poll, nanosleep, futex, clock_nanosleep
    const CONTINUED: [u8; 4] = [7, 35, 202, 230];
    const MOV_EAX: u8 = 0xb8;
    if registers.0[register::ORIG_RAX] != RESTART_SYSCALL {
        return registers;
    }
    let mut code = [0; 64];
    let start = registers.0[register::RIP].saturating_sub(2 + code.len() as u64);
    if process_vm::read_exact(tid, start, &mut code).is_ok() {
        let found = code.windows(5).rev().find(|bytes| {
            bytes[0] == MOV_EAX && CONTINUED.contains(&bytes[1]) && bytes[2..] == [0, 0, 0]
        });
        if let Some(bytes) = found {
            registers.0[register::ORIG_RAX] = u64::from(bytes[1]);
        }
    }
    registers
}

/// All of them, the runtime's own too: which that is, the restore can tell.
fn filters(pid: i32, tid: i32, status: &Status) -> Result<Vec<Vec<u64>>> {
    match status.get("Seccomp") {
        "0" => return Ok(Vec::new()),
        "2" => {}
        _ => {
            return Err(refusal(
                pid,
                "is in strict seccomp mode, which is not carried",
            ));
        }
    }
    let mut all = Vec::new();
    // The kernel counts from the one that was loaded last.
    while let Some(filter) = ptrace::filter(tid, u32::try_from(all.len()).unwrap_or(u32::MAX))? {
        all.push(filter.into_iter().map(pack).collect());
    }
    all.reverse();
    Ok(all)
}

/// None if it may run wherever we may.
fn affinity(status: &Status) -> Result<Option<String>> {
    let ours = Status::read("/proc/self")?;
    let allowed = status.get("Cpus_allowed");
    Ok((allowed != ours.get("Cpus_allowed")).then(|| allowed.replace(',', "")))
}
