//! A bridge on the host: the default kind of network.
//!
//! The bridge, its addresses and the host's forwarding are made when the
//! first container attaches and stay. "Up" is the last step of making it, so
//! a bridge that is up is complete.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use state::{ContainerId, Layout, Timestamp};
use sys::netlink::route::{self, Link, LinkName};
use sys::netlink::{Message, Socket};
use sys::{Context as _, Error, ErrorKind, Result};

use super::forwarding;
use crate::address::Ipv4Subnet;
use crate::definition::{Definition, Driver, Ipv6Prefix};
use crate::plan;
use crate::wire::{Step, perform};
use crate::{Ipv6, NetworkConfig};

/// The bridge, and the table in the packet filter, of the default store.
const PLAIN_BRIDGE: &str = "wharf0";
const PLAIN_TABLE: &str = "wharf";
/// Second byte of the subnets tried, from the first on. Docker takes from
/// 172.17.0.0/16, podman from 10.88.0.0/16 on.
const FIRST_CHOICE: u8 = 87;
const CHOICES: std::ops::Range<u8> = 16..87;
/// Where networks that ask for no subnet get theirs: 10.128.0.0/9.
const BLOCKS_FROM: u32 = 0x0a80_0000;
const BLOCKS: u32 = 2048;

/// The address every bridge has on its own link.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Decides what the default network is. Pure: `routes` are the networks the
/// host has a way to, `id` also makes the IPv6 prefix.
pub(crate) fn choose(
    name: &str,
    layout: &Layout,
    config: &NetworkConfig,
    routes: &[(Ipv4Addr, u8)],
    id: ContainerId,
) -> Result<Definition> {
    let hash = hash(layout.root().as_os_str().as_encoded_bytes());
    let (bridge, table) = if layout.is_default() {
        (PLAIN_BRIDGE.to_owned(), PLAIN_TABLE.to_owned())
    } else {
        let own = format!("wharf-{hash:08x}");
        (own.clone(), own)
    };
    let subnet = match config.subnet {
        Some(subnet) => subnet,
        None => free_subnet(layout, hash, routes)?,
    };
    let mut random = [0; 5];
    random.copy_from_slice(&id.as_bytes()[16..21]);
    Ok(Definition {
        name: name.to_owned(),
        id,
        created: Timestamp::now(),
        driver: Driver::Bridge,
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
        internal: false,
        bridge,
        table,
        subnet,
        gateway: None,
        range: None,
        reserved: BTreeMap::new(),
        ipv6: match config.ipv6 {
            Ipv6::Private => Some(Ipv6Prefix::private(random)),
            Ipv6::Off => None,
        },
        ipv6_gateway: None,
        resolver: None,
        mtu: config.mtu,
    })
}

/// Whether the administrator asks for something else now.
pub(crate) fn differs_from(network: &Definition, config: &NetworkConfig) -> bool {
    let has_ipv6 = network.ipv6.is_some();
    config.subnet.is_some_and(|subnet| subnet != network.subnet)
        || config.mtu != network.mtu
        || match config.ipv6 {
            Ipv6::Off => has_ipv6,
            Ipv6::Private => !has_ipv6 && forwarding::has_ipv6(),
        }
}

/// The bridge's index; `None` unless it is there and complete.
pub(crate) fn find(network: &Definition, socket: &mut Socket) -> Result<Option<u32>> {
    match socket.request(route::get_link(LinkName::Name(&network.bridge))) {
        Ok(replies) => {
            let reply = replies.first().ok_or_else(|| unknown(network))?;
            let link = Link::parse(reply)?;
            if link.kind != "bridge" {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("link {} exists and is not a bridge", network.bridge),
                ));
            }
            Ok(link.is_up.then_some(link.index))
        }
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error.wrap(format!("look for bridge {}", network.bridge))),
    }
}

