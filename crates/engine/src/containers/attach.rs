//! `attach`, and the way to a container's monitor.

use state::{Channel, ContainerId, Status, ToMonitor};
use sys::{Error, ErrorKind, Result};

use super::Containers;
use super::observe;
use super::request::AttachRequest;
use super::session::{Role, Session};
use crate::Engine;

impl Containers<'_> {
    /// Takes part in a running container.
    pub fn attach(&self, container: &str, attach: &AttachRequest) -> Result<Session> {
        let id = self.resolve(container)?;
        let channel = running(self.engine, &id, container)?;
        refuse_if_paused(self.engine, &id, container)?;
        if let Some(size) = attach.size {
            channel.ask(&ToMonitor::Resize(size), &[])?;
        }
        let message = ToMonitor::Attach {
            stdin: attach.stdin,
        };
        channel.ask(&message, &[])?;
        Ok(Session::new(self.engine, id, channel, Role::Guest))
    }
}

/// A connection to the monitor of a running container; `Conflict` if it does
/// not run.
pub(super) fn running(engine: &Engine, id: &ContainerId, named: &str) -> Result<Channel> {
    let observed = observe::observe(engine, id)?
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no such container: {named}")))?;
    match observed.status {
        Status::Running { .. } | Status::Paused { .. } => {}
        Status::Restarting(_) => {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("container {named} is restarting: wait until it runs"),
            ));
        }
        Status::Suspended(_) => {
            return Err(super::stop::suspended(named, "resume it first"));
        }
        Status::Created | Status::Exited(_) => return Err(not_running(named)),
    }
    connect(engine, id)?.ok_or_else(|| not_running(named))
}

pub(super) fn not_running(named: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("container {named} is not running"),
    )
}

/// What stands still, or is on the disk, can neither be talked to nor start
/// anything.
pub(super) fn refuse_if_paused(engine: &Engine, id: &ContainerId, named: &str) -> Result<()> {
    let observed = observe::observe(engine, id)?;
    if observed
        .as_ref()
        .is_some_and(observe::Observed::is_suspended)
    {
        return Err(super::stop::suspended(named, "resume it first"));
    }
    if observed.is_some_and(|observed| matches!(observed.status, Status::Paused { .. })) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("container {named} is paused: unpause it first"),
        ));
    }
    Ok(())
}

/// `None` if there is no monitor (any more).
pub(super) fn connect(engine: &Engine, id: &ContainerId) -> Result<Option<Channel>> {
    match Channel::connect(&engine.layout().control_socket(id)) {
        Ok(channel) => Ok(Some(channel)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unavailable) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
