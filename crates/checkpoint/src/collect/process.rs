//! One process: what belongs to all of its threads.

use sys::{Context as _, Result, kcmp};

use super::{Collection, Inside, files, memory, signals, threads, timers};
use crate::freeze::{StoppedProcess, refusal};
use crate::image::schema::{Checkpoint, Process, ProcessState};
use crate::inject::{Arg, Program};
use crate::procfs::{self, Status};

const BRK: u32 = 12;
const PERSONALITY: u32 = 135;
const PRCTL: u32 = 157;
const PRLIMIT: u32 = 302;
const MEMBARRIER: u32 = 324;
/// Linux 6.3.
const GET_REGISTRATIONS: u32 = 1 << 9;
/// `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED`
const USUAL_BARRIER: u32 = 1 << 4;
const PR_GET_PDEATHSIG: i32 = 2;
const PR_GET_DUMPABLE: i32 = 3;
const PR_GET_CHILD_SUBREAPER: i32 = 37;
const PR_GET_THP_DISABLE: i32 = 42;
const LIMITS: i32 = 16;

pub(super) fn collect(
    stopped: &StoppedProcess,
    parent: i32,
    inside: &Inside,
    all: &mut Collection,
) -> Result<Process> {
    let pid = stopped.pid;
    refuse_unusual_sharing(stopped, all)?;
    if all.checkpoint.processes.is_empty() {
        let (host, clocks) = super::host_and_clocks(stopped, inside)?;
        let Checkpoint {
            host: into_host,
            clocks: into_clocks,
            ..
        } = &mut all.checkpoint;
        (*into_host, *into_clocks) = (host, clocks);
        all.system_v = super::system_v::count(stopped, inside)?;
        super::system_v::collect(stopped, inside, all).context(|| "read System V objects")?;
        super::system_v::unattached(stopped, inside, all)?;
    }
    refuse_undo(stopped, all)?;
    let mut program = Program::default();
    let actions = signals::ask(&mut program);
    let asked_timers = timers::ask(pid, &mut program);
    let brk = program.call("read the break", BRK, &[Arg::from(0)]);
    let death = program.room(8);
    program.call(
        "read the parent death signal",
        PRCTL,
        &[Arg::from(PR_GET_PDEATHSIG), death.into()],
    );
    let subreaper = program.room(4);
    program.call(
        "read the subreaper flag",
        PRCTL,
        &[Arg::from(PR_GET_CHILD_SUBREAPER), subreaper.into()],
    );
    let dumpable = program.call(
        "read the dumpable flag",
        PRCTL,
        &[Arg::from(PR_GET_DUMPABLE)],
    );
    let thp = program.call(
        "read the huge page flag",
        PRCTL,
        &[Arg::from(PR_GET_THP_DISABLE)],
    );
    let barriers = program.attempt(MEMBARRIER, &[GET_REGISTRATIONS.into(), 0.into(), 0.into()]);
    let personality = program.call("read the personality", PERSONALITY, &[Arg::from(u32::MAX)]);
    let limits = program.room(16 * 16);
    for resource in 0..LIMITS {
        let place = crate::inject::tail(limits, usize::try_from(resource).unwrap_or(0) * 16);
        program.call(
            "read a limit",
            PRLIMIT,
            &[
                Arg::from(0),
                Arg::from(resource),
                Arg::Value(0),
                place.into(),
            ],
        );
    }
    let outcome = stopped.main()?.thread.run(inside.area, &program)?;
    let status = Status::read(&format!("/proc/{pid}"))?;
    let mut process = Process {
        pid: stopped.inner_pid,
        parent,
        session: status.innermost("NSsid"),
        group: status.innermost("NSpgid"),
        exit_signal: i32::try_from(procfs::stat_field(&procfs::stat(pid)?, 38)).unwrap_or(17),
        state: if stopped.with_group {
            ProcessState::Stopped
        } else {
            ProcessState::Running
        },
        umask: u32::from_str_radix(status.get("Umask"), 8).unwrap_or(0o22),
        directory: directory(pid, "cwd")?,
        root: directory(pid, "root")?,
        actions: signals::actions(&actions, &outcome),
        pending: signals::pending(pid, true)?,
        limits: (0..16)
            .map(|index| {
                (
                    outcome.number(limits, index * 2),
                    outcome.number(limits, index * 2 + 1),
                )
            })
            .collect(),
        interval_timers: asked_timers.intervals(&outcome),
        timers: asked_timers.timers(&outcome),
        parent_death_signal: i32::try_from(outcome.number(death, 0) & 0xff).unwrap_or(0),
        is_subreaper: outcome.bytes(subreaper).first() == Some(&1),
        dumpable: outcome.value(dumpable)?,
        no_thp: outcome.value(thp)? != 0,
        personality: outcome.value(personality)?,
        // Where nobody can be asked: it does no harm to who did not want it.
        barriers: outcome.value(barriers).map_or(USUAL_BARRIER, |known| {
            u32::try_from(known).unwrap_or(USUAL_BARRIER)
        }),
        oom_score: procfs::text(&format!("/proc/{pid}/oom_score_adj"))?
            .trim()
            .parse()
            .unwrap_or(0),
        ..Process::default()
    };
    for thread in &stopped.threads {
        process.threads.push(threads::collect(pid, thread, inside)?);
    }
    // Descriptors before memory: what they hold is known to mappings too.
    files::collect(stopped, inside, &mut process, all)?;
    let brk = outcome.value(brk)?;
    process.memory = memory::collect(stopped, inside, brk, all).context(|| "its memory")?;
    Ok(process)
}

