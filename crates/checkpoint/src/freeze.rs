//! Stopping a whole tree of processes so that nothing of it moves, and letting
//! it go as if nothing had happened.

use std::time::{Duration, Instant};

use runtime::Cgroup;
use sys::ptrace::{self, Registers, Stop, register};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::inject::Thread;
use crate::procfs::{self, Status};

/// How long a thread may take to stand: those in a system call that cannot be
/// interrupted (vfork(2), dead network file systems) never do.
const PATIENCE: Duration = Duration::from_secs(5);
/// What ends needs about so long to be gone.
const ENDING: Duration = Duration::from_micros(200);
/// How long to wait for one that is to go on at once.
const ABANDONED: Duration = Duration::from_millis(500);
/// How often the tree is walked before that is given up.
const ROUNDS: u32 = 200;

/// Threads of a container that stand under our trace. Dropping it lets them
/// go on where they were.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) processes: Vec<StoppedProcess>,
    released: bool,
}

#[derive(Debug)]
pub(crate) struct StoppedProcess {
    /// As we see it.
    pub(crate) pid: i32,
    pub(crate) inner_pid: i32,
    pub(crate) parent: i32,
    /// Empty for one that has ended and was not waited for.
    pub(crate) threads: Vec<StoppedThread>,
    /// By SIGSTOP or its kin, before us.
    pub(crate) with_group: bool,
}

#[derive(Debug)]
pub(crate) struct StoppedThread {
    pub(crate) thread: Thread,
    /// As they were; what it goes on with.
    pub(crate) registers: Registers,
    pub(crate) signal_mask: u64,
    stands: bool,
}

impl StoppedProcess {
    pub(crate) fn is_zombie(&self) -> bool {
        self.threads.is_empty()
    }

    pub(crate) fn main(&self) -> Result<&StoppedThread> {
        self.threads
            .first()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a process without threads"))
    }
}

/// Stops every process below `init`, all of which are in `cgroup`.
///
/// Round after round takes hold of whoever is new, until a round finds nobody:
/// who stands makes no children. No cgroup is frozen for that, so if we are
/// killed meanwhile, the kernel lets everybody go on.
pub(crate) fn stop(init: i32, cgroup: &Cgroup) -> Result<Stopped> {
    let mut stopped = Stopped {
        processes: Vec::new(),
        released: false,
    };
    let deadline = Instant::now() + PATIENCE;
    for _ in 0..ROUNDS {
        let changed = stopped.meet(init)?;
        stopped.stand(deadline)?;
        if !changed {
            refuse_strangers(&stopped, cgroup)?;
            return Ok(stopped);
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "the container makes processes faster than they can be stopped; try again",
    ))
}

impl Stopped {
    /// Walks the tree and takes hold of whoever is new; whether anything was
    /// not as in the round before.
    fn meet(&mut self, init: i32) -> Result<bool> {
        let mut changed = false;
        let mut known = std::mem::take(&mut self.processes);
        let mut todo = vec![(init, 0)];
        while let Some((pid, parent)) = todo.pop() {
            let place = known.iter().position(|process| process.pid == pid);
            let mut process = place.map_or_else(
                || StoppedProcess::new(pid),
                |place| known.swap_remove(place),
            );
            process.parent = parent;
            let met = process.meet();
            self.processes.push(process);
            match met {
                Ok(new) => changed |= new,
                // It ended meanwhile, or its thread did.
                Err(error) if is_gone(&error) && pid != init => {
                    if let Some(process) = self.processes.pop() {
                        process.threads.iter().for_each(StoppedThread::abandon);
                    }
                    changed = true;
                    continue;
                }
                Err(error) => {
                    self.processes.append(&mut known);
                    return Err(error);
                }
            }
            if let Ok(children) = procfs::children(pid) {
                todo.extend(children.into_iter().map(|child| (child, pid)));
            }
        }
        // Zombies that were waited for.
        Ok(changed || !known.is_empty())
    }

    fn stand(&mut self, deadline: Instant) -> Result<()> {
        for process in &mut self.processes {
            for thread in process.threads.iter_mut().filter(|thread| !thread.stands) {
                process.with_group |= stand(thread, deadline)?;
            }
        }
        Ok(())
    }
}

impl StoppedProcess {
    fn new(pid: i32) -> Self {
        Self {
            pid,
            inner_pid: 0,
            parent: 0,
            threads: Vec::new(),
            with_group: false,
        }
    }

