//! The packet filter (`NFNL_SUBSYS_NFTABLES`): tables, chains, maps, rules.
//!
//! A [`Table`] is described as data and encoded as a whole; elements of its
//! maps come and go later. All messages that change something travel in
//! [`super::Socket::transaction`], which makes all of them happen or none.
//!
//! Only the expressions the project needs are here. The encoding follows what
//! the `nft` command writes, so that it can print the rules.

use super::message::{APPEND, Attributes, CREATE, Message, Reply, malformed};
use crate::Result;

/// `NFNL_SUBSYS_NFTABLES`, the upper byte of each message type.
const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM | 0xc;
const GET_ELEMENT: u16 = SUBSYSTEM | 0xd;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 0xe;
const GENERIC_FIXED: usize = 4;
/// `NFT_LOOKUP_F_INV`.
const INVERTED: u32 = 1;
/// `NFT_SET_MAP`.
const IS_MAP: u32 = 0x8;
/// Elements per message: their list is an attribute of at most 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 256;
/// `NFTA_LIST_ELEM`, `NFTA_DATA_VALUE`.
const LIST_ELEMENT: u16 = 1;
const DATA_VALUE: u16 = 1;

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Both IP versions (`NFPROTO_INET`).
    Inet = 1,
    /// What passes a bridge (`NFPROTO_BRIDGE`).
    Bridge = 7,
}

impl Family {
    /// `struct nfgenmsg`, version 0.
    fn header(self) -> [u8; GENERIC_FIXED] {
        [self as u8, 0, 0, 0]
    }
}

/// A table with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Which packets it sees.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// A remark that `nft` shows and [`TableState`] gives back (Linux 5.10).
    pub comment: String,
    /// Its maps and sets, made before the chains that use them.
    pub maps: Vec<Map>,
    /// Its chains in the order they are made.
    pub chains: Vec<Chain>,
}

/// A map from a concatenation of values to another one; a set if that is
/// empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// Its name.
    pub name: &'static str,
    /// What a key consists of.
    pub key: &'static [DataType],
    /// What a value consists of.
    pub value: &'static [DataType],
}

/// The types of values `nft` knows by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// `ipv4_addr`
    Ipv4,
    /// `ipv6_addr`
    Ipv6,
    /// `inet_proto`
    Protocol,
    /// `inet_service`
    Port,
    /// `ether_addr`
    Mac,
    /// `ifname`
    LinkName,
}

/// A base chain: where it hooks in and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// What its rules may do.
    pub kind: ChainKind,
    /// Where packets enter it. Its policy is to accept.
    pub hook: Hook,
    /// Its place among all chains at that hook, lowest first.
    pub priority: i32,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// What the rules of a chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// Accept and drop.
    Filter,
    /// Change addresses; sees only the first packet of a connection.
    Nat,
}

/// Where a packet is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Received, not routed yet.
    Prerouting = 0,
    /// For this host itself.
    Input = 1,
    /// Passing through.
    Forward = 2,
    /// Sent by a process of this host.
    Output = 3,
    /// About to leave.
    Postrouting = 4,
}

/// Expressions that are worked on in order until one does not match.
pub type Rule = Vec<Expression>;

/// The first of the four-byte registers a value lies in (0 to 15).
pub type Register = u32;

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads what is known about the packet.
    Meta(Meta, Register),
    /// Loads bytes of the packet.
    Payload(Payload, Register),
    /// Loads 2 if the destination is an address of this host
    /// (`fib daddr type`).
    DestinationType(Register),
    /// Loads what is known about the connection.
    Connection(Connection, Register),
    /// Keeps the bits of a mask.
    Mask(Register, Vec<u8>),
    /// Goes on if the register holds these bytes.
    Equal(Register, Vec<u8>),
    /// Goes on if the register does not hold these bytes.
    NotEqual(Register, Vec<u8>),
    /// Goes on if the map knows the key in the first register, and loads the
    /// value into the second one.
    Lookup(&'static str, Register, Register),
    /// Goes on if the set knows the key in the register.
    Contains(&'static str, Register),
    /// Goes on if the set does not know the key in the register.
    Lacks(&'static str, Register),
    /// Sends the connection to the address and port in the registers.
    DestinationNat(IpFamily, Register, Register),
    /// Lets the connection come from the address it leaves by.
    Masquerade,
    /// Keeps the packet from the connection tracking, and so from translation.
    NoTrack,
    /// Ends this chain.
    Accept,
    /// Ends the packet.
    Drop,
}

/// Facts about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// Name of the link it came by, 16 bytes.
    InputName = 6,
    /// Name of the link it leaves by, 16 bytes.
    OutputName = 7,
    /// IP version: 2 or 10, one byte.
    IpFamily = 15,
    /// Protocol above IP, one byte.
    Protocol = 16,
}

/// Bytes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Source of an IPv4 packet.
    Ipv4Source,
    /// Destination of an IPv4 packet.
    Ipv4Destination,
    /// Source of an IPv6 packet.
    Ipv6Source,
    /// Destination of an IPv6 packet.
    Ipv6Destination,
    /// Destination port of TCP and UDP.
    DestinationPort,
    /// What is in an Ethernet frame: its type, two bytes, that of a tag if it
    /// has one.
    EtherType,
    /// Source of an Ethernet frame.
    MacSource,
    /// Who claims an address by ARP: hardware address.
    ArpSenderMac,
    /// Who claims an address by ARP: IPv4 address.
    ArpSenderIpv4,
    /// Type of an ICMPv6 message, one byte.
    Icmpv6Type,
    /// The address that a neighbor advertisement is about.
    NeighborTarget,
}

