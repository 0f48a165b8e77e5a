//! `system reset`: nothing is left of what was made.

use state::ContainerId;
use sys::{ErrorKind, Errors, Result};

use crate::containers::observe;
use crate::containers::request::RemoveRequest;
use crate::images::Prune;
use crate::networks::NetworkFilter;
use crate::volumes::PruneVolumes;
use crate::{Engine, entries};

/// What `system reset` removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    pub containers: usize,
    pub checkpoints: usize,
    pub templates: usize,
    pub networks: usize,
    pub volumes: usize,
    pub images: usize,
}

impl Engine {
    /// Removes every container, running ones too, checkpoint, template,
    /// network, volume and image, and the default network's bridge and
    /// firewall tables. What cannot be removed is said at the end; the rest
    /// goes nevertheless. A container that somebody makes meanwhile stays,
    /// with what it needs.
    pub fn reset(&self) -> Result<Reset> {
        let mut errors = Errors::new();
        let mut reset = Reset::default();
        for id in self.container_ids()? {
            let request = RemoveRequest {
                force: true,
                volumes: true,
            };
            let gone = match self.containers().remove(&id.to_string(), request) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                gone => gone,
            };
            reset.containers += usize::from(errors.keep(gone).is_some());
        }
        for checkpoint in errors.keep(self.checkpoints().list()).unwrap_or_default() {
            let gone = self.checkpoints().remove(checkpoint.name.as_str());
            reset.checkpoints += usize::from(errors.keep(gone).is_some());
        }
        for template in errors.keep(self.templates().list()).unwrap_or_default() {
            let Some(name) = template.record.name else {
                continue;
            };
            let gone = self.templates().remove(name.as_str());
            reset.templates += usize::from(errors.keep(gone).is_some());
        }
        let volumes = errors.keep(self.volumes().prune(PruneVolumes::All, &[]));
        reset.volumes = volumes.map_or(0, |(names, _)| names.len());
        let removed = errors.keep(self.images().prune(Prune::Unused, &[]));
        reset.images = removed.map_or(0, |removed| removed.deleted.len());
        let networks = errors.keep(self.networks().prune(&[]));
        reset.networks = networks.map_or(0, |names| names.len());
        errors.keep(self.network_host().dismantle());
        // What crashes left of anything, now that nothing needs it.
        errors.keep(self.repair());
        errors.into_result()?;
        Ok(reset)
    }

    /// Whether there is nothing that [`Engine::reset`] would remove.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.container_ids()?.is_empty()
            && self.images().store()?.list()?.is_empty()
            && self.volumes().list(&[])?.is_empty()
            && self.checkpoints().list()?.is_empty()
            && self.templates().list()?.is_empty()
            && self
                .networks()
                .list(&[NetworkFilter::IsCustom(true)])?
                .is_empty())
    }

    fn container_ids(&self) -> Result<Vec<ContainerId>> {
        let names = entries(&self.layout().containers())?;
        let ids = names.iter().filter_map(|name| name.parse().ok());
        ids.filter_map(|id| match observe::observe(self, &id) {
            Ok(None) => None,
            Ok(Some(_)) => Some(Ok(id)),
            Err(error) => Some(Err(error)),
        })
        .collect()
    }
}