    /// Takes hold of its new threads; whether there was any, or it is new.
    fn meet(&mut self) -> Result<bool> {
        let pid = self.pid;
        let is_new = self.inner_pid == 0;
        let status = Status::read(&format!("/proc/{pid}"))?;
        self.inner_pid = status.innermost("NSpid");
        if status.get("State").starts_with('Z') {
            return Ok(is_new);
        }
        let mut changed = is_new;
        let own = rustix::process::getpid().as_raw_pid().to_string();
        for tid in procfs::threads(pid)? {
            if self.threads.iter().any(|thread| thread.thread.tid == tid) {
                continue;
            }
            changed = true;
            let status = match Status::read(&format!("/proc/{pid}/task/{tid}")) {
                // The next round does not find it, or finds a zombie.
                Err(error) if is_gone(&error) => continue,
                status => status?,
            };
            let tracer = status.get("TracerPid");
            if tracer == own {
                // It was ending when we took hold of it, and is not gone yet.
                return Err(Error::from_errno(NO_PROCESS));
            }
            if tracer != "0" {
                let why = format!("is traced by process {tracer}; end the debugger");
                return Err(refusal(pid, &why));
            }
            if status.get("State").starts_with('Z') {
                // Mostly the others are about to follow.
                let error = refusal(pid, "lost its main thread while others go on");
                return Err(error.with_kind(ErrorKind::Unavailable));
            }
            let seized =
                ptrace::seize(tid, ptrace::SUSPEND_SECCOMP).and_then(|()| ptrace::interrupt(tid));
            if seized.is_err() && procfs::is_ending(pid, tid) {
                std::thread::sleep(ENDING);
                continue;
            }
            seized.context(|| format!("take hold of process {pid} ({})", status.get("Name")))?;
            self.threads.push(StoppedThread {
                thread: Thread {
                    tid,
                    inner_tid: status.innermost("NSpid"),
                    inner_pid: self.inner_pid,
                },
                registers: Registers::default(),
                signal_mask: 0,
                stands: false,
            });
        }
        Ok(changed)
    }
}

/// `ESRCH`
const NO_PROCESS: i32 = 3;

fn is_gone(error: &Error) -> bool {
    const NO_ENTRY: i32 = 2;
    matches!(error.errno(), Some(NO_ENTRY | NO_PROCESS))
}

/// Waits until it stands; whether it does so with its group.
fn stand(stopped: &mut StoppedThread, deadline: Instant) -> Result<bool> {
    let tid = stopped.thread.tid;
    let with_group = loop {
        match ptrace::wait_until(tid, deadline)? {
            Some(Stop::Interrupted) => break false,
            Some(Stop::WithGroup(_)) => break true,
            // It was about to get it; it does, and stands right after.
            Some(Stop::Signal(signal)) => ptrace::go_on(tid, signal)?,
            Some(Stop::Event(_)) => ptrace::go_on(tid, 0)?,
            Some(Stop::Gone) => {
                let error = refusal(tid, "ended while the container was stopped; try again");
                return Err(error.with_kind(ErrorKind::Unavailable));
            }
            None => {
                return Err(refusal(
                    tid,
                    "is in a system call that cannot be interrupted (vfork, or a file system \
                     that does not answer); try again",
                ));
            }
        }
    };
    stopped.stands = true;
    stopped.signal_mask = ptrace::signal_mask(tid)?;
    stopped.registers = ptrace::registers(tid)?;
    roll_back(stopped)?;
    leave_critical_section(stopped)?;
    Ok(with_group)
}

/// Some calls say EINTR instead of asking to be restarted; where no
/// signal is there for the program to see, it shall not see that either.
fn roll_back(stopped: &mut StoppedThread) -> Result<()> {
    const EINTR: u64 = 4;
    /// epoll_wait and its kin, semop, semtimedop, rt_sigtimedwait,
    /// io_getevents, io_pgetevents; reading, writing, accepting, receiving and
    /// sending where a socket has a timeout.
    const INTERRUPTED: [u64; 19] = [
        232, 281, 441, 65, 220, 128, 208, 333, 0, 1, 19, 20, 43, 288, 44, 45, 46, 47, 299,
    ];
    let registers = &mut stopped.registers.0;
    let call = registers[register::ORIG_RAX];
    if !INTERRUPTED.contains(&call) || registers[register::RAX] != EINTR.wrapping_neg() {
        return Ok(());
    }
    let tid = stopped.thread.tid;
    let status = Status::read(&format!("/proc/{tid}"))?;
    let waiting = status.hex("SigPnd") | status.hex("ShdPnd");
    if waiting & !stopped.signal_mask == 0 {
        registers[register::RIP] -= 2;
        registers[register::RAX] = call;
        registers[register::ORIG_RAX] = u64::MAX;
    }
    Ok(())
}

