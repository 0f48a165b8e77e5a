//! Which ports of the host a container has: reserved for its start, changed
//! while it runs.
//!
//! A change is new sockets, then rules, then the record; each with its undo.
//! Sockets of what is published no more are let go of last, when the
//! configuration says so. Whoever dies in between leaves what
//! [`Containers::repair_ports`] brings back to the configuration.

use std::os::fd::AsFd as _;

use network::{Reserved, Standing};
use state::{
    Channel, ContainerConfig, Durability, FileLock, Lease, NetworkMode, PortMapping, PortRequest,
    Record, ToMonitor,
};
use sys::{Error, ErrorKind, Errors, Result};

use super::attach::connect;
use super::networking::{self, default_route};
use super::pause::ask;
use super::{Containers, observe};
use crate::Engine;
use crate::crash::crash_point;
use crate::undo::Undo;

/// As many sockets travel with one message.
const AT_ONCE: usize = state::channel::FDS_MAX;

/// Reserves all ports that a container asks for.
pub(super) fn reserve(engine: &Engine, config: &ContainerConfig) -> Result<Vec<Reserved>> {
    reserve_all(engine, &requests(engine, config)?)
}

fn reserve_all(engine: &Engine, requests: &[PortRequest]) -> Result<Vec<Reserved>> {
    match network::reserve_ports(requests) {
        // A container that died with its monitor may hold rules for it.
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            engine.reconcile()?;
            network::reserve_ports(requests)
        }
        reserved => reserved,
    }
}

/// Ports of `-p`, and of `-P` for what is exposed; none where none can be
/// published.
fn requests(engine: &Engine, config: &ContainerConfig) -> Result<Vec<PortRequest>> {
    if config.network != NetworkMode::Bridge {
        return Ok(Vec::new());
    }
    let default = engine.config().settings.publish.default_address;
    let mut requests = config.ports.clone();
    for request in &mut requests {
        request.host_ip = request.host_ip.or(default);
    }
    if config.publish_all {
        let published = |port: &(state::PortRange, state::Protocol)| {
            config
                .ports
                .iter()
                .any(|request| (request.container, request.protocol) == *port)
        };
        for port in config.exposed.iter().filter(|port| !published(port)) {
            requests.push(PortRequest {
                host_ip: default,
                host: None,
                container: port.0,
                protocol: port.1,
            });
        }
    }
    if requests.is_empty() || !networking::leads_out(engine, config)? {
        return Ok(Vec::new());
    }
    Ok(requests)
}

/// Publishes of a running container what its configuration says, and nothing
/// else. What was published and still is, is not touched. Gives what is
/// published now, for [`let_go`]; `None` if it is on no network where ports
/// are published.
pub(super) fn publish<'u>(
    engine: &'u Engine,
    config: &ContainerConfig,
    channel: &'u Channel,
    undo: &mut Undo<'u>,
) -> Result<Option<Vec<PortMapping>>> {
    let id = config.id;
    let mut records = observe::networks(engine, &id)?;
    let Some(place) = leading(engine, config, &records)? else {
        return Ok(None);
    };
    let held = records[place].ports.clone();
    let Standing {
        kept,
        gone,
        missing,
    } = network::standing(&requests(engine, config)?, &held)?;
    let new = match reserve_all(engine, &missing) {
        // What is in the way may be its own, and about to go.
        Err(error) if error.kind() == ErrorKind::Unavailable && !gone.is_empty() => {
            let_go(channel, &kept)?;
            undo.push(move || hold(channel, &network::reserve_again(&gone)?));
            network::reserve_ports(&missing)?
        }
        reserved => reserved?,
    };
    let before = held.clone();
    undo.push(move || let_go(channel, &before));
    hold(channel, &new)?;
    crash_point!(engine, "after ports are held");
    let published: Vec<PortMapping> = kept
        .into_iter()
        .chain(new.iter().map(|one| one.mapping))
        .collect();
    let network = records[place].network.clone();
    let (name, before) = (network.clone(), held.clone());
    undo.push(move || engine.network_host().republish(&name, &id, &before));
    engine.network_host().republish(&network, &id, &published)?;
    crash_point!(engine, "after ports are published");
    let path = observe::network_record(engine, &id);
    let before = records.clone();
    records[place].ports.clone_from(&published);
    let noted = path.clone();
    undo.push(move || Record::write(&noted, &before, Durability::Fast));
    Record::write(&path, &records, Durability::Fast)?;
    crash_point!(engine, "after ports are noted");
    Ok(Some(published))
}