/// Facts about a connection, four bytes in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Bits: 2 established, 4 related, 8 new.
    State = 0,
    /// Bits: 0x20 its destination was changed.
    Status = 2,
}

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpFamily {
    /// `NFPROTO_IPV4`
    V4 = 2,
    /// `NFPROTO_IPV6`
    V6 = 10,
}

/// One element of a map, as bytes padded to four per value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// The map.
    pub map: &'static str,
    /// The key.
    pub key: Vec<u8>,
    /// The value; what is deleted is found by its key alone.
    pub value: Vec<u8>,
    /// A remark, at most 128 bytes.
    pub comment: String,
}

/// A table as it is in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableState {
    /// The remark it was made with.
    pub comment: String,
}

impl Table {
    /// The messages that make the table and all in it.
    pub fn create(&self) -> Vec<Message> {
        let mut messages = vec![self.create_empty()];
        for (index, map) in (1..).zip(&self.maps) {
            messages.push(new_map(self, map, index));
        }
        for chain in &self.chains {
            messages.push(new_chain(self, chain));
            for rule in &chain.rules {
                messages.push(new_rule(self, chain.name, rule));
            }
        }
        messages
    }

    fn create_empty(&self) -> Message {
        let mut message = Message::new(NEW_TABLE, CREATE, &self.family.header());
        message
            .put_text(1, &self.name)
            .put_be32(2, 0)
            .put(6, &comment(&self.comment));
        message
    }
}

/// Deletes a table with all that is in it.
pub fn delete_table(family: Family, name: &str) -> Message {
    let mut message = Message::new(DELETE_TABLE, 0, &family.header());
    message.put_text(1, name);
    message
}

/// Asks for a table; [`TableState::parse`] reads the answer.
pub fn get_table(family: Family, name: &str) -> Message {
    let mut message = Message::new(GET_TABLE, 0, &family.header());
    message.put_text(1, name);
    message
}

impl TableState {
    /// Reads the answer to [`get_table`].
    pub fn parse(reply: &Reply) -> Result<Self> {
        let attributes = reply.attributes(GENERIC_FIXED)?;
        Ok(Self {
            comment: read_comment(attributes.get(6)),
        })
    }
}

/// Asks for a chain; [`parse_rule_count`] reads the answer.
pub fn get_chain(family: Family, table: &str, chain: &str) -> Message {
    let mut message = Message::new(GET_CHAIN, 0, &family.header());
    message.put_text(1, table).put_text(3, chain);
    message
}

/// How many rules a chain has that nothing jumps to.
pub fn parse_rule_count(reply: &Reply) -> Result<usize> {
    let count = reply
        .attributes(GENERIC_FIXED)?
        .be32(6)?
        .ok_or_else(malformed)?;
    Ok(count as usize)
}

/// A base chain that somebody made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignChain {
    /// `inet`, `ip` or `ip6`.
    pub family: &'static str,
    /// The table's name.
    pub table: String,
    /// The chain's name.
    pub chain: String,
    /// Number of the hook, as [`Hook`] has them.
    pub hook: u32,
    /// What no rule decided is dropped.
    pub drops: bool,
    /// How many rules it has.
    pub rules: u32,
}

/// Asks for the chains of all tables; [`ForeignChain::parse`] reads one.
pub fn list_chains() -> Message {
    Message::new(GET_CHAIN, 0, &[0; GENERIC_FIXED])
}

