//! `wait`: the monitor tells; without one the record does.

use std::time::{Duration, Instant};

use state::{
    Channel, ContainerId, ExitRecord, ExitStatus, Frame, FromMonitor, Record, Status, Timestamp,
    ToMonitor,
};
use sys::{Error, ErrorKind, Result};

use super::attach::connect;
use super::{Containers, observe};
use crate::Engine;

impl Containers<'_> {
    /// Waits until it does not run; at once if it does not.
    pub fn wait(&self, container: &str) -> Result<ExitRecord> {
        let id = self.resolve(container)?;
        let Some(channel) = connect(self.engine, &id)? else {
            return recorded(self.engine, &id);
        };
        channel.ask(&ToMonitor::Wait, &[])?;
        match exit_of(&channel, None)? {
            Heard::Exited(record) => Ok(record),
            Heard::Suspended | Heard::Gone | Heard::TimeOut => recorded(self.engine, &id),
        }
    }
}

/// What a monitor said of its container's end.
#[derive(Debug)]
pub(super) enum Heard {
    Exited(ExitRecord),
    /// It is on the disk now.
    Suspended,
    /// The monitor died.
    Gone,
    TimeOut,
}

/// Waits for the end, for at most `timeout` (`None`: for ever).
pub(super) fn exit_of(channel: &Channel, timeout: Option<Duration>) -> Result<Heard> {
    // A timeout beyond what the clock can tell is for ever.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if !channel.wait_readable(left)? {
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Heard::TimeOut);
            }
            continue;
        }
        match channel.receive::<FromMonitor>()? {
            None => return Ok(Heard::Gone),
            Some((Frame::Message(FromMonitor::Exited(record)), _)) => {
                return Ok(Heard::Exited(record));
            }
            Some((Frame::Message(FromMonitor::Suspended), _)) => return Ok(Heard::Suspended),
            Some(_) => {}
        }
    }
}

/// The end as it was written down. A container whose monitor was killed gets
/// its record here.
pub(super) fn recorded(engine: &Engine, id: &ContainerId) -> Result<ExitRecord> {
    let gone = || {
        Error::new(
            ErrorKind::NotFound,
            format!("no such container: {}", id.short()),
        )
    };
    let path = engine.layout().container_exit(id);
    if let Some(record) = Record::read_if_exists(&path)? {
        return Ok(record);
    }
    engine.cleanup_if_free(id)?;
    let observed = observe::observe(engine, id)?.ok_or_else(gone)?;
    match observed.status {
        Status::Exited(record) => Ok(record),
        Status::Created => Ok(ExitRecord {
            status: ExitStatus::Code(0),
            ..ExitRecord::unseen(None, Timestamp::now())
        }),
        Status::Suspended(_) => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "container {} is suspended: it ends after it is resumed",
                id.short()
            ),
        )),
        Status::Running { .. } | Status::Paused { .. } | Status::Restarting(_) => Err(Error::new(
            ErrorKind::Unavailable,
            format!("the monitor of container {} does not answer", id.short()),
        )),
    }
}
