//! What containers may send on a bridge, as data. Pure.
//!
//! ```text
//! table bridge wharf {
//!     chain guard { type filter hook prerouting priority -300;
//!         iifname != @ports accept                                    (1)
//!         ether type ip  iifname . ether saddr . ip saddr @ipv4 accept
//!         ether type arp iifname . ether saddr . arp saddr ip @ipv4
//!                        iifname . arp saddr ether . arp saddr ip @ipv4 accept
//!         icmpv6 type { router-advert, redirect } drop                (2)
//!         icmpv6 type neighbor-advert iifname . ether saddr . target != @ipv6 drop
//!         ether type ip6 iifname . ether saddr . ip6 saddr @ipv6 accept
//!         ip6 saddr :: icmpv6 accept                                  (3)
//!         drop                                                        (4)
//!     }
//! }
//! ```
//!
//! 1. Only links of containers are looked at; other bridges of the host, and
//!    what comes from the host itself, are none of our business.
//! 2. No container is a router to another (CVE-2020-13401).
//! 3. Looking whether an address is free, and saying which groups one
//!    listens to, have no source yet.
//! 4. Another's address, another's hardware address, any other protocol.
//!
//! A link's name, hardware and IP addresses follow from one another, so an
//! element once made is right for whoever gets the address next: elements are
//! added and never taken away.

use std::net::{Ipv4Addr, Ipv6Addr};

use state::{Lease, MacAddress};
use sys::netlink::nftables::{
    Chain, ChainKind, DataType, Element, Expression, Family, Hook, Map, Meta, Payload, Rule, Table,
};

use super::rules::name_bytes;
use crate::definition::Definition;
use crate::plan;

/// To be raised with every change of the rules below.
const VERSION: u32 = 1;

/// Links of containers.
const PORTS: &str = "ports";
/// Link, hardware address, IPv4 address.
const IPV4: &str = "ipv4";
/// Link, hardware address, IPv6 address.
const IPV6: &str = "ipv6";

/// Ethernet types.
const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
const TYPE_ARP: [u8; 2] = [0x08, 0x06];
const TYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// ICMPv6 and its types.
const ICMPV6: u8 = 58;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

/// The table of a network.
pub(crate) fn table(network: &Definition) -> Table {
    use DataType::{Ipv4, Ipv6, LinkName, Mac};
    let set = |name, key| Map {
        name,
        key,
        value: &[],
    };
    Table {
        family: Family::Bridge,
        name: network.table.clone(),
        comment: format!("wharf guard {VERSION} {}", network.bridge),
        maps: vec![
            set(PORTS, &[LinkName]),
            set(IPV4, &[LinkName, Mac, Ipv4]),
            set(IPV6, &[LinkName, Mac, Ipv6]),
        ],
        chains: vec![Chain {
            name: "guard",
            kind: ChainKind::Filter,
            hook: Hook::Prerouting,
            priority: -300,
            rules: if network.guards_addresses() {
                rules()
            } else {
                Vec::new()
            },
        }],
    }
}

/// What a container with these addresses may send.
pub(crate) fn elements(
    address: Ipv4Addr,
    ipv6: Option<Ipv6Addr>,
    mac: Option<MacAddress>,
) -> Vec<Element> {
    let name = name_bytes(&plan::link_name(address));
    let mac = mac.unwrap_or_else(|| plan::mac(address));
    let mut link = name.clone();
    link.extend(mac.bytes());
    link.extend([0, 0]);
    let element = |map, key: Vec<u8>| Element {
        map,
        key,
        value: Vec::new(),
        comment: String::new(),
    };
    let with = |octets: &[u8]| [&link[..], octets].concat();
    let mut elements = vec![element(IPV4, with(&address.octets()))];
    if let Some(ipv6) = ipv6 {
        elements.push(element(IPV6, with(&ipv6.octets())));
        elements.push(element(IPV6, with(&plan::link_local(mac).octets())));
    }
    elements.push(element(PORTS, name));
    elements
}

