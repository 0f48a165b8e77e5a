//! Making it again: one kernel object, one file here and one with the same
//! name in `collect`.

mod aio;
mod common;
mod credentials;
mod epoll;
mod events;
mod files;
mod filling;
mod inotify;
mod memory;
mod memory_files;
mod pipes;
mod pool;
mod process;
mod shared_memory;
mod signals;
mod sockets;
mod system_v;
mod terminals;
mod threads;
mod timers;
mod tree;

use std::ops::Range;
use std::os::fd::BorrowedFd;

use runtime::Bounds;
use sys::ptrace::{self, Stop};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::copies::Copies;
use crate::image::PageFiles;
use crate::image::schema::{Checkpoint, Process};
use crate::inject::{Area, Outcome, Program, Running, Thread, find_syscall};
use crate::maps::{self, Detail, END_OF_MEMORY, Line};
use crate::paging::Pager;

pub(crate) use common::Common;
pub(crate) use filling::PAGE_SIZE;
pub(crate) use memory::Source;
pub(crate) use pool::{LIMITS, Pool};

/// Bytes of the place for our code in each process.
const AREA_SIZE: u64 = 2 << 20;
const MMAP: u32 = 9;
const MUNMAP: u32 = 11;
const MREMAP: u32 = 25;
const RSEQ: u32 = 334;
const SIGALTSTACK: u32 = 131;

/// A process that becomes one of the checkpoint's.
pub(crate) struct Puppet {
    /// Its main thread.
    pub(crate) thread: Thread,
    pub(crate) area: Area,
    /// The other threads, once they exist.
    pub(crate) others: Vec<Thread>,
}

impl Puppet {
    pub(crate) fn run(&self, program: &Program) -> Result<Outcome> {
        self.thread.run(self.area, program)
    }
}

/// What the making of each object needs.
pub(crate) struct Work<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) bounds: &'a Bounds,
    pub(crate) pool: Pool,
    /// Beyond which nobody can go, by resource.
    pub(crate) hard_limits: [u64; LIMITS],
    pub(crate) source: Source<'a>,
    /// The image's, as we hold it.
    pub(crate) pages: &'a PageFiles,
    pub(crate) copies: &'a Copies,
    pub(crate) common: &'a Common,
    /// Its standard descriptors are a terminal that was made for it.
    pub(crate) has_console: bool,
    /// Memory may come when the processes have gone on.
    pub(crate) is_lazy: bool,
}

/// What the processes are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Material<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) pages: &'a PageFiles,
    pub(crate) source: Source<'a>,
    pub(crate) copies: &'a Copies,
    pub(crate) common: &'a Common,
    /// Memory may come when the processes have gone on.
    pub(crate) is_lazy: bool,
}

/// Fills the blank process `init` with the whole tree, asks whether it may go
/// on and lets it go. Gives who brings what is missing of its memory, if
/// anything is.
pub(crate) fn rebuild(
    init: i32,
    pidfd: BorrowedFd<'_>,
    material: Material<'_>,
    (bounds, has_console): (&Bounds, bool),
    ready: &mut dyn FnMut() -> Result<()>,
) -> Result<Option<Pager>> {
    let Material {
        checkpoint,
        pages,
        source,
        copies,
        common,
        is_lazy,
    } = material;
    let staged = source.span();
    let first = take(init, checkpoint, &staged)?;
    let (pool, hard_limits) = Pool::prepare(&first, checkpoint, (pages, copies))?;
    let work = Work {
        checkpoint,
        bounds,
        pool,
        hard_limits,
        source,
        pages,
        copies,
        common,
        has_console,
        is_lazy: is_lazy && filling::is_much(checkpoint),
    };
    clear(&first, staged)?;
    process::continue_clocks(&first, checkpoint.clocks)?;
    memory_files::make(init, checkpoint, pages)?;
    shared_memory::make(&first, pidfd, &work)?;
    system_v::make(&first, &work)?;
    terminals::make(&first, &work)?;
    files::open_all(&first, &work)?;
    terminals::settle(&first, &work)?;
    sockets::Sockets::new(&first, pidfd, &work).make()?;
    let watchers = inotify::Watchers::take(init, pidfd, &work)?;
    common::make(&first, &work).context(|| "memory that all processes have")?;
    let mut puppets = tree::grow(first, &work)?;
    let (mut readings, mut spaces) = (Vec::new(), Vec::new());
    for puppet in &puppets {
        let what = work.process(puppet)?;
        let (reading, space) = memory::make(puppet, &what.memory, &work)
            .context(|| format!("memory of process {}", what.pid))?;
        readings.push(reading);
        spaces.extend(space);
    }
    filling::Reading::run_all(&readings).context(|| "memory")?;
    // From here on the kernel may need what is missing, for rseq(2) for one.
    let pager = Pager::start(spaces, pages, pidfd)?;
    let init = puppets
        .first()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "no init"))?;
    shared_memory::seal(init, &work)?;
    let mut last = Vec::new();
    for puppet in &mut puppets {
        let what = work.process(puppet)?;
        last.push(fill(puppet, what, &work).context(|| format!("process {}", what.pid))?);
    }
    run_all(puppets.iter().zip(&last))?;
    for puppet in &puppets {
        credentials::confine(|program| puppet.run(program), bounds)?;
        threads::equip(puppet, work.process(puppet)?)?;
    }
    watchers.watch()?;
    ready()?;
    for puppet in &puppets {
        threads::let_go(puppet, work.process(puppet)?)?;
    }
    Ok(pager)
}

