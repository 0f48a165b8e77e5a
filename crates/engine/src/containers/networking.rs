//! How a container gets on its networks and learns of names: what is asked of
//! the network, and the files that are written for it.

use std::fs;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;

use network::{AttachRequest, HostsFile};
use state::{
    ContainerConfig, Durability, Endpoint, NetworkMode, NetworkRecord, PortMapping, Record,
};
use sys::{Context as _, Result};

use super::observe;
use crate::Engine;

/// Attaches the namespace to every network of the container, the one that
/// has the default route with its ports. On failure it is on none.
pub(super) fn attach_all(
    engine: &Engine,
    config: &ContainerConfig,
    netns: BorrowedFd<'_>,
    ports: &[PortMapping],
) -> Result<Vec<NetworkRecord>> {
    let endpoints = config.networks();
    let gateway = default_route(engine, &endpoints)?;
    let attach = || -> Result<Vec<NetworkRecord>> {
        let mut records = Vec::with_capacity(endpoints.len());
        for (place, endpoint) in endpoints.iter().enumerate() {
            let is_gateway = gateway == Some(place);
            let mut request = request(config, &endpoints, endpoint);
            request.interface = endpoint
                .interface
                .clone()
                .unwrap_or_else(|| format!("eth{place}"));
            request.is_default_route = is_gateway;
            // Without a way out it is published on whatever there is.
            if is_gateway {
                request.ports = ports.to_vec();
            }
            let attachment = engine.network_host().attach(netns, &request)?;
            records.push(NetworkRecord::from(&attachment));
        }
        Ok(records)
    };
    attach().map_err(|error| match engine.network_host().detach(&config.id) {
        Ok(()) => error,
        Err(failed) => error.wrap(format!("{failed}, after the failure to")),
    })
}

/// Which network leads out: of those that do the one with the highest
/// priority, the first one among equals.
pub(super) fn default_route(engine: &Engine, endpoints: &[Endpoint]) -> Result<Option<usize>> {
    if let [only] = endpoints
        && only.network == state::container::DEFAULT_NETWORK
    {
        return Ok(Some(0));
    }
    let mut best: Option<(i32, usize)> = None;
    for (place, endpoint) in endpoints.iter().enumerate() {
        let network = engine.network_host().find(&endpoint.network)?;
        if !network.internal && best.is_none_or(|(priority, _)| endpoint.priority > priority) {
            best = Some((endpoint.priority, place));
        }
    }
    Ok(best.map(|(_, place)| place))
}

/// Whether any of its networks leads out, so that ports can be published.
pub(super) fn leads_out(engine: &Engine, config: &ContainerConfig) -> Result<bool> {
    Ok(default_route(engine, &config.networks())?.is_some())
}

/// What an endpoint asks of its network.
pub(super) fn request(
    config: &ContainerConfig,
    endpoints: &[Endpoint],
    endpoint: &Endpoint,
) -> AttachRequest {
    let also = endpoints
        .iter()
        .map(|other| other.network.clone())
        .filter(|other| *other != endpoint.network)
        .collect();
    AttachRequest {
        network: endpoint.network.clone(),
        ipv4: endpoint.ipv4,
        ipv6: endpoint.ipv6,
        mac: endpoint.mac,
        names: names(config, endpoint),
        links: links(config),
        servers: config.dns.servers.clone(),
        also,
        rate: config.resources.network_rate,
        ..AttachRequest::new(config.id)
    }
}

/// Under which others find it: its name, its aliases, its short id.
pub(super) fn names(config: &ContainerConfig, endpoint: &Endpoint) -> Vec<String> {
    let mut names = vec![config.name.to_string()];
    names.extend(endpoint.aliases.iter().cloned());
    names.push(config.id.short());
    names
}

/// What it calls others: by their short ids, which no other has.
pub(super) fn links(config: &ContainerConfig) -> Vec<(String, String)> {
    config
        .links
        .iter()
        .map(|link| (link.alias.clone(), link.container.short()))
        .collect()
}

