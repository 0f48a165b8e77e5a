//! What changes while the container runs: standing still, limits, policy,
//! health. What is changed is written down before anybody is told.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{SocketType, getsockname, sockopt};
use state::{
    Event as Happening, EventKind, FromMonitor, HealthAction, HealthStatus, LiveMounts, LiveUpdate,
    PortMapping, Protocol, Record, StartSpec, Timestamp,
};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::checkup::Place;
use crate::health::Verdict;
use crate::run::Monitor;
use crate::transition::{Event, Phase};

/// Larger than any job.
const WORK_MAX: usize = 16 << 20;

impl Monitor {
    /// Does what a client asked for and tells it.
    pub(crate) fn answer(&mut self, index: usize, act: impl FnOnce(&mut Self) -> Result<()>) {
        let answer = match act(self) {
            Ok(()) => FromMonitor::Done,
            Err(error) => FromMonitor::Refused(error),
        };
        if let Some(client) = self.clients.get_mut(index) {
            client.send(answer);
        }
    }

    pub(crate) fn pause(&mut self) -> Result<()> {
        let Some(running) = &self.task.running else {
            return Err(not_running());
        };
        if self.is_paused() {
            return Err(Error::new(ErrorKind::Conflict, "it is paused already"));
        }
        if self.held.is_some() {
            return Err(Error::new(
                ErrorKind::Conflict,
                "it is just being written down: try again",
            ));
        }
        running.cgroup().freeze()?;
        self.set_paused(true).inspect_err(|_| {
            // What nobody could find out must not be.
            if let Some(running) = &self.task.running {
                let _ = running.cgroup().thaw();
            }
        })?;
        self.tell("pause", BTreeMap::new());
        Ok(())
    }

    pub(crate) fn unpause(&mut self) -> Result<()> {
        let Some(running) = &self.task.running else {
            return Err(not_running());
        };
        if !self.is_paused() {
            return Err(Error::new(ErrorKind::Conflict, "it is not paused"));
        }
        running.cgroup().thaw()?;
        self.set_paused(false)?;
        self.tell("unpause", BTreeMap::new());
        Ok(())
    }

    /// A frozen process cannot end: a signal that is meant to end it lets it
    /// go on.
    pub(crate) fn thaw_for(&mut self, signal: i32) {
        let is_stop = self.state.stop_requested || self.events.contains(&Event::StopRequested);
        if self.is_paused() && (signal == 9 || is_stop) {
            // Its end is told in any case.
            let _ = self.unpause();
        }
    }

    pub(crate) fn update(&mut self, update: &LiveUpdate, fds: &[OwnedFd]) -> Result<()> {
        let start: Option<StartSpec> = fds
            .first()
            .map(|fd| -> Result<StartSpec> {
                let text = sys::memfd::read_sealed(fd, WORK_MAX)?;
                serde_json::from_slice(&text)
                    .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
            })
            .transpose()
            .context(|| "read what to start from now on")?;
        if let Some(running) = &self.task.running {
            running.cgroup().update(&update.resources)?;
        }
        if let Some(start) = start {
            self.task.set_work(start);
        }
        if let Some(policy) = update.restart {
            self.events.push_back(Event::PolicyChanged(policy));
        }
        Ok(())
    }

    /// More published ports.
    pub(crate) fn hold_ports(&mut self, count: usize, sockets: Vec<OwnedFd>) -> Result<()> {
        if sockets.len() != count {
            // The kernel leaves out what there is no room for.
            return Err(Error::new(
                ErrorKind::Unavailable,
                "its monitor may not have so many files open: each published port takes one or two",
            ));
        }
        self.ports.extend(sockets);
        Ok(())
    }

