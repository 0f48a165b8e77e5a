//! Networks: the verbs. What they do to the host is in the crate `network`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use network::{Definition, Driver, NetworkRequest};
use serde::Serialize;
use state::{ContainerId, EventKind, PortMapping, Timestamp};
use sys::{Error, ErrorKind, Result};

use crate::Engine;
use crate::containers::{PruneFilter, observe};
use crate::parse::Filter;

/// Networks that are no networks: there is nothing to make of them.
const UNMADE: [&str; 2] = ["host", "none"];

/// The networks of a store; one method is one verb.
#[derive(Clone, Debug)]
pub struct Networks<'a> {
    engine: &'a Engine,
}

/// A network in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSummary {
    pub id: String,
    pub name: String,
    pub driver: String,
    pub created: Timestamp,
    pub ipv6: bool,
    pub internal: bool,
    pub labels: BTreeMap<String, String>,
}

/// A network in the shape of Docker's JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkInspect {
    pub name: String,
    pub id: String,
    pub created: String,
    pub scope: String,
    pub driver: String,
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: bool,
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    pub internal: bool,
    pub attachable: bool,
    pub ingress: bool,
    pub config_from: ConfigFrom,
    pub config_only: bool,
    /// By the container's id.
    pub containers: BTreeMap<String, NetworkMember>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// How addresses are given.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ipam {
    pub driver: String,
    pub options: Option<BTreeMap<String, String>>,
    pub config: Vec<IpamConfig>,
}

/// One subnet.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct IpamConfig {
    pub subnet: String,
    #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
    pub ip_range: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary_addresses: BTreeMap<String, String>,
}

/// There is nothing to take a configuration from.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConfigFrom {
    pub network: String,
}

/// A container on a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkMember {
    pub name: String,
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    pub mac_address: String,
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

/// One `--filter` of `network ls`. Of one kind: either; of different kinds:
/// all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkFilter {
    /// No container has it.
    Dangling(bool),
    Driver(String),
    Id(String),
    Label(String, Option<String>),
    Name(String),
    Scope(String),
    /// Made by a user, or there always.
    IsCustom(bool),
}

/// A published port and who can reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    pub container: String,
    pub port: PortMapping,
    /// Where the traffic goes.
    pub to: String,
}

impl FromStr for NetworkFilter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let filter = Filter::split(text)?;
        Ok(match (filter.key, filter.value) {
            ("dangling", "true" | "1") => Self::Dangling(true),
            ("dangling", "false" | "0") => Self::Dangling(false),
            ("driver", _) => Self::Driver(filter.owned()),
            ("id", _) => Self::Id(filter.owned()),
            ("label", _) => {
                let (key, value) = filter.label();
                Self::Label(key, value)
            }
            ("name", _) => Self::Name(filter.owned()),
            ("scope", _) => Self::Scope(filter.owned()),
            ("type", "custom") => Self::IsCustom(true),
            ("type", "builtin") => Self::IsCustom(false),
            _ => {
                return Err(filter.wrong("use dangling, driver, id, label, name, scope or type"));
            }
        })
    }
}

