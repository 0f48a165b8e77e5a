//! Doing what [`crate::transition`] decided.

use std::collections::BTreeMap;

use state::{
    BootId, Departure, Durability, ExitRecord, Facts, FromMonitor, HealthAction, HealthStatus,
    ProcessRef, Record, Timestamp,
};
use sys::{Error, Result};

use crate::run::Monitor;
use crate::suspend::note_start;
use crate::transition::{Action, End, Event};

impl Monitor {
    pub(crate) fn perform(&mut self, action: Action) {
        match action {
            Action::Start => {
                let started = self.start();
                self.tell_how_it_started(started);
            }
            Action::StartAgain => {
                let started = self
                    .task
                    .create(&mut self.stdio)
                    .and_then(|()| self.start());
                self.tell_how_it_started(started);
            }
            Action::Abandon => self.task.abandon(),
            Action::AnnounceStart => self.announce_start(),
            Action::UpdateFacts => {
                if let Some(facts) = &mut self.facts {
                    facts.stop_requested = self.state.stop_requested;
                }
                // The stop works without; only a crash of ours would forget it.
                let _ = self.write_facts();
            }
            Action::ReportFailure(error) => self.report_failure(&error),
            Action::AnnounceWait(end) => self.announce_wait(end),
            Action::Signal(signal) => {
                if let Some(running) = &self.task.running {
                    // It may be gone by now, and then there is nobody to tell.
                    let _ = running.signal(signal);
                }
                self.thaw_for(signal);
            }
            Action::EndAll => self.end_all(),
            Action::AnnounceSuspension => self.announce_suspension(),
            Action::Record { end, error } => self.record(end, error),
        }
    }

    fn tell_how_it_started(&mut self, started: Result<()>) {
        let event = match started {
            Ok(()) => Event::Started { at: self.now() },
            Err(error) => {
                self.task.abandon();
                self.stdio.disconnect();
                Event::StartFailed(error)
            }
        };
        // Before anything else that waits to be handled.
        self.events.push_front(event);
    }

    fn announce_start(&mut self) {
        let Some(running) = &self.task.running else {
            return;
        };
        let init = running.process();
        self.lost_memory = None;
        if let Some(facts) = &mut self.facts {
            note_start(facts, &self.run_dir, init, &self.task.place());
            facts.restarts = self.state.restarts;
            facts.stop_requested = self.state.stop_requested;
            facts.health = self.checkup.as_ref().map(|_| HealthStatus::Starting);
        }
        if let Err(error) = self.write_facts() {
            // What nobody can find must not run.
            let _ = running.signal(9);
            self.events.push_back(Event::StopRequested);
            if let Some(launcher) = self.launcher() {
                launcher.send(FromMonitor::Failed(error));
            }
            return;
        }
        let heals = self
            .checkup
            .as_ref()
            .is_some_and(|checkup| checkup.job().config.on_failure == HealthAction::Restart);
        if !self.state.may_restart() && !heals {
            self.task.forget_work();
        }
        // Before anybody is told, so that nothing else comes before it.
        let word = self.task.take_word();
        self.tell(word, BTreeMap::new());
        if self.state.restarts == 0
            && let Some(launcher) = self.launcher()
        {
            launcher.send(FromMonitor::Started { init });
        }
        let at = self.now();
        if let Some(checkup) = &mut self.checkup {
            checkup.health.run_began(at);
            let path = self.run_dir.join("health.json");
            let _ = Record::write(&path, checkup.health.record(), Durability::Fast);
        }
    }

    /// Its own end of this run; nobody is told, for it goes on.
    fn announce_wait(&mut self, end: End) {
        self.tell_end(end);
        let record = self.record_of(end, None);
        if let Some(facts) = &mut self.facts {
            facts.waiting = Some(record);
        }
        // The restart works without; it is only not shown.
        let _ = self.write_facts();
    }

    fn record_of(&self, end: End, error: Option<Error>) -> ExitRecord {
        ExitRecord {
            status: end.status,
            out_of_memory: end.out_of_memory,
            started: self.facts.as_ref().and_then(|facts| facts.started),
            finished: Timestamp::now(),
            error: error.or_else(|| self.lost_memory.clone()),
            restarts: self.state.restarts,
            stopped: self.state.stop_requested,
            memory_limit: end.memory_limit,
            checkpointed: self.state.leaving == Some(Departure::Checkpointed),
        }
    }

    fn tell_end(&self, end: End) {
        if end.out_of_memory {
            self.tell("oom", BTreeMap::new());
        }
        let started = self.facts.as_ref().and_then(|facts| facts.started);
        let ran = started.map_or(0, |started| started.elapsed().as_secs());
        self.tell(
            "die",
            BTreeMap::from([
                ("execDuration".to_owned(), ran.to_string()),
                ("exitCode".to_owned(), end.status.code().to_string()),
            ]),
        );
    }

    pub(crate) fn write_facts(&self) -> Result<()> {
        match &self.facts {
            Some(facts) => Record::write(&self.run_dir.join("facts.json"), facts, Durability::Fast),
            None => Ok(()),
        }
    }

    fn report_failure(&mut self, error: &Error) {
        self.stop_listening();
        for client in &mut self.clients {
            client.send(FromMonitor::Failed(error.clone()));
        }
        let has_heard = self
            .launcher()
            .is_some_and(|launcher| !launcher.is_gone && !launcher.has_queue());
        if has_heard {
            self.exit.leave_clean_up();
        }
        self.told = Some(self.now());
    }

    fn record(&mut self, end: End, error: Option<Error>) {
        let record = self.exit.record(self.record_of(end, error));
        // While it waited for a restart, its end was told.
        if self
            .facts
            .as_ref()
            .is_some_and(|facts| facts.waiting.is_none())
        {
            self.tell_end(end);
        }
        self.stop_listening();
        // Whoever hears of the end may want them at once.
        self.ports.clear();
        for client in &mut self.clients {
            client.send(FromMonitor::Exited(record.clone()));
        }
        self.told = Some(self.now());
        self.task.let_go();
    }
}

/// What is known before the start, so that little is left to do after it.
pub(crate) fn first_facts() -> Result<Facts> {
    Ok(Facts {
        boot: BootId::current()?,
        monitor: ProcessRef::of(std::process::id().cast_signed())?,
        sandbox: None,
        init_inode: None,
        started: None,
        restarts: 0,
        stop_requested: false,
        paused: false,
        waiting: None,
        health: None,
    })
}
