//! The tree of processes: pids, parents, sessions, groups, and those that
//! ended and were not waited for.

use std::collections::BTreeMap;
use std::ops::Range;

use sys::ptrace::{self, Stop};
use sys::{Error, ErrorKind, Result};

use super::{MUNMAP, Puppet, Work, terminals};
use crate::image::schema::{Process, ProcessState};
use crate::inject::{Program, Thread};
use crate::staging::Share;

const MADVISE: u32 = 28;
const SETPGID: u32 = 109;
const SETSID: u32 = 112;
const WAIT4: u32 = 61;
const CLONE3: u32 = 435;
const EXIT_GROUP: u32 = 231;
const CLONE_PARENT: u64 = 0x8000;
const SIGCHLD: u64 = 17;
const MADV_DONTFORK: u32 = 10;
const MADV_DOFORK: u32 = 11;

/// Everything that was made, the helpers too.
struct Growth<'a> {
    work: &'a Work<'a>,
    puppets: Vec<Puppet>,
    /// Stand-ins for leaders of sessions and groups that are gone, with the
    /// parent that has to bury them.
    helpers: BTreeMap<i32, (Puppet, i32)>,
}

/// Forks the processes of the checkpoint, `first` being their init, with the
/// pids, sessions and groups that they had. The zombies are dead already.
pub(super) fn grow(first: Puppet, work: &Work<'_>) -> Result<Vec<Puppet>> {
    let mut growth = Growth {
        work,
        puppets: vec![first],
        helpers: BTreeMap::new(),
    };
    growth.sprout(0)?;
    growth.form_groups()?;
    growth.give_terminals()?;
    growth.let_zombies_die()?;
    growth.dismiss_helpers()?;
    Ok(growth.puppets)
}

