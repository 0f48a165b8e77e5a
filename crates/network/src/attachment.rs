//! What a container asks of a network, and what it gets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use state::{ContainerId, NetworkRecord, PortMapping};

/// Who is attached, and what of it the outside may reach.
#[derive(Clone, Debug)]
pub struct AttachRequest {
    /// Addresses, links and rules are found by it again.
    pub container: ContainerId,
    /// What [`crate::reserve_ports`] gave.
    pub ports: Vec<PortMapping>,
}

/// A container's place on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The network's name.
    pub network: String,
    /// The link inside of the container.
    pub interface: String,
    /// The other end, a port of the bridge on the host.
    pub host_interface: String,
    /// Hardware address, derived from the IPv4 address.
    pub mac: [u8; 6],
    /// IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Length of the IPv4 network's prefix.
    pub ipv4_prefix: u8,
    /// The bridge's address, through which everything else is reached.
    pub ipv4_gateway: Ipv4Addr,
    /// IPv6 address, prefix length and gateway, if the network has IPv6.
    pub ipv6: Option<Ipv6Place>,
    /// The published ports.
    pub ports: Vec<PortMapping>,
}

/// A container's place on an IPv6 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Place {
    /// Its address.
    pub address: Ipv6Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// The bridge's address.
    pub gateway: Ipv6Addr,
}

impl Attachment {
    /// The hardware address as text: `02:42:0a:57:00:02`.
    pub fn mac_text(&self) -> String {
        let digits: Vec<String> = self.mac.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.join(":")
    }
}

impl From<&Attachment> for NetworkRecord {
    fn from(attachment: &Attachment) -> Self {
        let ipv6 = attachment.ipv6.as_ref();
        Self {
            network: attachment.network.clone(),
            link: attachment.host_interface.clone(),
            mac: attachment.mac_text(),
            ipv4: Some(IpAddr::V4(attachment.ipv4)),
            ipv4_prefix: attachment.ipv4_prefix,
            ipv4_gateway: Some(IpAddr::V4(attachment.ipv4_gateway)),
            ipv6: ipv6.map(|place| IpAddr::V6(place.address)),
            ipv6_prefix: ipv6.map_or(0, |place| place.prefix),
            ipv6_gateway: ipv6.map(|place| IpAddr::V6(place.gateway)),
            ports: attachment.ports.clone(),
        }
    }
}
