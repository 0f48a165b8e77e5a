//! What a request for a network says, read and checked.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use state::ContainerName;
use sys::netlink::Socket;
use sys::{Error, ErrorKind, Result};

use crate::DEFAULT_NETWORK;
use crate::address::Ipv4Subnet;
use crate::definition::{Definition, Driver, Ipv6Prefix};
use crate::drivers::bridge;
use crate::wire::macvlan_mode;

/// Names that mean something else.
pub(crate) const RESERVED: [&str; 4] = [DEFAULT_NETWORK, "host", "none", "default"];

/// A network to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkRequest {
    pub name: String,
    /// `bridge` (or empty) or `macvlan`.
    pub driver: String,
    pub labels: BTreeMap<String, String>,
    /// Docker's: `parent`, `macvlan_mode`, `com.docker.network.…`.
    pub options: BTreeMap<String, String>,
    /// At most one of each IP version; a free one if absent.
    pub subnets: Vec<String>,
    pub gateways: Vec<IpAddr>,
    pub ranges: Vec<String>,
    /// Addresses that others have, by name.
    pub reserved: BTreeMap<String, IpAddr>,
    /// Whether there are IPv6 addresses; if the kernel can, unless said.
    pub ipv6: Option<bool>,
    pub internal: bool,
}

/// What the subnets of a request come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) subnet: Option<Ipv4Subnet>,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) range: Option<Ipv4Subnet>,
    pub(crate) prefix: Option<Ipv6Prefix>,
    pub(crate) ipv6_gateway: Option<Ipv6Addr>,
}

/// Whether nobody has the addresses of an IPv6 subnet.
pub(crate) fn check_prefix(
    prefix: Ipv6Prefix,
    driver: &Driver,
    (route, others): (&mut Socket, &[Definition]),
) -> Result<()> {
    let overlapping = others.iter().find_map(|other| {
        let theirs = other.ipv6?;
        prefix
            .overlaps(theirs.address(0), theirs.length())
            .then_some((theirs, &other.name))
    });
    if let Some((theirs, name)) = overlapping {
        return Err(conflict(format!(
            "subnet {prefix} overlaps with {theirs} of network {name}"
        )));
    }
    if *driver == Driver::Bridge
        && let Some((address, length)) = bridge::host_ipv6_routes(route)?
            .into_iter()
            .find(|(address, length)| prefix.overlaps(*address, *length))
    {
        return Err(conflict(format!(
            "subnet {prefix} overlaps with {address}/{length}, to which the host has a route"
        )));
    }
    Ok(())
}

/// The last address of the pool that is nobody's. A network so small that the
/// resolver would take one of its few goes without.
pub(crate) fn resolver_place(network: &Definition) -> Option<Ipv4Addr> {
    if network.subnet.prefix() > 28 {
        return None;
    }
    let last = network.subnet.last().to_bits();
    (0..8)
        .map(|step| Ipv4Addr::from_bits(last - step))
        .find(|address| {
            *address != network.gateway()
                && !network
                    .reserved
                    .values()
                    .any(|reserved| *reserved == IpAddr::V4(*address))
        })
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_reserved = RESERVED.contains(&name) || name.starts_with("container:");
    if is_reserved {
        return Err(invalid(format!("the name {name} means something else")));
    }
    name.parse::<ContainerName>().map(drop).map_err(|_| {
        invalid("a network's name has letters, digits, _ . - and begins with a letter or digit")
    })
}

pub(crate) fn driver(request: &NetworkRequest) -> Result<Driver> {
    match &*request.driver {
        "" | "bridge" => Ok(Driver::Bridge),
        "macvlan" => {
            let option = |name: &str| request.options.get(name).cloned();
            let parent = option("parent")
                .ok_or_else(|| invalid("a macvlan network needs -o parent=LINK"))?;
            let mode = option("macvlan_mode").unwrap_or_default();
            macvlan_mode(&mode)?;
            Ok(Driver::Macvlan {
                parent: link_name(&parent)?,
                mode,
            })
        }
        other => Err(Error::new(
            ErrorKind::Unsupported,
            format!("there is no network driver {other:?}: use bridge or macvlan"),
        )),
    }
}

pub(crate) fn link_name(name: &str) -> Result<String> {
    let is_good = (1..=15).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'))
        && !matches!(name, "." | "..");
    if !is_good {
        let shown: String = name.chars().take(40).collect();
        return Err(invalid(format!("{shown:?} cannot be the name of a link")));
    }
    Ok(name.to_owned())
}

pub(crate) fn mtu(request: &NetworkRequest) -> Result<Option<u32>> {
    let Some(text) = request.options.get("com.docker.network.driver.mtu") else {
        return Ok(None);
    };
    match text.parse() {
        Ok(mtu) if (1280..=65535).contains(&mtu) => Ok(Some(mtu)),
        _ => Err(invalid(format!(
            "the MTU {text:?} is not from 1280 to 65535"
        ))),
    }
}

