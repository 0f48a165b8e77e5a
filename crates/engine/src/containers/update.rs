//! `update`: what can change while a container runs does so at once, the rest
//! with its next start. The configuration is written last: what the kernel
//! refused was never true.

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use spec::runtime::Pids;
use state::{
    Channel, ContainerConfig, Durability, LiveUpdate, MountKind, MountRequest, PortMapping,
    PortRange, PortRequest, Protocol, Record, ResourceLimits, RestartPolicy, ToMonitor,
};
use sys::{Error, ErrorKind, Result};

use super::attach::connect;
use super::create::forget_anonymous;
use super::pause::ask;
use super::remount::{Mounts, remount};
use super::resolve::resources as checked;
use super::snapshot::Running;
use super::start::Locked;
use super::{Containers, merge_env, publish};
use crate::crash::crash_point;
use crate::runtime_spec;
use crate::undo::Undo;

/// What is to change; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateRequest {
    pub resources: ResourceLimits,
    pub restart: Option<RestartPolicy>,
    /// `NAME=value` sets, `NAME` alone takes it away.
    pub env: Vec<String>,
    /// What was published of the same port in the container goes.
    pub publish: Vec<PortRequest>,
    pub unpublish: Vec<(PortRange, Protocol)>,
    /// What was mounted at the same place goes.
    pub mounts: Vec<MountRequest>,
    pub unmount: Vec<PathBuf>,
}

/// What of a change is true with the next start only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waits {
    /// The kernel has no way to do it to what runs.
    Environment,
    /// For this reason.
    Mounts(String),
}

impl UpdateRequest {
    fn changes_mounts(&self) -> bool {
        !(self.mounts.is_empty() && self.unmount.is_empty())
    }
}

impl Containers<'_> {
    /// Changes all of it, at once if it runs; gives what cannot be changed so,
    /// and changes with the next start.
    pub fn update(&self, container: &str, request: &UpdateRequest) -> Result<Vec<Waits>> {
        let id = self.resolve(container)?;
        let mut locked = Locked::take(self.engine, id)?;
        let channel = connect(self.engine, &id)?;
        let mut waits = Vec::new();
        if !request.env.is_empty() && locked.observed.is_running() {
            waits.push(Waits::Environment);
        }
        waits.extend(self.change(container, request, &mut locked, channel.as_ref())?);
        Ok(waits)
    }

    /// Changes all of it at once: a container that runs is stopped as `stop`
    /// does, and started again. Id, name and files stay.
    pub fn recreate(&self, container: &str, request: &UpdateRequest, snapshot: bool) -> Result<()> {
        let act = |locked: &mut Locked<'_>| -> Result<()> {
            if snapshot {
                self.seal(locked, None)?;
            }
            self.change(container, request, locked, None).map(drop)
        };
        self.at_rest(container, Running::Restart, act)
    }

    fn change(
        &self,
        container: &str,
        request: &UpdateRequest,
        locked: &mut Locked<'_>,
        channel: Option<&Channel>,
    ) -> Result<Option<Waits>> {
        let mounted = match channel {
            Some(_) if request.changes_mounts() && locked.observed.is_running() => {
                let spec = locked.start_spec()?.spec;
                Some(Mounts::of(&locked.observed.config, spec.mounts))
            }
            _ => None,
        };
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
        config.process.env = merge_env(&config.process.env, &request.env);
        change_ports(&mut config.ports, request)?;
        let mut undo = Undo::new();
        let dropped = self.change_mounts(config, request, &mut undo)?;
        let now = (channel, mounted.as_ref());
        let effect = self.take_effect(locked, request, (now, &dropped), &mut undo);
        let (ports, waits) = match effect {
            Ok(effect) => effect,
            Err(error) => return Err(undo.roll_back(error)),
        };
        undo.disarm();
        if let (Some(channel), Some(ports)) = (channel, &ports) {
            // If that cannot be, it just ended, and nothing is held any more.
            let _ = publish::let_go(channel, ports);
        }
        self.engine.tell(&locked.observed.config, "update", &[]);
        Ok(waits)
    }

    /// Does at once what can be done so, and writes the configuration down.
    /// Gives the ports that are published, if they changed, and what waits.
    fn take_effect<'u>(
        &'u self,
        locked: &Locked<'_>,
        request: &UpdateRequest,
        ((channel, mounted), dropped): ((Option<&'u Channel>, Option<&Mounts>), &[String]),
        undo: &mut Undo<'u>,
    ) -> Result<(Option<Vec<PortMapping>>, Option<Waits>)> {
        let (engine, config) = (self.engine, &locked.observed.config);
        let (mut ports, mut waits) = (None, None);
        if let Some(channel) = channel {
            if !(request.publish.is_empty() && request.unpublish.is_empty()) {
                ports = publish::publish(engine, config, channel, undo)?;
            }
            if let Some(old) = mounted {
                let new = Mounts::of(config, locked.start_spec()?.spec.mounts);
                waits = match remount(channel, request, (old, &new), undo) {
                    Err(error) if error.kind() == ErrorKind::Unsupported => {
                        Some(Waits::Mounts(error.to_string()))
                    }
                    done => done.map(|()| None)?,
                };
                crash_point!(engine, "after mounts");
            }
            // The one that cannot be undone.
            update_live(locked, request, channel)?;
        }
        for name in dropped {
            // Nobody's from here on, and before the change is true: what is
            // noted and not mounted is removed after a crash, and this has data.
            forget_anonymous(engine.layout(), &config.id, name)?;
        }
        let path = engine.layout().container_config(&config.id);
        Record::write(&path, config, Durability::Fast)?;
        crash_point!(engine, "after the changed configuration");
        Ok((ports, waits))
    }

    /// Gives the names of anonymous volumes that are mounted no more.
    fn change_mounts<'u>(
        &self,
        config: &mut ContainerConfig,
        request: &UpdateRequest,
        undo: &mut Undo<'u>,
    ) -> Result<Vec<String>>
    where
        Self: 'u,
    {
        for target in &request.unmount {
            if !config.mounts.iter().any(|mount| mount.target == *target) {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("nothing is mounted at {}", target.display()),
                ));
            }
        }
        if request.mounts.is_empty() && request.unmount.is_empty() {
            return Ok(Vec::new());
        }
        let goes = |mount: &MountRequest| {
            let replaced = request.mounts.iter().any(|new| new.target == mount.target);
            replaced || request.unmount.contains(&mount.target)
        };
        let mut dropped = Vec::new();
        for mount in config.mounts.iter().filter(|mount| goes(mount)) {
            if let MountKind::Volume(volume) = &mount.kind
                && volume.anonymous
            {
                dropped.push(volume.name.clone());
            }
        }
        config.mounts.retain(|mount| !goes(mount));
        config.mounts.extend(request.mounts.iter().cloned());
        let store = self.engine.images().store()?;
        let image = store.load(config.image.manifest)?;
        self.prepare_mounts(config, &store, &image, undo)?;
        Ok(dropped)
    }
}

fn change_ports(ports: &mut Vec<PortRequest>, request: &UpdateRequest) -> Result<()> {
    for (range, protocol) in &request.unpublish {
        let before = ports.len();
        ports.retain(|port| (port.container, port.protocol) != (*range, *protocol));
        if ports.len() == before {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("port {} is not published", range.first),
            ));
        }
    }
    for new in &request.publish {
        ports.retain(|port| {
            (port.container, port.protocol) != (new.container, new.protocol)
                || request.publish.contains(port)
        });
        ports.push(new.clone());
    }
    Ok(())
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