/// The place of the network where a container's ports are published.
fn leading(
    engine: &Engine,
    config: &ContainerConfig,
    records: &[state::NetworkRecord],
) -> Result<Option<usize>> {
    if config.network != NetworkMode::Bridge {
        return Ok(None);
    }
    let endpoints = config.networks();
    let leading = default_route(engine, &endpoints)?.and_then(|place| endpoints.get(place));
    Ok(leading.and_then(|endpoint| {
        records
            .iter()
            .position(|record| record.network == endpoint.network)
    }))
}

/// Gives the monitor sockets to hold.
fn hold(channel: &Channel, sockets: &[Reserved]) -> Result<()> {
    for some in sockets.chunks(AT_ONCE) {
        let fds: Vec<_> = some.iter().map(|one| one.socket.as_fd()).collect();
        let count = fds.len();
        ask(channel, &ToMonitor::HoldPorts { count }, &fds)?;
    }
    Ok(())
}

/// Has the monitor let go of all ports but these.
pub(super) fn let_go(channel: &Channel, kept: &[PortMapping]) -> Result<()> {
    let text = serde_json::to_vec(kept)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    let list = sys::memfd::sealed("wharf-ports", &text)?;
    ask(channel, &ToMonitor::KeepPorts, &[list.as_fd()])
}

impl Containers<'_> {
    /// Publishes of containers that run what their configurations say:
    /// somebody was killed over a change of it. Returns what was done, as
    /// sentences.
    pub(crate) fn repair_ports(&self) -> Result<Vec<String>> {
        let mut done = Vec::new();
        let mut errors = Errors::new();
        for network in self.engine.network_host().list()? {
            for (_, lease) in self.engine.network_host().leases(&network)? {
                let repaired = self.repair_ports_of(&lease, &network.name);
                if errors.keep(repaired) == Some(true) {
                    done.push(format!(
                        "published the ports of container {} anew",
                        lease.container.short()
                    ));
                }
            }
        }
        errors.into_result()?;
        Ok(done)
    }

    fn repair_ports_of(&self, lease: &Lease, network: &str) -> Result<bool> {
        let (engine, id) = (self.engine, lease.container);
        let directory = engine.layout().container(&id);
        // Who has the lock starts, changes or ends it at this moment.
        let Ok(Some(_lock)) = FileLock::try_exclusive_existing(&directory) else {
            return Ok(false);
        };
        let Some(observed) = observe::observe(engine, &id)? else {
            return Ok(false);
        };
        let config = &observed.config;
        let records = observe::networks(engine, &id)?;
        let Some(record) = leading(engine, config, &records)?.map(|place| &records[place]) else {
            return Ok(false);
        };
        if lease.ipv6_only || record.network != network || !observed.is_running() {
            return Ok(false);
        }
        let Some(channel) = connect(engine, &id)? else {
            return Ok(false);
        };
        let standing = network::standing(&requests(engine, config)?, &record.ports)?;
        let is_published = |port: &PortMapping| lease.ports.contains(port);
        let is_right = standing.missing.is_empty()
            && standing.gone.is_empty()
            && lease.ports.len() == record.ports.len()
            && record.ports.iter().all(is_published);
        if is_right {
            // One that nobody came to use may be held.
            let_go(&channel, &record.ports)?;
            return Ok(false);
        }
        let mut undo = Undo::new();
        let published = publish(engine, config, &channel, &mut undo)
            .and_then(|published| let_go(&channel, &published.unwrap_or_default()));
        match published {
            Ok(()) => undo.disarm(),
            Err(error) => return Err(undo.roll_back(error)),
        }
        Ok(true)
    }
}