/// One that has ended and that nobody has waited for.
pub(super) fn zombie(stopped: &StoppedProcess, parent: i32) -> Result<Process> {
    let status = Status::read(&format!("/proc/{}", stopped.pid))?;
    let stat = procfs::stat(stopped.pid)?;
    let code = i32::try_from(procfs::stat_field(&stat, 52)).unwrap_or(0);
    Ok(Process {
        pid: stopped.inner_pid,
        parent,
        session: status.innermost("NSsid"),
        group: status.innermost("NSpgid"),
        exit_signal: 17,
        state: ProcessState::Zombie(code),
        ..Process::default()
    })
}

/// Threads that do not share what threads share, and processes that do.
fn refuse_unusual_sharing(stopped: &StoppedProcess, all: &Collection) -> Result<()> {
    let main = stopped.main()?.thread.tid;
    let kinds = [
        (kcmp::Shared::Descriptors, "descriptors"),
        (kcmp::Shared::Directories, "a working directory"),
    ];
    for thread in stopped.threads.iter().skip(1) {
        for (kind, name) in kinds {
            if !kcmp::shares(main, thread.thread.tid, kind)? {
                let what = format!("has a thread with {name} of its own, which is not carried yet");
                return Err(refusal(stopped.pid, &what));
            }
        }
    }
    for other in all.files.seen.iter().map(|seen| seen.pid).take(1) {
        if other != stopped.pid && kcmp::shares(main, other, kcmp::Shared::Memory)? {
            return Err(refusal(
                stopped.pid,
                "shares its memory with another; try again",
            ));
        }
    }
    Ok(())
}

/// What its end is to undo of its work on semaphores nobody can read; that
/// there is a list for it, one can. Threads have one from the beginning.
fn refuse_undo(stopped: &StoppedProcess, all: &Collection) -> Result<()> {
    let ours = rustix::process::getpid().as_raw_pid();
    let main = stopped.main()?.thread.tid;
    let has_semaphores = !all.checkpoint.semaphores.is_empty();
    if has_semaphores && !kcmp::shares(ours, main, kcmp::Shared::SemaphoreUndo)? {
        return Err(refusal(
            stopped.pid,
            "may have changed System V semaphores so that its end undoes it (SEM_UNDO), which is \
             not carried; remove the semaphores, or end it first",
        ));
    }
    Ok(())
}

fn directory(pid: i32, which: &str) -> Result<String> {
    let path = procfs::link(&format!("/proc/{pid}/{which}"))?;
    if path.ends_with(" (deleted)") || !path.starts_with('/') {
        return Err(refusal(
            pid,
            &format!("is in directory {path}, which is not there any more; change to another"),
        ));
    }
    Ok(path)
}