/// Makes the bridge or completes it; the caller holds the network's lock
/// exclusively.
pub(crate) fn make(network: &Definition, socket: &mut Socket) -> Result<u32> {
    let name = &*network.bridge;
    let link = LinkName::Name(name);
    let mac = plan::mac(network.gateway()).bytes();
    perform(
        socket,
        name,
        vec![
            Step::new("make bridge", route::new_bridge(name, mac, network.mtu))
                .tolerating(&[rustix::io::Errno::EXIST]),
        ],
    )?;
    forwarding::enable_ipv4()?;
    forwarding::route_loopback(name)?;
    let mut steps = Vec::new();
    if network.ipv6.is_some() {
        forwarding::enable_ipv6()?;
        forwarding::guard_ipv6(name)?;
        steps.push(Step::new(
            "keep generated addresses off bridge",
            route::set_no_generated_address(link),
        ));
    }
    let index = index(network, socket)?;
    for message in addresses(network, index) {
        let step = Step::new("give an address to bridge", message);
        steps.push(step.tolerating(&[rustix::io::Errno::EXIST]));
    }
    steps.push(Step::new("start bridge", route::set_up(link)));
    perform(socket, name, steps)?;
    Ok(index)
}

fn addresses(network: &Definition, index: u32) -> Vec<Message> {
    let mut messages = vec![route::add_address(
        index,
        IpAddr::V4(network.gateway()),
        network.subnet.prefix(),
    )];
    if let (Some(prefix), Some(gateway)) = (network.ipv6, network.ipv6_gateway()) {
        messages.push(route::add_address(index, gateway.into(), prefix.length()));
        // Without a link-local address the kernel asks for no neighbor on
        // behalf of others, so nothing it passes on would arrive.
        messages.push(route::add_address(index, LINK_LOCAL.into(), 64));
    }
    messages
}

fn index(network: &Definition, socket: &mut Socket) -> Result<u32> {
    let replies = socket
        .request(route::get_link(LinkName::Name(&network.bridge)))
        .context(|| format!("look for bridge {}", network.bridge))?;
    let reply = replies.first().ok_or_else(|| unknown(network))?;
    Ok(Link::parse(reply)?.index)
}

fn unknown(network: &Definition) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the kernel says nothing about link {}", network.bridge),
    )
}

/// Deletes a bridge, if it is there.
pub(crate) fn remove(socket: &mut Socket, bridge: &str) -> Result<()> {
    let link = LinkName::Name(bridge);
    let step = Step::new("delete bridge", route::delete_link(link))
        .tolerating(&[rustix::io::Errno::NODEV]);
    perform(socket, bridge, vec![step])?;
    Ok(())
}

/// A free block of 4,096 addresses in 10.128.0.0/9, beginning with the one
/// that `start` means.
pub(crate) fn free_block(start: u32, is_free: impl Fn(Ipv4Subnet) -> bool) -> Result<Ipv4Subnet> {
    for step in 0..BLOCKS {
        let block = start.wrapping_add(step) % BLOCKS;
        let address = Ipv4Addr::from_bits(BLOCKS_FROM + block * 4096);
        let subnet = Ipv4Subnet::new(address, 20)?;
        if is_free(subnet) {
            return Ok(subnet);
        }
    }
    Err(Error::new(
        ErrorKind::Conflict,
        "no subnet is free in 10.128.0.0/9: give one with --subnet",
    ))
}

/// As [`host_routes`], for IPv6.
pub(crate) fn host_ipv6_routes(socket: &mut Socket) -> Result<Vec<(Ipv6Addr, u8)>> {
    let replies = socket
        .dump(&route::list_ipv6_routes())
        .context(|| "list routes")?;
    let mut routes = Vec::new();
    for reply in &replies {
        let (address, length) = route::parse_ipv6_route(reply)?;
        let is_ordinary = !address.is_multicast() && !address.is_unicast_link_local();
        if length > 0 && is_ordinary {
            routes.push((address, length));
        }
    }
    Ok(routes)
}

/// Networks the host has a way to, without the default route.
pub(crate) fn host_routes(socket: &mut Socket) -> Result<Vec<(Ipv4Addr, u8)>> {
    let replies = socket
        .dump(&route::list_ipv4_routes())
        .context(|| "list routes")?;
    let mut routes = Vec::new();
    for reply in &replies {
        let (address, prefix) = route::parse_route(reply)?;
        if prefix > 0 {
            routes.push((address, prefix));
        }
    }
    Ok(routes)
}

