//! What a container's place on a network looks like. Pure: from the network
//! and the leased address everything else follows.

use std::net::Ipv4Addr;

use crate::attachment::{AttachRequest, Attachment, Ipv6Place};
use crate::drivers::bridge::{BridgeNetwork, Ipv6Prefix};

/// The link inside of a container.
pub(crate) const INNER_LINK: &str = "eth0";
/// What the names of our links on the host begin with.
const LINK_PREFIX: &str = "wh";

/// All about one attachment.
pub(crate) fn attachment(
    network: &BridgeNetwork,
    address: Ipv4Addr,
    request: &AttachRequest,
) -> Attachment {
    Attachment {
        network: network.name.clone(),
        interface: INNER_LINK.to_owned(),
        host_interface: link_name(address),
        mac: mac(address),
        ipv4: address,
        ipv4_prefix: network.subnet.prefix(),
        ipv4_gateway: network.subnet.gateway(),
        ipv6: network.ipv6.map(|prefix| Ipv6Place {
            address: prefix.address(network.subnet.host_number(address)),
            prefix: Ipv6Prefix::LENGTH,
            gateway: prefix.address(1),
        }),
        ports: request.ports.clone(),
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
pub(crate) fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use state::ContainerId;

    use super::*;
    use crate::drivers::bridge::tests::network;

    #[test]
    fn everything_follows_from_the_address() {
        let request = AttachRequest {
            container: ContainerId::from_bytes([0xab; 32]),
            ports: Vec::new(),
        };
        let planned = attachment(&network(), Ipv4Addr::new(10, 87, 3, 4), &request);
        assert_eq!(planned.host_interface, "wh0a570304");
        assert_eq!(planned.mac_text(), "02:42:0a:57:03:04");
        assert_eq!(planned.ipv4_gateway, Ipv4Addr::new(10, 87, 0, 1));
        let ipv6 = planned.ipv6.unwrap();
        assert_eq!(ipv6.address.to_string(), "fd12:3456:789a::304");
        assert_eq!(ipv6.gateway.to_string(), "fd12:3456:789a::1");
    }

    #[test]
    fn our_links_are_known_by_their_names() {
        assert!(is_link_name(&link_name(Ipv4Addr::new(10, 87, 0, 2))));
        for other in ["wharf0", "wharf-12345678", "eth0", "whABABABAB", "wh"] {
            assert!(!is_link_name(other), "{other}");
        }
    }
}
