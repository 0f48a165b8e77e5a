//! What the packet filter does, as data. Pure.
//!
//! The chains are made once per network and never change; a published port is
//! an element in one of four maps. In the notation of `nft`:
//!
//! ```text
//! chain martians    { type filter hook prerouting priority raw;
//!     iifname != "lo" ip daddr 127.0.0.0/8 drop                      (1)
//!     iifname whb* notrack }                                         (8)
//! chain prerouting  { type nat hook prerouting priority dstnat;
//!     dnat ip to ip daddr . meta l4proto . th dport map @published4  (2)
//!     fib daddr type local dnat ip to meta l4proto . th dport map @published4_any }
//! chain output      { type nat hook output priority dstnat; the same }
//! chain forward     { type filter hook forward priority filter;
//!     iifname wharf0 oifname wharf0 accept        (drop without enable_icc)
//!     iifname whb* oifname whb* accept                           (as well)
//!     oifname wharf0 ct state established,related accept
//!     oifname wharf0 ct status dnat accept                           (3)
//!     oifname wharf0 drop                                            (4)
//!     iifname wharf0 accept                       (drop if internal) }
//! chain input       { type filter hook input priority filter;
//!     only if internal: iifname wharf0 drop but answers and neighbors (7) }
//! chain postrouting { type nat hook postrouting priority srcnat;
//!     ip saddr 10.87.0.0/16 oifname != wharf0 masquerade
//!     oifname wharf0 ip saddr 127.0.0.0/8 masquerade                 (5)
//!     oifname wharf0 ip saddr 10.87.0.0/16 ct status dnat masquerade (6) }
//! ```
//!
//! 1. The bridge forwards from loopback, and ports published on 127.0.0.1
//!    alone are translated before the kernel looks for martians: nobody but
//!    the host itself may talk to 127.0.0.0/8 (CVE-2020-8558).
//! 2. A port on one address comes before the same port on all of them.
//! 3. What was translated was published.
//! 4. Neighbors of the host cannot reach what is not published by routing to
//!    a container's address.
//! 5. A container cannot answer to 127.0.0.1: the bridge stands in for it.
//! 6. Two containers that talk through the host's address would see each
//!    other's answers come from the wrong place.
//! 7. A container of an internal network cannot get out by a program of the
//!    host either; what the host began is answered.
//! 8. A further bridge of the network ([`overflow`]). Where bridged packets
//!    pass this filter too (`br_netfilter`), one that crosses several bridges
//!    would be taken for several connections, and translated on its way: it
//!    counts on the first bridge alone.

use std::net::{IpAddr, Ipv6Addr};

use state::{ContainerId, PortMapping, Protocol};
use sys::netlink::nftables::{
    Chain, ChainKind, Connection, DataType, Element, Expression, Family, Hook, IpFamily, Map, Meta,
    Payload, Register, Rule, Table,
};

use crate::definition::Definition;
use crate::overflow;

/// To be raised with every change of the rules below: a table that another
/// version of the program made is then replaced.
const VERSION: u32 = 3;

/// Ports published on one IPv4 address of the host.
const ONE_IPV4: &str = "published4";
/// Ports published on all of them.
const ANY_IPV4: &str = "published4_any";
/// Ports published on one IPv6 address of the host.
const ONE_IPV6: &str = "published6";
/// Ports published on all of them.
const ANY_IPV6: &str = "published6_any";
/// All maps of the table.
pub(crate) const MAPS: [&str; 4] = [ONE_IPV4, ANY_IPV4, ONE_IPV6, ANY_IPV6];

