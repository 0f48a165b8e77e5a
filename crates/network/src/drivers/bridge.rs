//! A bridge on the host: the default kind of network.
//!
//! The bridge, its addresses and the host's forwarding are made when the
//! first container attaches and stay. "Up" is the last step of making it, so
//! a bridge that is up is complete.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use state::Layout;
use sys::netlink::route::{self, Link, LinkName};
use sys::netlink::{Message, Socket};
use sys::{Context as _, Error, ErrorKind, Result};

use super::forwarding;
use crate::address::Ipv4Subnet;
use crate::apply::{Step, perform};
use crate::plan;
use crate::{Ipv6, NetworkConfig};

/// The bridge, and the table in the packet filter, of the default store.
const PLAIN_BRIDGE: &str = "wharf0";
const PLAIN_TABLE: &str = "wharf";
/// Second byte of the subnets tried, from the first on. Docker takes from
/// 172.17.0.0/16, podman from 10.88.0.0/16 on.
const FIRST_CHOICE: u8 = 87;
const CHOICES: std::ops::Range<u8> = 16..87;

/// The address every bridge has on its own link.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// What a network is, kept as `<root>/networks/<name>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BridgeNetwork {
    pub(crate) name: String,
    pub(crate) bridge: String,
    pub(crate) table: String,
    pub(crate) subnet: Ipv4Subnet,
    pub(crate) ipv6: Option<Ipv6Prefix>,
    pub(crate) mtu: Option<u32>,
}

/// The first 64 bits of a network's IPv6 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ipv6Prefix(Ipv6Addr);

impl Ipv6Prefix {
    /// A private one (RFC 4193) from 40 random bits.
    pub(crate) fn private(random: [u8; 5]) -> Self {
        let mut octets = [0; 16];
        octets[0] = 0xfd;
        octets[1..6].copy_from_slice(&random);
        Self(octets.into())
    }

    pub(crate) const LENGTH: u8 = 64;

    pub(crate) fn address(self, host: u32) -> Ipv6Addr {
        let network = self.0.to_bits() & !u128::from(u64::MAX);
        Ipv6Addr::from_bits(network | u128::from(host))
    }
}

impl BridgeNetwork {
    /// Decides what the network is. Pure: `routes` are the networks the host
    /// has a way to, `random` makes the IPv6 prefix.
    pub(crate) fn choose(
        name: &str,
        layout: &Layout,
        config: &NetworkConfig,
        routes: &[(Ipv4Addr, u8)],
        random: [u8; 5],
    ) -> Result<Self> {
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
        Ok(Self {
            name: name.to_owned(),
            bridge,
            table,
            subnet,
            ipv6: match config.ipv6 {
                Ipv6::Private => Some(Ipv6Prefix::private(random)),
                Ipv6::Off => None,
            },
            mtu: config.mtu,
        })
    }

    /// Whether the administrator asks for something else now.
    pub(crate) fn differs_from(&self, config: &NetworkConfig) -> bool {
        let has_ipv6 = self.ipv6.is_some();
        config.subnet.is_some_and(|subnet| subnet != self.subnet)
            || config.mtu != self.mtu
            || match config.ipv6 {
                Ipv6::Off => has_ipv6,
                Ipv6::Private => !has_ipv6 && forwarding::has_ipv6(),
            }
    }

    /// The bridge's index; `None` unless it is there and complete.
    pub(crate) fn find(&self, socket: &mut Socket) -> Result<Option<u32>> {
        match socket.request(route::get_link(LinkName::Name(&self.bridge))) {
            Ok(replies) => {
                let reply = replies.first().ok_or_else(|| self.unknown())?;
                let link = Link::parse(reply)?;
                if link.kind != "bridge" {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("link {} exists and is not a bridge", self.bridge),
                    ));
                }
                Ok(link.is_up.then_some(link.index))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error.wrap(format!("look for bridge {}", self.bridge))),
        }
    }

    /// Makes the bridge or completes it; the caller holds the network's lock
    /// exclusively.
    pub(crate) fn make(&self, socket: &mut Socket) -> Result<u32> {
        let link = LinkName::Name(&self.bridge);
        let mac = plan::mac(self.subnet.gateway());
        perform(
            socket,
            &self.bridge,
            vec![
                Step::new(
                    "make bridge",
                    route::new_bridge(&self.bridge, mac, self.mtu),
                )
                .tolerating(&[rustix::io::Errno::EXIST]),
            ],
        )?;
        forwarding::enable_ipv4()?;
        forwarding::route_loopback(&self.bridge)?;
        let mut steps = Vec::new();
        if self.ipv6.is_some() {
            forwarding::enable_ipv6()?;
            forwarding::guard_ipv6(&self.bridge)?;
            steps.push(Step::new(
                "keep generated addresses off bridge",
                route::set_no_generated_address(link),
            ));
        }
        let index = self.index(socket)?;
        for message in self.addresses(index) {
            let step = Step::new("give an address to bridge", message);
            steps.push(step.tolerating(&[rustix::io::Errno::EXIST]));
        }
        steps.push(Step::new("start bridge", route::set_up(link)));
        perform(socket, &self.bridge, steps)?;
        Ok(index)
    }

    fn addresses(&self, index: u32) -> Vec<Message> {
        let mut messages = vec![route::add_address(
            index,
            IpAddr::V4(self.subnet.gateway()),
            self.subnet.prefix(),
        )];
        if let Some(prefix) = self.ipv6 {
            // Without a link-local address the kernel asks for no neighbor on
            // behalf of others, so nothing it passes on would arrive.
            for address in [prefix.address(1), LINK_LOCAL] {
                messages.push(route::add_address(
                    index,
                    address.into(),
                    Ipv6Prefix::LENGTH,
                ));
            }
        }
        messages
    }

    fn index(&self, socket: &mut Socket) -> Result<u32> {
        let replies = socket
            .request(route::get_link(LinkName::Name(&self.bridge)))
            .context(|| format!("look for bridge {}", self.bridge))?;
        let reply = replies.first().ok_or_else(|| self.unknown())?;
        Ok(Link::parse(reply)?.index)
    }

    fn unknown(&self) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!("the kernel says nothing about link {}", self.bridge),
        )
    }
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
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const RANDOM: [u8; 5] = [0x12, 0x34, 0x56, 0x78, 0x9a];

    pub(crate) fn network() -> BridgeNetwork {
        let layout = Layout::new(Layout::DEFAULT_ROOT, Layout::DEFAULT_RUN_ROOT);
        choose(&layout, &[]).unwrap()
    }

    fn choose(layout: &Layout, routes: &[(Ipv4Addr, u8)]) -> Result<BridgeNetwork> {
        BridgeNetwork::choose("bridge", layout, &NetworkConfig::default(), routes, RANDOM)
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
        let text = serde_json::to_string(&network()).unwrap();
        assert_eq!(
            serde_json::from_str::<BridgeNetwork>(&text).unwrap(),
            network()
        );
    }
}