impl<'a> Networks<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine }
    }

    /// Makes a network; gives its id.
    pub fn create(&self, request: &NetworkRequest) -> Result<String> {
        let definition = self.engine.network_host().create(request)?;
        self.tell("create", &definition);
        Ok(definition.id.to_string())
    }

    /// All networks that pass the filters, by name.
    pub fn list(&self, filters: &[NetworkFilter]) -> Result<Vec<NetworkSummary>> {
        let host = self.engine.network_host();
        let default = host.default_network()?;
        let mut all: Vec<NetworkSummary> = UNMADE.iter().map(|name| unmade(name)).collect();
        let mut users = BTreeMap::new();
        for definition in host.list()? {
            users.insert(
                definition.name.clone(),
                !host.leases(&definition)?.is_empty(),
            );
            all.push(summary(&definition));
        }
        if !users.contains_key(&default.name) {
            all.push(summary(&default));
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        let is_used = |name: &str| users.get(name).copied().unwrap_or(false);
        all.retain(|network| passes(filters, network, is_used(&network.name)));
        Ok(all)
    }

    /// Everything about a network.
    pub fn inspect(&self, name: &str) -> Result<NetworkInspect> {
        if UNMADE.contains(&name) {
            let summary = unmade(name);
            return Ok(NetworkInspect {
                name: summary.name,
                id: summary.id,
                created: summary.created.to_string(),
                scope: "local".to_owned(),
                driver: summary.driver,
                ..NetworkInspect::default()
            });
        }
        let host = self.engine.network_host();
        let network = host.find(name)?;
        let id = network.id.to_string();
        let mut containers = BTreeMap::new();
        for (address, lease) in host.leases(&network)? {
            let [a, b, c, d] = address.octets();
            let ipv6 = lease.ipv6.zip(network.ipv6);
            containers.insert(
                lease.container.to_string(),
                NetworkMember {
                    name: lease.names.first().cloned().unwrap_or_default(),
                    endpoint_id: endpoint_id(&id, &lease.container),
                    mac_address: format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}"),
                    ipv4_address: format!("{address}/{}", network.subnet.prefix()),
                    ipv6_address: ipv6
                        .map(|(address, prefix)| format!("{address}/{}", prefix.length()))
                        .unwrap_or_default(),
                },
            );
        }
        Ok(NetworkInspect {
            name: network.name.clone(),
            id,
            created: network.created.to_string(),
            scope: "local".to_owned(),
            driver: network.driver.word().to_owned(),
            enable_ipv4: true,
            enable_ipv6: network.ipv6.is_some(),
            ipam: ipam(&network),
            internal: network.internal,
            containers,
            options: network.options.clone(),
            labels: network.labels,
            ..NetworkInspect::default()
        })
    }

    /// Removes a network that no container is on (`Conflict` otherwise).
    /// With `force`, one that is not there is fine.
    pub fn remove(&self, name: &str, force: bool) -> Result<()> {
        let host = self.engine.network_host();
        if UNMADE.contains(&name) {
            return host.remove(name);
        }
        let network = match host.find(name) {
            Err(error) if force && error.kind() == ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        // Those whose monitor was killed are on it no longer.
        if !host.leases(&network)?.is_empty() {
            self.engine.reconcile()?;
        }
        host.remove(&network.name)?;
        self.tell("destroy", &network);
        Ok(())
    }

    /// Removes networks that no container has. Gives their names.
    pub fn prune(&self, filters: &[PruneFilter]) -> Result<Vec<String>> {
        let wanted: Vec<String> = self
            .engine
            .configs()?
            .iter()
            .flat_map(state::ContainerConfig::networks)
            .map(|endpoint| endpoint.network)
            .collect();
        let host = self.engine.network_host();
        let mut pruned = Vec::new();
        for network in host.list()? {
            let passes = filters
                .iter()
                .all(|filter| filter.lets_go(Some(network.created), &network.labels));
            let is_wanted = wanted.contains(&network.name);
            if network.name == network::DEFAULT_NETWORK || is_wanted || !passes {
                continue;
            }
            match host.remove(&network.name) {
                Ok(()) => {
                    self.tell("destroy", &network);
                    pruned.push(network.name);
                }
                // Somebody came meanwhile, or removed it.
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {
                }
                Err(error) => return Err(error),
            }
        }
        Ok(pruned)
    }

    /// The published ports of all running containers.
    pub fn published(&self) -> Result<Vec<PublishedPort>> {
        let mut published = Vec::new();
        for config in self.engine.configs()? {
            for record in observe::networks(self.engine, &config.id)? {
                for port in &record.ports {
                    let to = match port.host.ip() {
                        IpAddr::V4(_) => record.ipv4,
                        IpAddr::V6(_) => record.ipv6,
                    };
                    // A container without IPv6 is not reached by it.
                    let Some(to) = to else { continue };
                    published.push(PublishedPort {
                        container: config.name.to_string(),
                        port: *port,
                        to: std::net::SocketAddr::new(to, port.container).to_string(),
                    });
                }
            }
        }
        published.sort_by_key(|one| (one.port.host.port(), one.port.protocol, one.port.host.ip()));
        Ok(published)
    }

    /// What else on this host decides about packets to published ports.
    pub fn foreign_filters(&self) -> Result<Vec<String>> {
        network::foreign_filters()
    }

    fn tell(&self, action: &str, network: &Definition) {
        let mut event = state::Event::now(EventKind::Network, action, network.id.to_string());
        event = event
            .with("name", &*network.name)
            .with("type", network.driver.word());
        // As for all events: what cannot be written is not told.
        let _ = event.append(&self.engine.layout().events());
    }
}

