//! Which networks there are: making, finding, removing them.
//!
//! A network is a record. The bridge and the tables are made when the first
//! container attaches; that a record is written or removed, with the list of
//! all held still, is what makes or removes a network.

use std::net::Ipv4Addr;

use state::{ContainerId, ContainerName, Durability, FileLock, Lease, Record, Timestamp};
use sys::netlink::{Protocol, Socket};
use sys::{Context as _, Error, ErrorKind, Errors, Result};

use crate::address::{Ipv4Subnet, Leases};
use crate::apply::{create_private_directory, no_such};
use crate::definition::{Definition, Driver, Ipv6Prefix};
use crate::drivers::{bridge, forwarding};
use crate::request::{
    Addresses, NetworkRequest, RESERVED, check_addresses, check_name, check_prefix, conflict,
    driver, invalid, link_name, mtu, read_addresses, resolver_place,
};
use crate::{DEFAULT_NETWORK, Ipv6, NetworkConfig, Networks};

impl Networks {
    /// Makes a network; gives its definition. `AlreadyExists` if the name is
    /// taken, `Conflict` if its addresses are.
    pub fn create(&self, request: &NetworkRequest) -> Result<Definition> {
        self.create_now(request)
            .context(|| format!("make network {}", request.name))
    }

    fn create_now(&self, request: &NetworkRequest) -> Result<Definition> {
        check_name(&request.name)?;
        let addresses = read_addresses(request)?;
        create_private_directory(&self.layout.networks())?;
        // Nobody else makes or removes one meanwhile.
        let _all = FileLock::exclusive(&self.all_lock())?;
        if self.read(&request.name)?.is_some() {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("network {} is there already", request.name),
            ));
        }
        let others = self.list()?;
        let definition = self.decide(request, addresses, &others)?;
        drop(FileLock::exclusive(&self.lock_path(&request.name))?);
        let path = self.record_path(&request.name);
        Record::write(&path, &definition, Durability::Fast)?;
        Ok(definition)
    }

    fn decide(
        &self,
        request: &NetworkRequest,
        addresses: Addresses,
        others: &[Definition],
    ) -> Result<Definition> {
        let id = ContainerId::random()?;
        let short: String = id.to_string().chars().take(8).collect();
        let driver = driver(request)?;
        let has_ipv6 = addresses.prefix.is_some()
            || (request.ipv6 != Some(false)
                && driver == Driver::Bridge
                && self.config.ipv6 == Ipv6::Private
                && forwarding::has_ipv6());
        if addresses.prefix.is_some() && request.ipv6 == Some(false) {
            return Err(invalid("an IPv6 subnet goes without --ipv6=false"));
        }
        let mut route = Socket::open(Protocol::Route)?;
        let routes = bridge::host_routes(&mut route)?;
        let taken = |subnet: Ipv4Subnet| {
            others
                .iter()
                .find(|other| subnet.overlaps(other.subnet.address(), other.subnet.prefix()))
        };
        let subnet = match (addresses.subnet, &driver) {
            (Some(subnet), _) => {
                if let Some(other) = taken(subnet) {
                    return Err(conflict(format!(
                        "subnet {subnet} overlaps with {} of network {}",
                        other.subnet, other.name
                    )));
                }
                // A macvlan's addresses are those of the parent's network.
                let on_host = routes
                    .iter()
                    .find(|(address, prefix)| subnet.overlaps(*address, *prefix));
                if let (Driver::Bridge, Some((address, prefix))) = (&driver, on_host) {
                    return Err(conflict(format!(
                        "subnet {subnet} overlaps with {address}/{prefix}, to which the host has a route"
                    )));
                }
                subnet
            }
            (None, Driver::Macvlan { .. }) => {
                return Err(invalid(
                    "a macvlan network needs --subnet: that of the network its parent is on",
                ));
            }
            (None, Driver::Bridge) => {
                let start = u32::from_le_bytes([id.as_bytes()[0], id.as_bytes()[1], 0, 0]);
                bridge::free_block(start, |subnet| {
                    taken(subnet).is_none()
                        && !routes
                            .iter()
                            .any(|(address, prefix)| subnet.overlaps(*address, *prefix))
                })?
            }
        };
        if let Some(prefix) = addresses.prefix {
            check_prefix(prefix, &driver, (&mut route, others))?;
        }
        let mut random = [0; 5];
        random.copy_from_slice(&id.as_bytes()[16..21]);
        let ipv6 = match (has_ipv6, addresses.prefix) {
            (true, None) => Some(Ipv6Prefix::private(random)),
            (_, prefix) => prefix,
        };
        let named = request.options.get("com.docker.network.bridge.name");
        let mut definition = Definition {
            name: request.name.clone(),
            id,
            created: Timestamp::now(),
            bridge: match named {
                Some(name) => link_name(name)?,
                None => format!("wharf-{short}"),
            },
            table: format!("wharf-{short}"),
            driver,
            labels: request.labels.clone(),
            options: request.options.clone(),
            internal: request.internal,
            subnet,
            gateway: addresses.gateway,
            range: addresses.range,
            reserved: request.reserved.clone(),
            ipv6,
            ipv6_gateway: addresses.ipv6_gateway,
            resolver: None,
            mtu: mtu(request)?,
        };
        check_addresses(&definition)?;
        if others.iter().any(|other| other.bridge == definition.bridge) {
            return Err(conflict(format!(
                "link {} is another network's",
                definition.bridge
            )));
        }
        definition.resolver = resolver_place(&definition);
        Ok(definition)
    }

    /// Removes a network from the host and from the list; `Conflict` while a
    /// container is on it, `NotFound` if there is none.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.remove_now(name)
            .context(|| format!("remove network {name}"))
    }

    fn remove_now(&self, name: &str) -> Result<()> {
        if RESERVED.contains(&name) {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("{name} is there always and cannot be removed"),
            ));
        }
        let _all = FileLock::exclusive(&self.all_lock())?;
        let Some(mut host) = self.open_exclusive(name)? else {
            return Err(no_such(name));
        };
        let leases = host.leases.list()?;
        if !leases.is_empty() {
            let names: Vec<String> = leases
                .iter()
                .filter_map(|(_, lease)| lease.as_ref())
                .map(|lease| match lease.names.first() {
                    Some(name) => name.clone(),
                    None => lease.container.short(),
                })
                .collect();
            return Err(conflict(format!(
                "network {name} is in use by {}",
                names.join(", ")
            )));
        }
        self.stop_resolver(name)?;
        host.take_down()?;
        for directory in [self.layout.leases(name)] {
            match std::fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).context(|| format!("remove {}", directory.display()));
                }
                _ => {}
            }
        }
        // From here on there is no such network.
        for path in [self.record_path(name), self.lock_path(name)] {
            std::fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    }

    /// Takes away what a creation or removal that was cut off left.
    pub(crate) fn forget_unfinished(&self) -> Result<()> {
        if !self.layout.networks().is_dir() {
            return Ok(());
        }
        let _all = FileLock::exclusive(&self.all_lock())?;
        let mut errors = Errors::new();
        for entry in self.entries()? {
            if Record::is_abandoned(&entry) {
                let path = self.layout.networks().join(&entry);
                let removed = std::fs::remove_file(&path);
                errors.keep(removed.context(|| format!("remove {}", path.display())));
                continue;
            }
            if let Some(name) = entry.strip_suffix(".lock")
                && !name.is_empty()
                && name != DEFAULT_NETWORK
                && self.read(name)?.is_none()
            {
                let path = self.lock_path(name);
                let removed = std::fs::remove_file(&path);
                errors.keep(removed.context(|| format!("remove {}", path.display())));
            }
        }
        errors.into_result()
    }

    /// All networks that were made or used, by name.
    pub fn list(&self) -> Result<Vec<Definition>> {
        let mut networks = Vec::new();
        for name in self.names()? {
            networks.extend(self.read(&name)?);
        }
        Ok(networks)
    }

    /// The default network, which is decided upon now if it never was used.
    pub fn default_network(&self) -> Result<Definition> {
        create_private_directory(&self.layout.networks())?;
        if self.read(DEFAULT_NETWORK)?.is_none() {
            let _lock = FileLock::exclusive(&self.lock_path(DEFAULT_NETWORK))?;
            self.define_default()?;
        }
        self.read(DEFAULT_NETWORK)?
            .ok_or_else(|| no_such(DEFAULT_NETWORK))
    }

    /// The network that a name, an id or a unique prefix of an id means.
    pub fn find(&self, text: &str) -> Result<Definition> {
        if matches!(text, DEFAULT_NETWORK | "default") {
            return self.default_network();
        }
        let all = self.list()?;
        if let Some(found) = all.iter().find(|network| network.name == text) {
            return Ok(found.clone());
        }
        let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut found = all
            .iter()
            .filter(|network| is_hex && network.id.to_string().starts_with(text));
        match (found.next(), found.next()) {
            (Some(network), None) => Ok(network.clone()),
            (Some(_), Some(_)) => Err(invalid(format!(
                "several networks have ids that begin with {text}"
            ))),
            (None, _) => Err(no_such(text)),
        }
    }

    /// Who is on a network, by address.
    pub fn leases(&self, network: &Definition) -> Result<Vec<(Ipv4Addr, Lease)>> {
        let leases = Leases::new(self.layout.leases(&network.name), network.pool());
        let mut held: Vec<(Ipv4Addr, Lease)> = leases
            .list()?
            .into_iter()
            .filter_map(|(address, lease)| Some((address, lease?)))
            .filter(|(_, lease)| !lease.ipv6_only)
            .collect();
        held.sort_by_key(|(address, _)| *address);
        Ok(held)
    }

    /// The name of a container's own end of the wire to a network, if it is on
    /// that.
    pub fn interface_of(&self, network: &str, container: &ContainerId) -> Result<Option<String>> {
        let Some(host) = self.open_shared(network)? else {
            return Ok(None);
        };
        let lease = host.leases.find(container)?;
        Ok(lease
            .map(|(_, lease)| lease.interface)
            .filter(|interface| !interface.is_empty()))
    }

    /// Changes what is written down about a container that is on a network:
    /// its names, whom else it knows.
    pub fn change_lease(
        &self,
        network: &str,
        container: &ContainerId,
        change: impl Fn(&mut Lease),
    ) -> Result<()> {
        let Some(host) = self.open_shared(network)? else {
            return Ok(());
        };
        if let Some((address, mut lease)) = host.leases.find(container)? {
            change(&mut lease);
            host.leases.replace(address, &lease)?;
        }
        Ok(())
    }

    /// Decides and writes down what the default network is, or is to be if
    /// the administrator wants it otherwise; the lock is held.
    pub(crate) fn define_default(&self) -> Result<()> {
        let existing = self.read(DEFAULT_NETWORK)?;
        if let Some(network) = &existing {
            if !bridge::differs_from(network, &self.config) {
                return Ok(());
            }
            let leases = Leases::new(self.layout.leases(&network.name), network.pool());
            let count = leases.list()?.len();
            if count > 0 {
                return Err(conflict(format!(
                    "its subnet {}, IPv6 or MTU was changed in the configuration while \
                     {count} containers use it; stop them first",
                    network.subnet
                )));
            }
            let mut route = Socket::open(Protocol::Route)?;
            bridge::remove(&mut route, &network.bridge)?;
        }
        let config = NetworkConfig {
            ipv6: if forwarding::has_ipv6() {
                self.config.ipv6
            } else {
                Ipv6::Off
            },
            ..self.config.clone()
        };
        let mut route = Socket::open(Protocol::Route)?;
        let mut routes = bridge::host_routes(&mut route)?;
        let others = self.list()?;
        let subnets = others
            .iter()
            .filter(|other| other.name != DEFAULT_NETWORK)
            .map(|other| (other.subnet.address(), other.subnet.prefix()));
        routes.extend(subnets);
        let mut network = bridge::choose(
            DEFAULT_NETWORK,
            &self.layout,
            &config,
            &routes,
            ContainerId::random()?,
        )?;
        if let Some(existing) = existing {
            network.id = existing.id;
            network.created = existing.created;
        }
        network.resolver = resolver_place(&network);
        Record::write(
            &self.record_path(DEFAULT_NETWORK),
            &network,
            Durability::Synced,
        )
    }

    fn all_lock(&self) -> std::path::PathBuf {
        self.layout.networks().join(".lock")
    }

    /// The names of all records.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self
            .entries()?
            .into_iter()
            .filter_map(|entry| Some(entry.strip_suffix(".json")?.to_owned()))
            // A record that is being written has another name.
            .filter(|name| name.parse::<ContainerName>().is_ok())
            .collect();
        names.sort();
        Ok(names)
    }

    fn entries(&self) -> Result<Vec<String>> {
        let directory = self.layout.networks();
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).context(|| format!("list {}", directory.display())),
        };
        entries
            .map(|entry| {
                let entry = entry.context(|| format!("list {}", directory.display()))?;
                Ok(entry.file_name().to_string_lossy().into_owned())
            })
            .collect()
    }
}
