//! Copying memory while the container runs, so that it stands only for what
//! it wrote meanwhile.
//!
//! The kernel notes which pages are written (userfaultfd(2) with
//! write-protection that nobody waits for, Linux 6.7): a first round copies
//! everything, each further one what was written since. What decides is the
//! look at the last stop: a page that is there, in memory that we have been
//! watching without a break, not written since it was copied, is taken as
//! copied; everything else is copied then.

mod comparison;
mod fingerprint;
mod piece;
mod shared;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use runtime::Cgroup;
use sys::pagemap::PAGE;
use sys::{ErrorKind, Result};

use crate::collect::KEPT;
use crate::dump::DumpOptions;
use crate::freeze;
use crate::image::{Ledger, PageWriter};
use crate::maps::{self, Detail, Line};
use crate::procfs::{self, Status};

pub(crate) use shared::Key;
use shared::SharedPieces;
use watch::Watch;

/// Less memory than this is copied sooner than watched.
const WORTHWHILE: u64 = 16 << 20;
/// … and of a single process.
const WORTHWHILE_EACH: u64 = 2 << 20;
/// What the last stop can copy in passing.
const SMALL: u64 = (4 << 20) / PAGE;
const ROUNDS_MAX: usize = 8;
/// How often it is tried to stop a container in which something just ends.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(2);

/// Memory that was copied before the last stop, and is being watched. When it
/// is dropped, the watch ends.
#[derive(Debug, Default)]
pub(crate) struct Precopied {
    processes: Vec<Copied>,
    pub(crate) shared: SharedPieces,
    /// Of each process with their flags, as they were right before the last
    /// stop.
    mappings: BTreeMap<i32, Vec<Line>>,
    /// Pages that each round copied.
    pub(crate) rounds: Vec<u64>,
}

/// Of one process.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    pid: i32,
    /// None if it is copied as a whole at the last stop.
    watch: Option<Watch>,
    pub(crate) ledger: Ledger,
}

/// Copies what is worth it of the running container. Whatever goes wrong with
/// that, the last stop makes up for.
pub(crate) fn precopy(
    init: i32,
    cgroup: &Cgroup,
    writer: &mut PageWriter,
    options: DumpOptions,
) -> Precopied {
    let mut precopied = Precopied::default();
    let pids = cgroup.pids().unwrap_or_default();
    precopied.shared = SharedPieces::find(init, &pids);
    let total: u64 = pids.into_iter().map(own_memory).sum();
    if total >= WORTHWHILE {
        precopied.begin_patiently(init, cgroup);
    }
    if precopied.processes.is_empty() && precopied.shared.is_empty() {
        return precopied;
    }
    // It runs meanwhile: this is the time to keep the disk busy.
    writer.write_out(true);
    while precopied.goes_on() {
        let copied = precopied.round(writer);
        precopied.rounds.push(copied);
    }
    writer.write_out(false);
    if options.leave_running && !options.is_exact {
        precopied.look_at_mappings(cgroup);
    }
    precopied
}

impl Precopied {
    /// Who cannot be stopped now cannot be later, which is told then.
    fn begin_patiently(&mut self, init: i32, cgroup: &Cgroup) {
        let mut attempts = 0..ATTEMPTS;
        while let Err(error) = self.begin(init, cgroup)
            && error.kind() == ErrorKind::Unavailable
            && attempts.next().is_some()
        {
            std::thread::sleep(PAUSE);
        }
    }

    /// Has every process make a descriptor for us.
    fn begin(&mut self, init: i32, cgroup: &Cgroup) -> Result<()> {
        let stopped = freeze::stop(init, cgroup)?;
        for process in stopped.processes.iter().filter(|it| !it.is_zombie()) {
            if own_memory(process.pid) < WORTHWHILE_EACH || has_direct_io(process.pid) {
                continue;
            }
            if let Ok(watch) = Watch::begin(process) {
                self.processes.push(Copied {
                    pid: process.pid,
                    watch: Some(watch),
                    ..Copied::default()
                });
            }
        }
        stopped.release()
    }

