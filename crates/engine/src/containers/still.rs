//! A running container that stands still for what is done to its files.

use state::{Channel, Status, ToMonitor};
use sys::{Error, ErrorKind, Result};

use super::attach::connect;
use super::pause::ask;
use super::start::Locked;
use crate::cgroup::{Frozen, Hierarchies};
use crate::runtime_spec::cgroup_path;

/// A container that stands still. If we die, its monitor lets it go on.
pub(super) struct Still {
    /// None of one that is paused, and stays so.
    held: Option<(Channel, Frozen)>,
}

impl Still {
    pub(super) fn make(locked: &Locked<'_>) -> Result<Self> {
        let config = &locked.observed.config;
        if matches!(locked.observed.status, Status::Paused { .. }) {
            return Ok(Self { held: None });
        }
        let ended = || Error::new(ErrorKind::Conflict, "it just ended");
        let channel = connect(locked.engine, &config.id)?.ok_or_else(ended)?;
        ask(&channel, &ToMonitor::Hold, &[])?;
        ask(&channel, &ToMonitor::Seal { record: None }, &[])?;
        // This one waits until it stands.
        let frozen = Hierarchies::find()?.freeze(&cgroup_path(config))?;
        Ok(Self {
            held: Some((channel, frozen)),
        })
    }

    pub(super) fn let_go(self) -> Result<()> {
        let Some((channel, frozen)) = self.held else {
            return Ok(());
        };
        drop(frozen);
        ask(&channel, &ToMonitor::Release, &[])
    }
}
