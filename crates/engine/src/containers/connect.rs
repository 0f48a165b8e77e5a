//! `network connect` and `disconnect`: at once if the container runs, with
//! its next start otherwise.

use std::os::fd::{AsFd as _, BorrowedFd};

use network::Attachment;
use state::{Durability, Endpoint, EventKind, NetworkMode, NetworkRecord, Record};
use sys::{Error, ErrorKind, Result};

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
        request.interface = free_interface(&records);
        request.is_default_route = !has_way_out;
        let attachment: Attachment = engine.network_host().attach(netns.as_fd(), &request)?;
        records.push(NetworkRecord::from(&attachment));
        let told = networking::tell_others(engine, config, endpoints)
            .and_then(|()| networking::write_files(engine, config, &records))
            .and_then(|()| lead_out(engine, netns.as_fd(), endpoints, &records));
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
        config.endpoints = Some(endpoints.clone());
        if locked.observed.is_running() {
            self.detach_live(&locked, &network.name, &endpoints)?;
        }
        let path = self.engine.layout().container_config(&id);
        Record::write(&path, &locked.observed.config, Durability::Fast)?;
        self.tell_connection("disconnect", &network, &locked);
        Ok(())
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
        let place = records.iter().position(|record| record.network == network);
        engine.network_host().detach_from(network, &config.id)?;
        if let Some(place) = place {
            let gone = records.remove(place);
            let host = engine.network_host();
            host.delete_link_inside(netns.as_fd(), &gone.interface)?;
            if gone.ipv4_gateway.is_some() {
                lead_out(engine, netns.as_fd(), endpoints, &records)?;
            }
        }
        networking::tell_others(engine, config, endpoints)?;
        networking::write_files(engine, config, &records)
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

/// Lets what has no better way leave by the network that is to lead out. Not
/// away from published ports: their answers have to take the way back that
/// the questions came by.
fn lead_out(
    engine: &Engine,
    netns: BorrowedFd<'_>,
    endpoints: &[Endpoint],
    records: &[NetworkRecord],
) -> Result<()> {
    let place = networking::default_route(engine, endpoints)?;
    let Some(leading) = place.and_then(|place| endpoints.get(place)) else {
        return Ok(());
    };
    let record = records
        .iter()
        .find(|record| record.network == leading.network);
    let publishes = |one: &NetworkRecord| one.network != leading.network && !one.ports.is_empty();
    match record {
        Some(record) if !records.iter().any(publishes) => {
            engine.network_host().route_by(netns, record)
        }
        _ => Ok(()),
    }
}

/// `eth0` and so on: the first that is not there.
fn free_interface(records: &[NetworkRecord]) -> String {
    (0..=records.len())
        .map(|number| format!("eth{number}"))
        .find(|name| !records.iter().any(|record| record.interface == *name))
        .unwrap_or_default()
}