pub(crate) fn read_addresses(request: &NetworkRequest) -> Result<Addresses> {
    let mut addresses = Addresses::default();
    let once = |is_second: bool| {
        if is_second {
            return Err(invalid("give one subnet of each IP version at most"));
        }
        Ok(())
    };
    for text in &request.subnets {
        if text.contains(':') {
            once(addresses.prefix.is_some())?;
            addresses.prefix = Some(text.parse()?);
        } else {
            once(addresses.subnet.is_some())?;
            addresses.subnet = Some(text.parse()?);
        }
    }
    for gateway in &request.gateways {
        match gateway {
            IpAddr::V4(gateway) => addresses.gateway = Some(*gateway),
            IpAddr::V6(gateway) => addresses.ipv6_gateway = Some(*gateway),
        }
    }
    for text in &request.ranges {
        if text.contains(':') {
            return Err(invalid(
                "a range is of IPv4 addresses: IPv6 addresses follow from them",
            ));
        }
        addresses.range = Some(text.parse()?);
    }
    Ok(addresses)
}

/// Whether gateways and ranges lie where they have to.
pub(crate) fn check_addresses(network: &Definition) -> Result<()> {
    let subnet = network.subnet;
    if let Some(gateway) = network.gateway
        && !subnet.is_host(gateway)
    {
        return Err(invalid(format!(
            "gateway {gateway} is not in the subnet {subnet}"
        )));
    }
    if let Some(range) = network.range
        && (range.prefix() < subnet.prefix() || !subnet.contains(range.address()))
    {
        return Err(invalid(format!(
            "range {range} is not in the subnet {subnet}"
        )));
    }
    if let Some(gateway) = network.ipv6_gateway
        && !network.ipv6.is_some_and(|prefix| prefix.contains(gateway))
    {
        return Err(invalid(format!(
            "gateway {gateway} is not in an IPv6 subnet of the network"
        )));
    }
    for (name, address) in &network.reserved {
        let is_inside = match address {
            IpAddr::V4(address) => subnet.is_host(*address),
            IpAddr::V6(address) => network.ipv6.is_some_and(|prefix| prefix.contains(*address)),
        };
        if !is_inside {
            return Err(invalid(format!(
                "address {address} of {name} is not in a subnet of the network"
            )));
        }
    }
    Ok(())
}

pub(crate) fn invalid(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

pub(crate) fn conflict(why: String) -> Error {
    Error::new(ErrorKind::Conflict, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::bridge::tests::network;

    #[test]
    fn names_that_mean_something_else_are_refused() {
        for bad in [
            "host",
            "none",
            "bridge",
            "container:x",
            "",
            "a/b",
            "../x",
            "-x",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        check_name("front_1.a-b").unwrap();
    }

    #[test]
    fn subnets_are_told_apart_by_their_version() {
        let request = NetworkRequest {
            subnets: vec!["10.9.0.0/16".into(), "fd00:9::/64".into()],
            gateways: vec!["10.9.0.254".parse().unwrap(), "fd00:9::fe".parse().unwrap()],
            ranges: vec!["10.9.4.0/24".into()],
            ..NetworkRequest::default()
        };
        let read = read_addresses(&request).unwrap();
        let mut network = network();
        network.subnet = read.subnet.unwrap();
        network.gateway = read.gateway;
        network.range = read.range;
        network.ipv6 = read.prefix;
        network.ipv6_gateway = read.ipv6_gateway;
        check_addresses(&network).unwrap();
        network.gateway = Some(Ipv4Addr::new(10, 8, 0, 1));
        assert!(check_addresses(&network).is_err());
        network.gateway = Some(Ipv4Addr::new(10, 9, 255, 255));
        assert!(check_addresses(&network).is_err());
        network.gateway = None;
        network.range = Some("10.0.0.0/8".parse().unwrap());
        assert!(check_addresses(&network).is_err());
        for twice in [["10.9.0.0/16", "10.8.0.0/16"], ["fd00::/64", "fd01::/64"]] {
            let request = NetworkRequest {
                subnets: twice.map(str::to_owned).into(),
                ..NetworkRequest::default()
            };
            assert!(read_addresses(&request).is_err());
        }
    }

    #[test]
    fn the_resolver_has_the_last_free_address() {
        let mut network = network();
        assert_eq!(
            resolver_place(&network),
            Some(Ipv4Addr::new(10, 87, 255, 254))
        );
        network.gateway = Some(Ipv4Addr::new(10, 87, 255, 254));
        assert_eq!(
            resolver_place(&network),
            Some(Ipv4Addr::new(10, 87, 255, 253))
        );
    }
}