/// A restartable sequence that we interrupt has to start again (rseq(2)): the
/// kernel cannot know, for it sees the thread elsewhere.
fn leave_critical_section(stopped: &mut StoppedThread) -> Result<()> {
    let tid = stopped.thread.tid;
    // Before Linux 5.13 nobody can ask, and no C library uses it.
    let Ok(Some(rseq)) = ptrace::rseq(tid) else {
        return Ok(());
    };
    let mut area = [0; 16];
    sys::process_vm::read_exact(tid, rseq.address, &mut area)?;
    let section = crate::inject::number(&area, 8);
    if section == 0 {
        return Ok(());
    }
    let mut descriptor = [0; 32];
    if sys::process_vm::read_exact(tid, section, &mut descriptor).is_err() {
        return Ok(());
    }
    let field = |index: usize| crate::inject::number(&descriptor, index * 8);
    let (start, length, abort) = (field(1), field(2), field(3));
    let at = stopped.registers.0[register::RIP];
    if at.wrapping_sub(start) < length {
        stopped.registers.0[register::RIP] = abort;
    }
    Ok(())
}

/// Processes of the cgroup that are not below init came from outside.
fn refuse_strangers(stopped: &Stopped, cgroup: &Cgroup) -> Result<()> {
    let known: Vec<i32> = stopped
        .processes
        .iter()
        .map(|process| process.pid)
        .collect();
    let pids = cgroup.pids()?;
    let Some(stranger) = pids.iter().find(|pid| !known.contains(pid)) else {
        return Ok(());
    };
    let name = procfs::text(&format!("/proc/{stranger}/comm")).unwrap_or_default();
    Err(refusal(
        *stranger,
        &format!(
            "({}) was put into the container from outside (exec); end it first",
            name.trim()
        ),
    ))
}

impl Stopped {
    /// Lets everything go on where it was.
    pub(crate) fn release(mut self) -> Result<()> {
        self.let_go()
    }

    /// Gives every thread what it goes on with, while it still stands.
    pub(crate) fn put_back(&self) -> Result<()> {
        for process in &self.processes {
            for thread in process.threads.iter().filter(|thread| thread.stands) {
                thread.put_back()?;
            }
        }
        Ok(())
    }

    /// Ends all of it; returns when the parent outside can know.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.released = true;
        for process in &self.processes {
            // Those that are gone are what we want.
            let _ = sys::process::signal_pid(process.pid, 9);
        }
        // In whatever order they end: the last of an init waits until all the
        // others of its pid namespace were waited for, which is up to us too.
        ptrace::wait_for_all()?;
        Ok(())
    }

    fn let_go(&mut self) -> Result<()> {
        self.released = true;
        let mut errors = sys::Errors::new();
        for process in &self.processes {
            for thread in &process.threads {
                if thread.stands {
                    errors.keep(thread.go_on());
                    continue;
                }
                thread.abandon();
            }
        }
        errors.into_result()
    }
}

impl StoppedThread {
    fn put_back(&self) -> Result<()> {
        let tid = self.thread.tid;
        ptrace::set_registers(tid, &self.registers)?;
        ptrace::set_signal_mask(tid, self.signal_mask)
    }

    /// Lets go of one that was not read: it has to stand for that. Those that
    /// are ending do not, and need not.
    fn abandon(&self) {
        if self.stands {
            // What it meets then is its end, if anything.
            let _ = self.go_on();
            return;
        }
        let tid = self.thread.tid;
        let signal = match ptrace::wait_until(tid, Instant::now() + ABANDONED) {
            Ok(Some(Stop::Signal(signal))) => signal,
            Ok(Some(Stop::Gone)) => return,
            _ => 0,
        };
        // If that fails it ends with us.
        let _ = ptrace::detach(tid, signal);
    }

    fn go_on(&self) -> Result<()> {
        self.put_back()?;
        let tid = self.thread.tid;
        ptrace::detach(tid, 0).context(|| format!("let go of process {tid}"))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if !self.released {
            // What brought us here is what is told.
            let _ = self.let_go();
        }
    }
}

/// Why the container cannot be checkpointed: process, sentence with remedy.
pub(crate) fn refusal(pid: i32, why: &str) -> Error {
    let inner =
        Status::read(&format!("/proc/{pid}")).map_or(pid, |status| status.innermost("NSpid"));
    Error::new(ErrorKind::Unsupported, format!("process {inner} {why}"))
}
