//! `stop` and `kill`: the monitor signals, since it is the parent.

use std::fs;
use std::time::Duration;

use state::channel::is_hang_up;
use state::{
    Channel, ContainerId, Durability, ExitRecord, ExitStatus, Record, Status, Timestamp, ToMonitor,
};
use sys::{Context as _, Error, ErrorKind, Result};

use super::attach::{connect, not_running, running};
use super::start::Locked;
use super::wait::{Heard, exit_of};
use super::{Containers, observe};
use crate::cleanup::Anonymous;
use crate::volumes;

const KILL: i32 = 9;
/// The kernel needs no longer than this to end a killed process, unless a
/// device holds it.
pub(super) const KILL_PATIENCE: Duration = Duration::from_secs(30);

impl Containers<'_> {
    /// Stops it: `signal`, then SIGKILL after `timeout` (its own if absent).
    /// Fine if it does not run. Afterwards everything it used is free again.
    pub fn stop(
        &self,
        container: &str,
        signal: Option<i32>,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let id = self.resolve(container)?;
        let Some(observed) = observe::observe(self.engine, &id)? else {
            return Err(no_such(container));
        };
        if observed.is_suspended() {
            return Err(suspended(
                container,
                "resume it to stop it in order, or kill it to give its memory up",
            ));
        }
        let stop = &observed.config.stop;
        let signal = signal.unwrap_or(stop.signal);
        let goes_on = observed.is_running() || matches!(observed.status, Status::Restarting(_));
        if goes_on {
            let number = [("signal", signal.to_string())];
            self.engine.tell(&observed.config, "kill", &number);
        }
        self.end(&id, signal, timeout.unwrap_or(stop.timeout))?;
        if goes_on {
            self.engine.tell(&observed.config, "stop", &[]);
        }
        Ok(())
    }

    /// Sends a signal; `Conflict` if it does not run. After SIGKILL it waits
    /// for the end.
    pub fn kill(&self, container: &str, signal: i32) -> Result<()> {
        let id = self.resolve(container)?;
        if signal == KILL && self.give_up(id)? {
            return Ok(());
        }
        let channel = running(self.engine, &id, container)?;
        if let Some(observed) = observe::observe(self.engine, &id)? {
            let number = [("signal", signal.to_string())];
            self.engine.tell(&observed.config, "kill", &number);
        }
        if signal != KILL {
            return match channel.send(&ToMonitor::Signal(signal)) {
                Err(error) if is_hang_up(&error) => Err(not_running(container)),
                sent => sent,
            };
        }
        channel.ask(&ToMonitor::Wait, &[])?;
        channel.ask(&ToMonitor::StopRequested, &[])?;
        channel.ask(&ToMonitor::Signal(KILL), &[])?;
        match exit_of(&channel, Some(KILL_PATIENCE))? {
            Heard::TimeOut => Err(does_not_die(&id)),
            Heard::Exited(_) | Heard::Suspended | Heard::Gone => self.engine.cleanup(&id),
        }
    }

    /// Ends a suspended container where it lies: its memory is given up. False
    /// if it is not suspended.
    fn give_up(&self, id: ContainerId) -> Result<bool> {
        let locked = Locked::take(self.engine, id)?;
        let Status::Suspended(suspended) = &locked.observed.status else {
            return Ok(false);
        };
        self.engine.clear_run(&id, &locked.observed)?;
        let layout = self.engine.layout();
        let record = ExitRecord {
            status: ExitStatus::Signal(KILL),
            stopped: true,
            ..ExitRecord::unseen(suspended.started, Timestamp::now())
        };
        Record::write(&layout.container_exit(&id), &record, Durability::Fast)?;
        let path = layout.container_suspended(&id);
        fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
        volumes::remove_tree(&layout.container_memory(&id))?;
        let config = &locked.observed.config;
        let attributes = [("signal", KILL.to_string())];
        self.engine.tell(config, "kill", &attributes);
        self.engine.tell(
            config,
            "die",
            &[("exitCode", record.status.code().to_string())],
        );
        if config.auto_remove {
            self.engine.begin_removal(&id, Anonymous::Remove)?;
            self.engine.finish_removal(&id)?;
        }
        Ok(true)
    }

    /// Brings it to an end and cleans up.
    pub(super) fn end(&self, id: &ContainerId, signal: i32, timeout: Duration) -> Result<()> {
        if let Some(channel) = connect(self.engine, id)? {
            end_by(&channel, id, signal, timeout)?;
        }
        // The monitor may be dead or may have run this; it is idempotent.
        self.engine.cleanup(id)
    }
}

pub(super) fn end_by(
    channel: &Channel,
    id: &ContainerId,
    signal: i32,
    timeout: Duration,
) -> Result<()> {
    let ask = || -> Result<Heard> {
        channel.ask(&ToMonitor::Wait, &[])?;
        // First, so that no policy restarts it.
        channel.ask(&ToMonitor::StopRequested, &[])?;
        channel.ask(&ToMonitor::Signal(signal), &[])?;
        let first = if signal == KILL {
            KILL_PATIENCE
        } else {
            timeout
        };
        if let Heard::Exited(record) = exit_of(channel, Some(first))? {
            return Ok(Heard::Exited(record));
        }
        channel.ask(&ToMonitor::Signal(KILL), &[])?;
        exit_of(channel, Some(KILL_PATIENCE))
    };
    match ask() {
        Ok(Heard::TimeOut) => Err(does_not_die(id)),
        // If it died while we talked, clean-up looks at what is true then.
        Ok(Heard::Exited(_) | Heard::Suspended | Heard::Gone) => Ok(()),
        Err(error) => Err(error),
    }
}

fn does_not_die(id: &ContainerId) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("container {} does not end after SIGKILL", id.short()),
    )
}

pub(super) fn suspended(container: &str, remedy: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("container {container} is suspended: {remedy}"),
    )
}

pub(super) fn no_such(container: &str) -> Error {
    let shown: String = container.chars().take(80).collect();
    Error::new(ErrorKind::NotFound, format!("no such container: {shown}"))
}