/// All that a process has beside its memory; gives what its main thread is to do
/// as the last of it.
fn fill(puppet: &mut Puppet, what: &Process, work: &Work<'_>) -> Result<Program> {
    let mut program = Program::default();
    signals::drop_ours(&mut program);
    process::oom_score(&mut program, what.oom_score);
    program.part("its descriptors", |program| {
        files::hand_out(program, what, work)
    })?;
    process::set(&mut program, what);
    if what.threads.len() > 1 {
        puppet.run(&std::mem::take(&mut program))?;
        threads::make(puppet, what).context(|| "its threads")?;
        threads::finish_others(puppet, what, work)?;
    }
    program.part(format!("process {}", what.pid), |program| {
        threads::finish(program, what, work)
    })?;
    Ok(program)
}

/// Programs of several processes, which run them at the same time. What each
/// came to, in their order.
fn run_all<'a>(programs: impl Iterator<Item = (&'a Puppet, &'a Program)>) -> Result<Vec<Outcome>> {
    let running: Vec<Running<'_>> = programs
        .map(|(puppet, program)| puppet.thread.begin(puppet.area, program))
        .collect::<Result<_>>()?;
    running.into_iter().map(Running::end).collect()
}

impl<'a> Work<'a> {
    fn process(&self, puppet: &Puppet) -> Result<&'a Process> {
        self.checkpoint
            .processes
            .iter()
            .find(|process| process.pid == puppet.thread.inner_pid)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a process that nobody asked for"))
    }
}

/// Takes hold of the blank process and puts our code into it.
fn take(init: i32, checkpoint: &Checkpoint, staged: &Range<u64>) -> Result<Puppet> {
    let options = ptrace::KILL_WITH_TRACER | ptrace::SUSPEND_SECCOMP | ptrace::FOLLOW_CHILDREN;
    ptrace::seize(init, options).context(|| "take hold of the new init")?;
    ptrace::interrupt(init)?;
    if ptrace::wait(init)? != Stop::Interrupted {
        return Err(Error::new(
            ErrorKind::Internal,
            "the new init does not stand",
        ));
    }
    let thread = Thread {
        tid: init,
        inner_tid: 1,
        inner_pid: 1,
    };
    thread.quiet()?;
    let lines = maps::read(init, Detail::Places)?;
    let here = crate::host::describe(init, &lines, &ptrace::extended_state(init)?)?;
    crate::host::compare(&checkpoint.host, &here)?;
    let vdso = lines
        .iter()
        .find(|line| line.name == "[vdso]")
        .ok_or_else(|| Error::new(ErrorKind::Internal, "no vdso"))?;
    let syscall = find_syscall(init, vdso.start, vdso.end)?;
    let area = Area {
        base: free_place(checkpoint, &lines, staged)?,
        size: AREA_SIZE,
    };
    // MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    let arguments = [area.base, area.size, 7, 0x10_0022, u64::MAX, 0];
    thread
        .single(syscall, MMAP, &arguments)
        .context(|| "make a place for our code")?;
    thread.install(area)?;
    Ok(Puppet {
        thread,
        area,
        others: Vec::new(),
    })
}

/// A place that no process of the checkpoint uses, nor the blank one, and that
/// is not among what is staged.
fn free_place(checkpoint: &Checkpoint, lines: &[Line], staged: &Range<u64>) -> Result<u64> {
    const FIRST: u64 = 0x10_0000_0000;
    let theirs = checkpoint
        .processes
        .iter()
        .flat_map(|process| &process.memory.mappings)
        .map(|mapping| (mapping.start, mapping.end));
    let ours = lines.iter().map(|line| (line.start, line.end));
    let ours = ours.chain([(staged.start, staged.end)]);
    let mut taken: Vec<(u64, u64)> = theirs.chain(ours).collect();
    taken.sort_unstable();
    let mut place = FIRST;
    for (start, end) in taken {
        if start < place + AREA_SIZE && end > place {
            place = end.next_multiple_of(AREA_SIZE);
        }
    }
    if place + AREA_SIZE < END_OF_MEMORY {
        return Ok(place);
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        "the checkpoint's processes leave no address free for our code",
    ))
}

/// Leaves nothing of what the blank process was: no memory but our code, and
/// what is staged.
fn clear(puppet: &Puppet, staged: Range<u64>) -> Result<()> {
    let mut program = Program::default();
    if let Ok(Some(rseq)) = ptrace::rseq(puppet.thread.tid) {
        // The kernel would write to it at the next preemption.
        let arguments = [
            rseq.address.into(),
            rseq.size.into(),
            1.into(),
            rseq.signature.into(),
        ];
        program.call("unregister rseq", RSEQ, &arguments);
    }
    let mut disabled = [0; 24];
    disabled[8] = 2;
    let disabled = program.data(&disabled);
    program.call("disable the signal stack", SIGALTSTACK, &[disabled.into()]);
    let area = puppet.area;
    let mut kept = [area.base..area.base + area.size, staged];
    kept.sort_unstable_by_key(|range| range.start);
    let mut from = 0;
    for range in kept.into_iter().filter(|range| !range.is_empty()) {
        if range.start > from {
            let length = range.start - from;
            program.call("clear memory", MUNMAP, &[from.into(), length.into()]);
        }
        from = range.end;
    }
    let length = END_OF_MEMORY - from;
    program.call("clear memory", MUNMAP, &[from.into(), length.into()]);
    puppet.run(&program)?;
    Ok(())
}
