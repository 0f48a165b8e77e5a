//! Doing what [`crate::transition`] decided.

use state::{
    BootId, Durability, ExitRecord, Facts, FromMonitor, ProcessRef, Record, SandboxRecord,
    Timestamp,
};
use sys::{Error, Result};

use crate::run::Monitor;
use crate::transition::{Action, End, Event};

impl Monitor {
    pub(crate) fn perform(&mut self, action: Action) {
        match action {
            Action::Start => {
                let started = self.task.start(&mut self.stdio);
                self.tell_how_it_started(started);
            }
            Action::StartAgain => {
                let started = self
                    .task
                    .create(&mut self.stdio)
                    .and_then(|()| self.task.start(&mut self.stdio));
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
        if let Some(facts) = &mut self.facts {
            let now = Timestamp::now();
            facts.started = Some(now);
            facts.restarts = self.state.restarts;
            facts.stop_requested = self.state.stop_requested;
            facts.sandbox = Some(SandboxRecord {
                bundle: self.run_dir.clone(),
                init,
                cgroup: self.task.cgroup().to_owned(),
                annotations: std::collections::BTreeMap::new(),
                created: now,
            });
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
        if !self.state.may_restart() {
            self.task.forget_work();
        }
        if self.state.restarts == 0
            && let Some(launcher) = self.launcher()
        {
            launcher.send(FromMonitor::Started { init });
        }
    }

    fn write_facts(&self) -> Result<()> {
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
        let record = self.exit.record(ExitRecord {
            status: end.status,
            out_of_memory: end.out_of_memory,
            started: self.facts.as_ref().and_then(|facts| facts.started),
            finished: Timestamp::now(),
            error,
            restarts: self.state.restarts,
        });
        self.stop_listening();
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
        started: None,
        restarts: 0,
        stop_requested: false,
    })
}