    /// Whether another round would make the last stop shorter.
    fn goes_on(&self) -> bool {
        if self.rounds.len() == ROUNDS_MAX {
            return false;
        }
        match self.rounds.as_slice() {
            [.., before, last] => *last > SMALL && *last < before / 4 * 3,
            [last] => *last > SMALL,
            [] => true,
        }
    }

    fn round(&mut self, writer: &mut PageWriter) -> u64 {
        let processes = self.processes.iter_mut();
        let private: u64 = processes
            .map(|process| process.round(writer).unwrap_or(0))
            .sum();
        private + self.shared.round(writer)
    }

    /// Flags cost a walk over all pages, which would make the stop longer.
    fn look_at_mappings(&mut self, cgroup: &Cgroup) {
        // Those that it fails for are read then.
        let pids = cgroup.pids().unwrap_or_default().into_iter();
        let read = pids.filter_map(|pid| Some((pid, maps::read(pid, Detail::Flags).ok()?)));
        self.mappings = read.collect();
    }

    /// The mappings of a process as they were right before the last stop, if
    /// anybody looked.
    pub(crate) fn mappings(&self, pid: i32) -> &[Line] {
        self.mappings.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// Refuses what [`Precopied::look_at_mappings`] saw if it was not so any
    /// more at the last stop: if it is not so now, that it went on.
    pub(crate) fn confirm_mappings(&self) -> Result<()> {
        for (pid, before) in &self.mappings {
            let Ok(now) = maps::read(*pid, Detail::Flags) else {
                continue;
            };
            if maps::has_changed(before, &now, &KEPT) {
                let why = "changed how its memory is used when it was written down; try again";
                let error = freeze::refusal(*pid, why);
                return Err(error.with_kind(ErrorKind::Unavailable));
            }
        }
        Ok(())
    }

    /// Whether we, and nobody else, watch over memory of the process.
    pub(crate) fn watches(&self, pid: i32) -> bool {
        let mut all = self.processes.iter();
        all.any(|process| process.pid == pid && process.is_watched())
    }

    /// What there is of a process that stands now.
    pub(crate) fn take(&mut self, pid: i32) -> Copied {
        let place = self.processes.iter().position(|it| it.pid == pid);
        place.map_or_else(
            || Copied {
                pid,
                ..Copied::default()
            },
            |place| self.processes.swap_remove(place),
        )
    }

    /// Gives back what [`Precopied::take`] took; the image's runs of it.
    pub(crate) fn put_back(
        &mut self,
        process: Copied,
        writer: &mut PageWriter,
    ) -> Vec<(u64, u64, u64)> {
        let runs = process.ledger.runs();
        if process.watch.is_some() {
            self.processes.push(process);
        } else {
            // Another attempt begins anew with it.
            writer.disown(&runs);
        }
        runs
    }
}

impl Copied {
    /// Copies what was written since the last round.
    fn round(&mut self, writer: &mut PageWriter) -> Result<u64> {
        match &mut self.watch {
            Some(watch) => watch.copy(self.pid, &mut self.ledger, writer),
            None => Ok(0),
        }
    }

    /// Whether the kernel says of our own watch that somebody watches.
    pub(crate) fn is_watched(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::is_alone)
    }

    /// Nothing that was copied counts, if something may have written past the
    /// kernel's notes: devices write to memory directly.
    pub(crate) fn distrust(&mut self, writer: &mut PageWriter) {
        self.ledger.forget(0, u64::MAX, writer);
    }
}

/// Bytes of memory that is neither shared nor a file's.
fn own_memory(pid: i32) -> u64 {
    Status::read(&format!("/proc/{pid}"))
        .ok()
        .and_then(|status| status.numbers("RssAnon").first().copied())
        .map_or(0, |kib| u64::from(kib) << 10)
}

/// Whether it has a file open whose content goes to memory without its
/// processor's doing.
pub(crate) fn has_direct_io(pid: i32) -> bool {
    const O_DIRECT: u32 = 0o40_000;
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return true;
    };
    entries.flatten().any(|entry| {
        let text = procfs::text(&entry.path().to_string_lossy()).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.strip_prefix("flags:"))
            .filter_map(|flags| u32::from_str_radix(flags.trim(), 8).ok())
            .any(|flags| flags & O_DIRECT != 0)
    })
}