/// The same for the same container on the same network.
pub(crate) fn endpoint_id(network: &str, container: &ContainerId) -> String {
    let network = network.as_bytes().chunks(2);
    let mixed = container
        .as_bytes()
        .iter()
        .zip(network)
        .map(|(byte, digits)| {
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            let other = u8::from_str_radix(digits, 16).unwrap_or_default();
            format!("{:02x}", byte ^ other)
        });
    mixed.collect()
}

fn summary(network: &Definition) -> NetworkSummary {
    NetworkSummary {
        id: network.id.to_string(),
        name: network.name.clone(),
        driver: network.driver.word().to_owned(),
        created: network.created,
        ipv6: network.ipv6.is_some(),
        internal: network.internal,
        labels: network.labels.clone(),
    }
}

/// `host` and `none`, which have ids that say so.
fn unmade(name: &str) -> NetworkSummary {
    let digit = if name == "host" { "1" } else { "0" };
    NetworkSummary {
        id: digit.repeat(64),
        name: name.to_owned(),
        driver: if name == "host" { "host" } else { "null" }.to_owned(),
        created: Timestamp::from_nanos(0),
        ipv6: false,
        internal: false,
        labels: BTreeMap::new(),
    }
}

fn ipam(network: &Definition) -> Ipam {
    let reserved = |is_ipv6: bool| {
        network
            .reserved
            .iter()
            .filter(|(_, address)| address.is_ipv6() == is_ipv6)
            .map(|(name, address)| (name.clone(), address.to_string()))
            .collect()
    };
    let mut config = vec![IpamConfig {
        subnet: network.subnet.to_string(),
        ip_range: network
            .range
            .map(|range| range.to_string())
            .unwrap_or_default(),
        gateway: network.gateway().to_string(),
        auxiliary_addresses: reserved(false),
    }];
    if let Some(prefix) = network.ipv6 {
        config.push(IpamConfig {
            subnet: prefix.to_string(),
            gateway: network
                .ipv6_gateway()
                .map(|gateway| gateway.to_string())
                .unwrap_or_default(),
            auxiliary_addresses: reserved(true),
            ..IpamConfig::default()
        });
    }
    let options = match &network.driver {
        Driver::Bridge => Some(BTreeMap::new()),
        Driver::Macvlan { .. } => None,
    };
    Ipam {
        driver: "default".to_owned(),
        options,
        config,
    }
}

fn passes(filters: &[NetworkFilter], network: &NetworkSummary, is_used: bool) -> bool {
    use NetworkFilter as Filter;
    let is_custom = network.name != network::DEFAULT_NETWORK && !UNMADE.contains(&&*network.name);
    let holds = |filter: &Filter| match filter {
        Filter::Dangling(wanted) => is_custom && *wanted != is_used,
        Filter::Driver(driver) => network.driver == *driver,
        Filter::Id(id) => network.id.starts_with(id.as_str()),
        Filter::Label(key, value) => network
            .labels
            .get(key)
            .is_some_and(|found| value.as_ref().is_none_or(|wanted| wanted == found)),
        Filter::Name(part) => network.name.contains(part.as_str()),
        Filter::Scope(scope) => scope == "local",
        Filter::IsCustom(wanted) => is_custom == *wanted,
    };
    filters.iter().all(|filter| {
        let same_kind =
            |other: &&Filter| std::mem::discriminant(*other) == std::mem::discriminant(filter);
        match filter {
            Filter::Label(..) => holds(filter),
            _ => filters.iter().filter(same_kind).any(holds),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_one_kind_are_alternatives() {
        let network = NetworkSummary {
            name: "front".into(),
            driver: "bridge".into(),
            labels: BTreeMap::from([("a".into(), "b".into())]),
            ..unmade("none")
        };
        let pass = |texts: &[&str]| {
            let filters: Vec<NetworkFilter> =
                texts.iter().map(|text| text.parse().unwrap()).collect();
            passes(&filters, &network, true)
        };
        assert!(pass(&[]) && pass(&["name=ron", "name=x"]) && pass(&["label=a", "type=custom"]));
        assert!(pass(&["dangling=false", "id=000"]));
        assert!(
            !pass(&["dangling=true"])
                && !pass(&["driver=macvlan"])
                && !pass(&["label=c", "label=a"])
        );
        assert!("what=x".parse::<NetworkFilter>().is_err());
    }

    #[test]
    fn an_endpoint_is_named_after_both() {
        let container = ContainerId::from_bytes([0xff; 32]);
        let id = endpoint_id(&"0f".repeat(32), &container);
        assert_eq!(id, "f0".repeat(32));
    }
}
