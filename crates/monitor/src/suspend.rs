//! While the container's processes are written down, and when they go on from
//! there.
//!
//! Who writes them down is a process of the engine's (`wharf-runtime dump`);
//! we see to it that the container is either here or on the disk, whoever of
//! them dies: between `Seal` and the end of its processes nothing of it can
//! move, and if the engine is gone by then, its record says what was decided.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use checkpoint::Filled;
use state::{
    CgroupManager, Departure, Durability, Facts, FromMonitor, PidfsInode, ProcessRef, Record,
    SandboxRecord, Timestamp,
};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::control::Role;
use crate::run::Monitor;
use crate::task::Place;
use crate::transition::{Event, Phase};

/// A client has the container to itself.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    /// Nothing moves.
    is_sealed: bool,
    /// Says, if it is there, that the container is suspended.
    record: Option<PathBuf>,
}

impl Monitor {
    pub(crate) fn hold(&mut self, index: usize) -> Result<()> {
        if !matches!(self.state.phase, Phase::Running { .. }) || self.task.is_exec() {
            return Err(conflict("it is not running"));
        }
        if self.is_paused() {
            return Err(conflict("it is paused: unpause it first"));
        }
        if self.held.is_some() {
            return Err(conflict("somebody else is writing it down already"));
        }
        let at = self.now();
        if let Some(checkup) = &mut self.checkup {
            checkup.put_off(at);
        }
        self.held = Some(Hold::default());
        self.clients[index].holds = true;
        Ok(())
    }

    /// All of its memory is there; or the container is ended, before anybody
    /// sees memory that is not what it was.
    pub(crate) fn pager_ended(&mut self) {
        let Some(pager) = &mut self.task.pager else {
            return;
        };
        let lost = match pager.outcome() {
            Ok(Some(filled)) => {
                self.task.pager = None;
                self.tell("fill", counts(filled));
                return self.serve_waiting_holders(Self::hold);
            }
            Ok(None) => Error::new(
                ErrorKind::Internal,
                "whoever brought the rest of its memory was killed",
            ),
            Err(error) => error,
        };
        // Its descriptors stay until the end, so nobody gets zeros.
        self.lost_memory = Some(lost.wrap("go on from the memory that was saved"));
        if let Some(running) = &self.task.running {
            // It may have ended.
            let _ = running.signal(9);
        }
        self.thaw_for(9);
    }

    /// It ended, and needs no memory any more.
    pub(crate) fn dismiss_pager(&mut self) {
        let Some(mut pager) = self.task.pager.take() else {
            return;
        };
        if let Err(error) = pager.outcome() {
            self.lost_memory = Some(error.wrap("go on from the memory that was saved"));
        }
        self.serve_waiting_holders(|_, _| Err(conflict("it just ended")));
    }

    fn serve_waiting_holders(&mut self, act: impl Fn(&mut Self, usize) -> Result<()>) {
        for index in 0..self.clients.len() {
            if std::mem::take(&mut self.clients[index].waits_for_memory) {
                self.answer(index, |monitor| act(monitor, index));
            }
        }
    }

    pub(crate) fn seal(&mut self, index: usize, record: Option<PathBuf>) -> Result<()> {
        let (Some(running), true) = (&self.task.running, self.clients[index].holds) else {
            return Err(conflict("it just ended"));
        };
        running.cgroup().hold_still()?;
        self.held = Some(Hold {
            is_sealed: true,
            record,
        });
        Ok(())
    }

    pub(crate) fn release(&mut self, index: usize) -> Result<()> {
        if !std::mem::take(&mut self.clients[index].holds) {
            return Err(conflict("it is not held"));
        }
        self.mend();
        self.let_go_of_hold()
    }

    pub(crate) fn leave(&mut self, index: usize, departure: Departure) -> Result<()> {
        if !self.clients[index].holds {
            return Err(conflict("it just ended"));
        }
        self.events.push_back(Event::Leave(departure));
        Ok(())
    }