/// What of that is so only because of a hardware address that was asked for:
/// the next one with the address must not inherit it.
pub(crate) fn elements_of_mac(address: Ipv4Addr, lease: &Lease) -> Vec<Element> {
    if lease.mac.is_none() {
        return Vec::new();
    }
    elements(address, lease.ipv6, lease.mac)
        .into_iter()
        .filter(|element| element.map != PORTS)
        .collect()
}

fn rules() -> Vec<Rule> {
    let link = Expression::Meta(Meta::InputName, 0);
    let mac = Expression::Payload(Payload::MacSource, 4);
    let is_type = |kind: [u8; 2]| {
        [
            Expression::Payload(Payload::EtherType, 0),
            Expression::Equal(0, kind.to_vec()),
        ]
    };
    let icmpv6 = [
        Expression::Meta(Meta::Protocol, 0),
        Expression::Equal(0, vec![ICMPV6]),
    ];
    let message = |kind: u8| {
        [
            Expression::Payload(Payload::Icmpv6Type, 0),
            Expression::Equal(0, vec![kind]),
        ]
    };
    let own = |mac: Payload, address: Payload, set| {
        [
            link.clone(),
            Expression::Payload(mac, 4),
            Expression::Payload(address, 6),
            Expression::Contains(set, 0),
        ]
    };
    let last = |verdict: Expression| [verdict];
    let ipv6 = is_type(TYPE_IPV6);
    vec![
        vec![
            link.clone(),
            Expression::Lacks(PORTS, 0),
            Expression::Accept,
        ],
        [
            &is_type(TYPE_IPV4)[..],
            &own(Payload::MacSource, Payload::Ipv4Source, IPV4),
            &last(Expression::Accept),
        ]
        .concat(),
        [
            &is_type(TYPE_ARP)[..],
            &own(Payload::MacSource, Payload::ArpSenderIpv4, IPV4),
            &own(Payload::ArpSenderMac, Payload::ArpSenderIpv4, IPV4),
            &last(Expression::Accept),
        ]
        .concat(),
        [
            &ipv6[..],
            &icmpv6,
            &message(ROUTER_ADVERTISEMENT),
            &last(Expression::Drop),
        ]
        .concat(),
        [
            &ipv6[..],
            &icmpv6,
            &message(REDIRECT),
            &last(Expression::Drop),
        ]
        .concat(),
        [
            &ipv6[..],
            &icmpv6,
            &message(NEIGHBOR_ADVERTISEMENT),
            &[
                link.clone(),
                mac,
                Expression::Payload(Payload::NeighborTarget, 6),
                Expression::Lacks(IPV6, 0),
                Expression::Drop,
            ],
        ]
        .concat(),
        [
            &ipv6[..],
            &own(Payload::MacSource, Payload::Ipv6Source, IPV6),
            &last(Expression::Accept),
        ]
        .concat(),
        [
            &ipv6[..],
            &icmpv6,
            &[
                Expression::Payload(Payload::Ipv6Source, 0),
                Expression::Equal(0, vec![0; 16]),
                Expression::Accept,
            ],
        ]
        .concat(),
        vec![Expression::Drop],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_padded_to_whole_registers() {
        let made = elements(
            Ipv4Addr::new(10, 87, 3, 4),
            Some("fd00::304".parse().unwrap()),
            None,
        );
        let lengths: Vec<usize> = made.iter().map(|element| element.key.len()).collect();
        assert_eq!(lengths, [28, 40, 40, 16]);
        assert!(made[0].key.starts_with(b"wh0a570304\0"));
        assert_eq!(
            made[0].key[16..],
            [2, 0x42, 10, 87, 3, 4, 0, 0, 10, 87, 3, 4]
        );
    }

    #[test]
    fn what_nobody_allowed_is_dropped_last() {
        assert_eq!(rules().last().unwrap()[..], [Expression::Drop]);
    }
}
