//! What a container's place on a network looks like. Pure: from the network
//! and the leased address everything else follows.

use std::net::{Ipv4Addr, Ipv6Addr};

use state::{Lease, MacAddress};

use crate::attachment::{AttachRequest, Attachment, Ipv6Place};
use crate::definition::{Definition, Driver, Ipv6Prefix};

/// What the names of our links on the host begin with.
const LINK_PREFIX: &str = "wh";

/// All about one attachment.
pub(crate) fn attachment(
    network: &Definition,
    address: Ipv4Addr,
    ipv6: Option<Ipv6Addr>,
    request: &AttachRequest,
) -> Attachment {
    let prefix = network.ipv6.map_or(0, Ipv6Prefix::length);
    let leads_out = !network.internal;
    Attachment {
        network: network.name.clone(),
        network_id: network.id,
        interface: request.interface.clone(),
        host_interface: match network.driver {
            Driver::Bridge => link_name(address),
            Driver::Macvlan { .. } => String::new(),
        },
        mac: request.mac.unwrap_or_else(|| mac(address)),
        ipv4: address,
        ipv4_prefix: network.subnet.prefix(),
        ipv4_gateway: leads_out.then(|| network.gateway()),
        ipv6: ipv6.map(|address| Ipv6Place {
            address,
            prefix,
            gateway: network.ipv6_gateway().filter(|_| leads_out),
        }),
        resolver: network.resolver,
        ports: request.ports.clone(),
    }
}

/// What is written down about it.
pub(crate) fn lease(network: &Definition, address: Ipv4Addr, request: &AttachRequest) -> Lease {
    Lease {
        container: request.container,
        ports: request.ports.clone(),
        ipv6: network.ipv6.and(request.ipv6).or(network.ipv6_of(address)),
        mac: request.mac,
        interface: request.interface.clone(),
        names: request.names.clone(),
        links: request.links.clone(),
        servers: request.servers.clone(),
        also: request.also.clone(),
        ipv6_only: false,
    }
}

/// The name of the link on the host that goes with an IPv4 address. Two links
/// can never have the same address, not even when one of them is what is left
/// of a container that was detached: making the second one then fails.
pub(crate) fn link_name(address: Ipv4Addr) -> String {
    format!("{LINK_PREFIX}{:08x}", address.to_bits())
}

/// Whether a link on the host may be a container's.
pub(crate) fn is_link_name(name: &str) -> bool {
    name.strip_prefix(LINK_PREFIX).is_some_and(|digits| {
        digits.len() == 8
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// The hardware address that goes with an IPv4 address. Whoever gets the
/// address next has the same one, so nobody's neighbor table is wrong.
pub(crate) fn mac(address: Ipv4Addr) -> MacAddress {
    let [a, b, c, d] = address.octets();
    MacAddress::local([0x42, a, b, c, d])
}

/// The IPv4 address that a hardware address goes with, if it goes with one.
pub(crate) fn goes_with(mac: MacAddress) -> Option<Ipv4Addr> {
    match mac.bytes() {
        [0x02, 0x42, a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d)),
        _ => None,
    }
}

/// The address that the kernel makes a link of its hardware address (RFC 4291).
pub(crate) fn link_local(mac: MacAddress) -> Ipv6Addr {
    let mac = mac.bytes();
    let mut octets = [0; 16];
    octets[..2].copy_from_slice(&[0xfe, 0x80]);
    octets[8..11].copy_from_slice(&mac[..3]);
    octets[8] ^= 2;
    octets[11..13].copy_from_slice(&[0xff, 0xfe]);
    octets[13..].copy_from_slice(&mac[3..]);
    octets.into()
}

#[cfg(test)]
mod tests {
    use state::ContainerId;

    use super::*;
    use crate::drivers::bridge::tests::network;

    #[test]
    fn everything_follows_from_the_address() {
        let request = AttachRequest::new(ContainerId::from_bytes([0xab; 32]));
        let address = Ipv4Addr::new(10, 87, 3, 4);
        let lease = lease(&network(), address, &request);
        let planned = attachment(&network(), address, lease.ipv6, &request);
        assert_eq!(planned.host_interface, "wh0a570304");
        assert_eq!(planned.mac.to_string(), "02:42:0a:57:03:04");
        assert_eq!(planned.ipv4_gateway, Some(Ipv4Addr::new(10, 87, 0, 1)));
        let ipv6 = planned.ipv6.unwrap();
        assert_eq!(ipv6.address.to_string(), "fd12:3456:789a::304");
        assert_eq!(ipv6.gateway.unwrap().to_string(), "fd12:3456:789a::1");
        assert_eq!(link_local(planned.mac).to_string(), "fe80::42:aff:fe57:304");
    }

    #[test]
    fn an_internal_network_leads_nowhere() {
        let mut network = network();
        network.internal = true;
        let request = AttachRequest::new(ContainerId::from_bytes([0xab; 32]));
        let address = Ipv4Addr::new(10, 87, 3, 4);
        let planned = attachment(&network, address, network.ipv6_of(address), &request);
        assert_eq!(planned.ipv4_gateway, None);
        assert_eq!(planned.ipv6.unwrap().gateway, None);
    }

    #[test]
    fn our_links_are_known_by_their_names() {
        assert!(is_link_name(&link_name(Ipv4Addr::new(10, 87, 0, 2))));
        for other in ["wharf0", "wharf-12345678", "eth0", "whABABABAB", "wh"] {
            assert!(!is_link_name(other), "{other}");
        }
    }
}