    /// Whoever held it is gone without a word.
    pub(crate) fn holder_is_gone(&mut self) {
        let record = self.held.as_ref().and_then(|hold| hold.record.as_ref());
        if record.is_some_and(|record| record.exists()) {
            self.events.push_back(Event::Leave(Departure::Suspended));
        } else {
            self.mend();
            // If it fails, the container stands still and can be killed.
            let _ = self.let_go_of_hold();
        }
    }

    /// If whoever wrote it down was killed at that, its connections hear
    /// nothing.
    fn mend(&self) {
        if let Some(running) = &self.task.running {
            // The next one who writes it down tries once more.
            let _ = checkpoint::mend(running.process());
        }
    }

    /// Nothing of a run is held beyond its end: the next one starts in the
    /// same cgroup.
    pub(crate) fn let_go_of_hold(&mut self) -> Result<()> {
        let was_sealed = self.held.take().is_some_and(|hold| hold.is_sealed);
        match &self.task.running {
            Some(running) if was_sealed => running.cgroup().thaw(),
            _ => Ok(()),
        }
    }

    /// Ends all of it at once.
    pub(crate) fn end_all(&mut self) {
        if let Some(running) = &self.task.running {
            // Whoever wrote it down may have been quicker.
            let _ = running.signal(9);
        }
        // On version 1 who stands still does not die.
        let _ = self.let_go_of_hold();
    }

    pub(crate) fn announce_suspension(&mut self) {
        self.tell("suspend", BTreeMap::new());
        self.stop_listening();
        self.ports.clear();
        for client in &mut self.clients {
            client.send(FromMonitor::Suspended);
        }
        self.told = Some(self.now());
        self.task.let_go();
    }

    /// Starts what was created; what goes on from memory on the disk is
    /// written down before it moves.
    pub(crate) fn start(&mut self) -> Result<()> {
        let record = self.task.suspend_record();
        let asks = self.task.asks();
        let place = self.task.place();
        let (facts, run_dir) = (&mut self.facts, &self.run_dir);
        let clients = &mut self.clients;
        self.task.start(&mut self.stdio, &mut |init| {
            if let Some(facts) = facts {
                note_start(facts, run_dir, init, &place);
                Record::write(&run_dir.join("facts.json"), facts, Durability::Fast)?;
            }
            if asks {
                let launcher = clients
                    .iter_mut()
                    .find(|client| client.role == Role::Launcher)
                    .ok_or_else(|| conflict("whoever started it is gone"))?;
                launcher.ask(FromMonitor::Whole { init })?;
            }
            record.as_deref().map_or(Ok(()), take_away)
        })
    }
}

fn counts(filled: Filled) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("missing".to_owned(), filled.missing.to_string()),
        ("awaited".to_owned(), filled.awaited.to_string()),
        ("inTurn".to_owned(), filled.in_turn.to_string()),
    ])
}

/// What there is to say of something that runs from now on.
pub(crate) fn note_start(facts: &mut Facts, run_dir: &Path, init: ProcessRef, place: &Place) {
    let now = Timestamp::now();
    facts.started = Some(now);
    facts.paused = false;
    facts.waiting = None;
    facts.init_inode = PidfsInode::of_child(init);
    facts.sandbox = Some(SandboxRecord {
        bundle: run_dir.to_owned(),
        init,
        cgroup: place.cgroup.clone(),
        cgroup_manager: CgroupManager::Cgroupfs,
        annotations: BTreeMap::new(),
        created: now,
        stdio: place.stdio,
    });
}

/// For good, also if the power fails: else it would go on once more from
/// memory that its files are ahead of.
fn take_away(record: &Path) -> Result<()> {
    let take_away = || -> Result<()> {
        fs::remove_file(record)?;
        if let Some(directory) = record.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    };
    take_away().context(|| format!("remove {}", record.display()))
}

fn conflict(why: &str) -> Error {
    Error::new(ErrorKind::Conflict, why)
}
