//! The wire format: a header, a fixed part, attributes that may nest.
//!
//! Numbers in headers are in host order; attributes are padded to four bytes
//! (`include/uapi/linux/netlink.h`).

use crate::{Error, ErrorKind, Result};

/// Length of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// Length of `struct nlattr`.
const ATTRIBUTE: usize = 4;
/// The attribute holds attributes (`NLA_F_NESTED`).
const NESTED: u16 = 0x8000;
/// What remains of an attribute's type without its two flags.
const TYPE_MASK: u16 = 0x3fff;

/// `NLM_F_REQUEST`: every message to the kernel carries it.
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: answer even on success.
pub const ACK: u16 = 0x4;
/// `NLM_F_DUMP`: list all objects.
pub const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`: take the place of what is there.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`: fail if the object exists.
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`: make the object if it does not exist.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`: add at the end of the list.
pub const APPEND: u16 = 0x800;

/// A message under construction. Its sequence number is set when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
    /// An attribute did not fit its 16-bit length; sending then fails.
    too_long: bool,
}

impl Message {
    /// A message of type `kind`, with its fixed part.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        let mut message = Self {
            bytes,
            too_long: false,
        };
        message.pad();
        message
    }

    /// Appends one attribute.
    pub fn put(&mut self, kind: u16, data: &[u8]) -> &mut Self {
        let start = self.open_attribute(kind);
        self.bytes.extend_from_slice(data);
        self.close_attribute(start);
        self
    }

    /// Appends an attribute of one byte.
    pub fn put_u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.put(kind, &[value])
    }

    /// Appends an attribute of four bytes in host order.
    pub fn put_u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// Appends an attribute of four bytes in network order.
    pub fn put_be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// Appends a text attribute with its closing zero byte.
    pub fn put_text(&mut self, kind: u16, text: &str) -> &mut Self {
        let start = self.open_attribute(kind);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        self.close_attribute(start);
        self
    }

    /// Appends an attribute that holds what `fill` appends.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.open_attribute(kind | NESTED);
        fill(self);
        self.close_attribute(start);
        self
    }

    /// Appends bytes that are no attribute: the header some nested
    /// attributes begin with (`VETH_INFO_PEER`).
    pub fn put_raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// The finished bytes, with the sequence number and extra flags set.
    pub(super) fn finish(&mut self, sequence: u32, flags: u16) -> Result<&[u8]> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        if self.too_long || length == u32::MAX {
            return Err(Error::new(
                ErrorKind::Internal,
                "netlink attribute is longer than 65535 bytes",
            ));
        }
        let all_flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | flags;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[6..8].copy_from_slice(&all_flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        Ok(&self.bytes)
    }

    fn open_attribute(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close_attribute(&mut self, start: usize) {
        if let Ok(length) = u16::try_from(self.bytes.len() - start) {
            self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        } else {
            self.too_long = true;
        }
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// One message from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The message type.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// Copied from the request it answers.
    pub sequence: u32,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Reply {
    /// Splits what one `recv` gave into messages.
    pub fn parse_all(mut bytes: &[u8]) -> Result<Vec<Self>> {
        let mut replies = Vec::new();
        while !bytes.is_empty() {
            let header = bytes.get(..HEADER).ok_or_else(malformed)?;
            let length = usize::try_from(read_u32(header, 0)?).map_err(|_| malformed())?;
            if length < HEADER {
                return Err(malformed());
            }
            let payload = bytes.get(HEADER..length).ok_or_else(malformed)?;
            replies.push(Self {
                kind: read_u16(header, 4)?,
                flags: read_u16(header, 6)?,
                sequence: read_u32(header, 8)?,
                payload: payload.to_vec(),
            });
            let next = length.next_multiple_of(4).min(bytes.len());
            bytes = &bytes[next..];
        }
        Ok(replies)
    }

    /// The attributes after a fixed part of `fixed` bytes.
    pub fn attributes(&self, fixed: usize) -> Result<Attributes<'_>> {
        let start = fixed.next_multiple_of(4);
        Attributes::parse(self.payload.get(start..).ok_or_else(malformed)?)
    }
}

/// The attributes of one level, checked as a whole when made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes<'a>(Vec<(u16, &'a [u8])>);

impl<'a> Attributes<'a> {
    /// Reads attributes until the end of `bytes`.
    pub fn parse(mut bytes: &'a [u8]) -> Result<Self> {
        let mut all = Vec::new();
        // The kernel may leave up to three bytes of padding at the end.
        while bytes.len() >= ATTRIBUTE {
            let length = usize::from(read_u16(bytes, 0)?);
            let kind = read_u16(bytes, 2)? & TYPE_MASK;
            let value = bytes.get(ATTRIBUTE..length).ok_or_else(malformed)?;
            all.push((kind, value));
            let next = length.next_multiple_of(4).min(bytes.len());
            bytes = &bytes[next..];
        }
        Ok(Self(all))
    }

    /// The first attribute of this type.
    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.0
            .iter()
            .find(|(found, _)| *found == kind)
            .map(|(_, value)| *value)
    }

    /// The attributes inside of the first one of this type; empty if there is
    /// none.
    pub fn nested(&self, kind: u16) -> Result<Attributes<'a>> {
        Attributes::parse(self.get(kind).unwrap_or_default())
    }

    /// All attributes in order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &'a [u8])> + '_ {
        self.0.iter().copied()
    }

    /// Four bytes in host order.
    pub fn u32(&self, kind: u16) -> Result<Option<u32>> {
        self.get(kind).map(|value| read_u32(value, 0)).transpose()
    }

    /// Four bytes in network order.
    pub fn be32(&self, kind: u16) -> Result<Option<u32>> {
        Ok(self.u32(kind)?.map(u32::from_be))
    }

    /// Text up to its closing zero byte.
    pub fn text(&self, kind: u16) -> Option<String> {
        self.get(kind).map(|value| {
            let end = value.iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
        })
    }
}

