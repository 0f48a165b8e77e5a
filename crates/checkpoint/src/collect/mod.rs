//! Reading what there is: one kernel object, one file here and one with the
//! same name in `rebuild`.

mod aio;
mod credentials;
mod descriptors;
mod epoll;
mod events;
mod files;
mod inotify;
mod memory;
pub(crate) mod memory_files;
mod pipes;
mod process;
mod shared_memory;
mod signals;
mod sockets;
mod system_v;
mod terminals;
mod threads;
mod timers;

use std::os::fd::OwnedFd;

use sys::{Context as _, Error, ErrorKind, Result};

use crate::dump::DumpOptions;
use crate::freeze::Stopped;
use crate::image::PageWriter;
use crate::image::schema::{Checkpoint, Clocks, Host};
use crate::inject::{Area, Arg, Program, find_syscall};
use crate::maps::{self, Line};
use crate::precopy::Precopied;

pub(crate) use descriptors::device;
pub(crate) use files::Gathered;
pub(crate) use memory::{KEPT, refuse_flags};
pub(crate) use sockets::Stilled;

/// What is gathered from process to process.
pub(crate) struct Collection {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) options: DumpOptions,
    /// TCP connections that are not to change while they are looked at.
    pub(crate) held: Vec<Stilled>,
    pub(crate) copies: Copies,
    pub(crate) files: Gathered,
    pub(crate) shared: shared_memory::Known,
    /// Segments, semaphores, queues of System V.
    pub(crate) system_v: [u64; 3],
}

/// Memory in the image, now and before the last stop.
pub(crate) struct Copies {
    pub(crate) writer: PageWriter,
    /// Pages of processes that were copied when they stood.
    pub(crate) standing: u64,
    pub(crate) precopied: Precopied,
}

/// A process that programs can be run in.
pub(crate) struct Inside {
    pub(crate) area: Area,
    pub(crate) syscall: u64,
    pub(crate) lines: Vec<Line>,
    pub(crate) pidfd: OwnedFd,
}

/// Reads everything of the stopped processes. What was copied of their memory
/// is given back also if that fails: another attempt builds on it.
pub(crate) fn collect(
    stopped: &Stopped,
    mut copies: Copies,
    options: DumpOptions,
) -> (Result<(Checkpoint, Vec<Stilled>)>, Copies) {
    copies.writer.begin_attempt();
    copies.standing = 0;
    copies.precopied.shared.compare();
    let mut all = Collection {
        checkpoint: Checkpoint::default(),
        options,
        held: Vec::new(),
        copies,
        files: Gathered::default(),
        shared: shared_memory::Known::default(),
        system_v: [0; 3],
    };
    let collected = collect_into(stopped, &mut all);
    all.copies.precopied.shared.stop();
    match collected {
        Ok(()) => (Ok((all.checkpoint, all.held)), all.copies),
        Err(error) => (Err(error), all.copies),
    }
}

fn collect_into(stopped: &Stopped, all: &mut Collection) -> Result<()> {
    if let Some(init) = stopped.processes.first() {
        memory_files::collect(init.pid, all)?;
    }
    for process in &stopped.processes {
        let parent = stopped
            .processes
            .iter()
            .find(|other| other.pid == process.parent)
            .map_or(0, |parent| parent.inner_pid);
        if process.is_zombie() {
            all.checkpoint
                .processes
                .push(process::zombie(process, parent)?);
            continue;
        }
        let inside = enter(process, &all.copies.precopied)?;
        let gathered = process::collect(process, parent, &inside, all)
            .context(|| format!("process {}", process.inner_pid));
        // Whether that went well or not, it has to be as it was.
        let left = leave(process, &inside);
        let gathered = gathered?;
        left?;
        all.checkpoint.processes.push(gathered);
    }
    files::finish(stopped, all)?;
    terminals::finish(stopped, all)?;
    shared_memory::finish(all)
}

/// Makes a place for programs in the process.
fn enter(process: &crate::freeze::StoppedProcess, precopied: &Precopied) -> Result<Inside> {
    const SIZE: u64 = 128 << 10;
    const MMAP: u32 = 9;
    let thread = process.main()?.thread;
    for thread in &process.threads {
        thread.thread.quiet()?;
    }
    let before = precopied.mappings(process.pid);
    let now = maps::read(process.pid, maps::Detail::Places)?;
    let mut lines = match maps::with_flags(now, before) {
        Some(lines) => lines,
        None => maps::read(process.pid, maps::Detail::Flags)?,
    };
    if precopied.watches(process.pid) {
        // By us alone, so that is no reason to refuse.
        for line in &mut lines {
            line.flags.remove("uw");
        }
    }
    // Before anything of ours runs in it: threads that wait for an io_uring
    // do not come back from that.
    if let Some(what) = lines.iter().find_map(refuse_flags) {
        return Err(crate::freeze::refusal(process.pid, &what));
    }
    let vdso = lines
        .iter()
        .find(|line| line.name == "[vdso]")
        .ok_or_else(|| crate::freeze::refusal(process.pid, "has no vdso"))?;
    let syscall = find_syscall(process.pid, vdso.start, vdso.end)?;
    let base = thread
        .single(syscall, MMAP, &[0, SIZE, 7, 0x22, u64::MAX, 0])
        .context(|| "make a place for our code")?;
    let area = Area { base, size: SIZE };
    thread.install(area)?;
    let pid = rustix::process::Pid::from_raw(process.pid)
        .ok_or_else(|| Error::new(ErrorKind::Internal, "not a pid"))?;
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    Ok(Inside {
        area,
        syscall,
        lines,
        pidfd,
    })
}

fn leave(process: &crate::freeze::StoppedProcess, inside: &Inside) -> Result<()> {
    const MUNMAP: u32 = 11;
    let thread = process.main()?.thread;
    thread.single(
        inside.syscall,
        MUNMAP,
        &[inside.area.base, inside.area.size],
    )?;
    Ok(())
}

/// What has to be the same where it goes on, and the clocks.
pub(crate) fn host_and_clocks(
    process: &crate::freeze::StoppedProcess,
    inside: &Inside,
) -> Result<(Host, Clocks)> {
    const CLOCK_GETTIME: u32 = 228;
    let thread = process.main()?.thread;
    let mut program = Program::default();
    let monotonic = program.room(16);
    let boottime = program.room(16);
    program.call(
        "read the clock",
        CLOCK_GETTIME,
        &[Arg::from(1), monotonic.into()],
    );
    program.call(
        "read the clock",
        CLOCK_GETTIME,
        &[Arg::from(7), boottime.into()],
    );
    let outcome = thread.run(inside.area, &program)?;
    let nanoseconds = |place| {
        outcome.number(place, 0).cast_signed() * 1_000_000_000
            + outcome.number(place, 1).cast_signed()
    };
    let clocks = Clocks {
        monotonic: nanoseconds(monotonic),
        boottime: nanoseconds(boottime),
    };
    let state = sys::ptrace::extended_state(thread.tid)?;
    let host = crate::host::describe(process.pid, &inside.lines, &state)?;
    Ok((host, clocks))
}
