//! What is true of a container right now: its files, and whether those who
//! wrote them are alive. No locks.

use serde::de::DeserializeOwned;
use state::{
    ContainerConfig, ContainerId, ExitRecord, Facts, HealthRecord, NetworkRecord, ProcessRef,
    Record, Status,
};
use sys::Result;

use crate::Engine;

/// One container as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Observed<C = ContainerConfig> {
    pub(crate) config: C,
    /// Of this boot.
    pub(crate) facts: Option<Facts>,
    pub(crate) exit: Option<ExitRecord>,
    pub(crate) status: Status,
}

impl<C> Observed<C> {
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.status, Status::Running { .. } | Status::Paused { .. })
    }

    /// Its memory is on the disk, and nowhere else.
    pub(crate) fn is_suspended(&self) -> bool {
        matches!(self.status, Status::Suspended(_))
    }

    /// The container's first process, if there is one.
    pub(crate) fn init(&self) -> Option<ProcessRef> {
        let facts = self.facts.as_ref().filter(|_| self.is_running())?;
        Some(facts.sandbox.as_ref()?.init)
    }

    /// True if its monitor was killed, and it with it.
    pub(crate) fn ended_unseen(&self) -> bool {
        !self.is_running()
            && !self.is_suspended()
            && self.exit.is_none()
            && self.facts.is_some()
            && !is_supervised(self.facts.as_ref())
    }
}

/// `None` if there is no such container (any more).
pub(crate) fn observe(engine: &Engine, id: &ContainerId) -> Result<Option<Observed>> {
    observe_part(engine, id)
}

/// As [`observe`], for those who need a part of the configuration, which is
/// read faster.
pub(crate) fn observe_part<C: DeserializeOwned>(
    engine: &Engine,
    id: &ContainerId,
) -> Result<Option<Observed<C>>> {
    let layout = engine.layout();
    let Some(config) = Record::read_if_exists(&layout.container_config(id))? else {
        return Ok(None);
    };
    let facts = facts(engine, id)?;
    let running = facts.as_ref().map(|facts| Facts::status(Some(facts), None));
    if let Some(status @ (Status::Running { .. } | Status::Paused { .. })) = running {
        return Ok(Some(Observed {
            config,
            facts,
            exit: None,
            status,
        }));
    }
    // Read after the facts: whoever was alive above writes them on its end.
    if let Some(record) = Record::read_if_exists(&layout.container_suspended(id))? {
        return Ok(Some(Observed {
            config,
            facts,
            exit: None,
            status: Status::Suspended(record),
        }));
    }
    let exit: Option<ExitRecord> = Record::read_if_exists(&layout.container_exit(id))?;
    if exit.is_none() && facts.as_ref().is_some_and(|facts| facts.started.is_none()) {
        // It was being resumed, and now it is.
        return observe_again(engine, id, config);
    }
    let status = status(engine, id, facts.as_ref(), exit.as_ref());
    Ok(Some(Observed {
        config,
        facts,
        exit,
        status,
    }))
}

fn observe_again<C>(engine: &Engine, id: &ContainerId, config: C) -> Result<Option<Observed<C>>> {
    let facts = facts(engine, id)?;
    let exit: Option<ExitRecord> = Record::read_if_exists(&engine.layout().container_exit(id))?;
    let status = status(engine, id, facts.as_ref(), exit.as_ref());
    Ok(Some(Observed {
        config,
        facts,
        exit,
        status,
    }))
}

/// What the monitor wrote, if it was in this boot.
pub(crate) fn facts(engine: &Engine, id: &ContainerId) -> Result<Option<Facts>> {
    let facts: Option<Facts> = Record::read_if_exists(&engine.layout().facts(id))?;
    match facts {
        Some(facts) if facts.boot == *engine.boot()? => Ok(Some(facts)),
        _ => Ok(None),
    }
}

/// The places of a running container on its networks.
pub(crate) fn networks(engine: &Engine, id: &ContainerId) -> Result<Vec<NetworkRecord>> {
    /// Versions without user-defined networks wrote one alone.
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Written {
        Many(Vec<NetworkRecord>),
        One(Box<NetworkRecord>),
    }
    let written = Record::read_if_exists(&network_record(engine, id))?;
    Ok(match written {
        None => Vec::new(),
        Some(Written::Many(records)) => records,
        Some(Written::One(record)) => vec![*record],
    })
}

/// What the probes of a running container found.
pub(crate) fn health(engine: &Engine, id: &ContainerId) -> Result<Option<HealthRecord>> {
    Record::read_if_exists(&engine.layout().health(id))
}

pub(crate) fn network_record(engine: &Engine, id: &ContainerId) -> std::path::PathBuf {
    engine.layout().run_container(id).join("network.json")
}

/// As [`Facts::status`], with what it cannot know: a start that failed is no
/// exit, and a container that ran before a reboot did not stay as created.
fn status(
    engine: &Engine,
    id: &ContainerId,
    facts: Option<&Facts>,
    exit: Option<&ExitRecord>,
) -> Status {
    match Facts::status(facts, exit) {
        Status::Exited(record) if record.started.is_none() && record.error.is_some() => {
            Status::Created
        }
        Status::Created if has_run(engine, id) => Status::Exited(unknown_exit(None)),
        status => status,
    }
}

/// True if it was started in an earlier boot and nobody wrote down its end.
/// The kernel makes the inner directory when the overlay is mounted for the
/// first time, so no file has to be written on the run path for this.
fn has_run(engine: &Engine, id: &ContainerId) -> bool {
    let layout = engine.layout();
    let mounted = layout.active_snapshot(id).join("work/work");
    !layout.run_container(id).exists() && mounted.exists()
}

/// The record of an end that nobody saw.
pub(crate) fn unknown_exit(facts: Option<&Facts>) -> ExitRecord {
    let started = facts.and_then(|facts| facts.started);
    ExitRecord {
        restarts: facts.map_or(0, |facts| facts.restarts),
        ..ExitRecord::unseen(started, state::Timestamp::now())
    }
}

/// True while the monitor lives.
pub(crate) fn is_supervised(facts: Option<&Facts>) -> bool {
    facts.is_some_and(|facts| facts.monitor.is_alive())
}
