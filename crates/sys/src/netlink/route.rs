//! Links, addresses and routes (`NETLINK_ROUTE`).
//!
//! The functions make messages; [`super::Socket::exchange`] sends them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::message::{CREATE, EXCLUSIVE, Message, REPLACE, Reply, malformed, read_u32};
use crate::Result;

/// `struct ifinfomsg`.
const LINK_FIXED: usize = 16;
/// `struct ifaddrmsg`.
const ADDRESS_FIXED: usize = 8;
/// `IFLA_INFO_KIND` and its kin inside of `IFLA_LINKINFO`.
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_PORT_KIND: u16 = 4;
const INFO_PORT_DATA: u16 = 5;
/// `IFLA_BRPORT_STATE` and its value `BR_STATE_DISABLED`.
const PORT_STATE: u16 = 1;
const PORT_DISABLED: u8 = 0;
/// `IFLA_BRPORT_MODE`: packets may leave by the port they came by.
const PORT_HAIRPIN: u16 = 4;
/// `VETH_INFO_PEER`.
const VETH_PEER: u16 = 1;
/// `IFLA_BR_FORWARD_DELAY`, `IFLA_BR_STP_STATE`.
const BRIDGE_FORWARD_DELAY: u16 = 1;
const BRIDGE_STP: u16 = 5;
/// `IFLA_MACVLAN_MODE` and its values.
const MACVLAN_MODE: u16 = 1;
/// `TCA_KIND`, `TCA_OPTIONS`, `TCA_TBF_PARMS`, `TCA_TBF_RATE64`, `TCA_TBF_BURST`.
const TC_KIND: u16 = 1;
const TC_OPTIONS: u16 = 2;
const TBF_PARAMETERS: u16 = 1;
const TBF_RATE64: u16 = 4;
const TBF_BURST: u16 = 6;
/// `IFLA_INET6_ADDR_GEN_MODE` and its value `IN6_ADDR_GEN_MODE_NONE`.
const ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_NONE: u8 = 1;
/// `IFLA_EXT_MASK` and its value `RTEXT_FILTER_SKIP_STATS`.
const EXT_MASK: u16 = 29;
const SKIP_STATS: u32 = 8;

/// `AF_INET` and `AF_INET6` in the one byte messages have for it.
const INET: u8 = 2;
const INET6: u8 = 10;
/// `AF_BRIDGE`.
const BRIDGE_FAMILY: u8 = 7;
/// `IFA_F_NODAD`.
const NO_DUPLICATE_DETECTION: u8 = 2;

/// A hardware address.
pub type Mac = [u8; 6];

/// How a message names a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkName<'a> {
    /// By its name, at most 15 bytes.
    Name(&'a str),
    /// By its index in the namespace of the socket.
    Index(u32),
}

/// A link as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index in the namespace of the socket.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The bridge it is a port of.
    pub master: Option<u32>,
    /// `bridge`, `veth` and so on; empty for hardware and loopback.
    pub kind: String,
    /// It was set up by an administrator (`IFF_UP`).
    pub is_up: bool,
}

/// A pair of links that are the two ends of one wire.
#[derive(Clone, Copy, Debug)]
pub struct VethPair<'a> {
    /// The end in the namespace of the socket.
    pub name: &'a str,
    /// The bridge which that end becomes a port of.
    pub master: u32,
    /// The other end's name.
    pub peer_name: &'a str,
    /// The other end's hardware address.
    pub peer_mac: Mac,
    /// The namespace the other end is made in.
    pub peer_netns: BorrowedFd<'a>,
    /// Largest packet on the wire, in bytes; the kernel's default if not set.
    pub mtu: Option<u32>,
}

/// Makes a bridge without spanning tree, whose ports forward at once, which
/// makes itself no IPv6 address. It is down.
pub fn new_bridge(name: &str, mac: Mac, mtu: Option<u32>) -> Message {
    let mut message = link_message(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, 0, 0);
    message
        .put_text(libc::IFLA_IFNAME, name)
        .put(libc::IFLA_ADDRESS, &mac);
    put_mtu(&mut message, mtu);
    message.nest(libc::IFLA_LINKINFO, |info| {
        info.put_text(INFO_KIND, "bridge").nest(INFO_DATA, |data| {
            data.put_u32(BRIDGE_FORWARD_DELAY, 0).put_u32(BRIDGE_STP, 0);
        });
    });
    message
}

