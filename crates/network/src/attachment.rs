//! What a container asks of a network, and what it gets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use state::{ContainerId, MacAddress, NetworkRecord, PortMapping};

/// Who is attached, and what of it the outside may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachRequest {
    /// Addresses, links and rules are found by it again.
    pub container: ContainerId,
    /// The network's name.
    pub network: String,
    /// The link inside of the container.
    pub interface: String,
    /// Whether what has no better way leaves by this network.
    pub is_default_route: bool,
    /// A free one if absent.
    pub ipv4: Option<Ipv4Addr>,
    /// The one that goes with the IPv4 address if absent.
    pub ipv6: Option<Ipv6Addr>,
    /// The one that goes with the IPv4 address if absent.
    pub mac: Option<MacAddress>,
    /// Under which others find it, the first one first.
    pub names: Vec<String>,
    /// What it calls others, and a name that they have.
    pub links: Vec<(String, String)>,
    /// Whom the resolver asks for it, instead of the host's servers.
    pub servers: Vec<IpAddr>,
    /// The other networks that it is on.
    pub also: Vec<String>,
    /// What [`crate::reserve_ports`] gave.
    pub ports: Vec<PortMapping>,
    /// Most bits per second in either direction.
    pub rate: Option<u64>,
}

impl AttachRequest {
    /// On the default network, with nothing special.
    pub fn new(container: ContainerId) -> Self {
        Self {
            container,
            network: crate::DEFAULT_NETWORK.to_owned(),
            interface: "eth0".to_owned(),
            is_default_route: true,
            ipv4: None,
            ipv6: None,
            mac: None,
            names: Vec::new(),
            links: Vec::new(),
            servers: Vec::new(),
            also: Vec::new(),
            ports: Vec::new(),
            rate: None,
        }
    }
}

/// A container's place on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The network's name.
    pub network: String,
    /// The network's id.
    pub network_id: ContainerId,
    /// The link inside of the container.
    pub interface: String,
    /// The other end, a port of the bridge on the host.
    pub host_interface: String,
    /// Hardware address.
    pub mac: MacAddress,
    /// IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Length of the IPv4 network's prefix.
    pub ipv4_prefix: u8,
    /// Through which everything else is reached; none on an internal network.
    pub ipv4_gateway: Option<Ipv4Addr>,
    /// IPv6 address, prefix length and gateway, if the network has IPv6.
    pub ipv6: Option<Ipv6Place>,
    /// Who resolves names there.
    pub resolver: Option<Ipv4Addr>,
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
    /// As the IPv4 gateway.
    pub gateway: Option<Ipv6Addr>,
}

impl From<&Attachment> for NetworkRecord {
    fn from(attachment: &Attachment) -> Self {
        let ipv6 = attachment.ipv6.as_ref();
        Self {
            network: attachment.network.clone(),
            network_id: Some(attachment.network_id),
            interface: attachment.interface.clone(),
            link: attachment.host_interface.clone(),
            mac: attachment.mac.to_string(),
            ipv4: Some(IpAddr::V4(attachment.ipv4)),
            ipv4_prefix: attachment.ipv4_prefix,
            ipv4_gateway: attachment.ipv4_gateway.map(IpAddr::V4),
            ipv6: ipv6.map(|place| IpAddr::V6(place.address)),
            ipv6_prefix: ipv6.map_or(0, |place| place.prefix),
            ipv6_gateway: ipv6.and_then(|place| place.gateway).map(IpAddr::V6),
            resolver: attachment.resolver,
            ports: attachment.ports.clone(),
        }
    }
}