impl ForeignChain {
    /// Reads one answer to [`list_chains`]; `None` if it filters no IP
    /// packets, or nothing enters it but by jumps.
    pub fn parse(reply: &Reply) -> Result<Option<Self>> {
        let family = match reply.payload.first() {
            Some(1) => "inet",
            Some(2) => "ip",
            Some(10) => "ip6",
            _ => return Ok(None),
        };
        let attributes = reply.attributes(GENERIC_FIXED)?;
        let Some(hook) = attributes.nested(4)?.be32(1)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            family,
            table: attributes.text(1).unwrap_or_default(),
            chain: attributes.text(3).unwrap_or_default(),
            hook,
            drops: attributes.be32(5)? == Some(libc::NF_DROP.cast_unsigned()),
            rules: attributes.be32(6)?.unwrap_or_default(),
        }))
    }
}

/// Adds elements. One that is there already with the same value stays; with
/// another value the transaction fails with `EBUSY`.
pub fn add_elements(family: Family, table: &str, elements: &[Element]) -> Vec<Message> {
    element_messages((NEW_ELEMENT, CREATE), family, table, elements)
}

/// Deletes elements by their keys. One that is not there fails the
/// transaction with `ENOENT`.
pub fn delete_elements(family: Family, table: &str, elements: &[Element]) -> Vec<Message> {
    element_messages((DELETE_ELEMENT, 0), family, table, elements)
}

/// Asks for the elements of a map (to be sent with [`super::Socket::dump`]);
/// [`parse_elements`] reads one of the answers.
pub fn list_elements(family: Family, table: &str, map: &str) -> Message {
    let mut message = Message::new(GET_ELEMENT, 0, &family.header());
    message.put_text(1, table).put_text(2, map);
    message
}

/// Reads elements of `map`.
pub fn parse_elements(reply: &Reply, map: &'static str) -> Result<Vec<Element>> {
    let attributes = reply.attributes(GENERIC_FIXED)?;
    let list = attributes.nested(3)?;
    let mut elements = Vec::new();
    for (_, bytes) in list.iter() {
        let element = Attributes::parse(bytes)?;
        let data = |kind| -> Result<Vec<u8>> {
            let nested = element.nested(kind)?;
            Ok(nested.get(DATA_VALUE).unwrap_or_default().to_vec())
        };
        elements.push(Element {
            map,
            key: data(1)?,
            value: data(2)?,
            comment: read_comment(element.get(6)),
        });
    }
    Ok(elements)
}

fn element_messages(
    (kind, flags): (u16, u16),
    family: Family,
    table: &str,
    elements: &[Element],
) -> Vec<Message> {
    let mut messages = Vec::new();
    for same_map in elements.chunk_by(|a, b| a.map == b.map) {
        for chunk in same_map.chunks(ELEMENTS_PER_MESSAGE) {
            let mut message = Message::new(kind, flags, &family.header());
            message
                .put_text(1, table)
                .put_text(2, chunk[0].map)
                .nest(3, |list| {
                    for element in chunk {
                        put_element(list, element, kind);
                    }
                });
            messages.push(message);
        }
    }
    messages
}

fn put_element(list: &mut Message, element: &Element, kind: u16) {
    list.nest(LIST_ELEMENT, |item| {
        put_data(item, 1, &element.key);
        if kind == NEW_ELEMENT {
            if !element.value.is_empty() {
                put_data(item, 2, &element.value);
            }
            item.put(6, &comment(&element.comment));
        }
    });
}

fn new_map(table: &Table, map: &Map, id: u32) -> Message {
    let mut message = Message::new(NEW_SET, CREATE, &table.family.header());
    let is_set = map.value.is_empty();
    message
        .put_text(1, &table.name)
        .put_text(2, map.name)
        .put_be32(3, if is_set { 0 } else { IS_MAP })
        .put_be32(4, type_number(map.key))
        .put_be32(5, type_length(map.key));
    if !is_set {
        message
            .put_be32(6, type_number(map.value))
            .put_be32(7, type_length(map.value));
    }
    message.put_be32(10, id);
    message
}

fn new_chain(table: &Table, chain: &Chain) -> Message {
    let mut message = Message::new(NEW_CHAIN, CREATE, &table.family.header());
    message
        .put_text(1, &table.name)
        .put_text(3, chain.name)
        .nest(4, |hook| {
            hook.put_be32(1, chain.hook as u32)
                .put_be32(2, chain.priority.cast_unsigned());
        })
        .put_be32(5, libc::NF_ACCEPT.cast_unsigned())
        .put_text(
            7,
            match chain.kind {
                ChainKind::Filter => "filter",
                ChainKind::Nat => "nat",
            },
        );
    message
}