/// Two bytes in host order at `at`.
pub fn read_u16(bytes: &[u8], at: usize) -> Result<u16> {
    let end = at.checked_add(2).ok_or_else(malformed)?;
    match bytes.get(at..end) {
        Some(&[a, b]) => Ok(u16::from_ne_bytes([a, b])),
        _ => Err(malformed()),
    }
}

/// Four bytes in host order at `at`.
pub fn read_u32(bytes: &[u8], at: usize) -> Result<u32> {
    let end = at.checked_add(4).ok_or_else(malformed)?;
    match bytes.get(at..end) {
        Some(&[a, b, c, d]) => Ok(u32::from_ne_bytes([a, b, c, d])),
        _ => Err(malformed()),
    }
}

pub(super) fn malformed() -> Error {
    Error::new(ErrorKind::Corrupt, "malformed netlink reply")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(mut message: Message) -> Vec<u8> {
        message.finish(7, 0).unwrap().to_vec()
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut message = Message::new(16, CREATE, &[1; 16]);
        message.put_text(3, "wharf0").nest(18, |inner| {
            inner.put_text(1, "bridge").put_u32(5, 9);
        });
        let replies = Reply::parse_all(&sent(message)).unwrap();
        assert_eq!(replies.len(), 1);
        assert_eq!((replies[0].kind, replies[0].sequence), (16, 7));
        assert_eq!(replies[0].flags, CREATE | REQUEST);
        let attributes = replies[0].attributes(16).unwrap();
        assert_eq!(attributes.text(3).as_deref(), Some("wharf0"));
        let inner = attributes.nested(18).unwrap();
        assert_eq!(inner.text(1).as_deref(), Some("bridge"));
        assert_eq!(inner.u32(5).unwrap(), Some(9));
    }

    #[test]
    fn every_attribute_is_padded_to_four_bytes() {
        let mut message = Message::new(1, 0, &[]);
        message.put_u8(1, 5).put_u8(2, 6);
        let bytes = sent(message);
        assert_eq!(bytes.len(), HEADER + 8 + 8);
        assert_eq!(&bytes[HEADER..HEADER + 8], &[5, 0, 1, 0, 5, 0, 0, 0]);
    }

    #[test]
    fn an_attribute_too_long_is_refused_when_sent() {
        let mut message = Message::new(1, 0, &[]);
        message.nest(1, |inner| {
            inner.put(1, &vec![0; 40_000]).put(2, &vec![0; 40_000]);
        });
        assert!(message.finish(1, 0).is_err());
    }

    #[test]
    fn hostile_replies_are_errors() {
        let good = sent(Message::new(16, 0, &[0; 16]));
        for cut in 1..good.len() {
            assert!(Reply::parse_all(&good[..cut]).is_err(), "cut at {cut}");
        }
        let mut short = good.clone();
        short[0] = 3;
        assert!(Reply::parse_all(&short).is_err());
        let mut long = good;
        long[3] = 0xff;
        assert!(Reply::parse_all(&long).is_err());

        for attribute in [[0, 0, 1, 0], [3, 0, 1, 0], [5, 0, 1, 0], [255, 255, 1, 0]] {
            assert!(Attributes::parse(&attribute).is_err(), "{attribute:?}");
        }
        let reply = Reply {
            kind: 1,
            flags: 0,
            sequence: 0,
            payload: vec![0; 3],
        };
        assert!(reply.attributes(16).is_err());
        let short_number = Attributes::parse(&[6, 0, 1, 0, 1, 1, 0, 0]).unwrap();
        assert!(short_number.u32(1).is_err());
    }
}
