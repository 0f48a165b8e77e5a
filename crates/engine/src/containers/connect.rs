//! `network connect` and `disconnect`: at once if the container runs, with
//! its next start otherwise.

use std::os::fd::{AsFd as _, BorrowedFd};

use network::Attachment;
use state::{
    ContainerId, Durability, Endpoint, EventKind, FileLock, NetworkMode, NetworkRecord,
    PortMapping, Record,
};
use sys::{Error, ErrorKind, Errors, Result};

use super::observe::Observed;
use super::start::{Locked, namespace_of};
use super::{Containers, networking, observe};
use crate::Engine;

impl Containers<'_> {
    /// Puts a container on one more network, where it may call others what it
    /// likes.
    pub fn connect(
        &self,
        container: &str,
        endpoint: &Endpoint,
        links: &[(String, String)],
    ) -> Result<()> {
        let links = self.links(links)?;
        let network = self.engine.network_host().find(&endpoint.network)?;
        let id = self.resolve(container)?;
        let mut locked = Locked::take(self.engine, id)?;
        check(&locked, container)?;
        let config = &mut locked.observed.config;
        let mut endpoints = config.networks();
        if endpoints.iter().any(|other| other.network == network.name) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "container {container} is on network {} already",
                    network.name
                ),
            ));
        }
        let endpoint = Endpoint {
            network: network.name.clone(),
            ..endpoint.clone()
        };
        endpoints.push(endpoint.clone());
        config.endpoints = Some(endpoints.clone());
        config.links.extend(links);
        if locked.observed.is_running() {
            self.leave_unwritten(&locked, &network)?;
            self.attach_live(&locked, &endpoint, &endpoints)?;
        }
        let path = self.engine.layout().container_config(&id);
        if let Err(error) = Record::write(&path, &locked.observed.config, Durability::Fast) {
            self.engine.network_host().detach_from(&network.name, &id)?;
            return Err(error);
        }
        self.tell_connection("connect", &network, &locked);
        Ok(())
    }

    fn attach_live(
        &self,
        locked: &Locked<'_>,
        endpoint: &Endpoint,
        endpoints: &[Endpoint],
    ) -> Result<()> {
        let config = &locked.observed.config;
        let engine = self.engine;
        let netns = namespace_of(engine, &config.id, "net", "network is changed")?;
        let mut records = observe::networks(engine, &config.id)?;
        let has_way_out = records.iter().any(|record| record.ipv4_gateway.is_some());
        let mut request = networking::request(config, endpoints, endpoint);
        request.interface = endpoint
            .interface
            .clone()
            .unwrap_or_else(|| free_interface(&records));
        if records.iter().any(|one| one.interface == request.interface) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "a link of the container is called {} already",
                    request.interface
                ),
            ));
        }
        request.is_default_route = !has_way_out;
        let attachment: Attachment = engine.network_host().attach(netns.as_fd(), &request)?;
        records.push(NetworkRecord::from(&attachment));
        let told = networking::tell_others(engine, config, endpoints)
            .and_then(|()| {
                let moving = (&mut records[..], Vec::new());
                lead_out(engine, &config.id, netns.as_fd(), endpoints, moving)
            })
            .and_then(|()| networking::write_files(engine, config, &records));
        told.map_err(|error| {
            match engine
                .network_host()
                .detach_from(&endpoint.network, &config.id)
            {
                Ok(()) => error,
                Err(failed) => error.wrap(format!("{failed}, after the failure to")),
            }
        })
    }

    /// Takes a container off a network. With `force`, one that is gone is
    /// taken off, too.
    pub fn disconnect(&self, container: &str, network: &str, force: bool) -> Result<()> {
        let network = self.engine.network_host().find(network)?;
        let id = match self.resolve(container) {
            Err(error) if force && error.kind() == ErrorKind::NotFound => {
                return self.disconnect_lost(container, &network);
            }
            resolved => resolved?,
        };
        let mut locked = Locked::take(self.engine, id)?;
        check(&locked, container)?;
        let config = &mut locked.observed.config;
        let mut endpoints = config.networks();
        let before = endpoints.len();
        endpoints.retain(|endpoint| endpoint.network != network.name);
        if endpoints.len() == before {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("container {container} is not on network {}", network.name),
            ));
        }
        let before = config.clone();
        config.endpoints = Some(endpoints.clone());
        // First, so that whoever is killed has left what `leave_unwritten`
        // knows.
        let path = self.engine.layout().container_config(&id);
        Record::write(&path, &locked.observed.config, Durability::Fast)?;
        if locked.observed.is_running()
            && let Err(error) = self.detach_live(&locked, &network.name, &endpoints)
        {
            Record::write(&path, &before, Durability::Fast)?;
            return Err(error);
        }
        self.tell_connection("disconnect", &network, &locked);
        Ok(())
    }

    /// Takes containers that run off networks of which only the lease knows:
    /// somebody was killed between the wire and the configuration. Returns
    /// what was done, as sentences.
    pub(crate) fn repair_connections(&self) -> Result<Vec<String>> {
        let mut done = Vec::new();
        let mut errors = Errors::new();
        for network in self.engine.network_host().list()? {
            for (_, lease) in self.engine.network_host().leases(&network)? {
                let left = self.leave_if_unwritten(&lease.container, &network);
                if errors.keep(left) == Some(true) {
                    let short = lease.container.short();
                    done.push(format!(
                        "took container {short} off network {}",
                        network.name
                    ));
                }
            }
        }
        errors.into_result()?;
        Ok(done)
    }

    fn leave_if_unwritten(&self, id: &ContainerId, network: &network::Definition) -> Result<bool> {
        let directory = self.engine.layout().container(id);
        let is_unwritten = |observed: &Observed| {
            let config = &observed.config;
            observed.is_running()
                && !config
                    .networks()
                    .iter()
                    .any(|one| one.network == network.name)
        };
        match observe::observe(self.engine, id)? {
            Some(observed) if is_unwritten(&observed) => {}
            _ => return Ok(false),
        }
        // Somebody connects it at this moment, if the lock is taken.
        let Ok(Some(lock)) = FileLock::try_exclusive_existing(&directory) else {
            return Ok(false);
        };
        match observe::observe(self.engine, id)? {
            Some(observed) if is_unwritten(&observed) => {
                let locked = Locked {
                    engine: self.engine,
                    observed,
                    lock,
                };
                self.leave_unwritten(&locked, network)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Takes a running container off a network that its configuration does
    /// not name, if it is on it.
    fn leave_unwritten(&self, locked: &Locked<'_>, network: &network::Definition) -> Result<()> {
        let id = locked.observed.config.id;
        let leases = self.engine.network_host().leases(network)?;
        if !leases.iter().any(|(_, lease)| lease.container == id) {
            return Ok(());
        }
        let mut endpoints = locked.observed.config.networks();
        endpoints.retain(|one| one.network != network.name);
        self.detach_live(locked, &network.name, &endpoints)
    }

    fn detach_live(
        &self,
        locked: &Locked<'_>,
        network: &str,
        endpoints: &[Endpoint],
    ) -> Result<()> {
        let config = &locked.observed.config;
        let engine = self.engine;
        let netns = namespace_of(engine, &config.id, "net", "network is changed")?;
        let mut records = observe::networks(engine, &config.id)?;
        let host = engine.network_host();
        let place = records.iter().position(|record| record.network == network);
        let interface = match place {
            Some(place) => Some(records[place].interface.clone()),
            None => host.interface_of(network, &config.id)?,
        };
        if let Some(interface) = interface {
            host.delete_link_inside(netns.as_fd(), &interface)?;
        }
        if let Some(place) = place {
            let gone = records.remove(place);
            if gone.ipv4_gateway.is_some() {
                let moving = (&mut records[..], gone.ports);
                lead_out(engine, &config.id, netns.as_fd(), endpoints, moving)?;
            }
        }
        networking::tell_others(engine, config, endpoints)?;
        networking::write_files(engine, config, &records)?;
        // Last: by the lease everybody knows that something is left to do.
        host.detach_from(network, &config.id)
    }

    /// A container that is not there, of which the network still knows.
    fn disconnect_lost(&self, container: &str, network: &network::Definition) -> Result<()> {
        let host = self.engine.network_host();
        let lost = host.leases(network)?.into_iter().find(|(_, lease)| {
            lease.names.iter().any(|name| name == container)
                || lease.container.to_string().starts_with(container)
        });
        match lost {
            Some((_, lease)) => host.detach_from(&network.name, &lease.container),
            None => Err(super::stop::no_such(container)),
        }
    }

    fn tell_connection(&self, action: &str, network: &network::Definition, locked: &Locked<'_>) {
        let mut event = state::Event::now(EventKind::Network, action, network.id.to_string());
        event = event
            .with("name", &*network.name)
            .with("type", network.driver.word())
            .with("container", locked.observed.config.id.to_string());
        // As for all events: what cannot be written is not told.
        let _ = event.append(&self.engine.layout().events());
    }
}

fn check(locked: &Locked<'_>, container: &str) -> Result<()> {
    let why = match &locked.observed.config.network {
        NetworkMode::Bridge => return Ok(()),
        NetworkMode::None => "has no network, as was asked for",
        NetworkMode::Host => "has the host's network",
        NetworkMode::Container(_) => "has the network of another container",
    };
    Err(Error::new(
        ErrorKind::Conflict,
        format!("container {container} {why}"),
    ))
}

/// Lets what has no better way leave by the network that is to lead out, and
/// publishes the ports there: answers take the way that questions came by.
/// `ports` are those of a network that the container leaves.
fn lead_out(
    engine: &Engine,
    id: &ContainerId,
    netns: BorrowedFd<'_>,
    endpoints: &[Endpoint],
    (records, mut ports): (&mut [NetworkRecord], Vec<PortMapping>),
) -> Result<()> {
    let place = networking::default_route(engine, endpoints)?;
    let Some(leading) = place.and_then(|place| endpoints.get(place)) else {
        return Ok(());
    };
    let host = engine.network_host();
    let is_leading = |record: &NetworkRecord| record.network == leading.network;
    if !records.iter().any(is_leading) {
        return Ok(());
    }
    for record in records.iter_mut().filter(|record| !is_leading(record)) {
        if !record.ports.is_empty() {
            host.republish(&record.network, id, &[])?;
            ports.append(&mut record.ports);
        }
    }
    if let Some(record) = records.iter_mut().find(|record| is_leading(record)) {
        host.route_by(netns, record)?;
        if !ports.is_empty() {
            host.republish(&record.network, id, &ports)?;
            record.ports = ports;
        }
    }
    Ok(())
}

/// `eth0` and so on: the first that is not there.
fn free_interface(records: &[NetworkRecord]) -> String {
    (0..=records.len())
        .map(|number| format!("eth{number}"))
        .find(|name| !records.iter().any(|record| record.interface == *name))
        .unwrap_or_default()
}
