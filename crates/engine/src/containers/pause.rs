//! `pause` and `unpause`: the monitor makes it stand still, and says so in
//! the facts.

use state::{Channel, Frame, FromMonitor, ToMonitor};
use std::os::fd::BorrowedFd;
use sys::{Context as _, Error, ErrorKind, Result};

use super::Containers;
use super::attach::running;

impl Containers<'_> {
    /// Makes every process of it stand still. `Conflict` if it does already.
    pub fn pause(&self, container: &str) -> Result<()> {
        self.ask(container, &ToMonitor::Pause)
    }

    /// Lets it go on. `Conflict` if it does not stand still.
    pub fn unpause(&self, container: &str) -> Result<()> {
        self.ask(container, &ToMonitor::Unpause)
    }

    fn ask(&self, container: &str, message: &ToMonitor) -> Result<()> {
        let id = self.resolve(container)?;
        let channel = running(self.engine, &id, container)?;
        ask(&channel, message, &[]).context(|| format!("container {container}"))
    }
}

/// Waits until the monitor has done what it is asked for.
pub(super) fn ask(channel: &Channel, message: &ToMonitor, fds: &[BorrowedFd<'_>]) -> Result<()> {
    channel.ask(message, fds)?;
    loop {
        match channel.receive::<FromMonitor>()? {
            Some((Frame::Message(FromMonitor::Done), _)) => return Ok(()),
            Some((Frame::Message(FromMonitor::Refused(error)), _)) => return Err(error),
            Some((Frame::Message(FromMonitor::Suspended), _)) => {
                return Err(Error::new(ErrorKind::Conflict, "it was just suspended"));
            }
            Some((Frame::Message(FromMonitor::Exited(_)), _)) | None => {
                return Err(Error::new(ErrorKind::Conflict, "it just ended"));
            }
            Some(_) => {}
        }
    }
}