fn new_rule(table: &Table, chain: &str, rule: &Rule) -> Message {
    let mut message = Message::new(NEW_RULE, CREATE | APPEND, &table.family.header());
    message
        .put_text(1, &table.name)
        .put_text(2, chain)
        .nest(4, |list| {
            for expression in rule {
                put_expression(list, expression);
            }
        });
    message
}

fn put_expression(list: &mut Message, expression: &Expression) {
    let named = |list: &mut Message, name: &str, fill: &dyn Fn(&mut Message)| {
        list.nest(LIST_ELEMENT, |item| {
            item.put_text(1, name).nest(2, |data| fill(data));
        });
    };
    match expression {
        Expression::Meta(key, into) => named(list, "meta", &|data| {
            data.put_be32(1, number(*into)).put_be32(2, *key as u32);
        }),
        Expression::Payload(what, into) => named(list, "payload", &|data| {
            let (base, offset, length) = what.place();
            data.put_be32(1, number(*into))
                .put_be32(2, base)
                .put_be32(3, offset)
                .put_be32(4, length);
        }),
        Expression::DestinationType(into) => named(list, "fib", &|data| {
            // Result `NFT_FIB_RESULT_ADDRTYPE`, flag `NFTA_FIB_F_DADDR`.
            data.put_be32(1, number(*into))
                .put_be32(2, 3)
                .put_be32(3, 2);
        }),
        Expression::Connection(key, into) => named(list, "ct", &|data| {
            data.put_be32(1, number(*into)).put_be32(2, *key as u32);
        }),
        Expression::Mask(register, mask) => named(list, "bitwise", &|data| {
            data.put_be32(1, number(*register))
                .put_be32(2, number(*register))
                .put_be32(3, u32::try_from(mask.len()).unwrap_or(u32::MAX));
            put_data(data, 4, mask);
            put_data(data, 5, &vec![0; mask.len()]);
        }),
        Expression::Equal(register, bytes) => put_compare(list, *register, 0, bytes),
        Expression::NotEqual(register, bytes) => put_compare(list, *register, 1, bytes),
        Expression::Lookup(map, key, value) => named(list, "lookup", &|data| {
            data.put_text(1, map)
                .put_be32(2, number(*key))
                .put_be32(3, number(*value));
        }),
        Expression::Contains(set, key) => named(list, "lookup", &|data| {
            data.put_text(1, set).put_be32(2, number(*key));
        }),
        Expression::Lacks(set, key) => named(list, "lookup", &|data| {
            data.put_text(1, set)
                .put_be32(2, number(*key))
                .put_be32(5, INVERTED);
        }),
        Expression::DestinationNat(family, address, port) => named(list, "nat", &|data| {
            data.put_be32(1, 1)
                .put_be32(2, *family as u32)
                .put_be32(3, number(*address))
                .put_be32(5, number(*port));
        }),
        Expression::Masquerade => named(list, "masq", &|_| {}),
        Expression::NoTrack => named(list, "notrack", &|_| {}),
        Expression::Accept => put_verdict(list, libc::NF_ACCEPT),
        Expression::Drop => put_verdict(list, libc::NF_DROP),
    }
}

fn put_compare(list: &mut Message, register: Register, operator: u32, bytes: &[u8]) {
    list.nest(LIST_ELEMENT, |item| {
        item.put_text(1, "cmp").nest(2, |data| {
            data.put_be32(1, number(register)).put_be32(2, operator);
            put_data(data, 3, bytes);
        });
    });
}

fn put_verdict(list: &mut Message, code: i32) {
    list.nest(LIST_ELEMENT, |item| {
        item.put_text(1, "immediate").nest(2, |data| {
            data.put_be32(1, 0).nest(2, |value| {
                value.nest(2, |verdict| {
                    verdict.put_be32(1, code.cast_unsigned());
                });
            });
        });
    });
}

fn put_data(message: &mut Message, kind: u16, bytes: &[u8]) {
    message.nest(kind, |data| {
        data.put(DATA_VALUE, bytes);
    });
}

/// `nft` numbers a register of 16 bytes from 1 and one of four from 8.
fn number(register: Register) -> u32 {
    if register.is_multiple_of(4) {
        1 + register / 4
    } else {
        8 + register
    }
}