/// `RTN_LOCAL`: an address of this host.
const LOCAL: [u8; 4] = 2_u32.to_ne_bytes();
/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED)` and `IP_CT_RELATED`.
const ESTABLISHED_OR_RELATED: [u8; 4] = 6_u32.to_ne_bytes();
/// `IPS_DST_NAT`.
const TRANSLATED: [u8; 4] = 0x20_u32.to_ne_bytes();

/// The table of a network.
pub(crate) fn table(network: &Definition) -> Table {
    Table {
        family: Family::Inet,
        name: network.table.clone(),
        comment: format!(
            "wharf {VERSION} {} {} {}{}{}{}",
            network.bridge,
            network.subnet,
            network
                .ipv6
                .map_or_else(|| "-".to_owned(), |prefix| prefix.to_string()),
            if network.internal { " internal" } else { "" },
            if network.masquerades() { "" } else { " routed" },
            if network.connects_containers() {
                ""
            } else {
                " apart"
            },
        ),
        maps: maps(),
        chains: vec![
            chain("martians", ChainKind::Filter, Hook::Prerouting, -300, {
                let mut rule = vec![
                    Expression::Meta(Meta::InputName, 0),
                    Expression::NotEqual(0, name_bytes("lo")),
                ];
                rule.extend(in_loopback(Payload::Ipv4Destination));
                rule.push(Expression::Drop);
                let further = by_further(network, Meta::InputName);
                vec![rule, [&further[..], &[Expression::NoTrack]].concat()]
            }),
            chain(
                "prerouting",
                ChainKind::Nat,
                Hook::Prerouting,
                -100,
                translate(),
            ),
            chain("output", ChainKind::Nat, Hook::Output, -100, translate()),
            chain(
                "forward",
                ChainKind::Filter,
                Hook::Forward,
                0,
                forward(network),
            ),
            chain("input", ChainKind::Filter, Hook::Input, 0, input(network)),
            chain(
                "postrouting",
                ChainKind::Nat,
                Hook::Postrouting,
                100,
                masquerade(network),
            ),
        ],
    }
}

/// The elements that publish a container's ports.
pub(crate) fn elements(
    container: &ContainerId,
    addresses: (std::net::Ipv4Addr, Option<Ipv6Addr>),
    ports: &[PortMapping],
) -> Vec<Element> {
    let comment = container.to_string();
    let mut elements: Vec<Element> = ports
        .iter()
        .filter_map(|port| {
            let (to, any, one): (IpAddr, _, _) = match port.host.ip() {
                IpAddr::V4(_) => (addresses.0.into(), ANY_IPV4, ONE_IPV4),
                IpAddr::V6(_) => (addresses.1?.into(), ANY_IPV6, ONE_IPV6),
            };
            let from = port.host.ip();
            let mut key = Vec::with_capacity(24);
            if !from.is_unspecified() {
                key.extend(octets(from));
            }
            key.extend([protocol_number(port.protocol), 0, 0, 0]);
            key.extend(port_bytes(port.host.port()));
            let mut value = octets(to);
            value.extend(port_bytes(port.container));
            Some(Element {
                map: if from.is_unspecified() { any } else { one },
                key,
                value,
                comment: comment.clone(),
            })
        })
        .collect();
    // Elements of one map travel in one message.
    elements.sort();
    elements.dedup();
    elements
}

fn maps() -> Vec<Map> {
    use DataType::{Ipv4, Ipv6, Port, Protocol};
    vec![
        Map {
            name: ONE_IPV4,
            key: &[Ipv4, Protocol, Port],
            value: &[Ipv4, Port],
        },
        Map {
            name: ANY_IPV4,
            key: &[Protocol, Port],
            value: &[Ipv4, Port],
        },
        Map {
            name: ONE_IPV6,
            key: &[Ipv6, Protocol, Port],
            value: &[Ipv6, Port],
        },
        Map {
            name: ANY_IPV6,
            key: &[Protocol, Port],
            value: &[Ipv6, Port],
        },
    ]
}

fn chain(
    name: &'static str,
    kind: ChainKind,
    hook: Hook,
    priority: i32,
    rules: Vec<Rule>,
) -> Chain {
    Chain {
        name,
        kind,
        hook,
        priority,
        rules,
    }
}

/// Sends connections to published ports to their containers.
fn translate() -> Vec<Rule> {
    let not_loopback6 = [
        Expression::Payload(Payload::Ipv6Destination, 0),
        Expression::NotEqual(0, Ipv6Addr::LOCALHOST.octets().to_vec()),
    ];
    let local = [
        Expression::DestinationType(0),
        Expression::Equal(0, LOCAL.to_vec()),
    ];
    let one4 = [Expression::Payload(Payload::Ipv4Destination, 0)];
    let one6 = [Expression::Payload(Payload::Ipv6Destination, 0)];
    vec![
        rule(&[
            &is(IpFamily::V4),
            &one4,
            &to_container(ONE_IPV4, 1, IpFamily::V4),
        ]),
        rule(&[
            &is(IpFamily::V4),
            &local,
            &to_container(ANY_IPV4, 0, IpFamily::V4),
        ]),
        rule(&[
            &is(IpFamily::V6),
            &one6,
            &to_container(ONE_IPV6, 4, IpFamily::V6),
        ]),
        // The kernel passes no packet from ::1 on: without the translation
        // the connection is refused instead of hanging.
        rule(&[
            &is(IpFamily::V6),
            &not_loopback6,
            &local,
            &to_container(ANY_IPV6, 0, IpFamily::V6),
        ]),
    ]
}

/// Completes a key that begins in register 0 by protocol and port, from
/// register `next` on, and goes where the map says.
fn to_container(map: &'static str, next: Register, family: IpFamily) -> [Expression; 4] {
    let port = match family {
        IpFamily::V4 => 1,
        IpFamily::V6 => 4,
    };
    [
        Expression::Meta(Meta::Protocol, next),
        Expression::Payload(Payload::DestinationPort, next + 1),
        Expression::Lookup(map, 0, 0),
        Expression::DestinationNat(family, 0, port),
    ]
}

fn forward(network: &Definition) -> Vec<Rule> {
    let from = comes_by(&network.bridge);
    let to = leaves_by(&network.bridge);
    let allowed = |is_allowed| {
        if is_allowed {
            Expression::Accept
        } else {
            Expression::Drop
        }
    };
    let bridged = [Meta::InputName, Meta::OutputName].map(|name| by_further(network, name));
    let between = allowed(network.connects_containers());
    vec![
        rule(&[&from, &to, std::slice::from_ref(&between)]),
        rule(&[&bridged.concat(), &[between]]),
        rule(&[
            &to,
            &connection(Connection::State, ESTABLISHED_OR_RELATED),
            &[Expression::Accept],
        ]),
        rule(&[
            &to,
            &connection(Connection::Status, TRANSLATED),
            &[Expression::Accept],
        ]),
        rule(&[&to, &[Expression::Drop]]),
        rule(&[&from, &[allowed(!network.internal)]]),
    ]
}

/// Keeps an internal network from the host itself, except for what the host
/// began and for looking for neighbors (ICMPv6 133 to 136).
fn input(network: &Definition) -> Vec<Rule> {
    if !network.internal {
        return Vec::new();
    }
    let from = comes_by(&network.bridge);
    let mut rules = vec![rule(&[
        &from,
        &connection(Connection::State, ESTABLISHED_OR_RELATED),
        &[Expression::Accept],
    ])];
    for kind in [135, 136] {
        rules.push(rule(&[
            &from,
            &is(IpFamily::V6),
            &[
                Expression::Meta(Meta::Protocol, 0),
                Expression::Equal(0, vec![58]),
                Expression::Payload(Payload::Icmpv6Type, 0),
                Expression::Equal(0, vec![kind]),
                Expression::Accept,
            ],
        ]));
    }
    rules.push(rule(&[&from, &[Expression::Drop]]));
    rules
}

fn masquerade(network: &Definition) -> Vec<Rule> {
    let elsewhere = [
        Expression::Meta(Meta::OutputName, 0),
        Expression::NotEqual(0, name_bytes(&network.bridge)),
    ];
    let inside = leaves_by(&network.bridge);
    let translated = connection(Connection::Status, TRANSLATED);
    let last = [Expression::Masquerade];

    let source4 = [
        Expression::Meta(Meta::IpFamily, 0),
        Expression::Equal(0, vec![IpFamily::V4 as u8]),
        Expression::Payload(Payload::Ipv4Source, 0),
        Expression::Mask(0, network.subnet.mask().octets().to_vec()),
        Expression::Equal(0, network.subnet.address().octets().to_vec()),
    ];
    let mut rules = Vec::new();
    if network.masquerades() {
        rules.push(rule(&[&source4, &elsewhere, &last]));
    }
    rules.extend([
        rule(&[&inside, &in_loopback(Payload::Ipv4Source), &last]),
        rule(&[&inside, &source4, &translated, &last]),
    ]);
    if let Some(prefix) = network.ipv6 {
        let mask = prefix.mask().to_vec();
        let source6 = [
            Expression::Meta(Meta::IpFamily, 0),
            Expression::Equal(0, vec![IpFamily::V6 as u8]),
            Expression::Payload(Payload::Ipv6Source, 0),
            Expression::Mask(0, mask),
            Expression::Equal(0, prefix.address(0).octets().to_vec()),
        ];
        if network.masquerades() {
            rules.push(rule(&[&source6, &elsewhere, &last]));
        }
        rules.push(rule(&[&inside, &source6, &translated, &last]));
    }
    rules
}

fn rule(parts: &[&[Expression]]) -> Rule {
    parts.concat()
}

fn is(family: IpFamily) -> [Expression; 2] {
    [
        Expression::Meta(Meta::IpFamily, 0),
        Expression::Equal(0, vec![family as u8]),
    ]
}

fn comes_by(link: &str) -> [Expression; 2] {
    [
        Expression::Meta(Meta::InputName, 0),
        Expression::Equal(0, name_bytes(link)),
    ]
}

fn leaves_by(link: &str) -> [Expression; 2] {
    [
        Expression::Meta(Meta::OutputName, 0),
        Expression::Equal(0, name_bytes(link)),
    ]
}

/// What passes the packet filter as it passes a further bridge.
fn by_further(network: &Definition, name: Meta) -> [Expression; 2] {
    let beginning = overflow::beginning(&network.bridge).into_bytes();
    [Expression::Meta(name, 0), Expression::Equal(0, beginning)]
}

fn connection(fact: Connection, bits: [u8; 4]) -> [Expression; 3] {
    [
        Expression::Connection(fact, 0),
        Expression::Mask(0, bits.to_vec()),
        Expression::NotEqual(0, vec![0; 4]),
    ]
}

fn in_loopback(address: Payload) -> [Expression; 5] {
    [
        Expression::Meta(Meta::IpFamily, 0),
        Expression::Equal(0, vec![IpFamily::V4 as u8]),
        Expression::Payload(address, 0),
        Expression::Mask(0, vec![255, 0, 0, 0]),
        Expression::Equal(0, vec![127, 0, 0, 0]),
    ]
}

/// Names of links are compared as the 16 bytes the kernel has for them.
pub(super) fn name_bytes(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn port_bytes(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::drivers::bridge::tests::network;

    const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 87, 0, 2);

    fn port(host: &str, container: u16) -> PortMapping {
        PortMapping {
            host: host.parse().unwrap(),
            container,
            protocol: Protocol::Tcp,
        }
    }

    fn published(ports: &[PortMapping], ipv6: Option<Ipv6Addr>) -> Vec<Element> {
        elements(&ContainerId::from_bytes([1; 32]), (INSIDE, ipv6), ports)
    }

    #[test]
    fn a_port_on_all_addresses_needs_no_address_in_its_key() {
        let made = published(&[port("0.0.0.0:8080", 80)], None);
        assert_eq!(made.len(), 1);
        assert_eq!(made[0].map, ANY_IPV4);
        assert_eq!(made[0].key, [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        assert_eq!(made[0].value, [10, 87, 0, 2, 0, 80, 0, 0]);
        assert_eq!(made[0].comment.len(), 64);
    }

    #[test]
    fn a_port_on_one_address_is_found_by_it() {
        let made = published(&[port("192.0.2.1:53", 53)], None);
        assert_eq!(made[0].map, ONE_IPV4);
        assert_eq!(made[0].key, [192, 0, 2, 1, 6, 0, 0, 0, 0, 53, 0, 0]);
    }

    #[test]
    fn ipv6_ports_need_a_container_with_ipv6() {
        let ports = [port("[::]:8080", 80), port("[2001:db8::1]:8080", 80)];
        assert!(published(&ports, None).is_empty());
        let made = published(&ports, Some("fd00::2".parse().unwrap()));
        assert_eq!([made[0].map, made[1].map], [ONE_IPV6, ANY_IPV6]);
        assert_eq!((made[0].key.len(), made[1].key.len()), (24, 8));
        assert_eq!(made[0].value.len(), 20);
    }

    #[test]
    fn a_mapping_given_twice_is_one_element() {
        let twice = [port("0.0.0.0:8080", 80), port("0.0.0.0:8080", 80)];
        assert_eq!(published(&twice, None).len(), 1);
    }

    #[test]
    fn the_same_network_always_has_the_same_table() {
        assert_eq!(table(&network()), table(&network()));
        let mut other = network();
        other.ipv6 = None;
        assert_ne!(table(&network()).comment, table(&other).comment);
    }

    #[test]
    fn what_is_not_accepted_is_dropped_before_the_bridge() {
        let table = table(&network());
        let forward = table.chains.iter().find(|chain| chain.name == "forward");
        let drop_at = forward
            .unwrap()
            .rules
            .iter()
            .position(|rule| rule.ends_with(&[Expression::Drop]));
        assert_eq!(drop_at, Some(4));
    }
}