/// Whether the kernel says that a link is not there.
pub(crate) fn is_missing(error: &Error) -> bool {
    error.errno() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

fn free_subnet(layout: &Layout, hash: u32, routes: &[(Ipv4Addr, u8)]) -> Result<Ipv4Subnet> {
    let count = CHOICES.len();
    let start = hash as usize % count;
    let others = CHOICES.cycle().skip(start).take(count);
    let plain = layout.is_default().then_some(FIRST_CHOICE);
    for second in plain.into_iter().chain(others) {
        let subnet = Ipv4Subnet::new(Ipv4Addr::new(10, second, 0, 0), 16)?;
        if !routes
            .iter()
            .any(|(address, prefix)| subnet.overlaps(*address, *prefix))
        {
            return Ok(subnet);
        }
    }
    Err(Error::new(
        ErrorKind::Conflict,
        "the host uses all of 10.0.0.0/8 already: set a subnet for the default network",
    ))
}

/// FNV-1a: stable over versions, which the standard hasher is not.
pub(crate) fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn network() -> Definition {
        let layout = Layout::new(Layout::DEFAULT_ROOT, Layout::DEFAULT_RUN_ROOT);
        choose(&layout, &[]).unwrap()
    }

    fn choose(layout: &Layout, routes: &[(Ipv4Addr, u8)]) -> Result<Definition> {
        let mut id = [0; 32];
        id[16..21].copy_from_slice(&[0x12, 0x34, 0x56, 0x78, 0x9a]);
        let id = ContainerId::from_bytes(id);
        super::choose("bridge", layout, &NetworkConfig::default(), routes, id)
    }

    #[test]
    fn the_default_store_has_the_plain_names() {
        let network = network();
        assert_eq!((&*network.bridge, &*network.table), ("wharf0", "wharf"));
        assert_eq!(network.subnet.to_string(), "10.87.0.0/16");
    }

    #[test]
    fn stores_side_by_side_share_nothing() {
        let one = choose(&Layout::new("/a", "/run/a"), &[]).unwrap();
        let taken = [(one.subnet.address(), 16)];
        let two = choose(&Layout::new("/b", "/run/b"), &taken).unwrap();
        assert_ne!(one.bridge, two.bridge);
        assert_ne!(one.table, two.table);
        assert_ne!(one.subnet, two.subnet);
        assert!(one.bridge.len() <= 15 && one.bridge != "wharf0");
    }

    #[test]
    fn a_subnet_the_host_uses_is_passed_over() {
        let layout = Layout::new(Layout::DEFAULT_ROOT, Layout::DEFAULT_RUN_ROOT);
        let taken = [(Ipv4Addr::new(10, 87, 4, 0), 24)];
        let network = choose(&layout, &taken).unwrap();
        assert!(!network.subnet.overlaps(Ipv4Addr::new(10, 87, 4, 0), 24));
        let error = choose(&layout, &[(Ipv4Addr::new(10, 0, 0, 0), 8)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }

    #[test]
    fn the_record_reads_back() {
        let network = network();
        let text = serde_json::to_string(&network).unwrap();
        assert_eq!(serde_json::from_str::<Definition>(&text).unwrap(), network);
        // As versions without user-defined networks wrote it.
        let old = r#"{"name":"bridge","bridge":"wharf0","table":"wharf",
            "subnet":"10.87.0.0/16","ipv6":"fd12:3456:789a::","mtu":null}"#;
        let old: Definition = serde_json::from_str(old).unwrap();
        assert_eq!((old.subnet, old.ipv6), (network.subnet, network.ipv6));
    }

    #[test]
    fn blocks_are_taken_in_turn() {
        let first = free_block(5, |_| true).unwrap();
        assert_eq!(first.to_string(), "10.128.80.0/20");
        let next = free_block(5, |subnet| subnet != first).unwrap();
        assert_eq!(next.to_string(), "10.128.96.0/20");
        assert!(free_block(0, |_| false).is_err());
    }
}