impl Growth<'_> {
    fn sprout(&mut self, place: usize) -> Result<()> {
        let what = self.work.process(&self.puppets[place])?;
        let children = self.work.checkpoint.processes.iter();
        let children: Vec<&Process> = children.filter(|it| it.parent == what.pid).collect();
        // pid 1 leads its session since the sandbox was made.
        let leads = what.session == what.pid && what.pid != 1;
        if !children.is_empty() {
            self.inherit_nothing(place, what.pid)?;
        }
        // Those of another session were there before this one had its own.
        let (later, earlier): (Vec<&Process>, Vec<&Process>) = children
            .into_iter()
            .partition(|child| !leads || child.session == what.pid || child.session == child.pid);
        self.bear(place, what, &earlier)?;
        if leads {
            run_one(&self.puppets[place], "make a session", SETSID, &[])?;
        }
        if what.session == what.pid {
            // Before those that get it from this one.
            terminals::control(&self.puppets[place], what, self.work)?;
        }
        self.bear(place, what, &later)
    }

    fn bear(&mut self, place: usize, parent: &Process, children: &[&Process]) -> Result<()> {
        let is_orphaned = |child: &Process| {
            let session = child.session;
            session != child.pid && session != parent.session && !self.is_known(session)
        };
        let (orphans, others): (Vec<&Process>, Vec<&Process>) =
            children.iter().partition(|child| is_orphaned(child));
        let others: Vec<_> = others
            .iter()
            .map(|child| (child.pid, self.staged_with(child.pid)))
            .collect();
        let mut born = fork(&self.puppets[place], 0, &others)?;
        for child in orphans {
            self.ensure_helper(place, child.session, true)?;
            let Some((helper, _)) = self.helpers.get(&child.session) else {
                return Err(lost());
            };
            // The helper has what all children of its mother need.
            let puppet = fork_one(helper, CLONE_PARENT, child.pid)?;
            self.drop_others(&puppet, &self.staged_with(child.pid))?;
            born.push(puppet);
        }
        for puppet in born {
            self.puppets.push(puppet);
            self.sprout(self.puppets.len() - 1)?;
        }
        Ok(())
    }

    /// A process in place of one that is gone: a leader's number is taken as
    /// long as its session or group lives.
    fn ensure_helper(&mut self, parent: usize, pid: i32, leads_session: bool) -> Result<()> {
        if self.helpers.contains_key(&pid) {
            return Ok(());
        }
        let mother = &self.puppets[parent];
        let buried_by = mother.thread.inner_pid;
        if leads_session {
            let mut program = Program::default();
            advise(&mut program, &self.staged_below(buried_by), MADV_DOFORK);
            mother.run(&program)?;
        }
        let helper = fork_one(mother, 0, pid)?;
        if leads_session {
            run_one(&helper, "make a session", SETSID, &[])?;
        } else {
            run_one(&helper, "make a group", SETPGID, &[0, 0])?;
        }
        self.helpers.insert(pid, (helper, buried_by));
        Ok(())
    }

    /// What is staged for process `pid` and its descendants; nothing without a
    /// template.
    fn staged_with(&self, pid: i32) -> Range<u64> {
        let share = self.work.source.share(pid);
        share.map_or(0..0, Share::subtree)
    }

    /// For its descendants alone.
    fn staged_below(&self, pid: i32) -> Range<u64> {
        let share = self.work.source.share(pid);
        share.map_or(0..0, |share| share.own().end..share.subtree().end)
    }

    /// Each fork copies tables of pages: nobody gets more than its own and its
    /// descendants'.
    fn inherit_nothing(&self, place: usize, pid: i32) -> Result<()> {
        let mut program = Program::default();
        advise(&mut program, &self.staged_with(pid), MADV_DONTFORK);
        self.puppets[place].run(&program).map(drop)
    }

    fn drop_others(&self, puppet: &Puppet, staged: &Range<u64>) -> Result<()> {
        let span = self.work.source.span();
        let mut program = Program::default();
        unmap(&mut program, &(span.start..staged.start));
        unmap(&mut program, &(staged.end..span.end));
        puppet.run(&program).map(drop)
    }

    fn form_groups(&mut self) -> Result<()> {
        // Leaders first: nobody can join a group that is not there.
        for leads in [true, false] {
            for place in 0..self.puppets.len() {
                let what = self.work.process(&self.puppets[place])?;
                let is_leader = what.group == what.pid;
                if is_leader != leads || what.session == what.pid || what.group == 0 {
                    continue;
                }
                if !is_leader && !self.has_group(what.group) {
                    self.ensure_helper(place, what.group, false)?;
                }
                let group = u64::from(what.group.unsigned_abs());
                run_one(&self.puppets[place], "join a group", SETPGID, &[0, group])?;
            }
        }
        Ok(())
    }

    /// Somebody who lives, or stands in for the dead, is called that.
    fn has_group(&self, group: i32) -> bool {
        self.helpers.contains_key(&group) || self.is_known(group)
    }

    fn is_known(&self, pid: i32) -> bool {
        let mut all = self.work.checkpoint.processes.iter();
        all.any(|process| process.pid == pid)
    }

    /// While all groups are there. Those that have given their session's
    /// terminal up got it all the same.
    fn give_terminals(&self) -> Result<()> {
        for puppet in &self.puppets {
            let what = self.work.process(puppet)?;
            let leader = self.work.checkpoint.processes.iter();
            let mut leader = leader.filter(|it| it.pid == what.session);
            let inherited = leader.next().and_then(|leader| leader.terminal);
            if what.session == what.pid {
                terminals::set_foreground(puppet, what, self.work)?;
            } else if what.terminal.is_none()
                && let Some(number) = inherited
            {
                terminals::give_up(puppet, number, self.work)?;
            }
        }
        Ok(())
    }

    fn let_zombies_die(&mut self) -> Result<()> {
        let mut living = Vec::new();
        for puppet in std::mem::take(&mut self.puppets) {
            match self.work.process(&puppet)?.state {
                ProcessState::Zombie(status) => {
                    end(&puppet, status)?;
                }
                _ => living.push(puppet),
            }
        }
        self.puppets = living;
        Ok(())
    }

    fn dismiss_helpers(&mut self) -> Result<()> {
        for (pid, (helper, buried_by)) in std::mem::take(&mut self.helpers) {
            end(&helper, 0)?;
            let parent = self
                .puppets
                .iter()
                .find(|puppet| puppet.thread.inner_pid == buried_by)
                .ok_or_else(lost)?;
            let pid = u64::from(pid.unsigned_abs());
            run_one(parent, "bury a helper", WAIT4, &[pid])?;
        }
        Ok(())
    }
}