/// Writes what is known of the networks of a running container: the record,
/// `/etc/hosts`, `/etc/resolv.conf`. In place: they are mounted as they are.
pub(super) fn write_files(
    engine: &Engine,
    config: &ContainerConfig,
    records: &[NetworkRecord],
) -> Result<()> {
    Record::write(
        &observe::network_record(engine, &config.id),
        &records,
        Durability::Fast,
    )?;
    let run = engine.layout().run_container(&config.id);
    let addresses: Vec<IpAddr> = records
        .iter()
        .flat_map(|record| record.ipv4.into_iter().chain(record.ipv6))
        .collect();
    let rewrite = |name: &str, text: &str| {
        let path = run.join(name);
        fs::write(&path, text).context(|| format!("write {}", path.display()))
    };
    rewrite("hosts", &hosts(config, &addresses))?;
    rewrite("resolv.conf", &resolv_conf(config, records)?)
}

/// The text of `/etc/hosts`.
pub(super) fn hosts(config: &ContainerConfig, addresses: &[IpAddr]) -> String {
    network::hosts_file(&HostsFile {
        hostname: &config.hostname,
        domain: (!config.domainname.is_empty()).then_some(config.domainname.as_str()),
        addresses,
        extra: &config.extra_hosts,
    })
}

/// The text of `/etc/resolv.conf`: the resolver of a network if there is one,
/// else the servers that can be reached from where the container is.
pub(super) fn resolv_conf(config: &ContainerConfig, records: &[NetworkRecord]) -> Result<String> {
    let host = read_or_empty("/etc/resolv.conf")?;
    // The one that leads out forwards; without any, the first one knows names.
    let leading = records
        .iter()
        .find(|record| record.ipv4_gateway.is_some() && record.resolver.is_some());
    let resolver = leading
        .or_else(|| records.iter().find(|record| record.resolver.is_some()))
        .and_then(|record| record.resolver);
    let servers: Vec<IpAddr> = match resolver {
        Some(resolver) => vec![resolver.into()],
        None => config.dns.servers.clone(),
    };
    let base = if config.network != NetworkMode::Bridge || !servers.is_empty() {
        host
    } else if network::names::has_reachable_server(&host) {
        network::resolv_conf(&host)
    } else {
        // systemd-resolved listens on the host's loopback only, and says
        // elsewhere whom it asks.
        let upstream = read_or_empty("/run/systemd/resolve/resolv.conf")?;
        if network::names::has_reachable_server(&upstream) {
            network::resolv_conf(&upstream)
        } else {
            network::resolv_conf(&host)
        }
    };
    let dns = &config.dns;
    Ok(network::names::with(
        &base,
        &servers,
        &dns.search,
        &dns.options,
    ))
}

/// Gives a running container's new name to its networks.
pub(super) fn rename(engine: &Engine, config: &ContainerConfig) -> Result<()> {
    for endpoint in config.networks() {
        let names = names(config, &endpoint);
        engine
            .network_host()
            .change_lease(&endpoint.network, &config.id, |lease| {
                lease.names.clone_from(&names);
            })?;
    }
    Ok(())
}

/// Tells every network of a container which others it is on, and what it
/// calls others.
pub(super) fn tell_others(
    engine: &Engine,
    config: &ContainerConfig,
    endpoints: &[Endpoint],
) -> Result<()> {
    let links = links(config);
    for endpoint in endpoints {
        let also: Vec<String> = endpoints
            .iter()
            .map(|other| other.network.clone())
            .filter(|other| *other != endpoint.network)
            .collect();
        engine
            .network_host()
            .change_lease(&endpoint.network, &config.id, |lease| {
                lease.also.clone_from(&also);
                lease.links.clone_from(&links);
            })?;
    }
    Ok(())
}

pub(super) fn read_or_empty(path: &str) -> Result<String> {
    match fs::read(Path::new(path)) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).context(|| format!("read {path}")),
    }
}