    /// Lets go of all ports but those on the list.
    pub(crate) fn keep_ports(&mut self, fds: &[OwnedFd]) -> Result<()> {
        let read = || -> Result<HashSet<(SocketAddr, Protocol)>> {
            let text = sys::memfd::read_sealed(only(fds)?, WORK_MAX)?;
            let ports: Vec<PortMapping> = serde_json::from_slice(&text)
                .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))?;
            Ok(ports.iter().map(|one| (one.host, one.protocol)).collect())
        };
        let kept = read().context(|| "read which ports are held from now on")?;
        self.ports
            .retain(|socket| place_of(socket).is_ok_and(|place| kept.contains(&place)));
        Ok(())
    }

    pub(crate) fn change_mounts(&mut self, fds: &[OwnedFd]) -> Result<()> {
        let read = || -> Result<LiveMounts> {
            let text = sys::memfd::read_sealed(only(fds)?, WORK_MAX)?;
            serde_json::from_slice(&text)
                .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
        };
        let change = read().context(|| "read which mounts change")?;
        match &self.task.running {
            Some(_) if self.held.is_some() => Err(Error::new(
                ErrorKind::Conflict,
                "it is just being written down: try again",
            )),
            Some(running) => running.change_mounts(&change.remove, &change.add),
            None => Err(not_running()),
        }
    }

    /// The process is gone.
    pub(crate) fn run_ended(&mut self) {
        if let Some(checkup) = &mut self.checkup {
            checkup.run_ended();
        }
        if self.is_paused() {
            // The next run starts in the same cgroup, and must not stand still.
            let _ = self.unpause();
        }
        // As above.
        let _ = self.let_go_of_hold();
    }

    pub(crate) fn take_probe_output(&mut self) {
        if let Some(checkup) = &mut self.checkup {
            checkup.take_output();
        }
    }

    pub(crate) fn probe_ended(&mut self) {
        let at = self.now();
        if let Some(checkup) = &mut self.checkup {
            let verdict = checkup.probe_ended(at);
            self.heed(verdict);
        }
    }

    pub(crate) fn see_to_health(&mut self, at: std::time::Duration) {
        let is_still = self.is_paused() || self.held.is_some();
        let (Some(checkup), Some(running)) = (&mut self.checkup, &self.task.running) else {
            return;
        };
        if !matches!(self.state.phase, Phase::Running { .. })
            || checkup.wake_at().is_none_or(|wake| at < wake)
        {
            return;
        }
        if is_still {
            checkup.put_off(at);
            return;
        }
        let place = Place {
            init: running.process(),
            cgroup: self.task.cgroup(),
        };
        let before = checkup.health.record().log.len();
        let verdict = checkup.tick(place, at);
        if checkup.health.record().log.len() != before || verdict != Verdict::AsBefore {
            self.heed(verdict);
        }
    }

    /// A probe is over: keeps what it found, and acts on it.
    fn heed(&mut self, verdict: Verdict) {
        let Some(checkup) = &self.checkup else { return };
        // A full disk hides the health and hurts nothing else.
        let path = self.run_dir.join("health.json");
        let _ = Record::write(&path, checkup.health.record(), state::Durability::Fast);
        let Verdict::Changed(status) = verdict else {
            return;
        };
        let job = checkup.job();
        let (action, stop) = (job.config.on_failure, job.stop.clone());
        if let Some(facts) = &mut self.facts {
            facts.health = Some(status);
        }
        let _ = self.write_facts();
        self.tell(
            &format!("health_status: {}", status.word()),
            BTreeMap::new(),
        );
        if status == HealthStatus::Unhealthy && action != HealthAction::None {
            let at = self.now();
            self.events.push_back(Event::Unhealthy { action, stop, at });
        }
    }

    /// Adds a line to the record of events. A record that cannot be written
    /// must not hurt a container.
    pub(crate) fn tell(&self, action: &str, attributes: BTreeMap<String, String>) {
        let Some(path) = self.record.as_ref().filter(|_| !self.task.is_exec()) else {
            return;
        };
        let event = Happening {
            time: Timestamp::now(),
            kind: EventKind::Container,
            action: action.to_owned(),
            id: self.task.id().to_string(),
            attributes,
        };
        let _ = event.append(path);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.paused)
    }

    fn set_paused(&mut self, paused: bool) -> Result<()> {
        if let Some(facts) = &mut self.facts {
            facts.paused = paused;
        }
        self.write_facts().inspect_err(|_| {
            if let Some(facts) = &mut self.facts {
                facts.paused = !paused;
            }
        })
    }
}

fn not_running() -> Error {
    Error::new(ErrorKind::Conflict, "it is not running")
}

/// The descriptor that comes with a message.
fn only(fds: &[OwnedFd]) -> Result<&OwnedFd> {
    let missing = || Error::new(ErrorKind::InvalidInput, "there is no descriptor");
    fds.first().ok_or_else(missing)
}

/// Which port a socket holds.
fn place_of(socket: &OwnedFd) -> Result<(SocketAddr, Protocol)> {
    let address = SocketAddr::try_from(getsockname(socket)?)?;
    let protocol = if sockopt::socket_type(socket)? == SocketType::DGRAM {
        Protocol::Udp
    } else {
        Protocol::Tcp
    };
    Ok((address, protocol))
}