/// Makes a pair, both ends of it down.
pub fn new_veth(pair: &VethPair<'_>) -> Message {
    let mut message = link_message(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, 0, 0);
    message
        .put_text(libc::IFLA_IFNAME, pair.name)
        .put_u32(libc::IFLA_MASTER, pair.master);
    put_mtu(&mut message, pair.mtu);
    message.nest(libc::IFLA_LINKINFO, |info| {
        info.put_text(INFO_KIND, "veth").nest(INFO_DATA, |data| {
            data.nest(VETH_PEER, |peer| {
                peer.put_raw(&link_header(0, 0, 0))
                    .put_text(libc::IFLA_IFNAME, pair.peer_name)
                    .put(libc::IFLA_ADDRESS, &pair.peer_mac)
                    .put(
                        libc::IFLA_NET_NS_FD,
                        &pair.peer_netns.as_raw_fd().to_ne_bytes(),
                    );
                put_mtu(peer, pair.mtu);
            });
        });
    });
    message
}

/// How links above one parent see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacvlanMode {
    Private = 1,
    Vepa = 2,
    Bridge = 4,
    Passthru = 8,
}

/// Makes a link in another namespace which is on the wire of the link
/// `parent` (of the socket's namespace) with a hardware address of its own.
/// It is down.
pub fn new_macvlan(
    name: &str,
    parent: u32,
    mode: MacvlanMode,
    (mac, mtu): (Mac, Option<u32>),
    netns: BorrowedFd<'_>,
) -> Message {
    let mut message = link_message(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, 0, 0);
    message
        .put_text(libc::IFLA_IFNAME, name)
        .put(libc::IFLA_ADDRESS, &mac)
        .put_u32(libc::IFLA_LINK, parent)
        .put(libc::IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
    put_mtu(&mut message, mtu);
    message.nest(libc::IFLA_LINKINFO, |info| {
        info.put_text(INFO_KIND, "macvlan").nest(INFO_DATA, |data| {
            data.put_u32(MACVLAN_MODE, mode as u32);
        });
    });
    message
}

/// Limits what the link with this index sends to `rate` bytes per second: a
/// token bucket of `burst` bytes, behind which at most `limit` bytes wait.
pub fn limit_rate(link: u32, rate: u64, burst: u32, limit: u32) -> Message {
    // `struct tcmsg`: parent `TC_H_ROOT`.
    let mut fixed = [0; 20];
    fixed[4..8].copy_from_slice(&link.to_ne_bytes());
    fixed[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
    // `struct tc_tbf_qopt`: rate and peak rate (`struct tc_ratespec`, 12
    // bytes: the rate last), limit, buffer, mtu.
    let mut parameters = [0; 36];
    let short = u32::try_from(rate).unwrap_or(u32::MAX);
    // `linklayer`: Ethernet.
    parameters[1] = 1;
    parameters[8..12].copy_from_slice(&short.to_ne_bytes());
    parameters[24..28].copy_from_slice(&limit.to_ne_bytes());
    let mut message = Message::new(libc::RTM_NEWQDISC, CREATE | REPLACE, &fixed);
    message
        .put_text(TC_KIND, "tbf")
        .nest(TC_OPTIONS, |options| {
            options
                .put(TBF_PARAMETERS, &parameters)
                .put_u32(TBF_BURST, burst);
            if rate > u64::from(u32::MAX) {
                options.put(TBF_RATE64, &rate.to_ne_bytes());
            }
        });
    message
}

/// Sets a link up.
pub fn set_up(link: LinkName<'_>) -> Message {
    let up = libc::IFF_UP.cast_unsigned();
    change(link, up, up)
}

/// Keeps the host from asking and answering by ARP at a link.
pub fn set_no_arp(link: LinkName<'_>) -> Message {
    let no_arp = libc::IFF_NOARP.cast_unsigned();
    change(link, no_arp, no_arp)
}

/// Keeps the kernel from making the link an IPv6 address of its own. Has to
/// come before the link is up.
pub fn set_no_generated_address(link: LinkName<'_>) -> Message {
    let mut message = change(link, 0, 0);
    message.nest(libc::IFLA_AF_SPEC, no_generated_address);
    message
}

/// Sets up a port of a bridge before it is started: the kernel makes it no
/// IPv6 address of its own (the bridge has one), and packets may leave by the
/// port they came by, which a container needs to reach itself through the
/// host where bridged packets pass the packet filter (`br_netfilter`).
pub fn prepare_port(link: &str) -> Message {
    let mut message = link_message(libc::RTM_NEWLINK, 0, 0, 0);
    message
        .put_text(libc::IFLA_IFNAME, link)
        .nest(libc::IFLA_LINKINFO, |info| {
            info.put_text(INFO_PORT_KIND, "bridge")
                .nest(INFO_PORT_DATA, |data| {
                    data.put_u8(PORT_HAIRPIN, 1);
                });
        })
        .nest(libc::IFLA_AF_SPEC, no_generated_address);
    message
}

/// Lets nothing pass the port of a bridge with this index any more, in either
/// direction. Unlike deleting the link this does not wait for other
/// processors.
pub fn disable_port(index: u32) -> Message {
    let mut fixed = link_header(index, 0, 0);
    fixed[0] = BRIDGE_FAMILY;
    // Changed as a link, the port would be looked at and enabled again.
    let mut message = Message::new(libc::RTM_SETLINK, 0, &fixed);
    message.nest(libc::IFLA_PROTINFO, |port| {
        port.put_u8(PORT_STATE, PORT_DISABLED);
    });
    message
}

/// Makes a link a port of a bridge; 0 takes it out.
pub fn set_master(link: LinkName<'_>, master: u32) -> Message {
    let mut message = change(link, 0, 0);
    message.put_u32(libc::IFLA_MASTER, master);
    message
}

/// Moves a link into another network namespace.
pub fn set_namespace(link: LinkName<'_>, netns: BorrowedFd<'_>) -> Message {
    let mut message = change(link, 0, 0);
    message.put(libc::IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
    message
}

/// Moves the link with this index into another network namespace under a name,
/// in which the kernel puts a number for `%d`. It is down then, and without
/// addresses.
pub fn move_and_rename(index: u32, name: &str, netns: BorrowedFd<'_>) -> Message {
    let mut message = link_message(libc::RTM_NEWLINK, 0, index, 0);
    message
        .put_text(libc::IFLA_IFNAME, name)
        .put(libc::IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
    message
}

/// Gives the link with this index (which must be down) another name.
pub fn rename(index: u32, name: &str) -> Message {
    let mut message = link_message(libc::RTM_NEWLINK, 0, index, 0);
    message.put_text(libc::IFLA_IFNAME, name);
    message
}

/// Deletes a link; the other end of a pair goes with it.
pub fn delete_link(link: LinkName<'_>) -> Message {
    named(libc::RTM_DELLINK, link)
}

/// Asks for one link; [`Link::parse`] reads the answer. The kernel (6.8)
/// first lets the link notice that its other end came up, which it would do
/// at some later moment: before that it drops what it is to send.
pub fn get_link(link: LinkName<'_>) -> Message {
    let mut message = named(libc::RTM_GETLINK, link);
    message.put_u32(EXT_MASK, SKIP_STATS);
    message
}

/// Asks for all links (to be sent with [`super::Socket::dump`]).
pub fn list_links() -> Message {
    let mut message = link_message(libc::RTM_GETLINK, 0, 0, 0);
    message.put_u32(EXT_MASK, SKIP_STATS);
    message
}

impl Link {
    /// Reads the answer to [`get_link`] or one of [`list_links`].
    pub fn parse(reply: &Reply) -> Result<Self> {
        let attributes = reply.attributes(LINK_FIXED)?;
        let info = attributes.nested(libc::IFLA_LINKINFO)?;
        Ok(Self {
            index: read_u32(&reply.payload, 4)?,
            name: attributes.text(libc::IFLA_IFNAME).ok_or_else(malformed)?,
            master: attributes.u32(libc::IFLA_MASTER)?,
            kind: info.text(INFO_KIND).unwrap_or_default(),
            is_up: read_u32(&reply.payload, 8)? & libc::IFF_UP.cast_unsigned() != 0,
        })
    }
}

/// Gives a link an address with the network it lies in. The address is usable
/// at once: IPv6 does not look for others who have it.
pub fn add_address(link: u32, address: IpAddr, prefix: u8) -> Message {
    let mut fixed = [0; 8];
    fixed[0] = family(address);
    fixed[1] = prefix;
    fixed[4..8].copy_from_slice(&link.to_ne_bytes());
    if address.is_ipv6() {
        fixed[2] = NO_DUPLICATE_DETECTION;
    }
    let mut message = Message::new(libc::RTM_NEWADDR, CREATE | EXCLUSIVE, &fixed);
    let bytes = octets(address);
    message
        .put(libc::IFA_LOCAL, &bytes)
        .put(libc::IFA_ADDRESS, &bytes);
    if let IpAddr::V4(v4) = address {
        message.put(libc::IFA_BROADCAST, &broadcast(v4, prefix).octets());
    }
    message
}

/// An address of a link as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link's index in the namespace of the socket.
    pub link: u32,
    /// It has no end (`IFA_F_PERMANENT`).
    pub is_permanent: bool,
    /// Valid everywhere (`RT_SCOPE_UNIVERSE`).
    pub is_global: bool,
    family: u8,
    prefix: u8,
    /// Types and values of what is worth keeping.
    attributes: Vec<(u16, Vec<u8>)>,
}

/// Asks for all addresses (to be sent with [`super::Socket::dump`]).
pub fn list_addresses() -> Message {
    Message::new(libc::RTM_GETADDR, 0, &[0; ADDRESS_FIXED])
}

impl Address {
    /// Reads one answer to [`list_addresses`].
    pub fn parse(reply: &Reply) -> Result<Self> {
        let attributes = reply.attributes(ADDRESS_FIXED)?;
        let fixed = reply.payload.get(..ADDRESS_FIXED).ok_or_else(malformed)?;
        let flags = match attributes.u32(libc::IFA_FLAGS)? {
            Some(flags) => flags,
            None => u32::from(fixed[2]),
        };
        let kept = [libc::IFA_ADDRESS, libc::IFA_LOCAL, libc::IFA_BROADCAST];
        Ok(Self {
            link: read_u32(fixed, 4)?,
            is_permanent: flags & libc::IFA_F_PERMANENT != 0,
            is_global: fixed[3] == libc::RT_SCOPE_UNIVERSE,
            family: fixed[0],
            prefix: fixed[1],
            attributes: attributes
                .iter()
                .filter(|(kind, _)| kept.contains(kind))
                .map(|(kind, value)| (kind, value.to_vec()))
                .collect(),
        })
    }
}

/// Gives another link an address as it was. It is usable at once.
pub fn copy_address(address: &Address, link: u32) -> Message {
    let mut fixed = [0; ADDRESS_FIXED];
    fixed[0] = address.family;
    fixed[1] = address.prefix;
    fixed[4..8].copy_from_slice(&link.to_ne_bytes());
    if address.family == INET6 {
        fixed[2] = NO_DUPLICATE_DETECTION;
    }
    let mut message = Message::new(libc::RTM_NEWADDR, CREATE | EXCLUSIVE, &fixed);
    for (kind, value) in &address.attributes {
        message.put(*kind, value);
    }
    message
}

/// Sends everything that has no better route through `gateway`.
pub fn set_default_route(link: u32, gateway: IpAddr) -> Message {
    let mut fixed = [0; 12];
    fixed[0] = family(gateway);
    fixed[4] = libc::RT_TABLE_MAIN;
    fixed[5] = libc::RTPROT_BOOT;
    fixed[6] = libc::RT_SCOPE_UNIVERSE;
    fixed[7] = libc::RTN_UNICAST;
    let mut message = Message::new(libc::RTM_NEWROUTE, CREATE | REPLACE, &fixed);
    message
        .put(libc::RTA_GATEWAY, &octets(gateway))
        .put_u32(libc::RTA_OIF, link);
    message
}

/// Asks for all IPv6 routes; [`parse_ipv6_route`] reads one of the answers.
pub fn list_ipv6_routes() -> Message {
    let mut fixed = [0; 12];
    fixed[0] = INET6;
    Message::new(libc::RTM_GETROUTE, 0, &fixed)
}

/// The network an IPv6 route leads to, with the length of its prefix.
pub fn parse_ipv6_route(reply: &Reply) -> Result<(Ipv6Addr, u8)> {
    let prefix = *reply.payload.get(1).ok_or_else(malformed)?;
    let address = match reply.attributes(12)?.get(libc::RTA_DST) {
        Some(bytes) => {
            let octets: [u8; 16] = bytes.try_into().map_err(|_| malformed())?;
            octets.into()
        }
        None => Ipv6Addr::UNSPECIFIED,
    };
    Ok((address, prefix))
}

/// Asks for all IPv4 routes; [`parse_route`] reads one of the answers.
pub fn list_ipv4_routes() -> Message {
    let mut fixed = [0; 12];
    fixed[0] = INET;
    Message::new(libc::RTM_GETROUTE, 0, &fixed)
}

/// The network an IPv4 route leads to, with the length of its prefix.
pub fn parse_route(reply: &Reply) -> Result<(Ipv4Addr, u8)> {
    let prefix = *reply.payload.get(1).ok_or_else(malformed)?;
    let address = match reply.attributes(12)?.get(libc::RTA_DST) {
        Some(&[a, b, c, d]) => Ipv4Addr::new(a, b, c, d),
        Some(_) => return Err(malformed()),
        None => Ipv4Addr::UNSPECIFIED,
    };
    Ok((address, prefix))
}

fn change(link: LinkName<'_>, flags: u32, mask: u32) -> Message {
    let index = match link {
        LinkName::Index(index) => index,
        LinkName::Name(_) => 0,
    };
    let mut message = Message::new(libc::RTM_SETLINK, 0, &link_header(index, flags, mask));
    if let LinkName::Name(name) = link {
        message.put_text(libc::IFLA_IFNAME, name);
    }
    message
}

fn no_generated_address(families: &mut Message) {
    families.nest(u16::from(INET6), |inet6| {
        inet6.put_u8(ADDR_GEN_MODE, ADDR_GEN_NONE);
    });
}

fn named(kind: u16, link: LinkName<'_>) -> Message {
    match link {
        LinkName::Index(index) => link_message(kind, 0, index, 0),
        LinkName::Name(name) => {
            let mut message = link_message(kind, 0, 0, 0);
            message.put_text(libc::IFLA_IFNAME, name);
            message
        }
    }
}

fn link_message(kind: u16, flags: u16, index: u32, link_flags: u32) -> Message {
    Message::new(kind, flags, &link_header(index, link_flags, link_flags))
}

fn link_header(index: u32, flags: u32, mask: u32) -> [u8; LINK_FIXED] {
    let mut fixed = [0; LINK_FIXED];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..16].copy_from_slice(&mask.to_ne_bytes());
    fixed
}

fn put_mtu(message: &mut Message, mtu: Option<u32>) {
    if let Some(mtu) = mtu {
        message.put_u32(libc::IFLA_MTU, mtu);
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => INET,
        IpAddr::V6(_) => INET6,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn broadcast(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() | hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(kind: u16, payload: Vec<u8>) -> Reply {
        Reply {
            kind,
            flags: 0,
            sequence: 1,
            payload,
        }
    }

    #[test]
    fn a_link_is_read_from_its_description() {
        let mut message = link_message(libc::RTM_NEWLINK, 0, 7, 1);
        message
            .put_text(libc::IFLA_IFNAME, "whabc")
            .put_u32(libc::IFLA_MASTER, 3)
            .nest(libc::IFLA_LINKINFO, |info| {
                info.put_text(INFO_KIND, "veth");
            });
        let bytes = message.finish(1, 0).unwrap().to_vec();
        let link = Link::parse(&Reply::parse_all(&bytes).unwrap()[0]).unwrap();
        assert_eq!(
            link,
            Link {
                index: 7,
                name: "whabc".into(),
                master: Some(3),
                kind: "veth".into(),
                is_up: true,
            }
        );
    }

    #[test]
    fn descriptions_cut_short_are_errors() {
        assert!(Link::parse(&reply(libc::RTM_NEWLINK, vec![0; 15])).is_err());
        assert!(Link::parse(&reply(libc::RTM_NEWLINK, vec![0; 16])).is_err());
        assert!(parse_route(&reply(libc::RTM_NEWROUTE, vec![0; 1])).is_err());
        let mut route = vec![0; 12];
        route.extend_from_slice(&[6, 0, 1, 0, 1, 1, 0, 0]);
        assert!(parse_route(&reply(libc::RTM_NEWROUTE, route)).is_err());
    }

    #[test]
    fn the_broadcast_address_ends_the_network() {
        let address = Ipv4Addr::new(10, 87, 3, 4);
        assert_eq!(broadcast(address, 16), Ipv4Addr::new(10, 87, 255, 255));
        assert_eq!(broadcast(address, 32), address);
        assert_eq!(broadcast(address, 0), Ipv4Addr::BROADCAST);
    }
}