impl Payload {
    /// Base (0 link, 1 network, 2 transport header), offset, length.
    fn place(self) -> (u32, u32, u32) {
        match self {
            Payload::Ipv4Source => (1, 12, 4),
            Payload::Ipv4Destination => (1, 16, 4),
            Payload::Ipv6Source => (1, 8, 16),
            Payload::Ipv6Destination => (1, 24, 16),
            Payload::DestinationPort => (2, 2, 2),
            Payload::EtherType => (0, 12, 2),
            Payload::MacSource => (0, 6, 6),
            Payload::ArpSenderMac => (1, 8, 6),
            Payload::ArpSenderIpv4 => (1, 14, 4),
            Payload::Icmpv6Type => (2, 0, 1),
            Payload::NeighborTarget => (2, 8, 16),
        }
    }
}

impl DataType {
    /// The number `nft` gives the type (`enum datatypes`).
    fn number(self) -> u32 {
        match self {
            DataType::Ipv4 => 7,
            DataType::Ipv6 => 8,
            DataType::Protocol => 12,
            DataType::Port => 13,
            DataType::Mac => 9,
            DataType::LinkName => 41,
        }
    }

    /// Length in bytes without padding.
    fn length(self) -> u32 {
        match self {
            DataType::Ipv4 => 4,
            DataType::Ipv6 | DataType::LinkName => 16,
            DataType::Protocol => 1,
            DataType::Port => 2,
            DataType::Mac => 6,
        }
    }
}

/// `nft` packs the numbers of a concatenation, six bits each.
fn type_number(parts: &[DataType]) -> u32 {
    parts
        .iter()
        .fold(0, |number, part| (number << 6) | part.number())
}

/// Length of a concatenation: each part takes whole registers.
fn type_length(parts: &[DataType]) -> u32 {
    parts
        .iter()
        .map(|part| part.length().next_multiple_of(4))
        .sum()
}

/// Remarks are type 0, length, text, zero byte (as libnftnl writes them).
fn comment(text: &str) -> Vec<u8> {
    let text = &text.as_bytes()[..text.len().min(128)];
    let mut bytes = vec![0, u8::try_from(text.len() + 1).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(text);
    bytes.push(0);
    bytes
}

fn read_comment(user_data: Option<&[u8]>) -> String {
    let Some([0, length, text @ ..]) = user_data else {
        return String::new();
    };
    let text = text.get(..usize::from(*length)).unwrap_or_default();
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(port: u8) -> Element {
        Element {
            map: "published4_any",
            key: vec![6, 0, 0, 0, 0, port, 0, 0],
            value: vec![10, 87, 0, 2, 0, 80, 0, 0],
            comment: "some container".into(),
        }
    }

    fn round_trip(message: &mut Message) -> Reply {
        let bytes = message.finish(1, 0).unwrap().to_vec();
        Reply::parse_all(&bytes).unwrap().remove(0)
    }

    #[test]
    fn elements_read_back_as_written() {
        let elements: Vec<Element> = (0..3).map(element).collect();
        let mut messages = add_elements(Family::Inet, "wharf", &elements);
        assert_eq!(messages.len(), 1);
        let reply = round_trip(&mut messages[0]);
        assert_eq!(parse_elements(&reply, "published4_any").unwrap(), elements);
    }

    #[test]
    fn many_elements_are_spread_over_messages() {
        let elements = vec![element(1); 600];
        let mut messages = add_elements(Family::Inet, "wharf", &elements);
        assert_eq!(messages.len(), 3);
        for message in &mut messages {
            assert!(message.finish(1, 0).is_ok());
        }
    }

    #[test]
    fn hostile_descriptions_are_errors_or_empty() {
        let reply = |payload: &[u8]| Reply {
            kind: NEW_TABLE,
            flags: 0,
            sequence: 1,
            payload: payload.to_vec(),
        };
        assert!(TableState::parse(&reply(&[1])).is_err());
        assert!(parse_rule_count(&reply(&[1, 0, 0, 0])).is_err());
        assert!(parse_elements(&reply(&[1, 0, 0, 0, 9, 0, 3, 0]), "m").is_err());
        assert_eq!(read_comment(Some(&[0, 200, b'x'])), "");
        assert_eq!(read_comment(Some(&[9, 1, 0])), "");
        assert_eq!(read_comment(Some(&[0, 2, b'x', 0])), "x");
    }

    #[test]
    fn registers_and_types_are_numbered_as_nft_does() {
        assert_eq!([0, 1, 2, 4, 5].map(number), [1, 9, 10, 2, 13]);
        let key = [DataType::Ipv4, DataType::Protocol, DataType::Port];
        assert_eq!(type_number(&key), 0x730d);
        assert_eq!(type_length(&key), 12);
        assert_eq!(type_length(&[DataType::Ipv6, DataType::Port]), 20);
    }
}