/// Children of `parent` (or of its parent, by flag) with these pids; to each
/// goes what is staged for it.
fn fork(parent: &Puppet, flags: u64, children: &[(i32, Range<u64>)]) -> Result<Vec<Puppet>> {
    let exit_signal = if flags & CLONE_PARENT == 0 {
        SIGCHLD
    } else {
        0
    };
    let mut program = Program::default();
    for (pid, staged) in children {
        let purpose = format!("make process {pid} again (is its pid taken?)");
        program.part(purpose, |program| {
            advise(program, staged, MADV_DOFORK);
            clone(program, flags, exit_signal, *pid);
            unmap(program, staged);
        });
    }
    let born = parent.run(&program)?.children;
    if born.len() != children.len() {
        return Err(lost());
    }
    let born = born.into_iter().zip(children);
    born.map(|(tid, (pid, _))| {
        await_birth(tid)?;
        let thread = Thread {
            tid,
            inner_tid: *pid,
            inner_pid: *pid,
        };
        Ok(Puppet {
            thread,
            area: parent.area,
            others: Vec::new(),
        })
    })
    .collect()
}

fn fork_one(parent: &Puppet, flags: u64, pid: i32) -> Result<Puppet> {
    let mut born = fork(parent, flags, &[(pid, 0..0)])?;
    born.pop().ok_or_else(lost)
}

fn advise(program: &mut Program, range: &Range<u64>, advice: u32) {
    if !range.is_empty() {
        let length = range.end - range.start;
        // There are holes in it, of which the call complains when it is done.
        program.attempt(MADVISE, &[range.start.into(), length.into(), advice.into()]);
    }
}

fn unmap(program: &mut Program, range: &Range<u64>) {
    if !range.is_empty() {
        let length = range.end - range.start;
        let arguments = [range.start.into(), length.into()];
        program.call("drop what was staged", MUNMAP, &arguments);
    }
}

/// Adds a clone3(2) that gives the new task a number of our choice.
pub(super) fn clone(program: &mut Program, flags: u64, exit_signal: u64, tid: i32) {
    let tids = program.data(&tid.to_le_bytes());
    let mut arguments = vec![0; 88];
    arguments[0..8].copy_from_slice(&flags.to_le_bytes());
    arguments[32..40].copy_from_slice(&exit_signal.to_le_bytes());
    arguments[72..80].copy_from_slice(&1u64.to_le_bytes());
    let place = program.data(&arguments);
    program.point(place, 64, tids);
    program.call("clone", CLONE3, &[place.into(), 88.into()]);
}

/// A new tracee stands before it does anything.
pub(super) fn await_birth(tid: i32) -> Result<()> {
    match ptrace::wait(tid)? {
        Stop::Interrupted => Ok(()),
        stop => Err(Error::new(
            ErrorKind::Internal,
            format!("a new process did not stand but {stop:?}"),
        )),
    }
}

/// Ends a process with the status that wait(2) shall give.
fn end(puppet: &Puppet, status: i32) -> Result<()> {
    let tid = puppet.thread.tid;
    let signal = status & 0x7f;
    if signal != 0 {
        sys::process::signal_pid(tid, signal)?;
        // Default actions for all signals: this is its end.
        ptrace::set_signal_mask(tid, 0)?;
        ptrace::go_on(tid, 0)?;
        loop {
            match ptrace::wait(tid)? {
                Stop::Gone => return Ok(()),
                Stop::Signal(signal) => ptrace::go_on(tid, signal)?,
                _ => ptrace::go_on(tid, 0)?,
            }
        }
    }
    let mut program = Program::default();
    let code = u32::try_from(status >> 8 & 0xff).unwrap_or(0);
    program.call("end", EXIT_GROUP, &[code.into()]);
    // It does not come back, which is what was wanted.
    match puppet.run(&program) {
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
        done => done.map(drop),
    }
}

fn run_one(puppet: &Puppet, act: &'static str, number: u32, arguments: &[u64]) -> Result<()> {
    let mut program = Program::default();
    let arguments: Vec<_> = arguments.iter().map(|value| (*value).into()).collect();
    program.call(act, number, &arguments);
    puppet.run(&program).map(drop)
}

fn lost() -> Error {
    Error::new(ErrorKind::Internal, "a new process was lost")
}
