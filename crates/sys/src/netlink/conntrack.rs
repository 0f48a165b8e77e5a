//! Connections the kernel keeps in mind (`NFNL_SUBSYS_CTNETLINK`).
//!
//! A flow of UDP has no beginning the kernel could see: as long as packets
//! come it goes where its first packet went, whatever the rules say since.
//! Here such flows are listed and forgotten.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{Attributes, Message, Reply, malformed};
use crate::Result;

/// `NFNL_SUBSYS_CTNETLINK`, the upper byte of each message type.
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const GENERIC_FIXED: usize = 4;
/// `CTA_TUPLE_ORIG`, `CTA_ID`, `CTA_ZONE`, `CTA_FILTER`.
const ORIGINAL: u16 = 1;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
/// `CTA_TUPLE_IP`, `CTA_TUPLE_PROTO`.
const ADDRESSES: u16 = 1;
const PROTOCOL: u16 = 2;
/// `CTA_IP_V4_DST`, `CTA_IP_V6_DST`.
const IPV4_DESTINATION: u16 = 2;
const IPV6_DESTINATION: u16 = 4;
/// `CTA_PROTO_NUM`, `CTA_PROTO_DST_PORT`.
const PROTOCOL_NUMBER: u16 = 1;
const DESTINATION_PORT: u16 = 3;
/// `CTA_FILTER_ORIG_FLAGS` and the flag for the protocol's number.
const FILTER_ORIGINAL: u16 = 1;
const FILTER_PROTOCOL: u32 = 1 << 3;
const UDP: u8 = 17;

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// `AF_INET`
    V4 = 2,
    /// `AF_INET6`
    V6 = 10,
}

/// A flow, by where its first packet was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The address the sender meant.
    pub destination: IpAddr,
    /// The port the sender meant.
    pub port: u16,
    family: u8,
    original: Vec<u8>,
    id: Vec<u8>,
    zone: Option<Vec<u8>>,
}

/// Asks for all flows of UDP (to be sent with [`super::Socket::dump`]);
/// [`Flow::parse`] reads one of the answers.
pub fn list_udp(version: IpVersion) -> Message {
    let mut message = Message::new(GET, 0, &[version as u8, 0, 0, 0]);
    message
        .nest(ORIGINAL, |tuple| {
            tuple.nest(PROTOCOL, |protocol| {
                protocol.put_u8(PROTOCOL_NUMBER, UDP);
            });
        })
        .nest(FILTER, |filter| {
            filter.put_u32(FILTER_ORIGINAL, FILTER_PROTOCOL);
        });
    message
}

impl Flow {
    /// Reads one of the answers to [`list_udp`]; `None` for a flow of another
    /// protocol, from a kernel that does not filter (before 5.8).
    pub fn parse(reply: &Reply) -> Result<Option<Self>> {
        let attributes = reply.attributes(GENERIC_FIXED)?;
        let family = *reply.payload.first().ok_or_else(malformed)?;
        let original = attributes.get(ORIGINAL).ok_or_else(malformed)?;
        let tuple = Attributes::parse(original)?;
        let protocol = tuple.nested(PROTOCOL)?;
        if protocol.get(PROTOCOL_NUMBER) != Some(&[UDP]) {
            return Ok(None);
        }
        let port = match protocol.get(DESTINATION_PORT) {
            Some(&[high, low]) => u16::from_be_bytes([high, low]),
            _ => return Err(malformed()),
        };
        Ok(Some(Self {
            destination: destination(&tuple.nested(ADDRESSES)?)?,
            port,
            family,
            original: original.to_vec(),
            id: attributes.get(ID).unwrap_or_default().to_vec(),
            zone: attributes.get(ZONE).map(<[u8]>::to_vec),
        }))
    }

    /// Lets the kernel forget the flow: its next packet is a first one.
    pub fn forget(&self) -> Message {
        let mut message = Message::new(DELETE, 0, &[self.family, 0, 0, 0]);
        message.nest(ORIGINAL, |tuple| {
            tuple.put_raw(&self.original);
        });
        if !self.id.is_empty() {
            message.put(ID, &self.id);
        }
        if let Some(zone) = &self.zone {
            message.put(ZONE, zone);
        }
        message
    }
}

fn destination(addresses: &Attributes<'_>) -> Result<IpAddr> {
    if let Some(bytes) = addresses.get(IPV4_DESTINATION) {
        let octets: [u8; 4] = bytes.try_into().map_err(|_| malformed())?;
        return Ok(Ipv4Addr::from(octets).into());
    }
    let bytes = addresses.get(IPV6_DESTINATION).ok_or_else(malformed)?;
    let octets: [u8; 16] = bytes.try_into().map_err(|_| malformed())?;
    Ok(Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(protocol: u8, address: &[u8]) -> Reply {
        let mut message = Message::new(SUBSYSTEM, 0, &[2, 0, 0, 0]);
        message
            .nest(ORIGINAL, |tuple| {
                tuple.nest(ADDRESSES, |addresses| {
                    addresses.put(IPV4_DESTINATION, address);
                });
                tuple.nest(PROTOCOL, |part| {
                    part.put_u8(PROTOCOL_NUMBER, protocol)
                        .put(DESTINATION_PORT, &53_u16.to_be_bytes());
                });
            })
            .put_be32(ID, 7);
        let bytes = message.finish(1, 0).unwrap().to_vec();
        Reply::parse_all(&bytes).unwrap().remove(0)
    }

    #[test]
    fn a_flow_is_known_by_where_it_was_sent() {
        let flow = Flow::parse(&reply(UDP, &[192, 0, 2, 1])).unwrap().unwrap();
        assert_eq!(flow.destination, Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(flow.port, 53);
        let bytes = flow.forget().finish(1, 0).unwrap().to_vec();
        let sent = Reply::parse_all(&bytes).unwrap().remove(0);
        let attributes = sent.attributes(GENERIC_FIXED).unwrap();
        assert_eq!(attributes.get(ORIGINAL), Some(&*flow.original));
        assert_eq!(attributes.be32(ID).unwrap(), Some(7));
    }

    #[test]
    fn other_protocols_are_passed_over_and_nonsense_refused() {
        assert_eq!(Flow::parse(&reply(6, &[192, 0, 2, 1])).unwrap(), None);
        assert!(Flow::parse(&reply(UDP, &[192, 0])).is_err());
        let mut empty = reply(UDP, &[192, 0, 2, 1]);
        empty.payload.truncate(4);
        assert!(Flow::parse(&empty).is_err());
        empty.payload.clear();
        assert!(Flow::parse(&empty).is_err());
    }
}
