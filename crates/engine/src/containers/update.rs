//! `update`: what can change while a container runs does so at once, the rest
//! with its next start. The configuration is written last: what the kernel
//! refused was never true.

use std::os::fd::AsFd as _;

use spec::runtime::Pids;
use state::{Channel, Durability, LiveUpdate, Record, ResourceLimits, RestartPolicy, ToMonitor};
use sys::{Error, ErrorKind, Result};

use super::Containers;
use super::attach::connect;
use super::pause::ask;
use super::resolve::resources as checked;
use super::start::Locked;
use crate::runtime_spec;

/// What is to change; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateRequest {
    pub resources: ResourceLimits,
    pub restart: Option<RestartPolicy>,
}

impl Containers<'_> {
    /// Changes limits and restart policy, live if it runs.
    pub fn update(&self, container: &str, request: &UpdateRequest) -> Result<()> {
        let id = self.resolve(container)?;
        let mut locked = Locked::take(self.engine, id)?;
        let config = &mut locked.observed.config;
        if let Some(restart) = request.restart {
            if config.auto_remove && restart != RestartPolicy::No {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!(
                        "container {container} is removed when it ends (--rm): \
                         it cannot have a restart policy"
                    ),
                ));
            }
            config.restart = restart;
        }
        config.resources = merged(&config.resources, &request.resources)?;
        if let Some(channel) = connect(self.engine, &id)? {
            update_live(&locked, request, &channel)?;
        }
        let config = &locked.observed.config;
        let path = self.engine.layout().container_config(&id);
        Record::write(&path, config, Durability::Fast)?;
        self.engine.tell(config, "update", &[]);
        Ok(())
    }
}

fn update_live(locked: &Locked<'_>, request: &UpdateRequest, channel: &Channel) -> Result<()> {
    let config = &locked.observed.config;
    let mut resources = runtime_spec::resources(config, &[]);
    resources.devices.clear();
    if resources.pids.is_none() && request.resources.pids.is_some() {
        // What was limited no longer is.
        resources.pids = Some(Pids { limit: Some(-1) });
    }
    let message = ToMonitor::Update(Box::new(LiveUpdate {
        resources,
        restart: request.restart,
    }));
    if config.restart == RestartPolicy::No {
        return ask(channel, &message, &[]);
    }
    // The monitor may have forgotten how to start it again.
    let start = locked.start_spec()?;
    let text = serde_json::to_vec(&start)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    let start = sys::memfd::sealed("wharf-start", &text)?;
    ask(channel, &message, &[start.as_fd()])
}

/// `changes` over `old`, checked as a whole.
fn merged(old: &ResourceLimits, changes: &ResourceLimits) -> Result<ResourceLimits> {
    let mut new = old.clone();
    if let Some(memory) = changes.memory {
        let double = |memory: u64| i64::try_from(memory).ok()?.checked_mul(2);
        let was_default = old.memory.and_then(double) == old.memory_swap;
        match (changes.memory_swap, old.memory_swap) {
            (None, Some(_)) if was_default => new.memory_swap = double(memory),
            (None, Some(swap))
                if swap != -1 && i64::try_from(memory).is_ok_and(|memory| memory > swap) =>
            {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "the memory limit is above that of memory and swap: \
                     change --memory-swap, too",
                ));
            }
            _ => {}
        }
        new.memory = Some(memory);
    }
    new.memory_swap = changes.memory_swap.or(new.memory_swap);
    new.memory_reservation = changes.memory_reservation.or(new.memory_reservation);
    new.nano_cpus = changes.nano_cpus.or(new.nano_cpus);
    new.cpu_shares = changes.cpu_shares.or(new.cpu_shares);
    new.cpu_period = changes.cpu_period.or(new.cpu_period);
    new.cpu_quota = changes.cpu_quota.or(new.cpu_quota);
    new.cpuset_cpus = changes.cpuset_cpus.clone().or(new.cpuset_cpus);
    new.cpuset_mems = changes.cpuset_mems.clone().or(new.cpuset_mems);
    new.pids = changes.pids.or(new.pids);
    new.blkio_weight = changes.blkio_weight.or(new.blkio_weight);
    new.cpu_rt_period = changes.cpu_rt_period.or(new.cpu_rt_period);
    new.cpu_rt_runtime = changes.cpu_rt_runtime.or(new.cpu_rt_runtime);
    checked(&new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn memory(memory: u64, swap: Option<i64>) -> ResourceLimits {
        ResourceLimits {
            memory: Some(memory * MIB),
            memory_swap: swap,
            ..ResourceLimits::default()
        }
    }

    #[test]
    fn swap_follows_memory_as_long_as_nobody_chose_it() {
        let old = checked(&memory(64, None)).unwrap();
        let new = merged(&old, &memory(128, None)).unwrap();
        assert_eq!(new.memory_swap, Some(256 << 20));
        let chosen = memory(64, Some(100 << 20));
        assert!(merged(&chosen, &memory(128, None)).is_err());
        let new = merged(&chosen, &memory(80, None)).unwrap();
        assert_eq!(new.memory_swap, Some(100 << 20));
        let new = merged(&chosen, &memory(128, Some(-1))).unwrap();
        assert_eq!(new.memory_swap, Some(-1));
    }

    #[test]
    fn what_is_not_named_stays() {
        let mut old = memory(64, Some(-1));
        old.cpu_shares = Some(512);
        old.pids = Some(100);
        let changes = ResourceLimits {
            pids: Some(-1),
            ..ResourceLimits::default()
        };
        let new = merged(&old, &changes).unwrap();
        assert_eq!((new.memory, new.cpu_shares), (old.memory, Some(512)));
        assert_eq!(new.pids, None);
    }
}
