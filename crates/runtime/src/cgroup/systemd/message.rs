//! Messages of D-Bus, as far as systemd's manager is spoken to (D-Bus
//! Specification, "Message Protocol"): little-endian, no descriptors. Pure.

use sys::{Error, ErrorKind, Result};

/// More than systemd says to us.
pub(super) const LARGEST: usize = 1 << 20;
/// The part of a message that has a fixed size.
pub(super) const PREFIX: usize = 16;

const LITTLE_ENDIAN: u8 = b'l';
const PROTOCOL: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call = 1,
    Return = 2,
    Error = 3,
    Signal = 4,
}

/// What a call is addressed to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
}

/// A value in a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    Text(String),
    Flag(bool),
    Number(u64),
    Numbers(Vec<u32>),
    Bytes(Vec<u8>),
}

/// Arguments of a call, with their signature.
#[derive(Debug, Default)]
pub(super) struct Body {
    signature: String,
    bytes: Vec<u8>,
}

impl Body {
    pub(super) fn text(mut self, text: &str) -> Self {
        self.signature.push('s');
        put_text(&mut self.bytes, text);
        self
    }

    pub(super) fn flag(mut self, flag: bool) -> Self {
        self.signature.push('b');
        put_u32(&mut self.bytes, u32::from(flag));
        self
    }

    /// `a(sv)`
    pub(super) fn properties(mut self, properties: &[(&str, Variant)]) -> Self {
        self.signature.push_str("a(sv)");
        put_array(&mut self.bytes, 8, |bytes| {
            for (name, value) in properties {
                align(bytes, 8);
                put_text(bytes, name);
                put_variant(bytes, value);
            }
        });
        self
    }

    /// `a(sa(sv))`, empty: units to make beside.
    pub(super) fn no_units(mut self) -> Self {
        self.signature.push_str("a(sa(sv))");
        put_array(&mut self.bytes, 8, |_| {});
        self
    }
}

/// A whole message, ready to be sent.
pub(super) fn call(serial: u32, method: &Method<'_>, body: &Body) -> Vec<u8> {
    let mut message = vec![LITTLE_ENDIAN, Kind::Call as u8, 0, PROTOCOL];
    put_u32(&mut message, u32::try_from(body.bytes.len()).unwrap_or(0));
    put_u32(&mut message, serial);
    put_array(&mut message, 8, |bytes| {
        for (code, kind, text) in [
            (1, 'o', method.path),
            (2, 's', method.interface),
            (3, 's', method.member),
            (6, 's', method.destination),
        ] {
            align(bytes, 8);
            bytes.push(code);
            put_signature(bytes, &kind.to_string());
            put_text(bytes, text);
        }
        if !body.signature.is_empty() {
            align(bytes, 8);
            bytes.push(8);
            put_signature(bytes, "g");
            put_signature(bytes, &body.signature);
        }
    });
    align(&mut message, 8);
    message.extend_from_slice(&body.bytes);
    message
}

fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_u32(bytes: &mut Vec<u8>, value: u32) {
    align(bytes, 4);
    bytes.extend_from_slice(&value.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_u32(bytes, u32::try_from(text.len()).unwrap_or(0));
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
}

fn put_signature(bytes: &mut Vec<u8>, signature: &str) {
    bytes.push(u8::try_from(signature.len()).unwrap_or(0));
    bytes.extend_from_slice(signature.as_bytes());
    bytes.push(0);
}

/// The length counts from the first element, which is aligned.
fn put_array(bytes: &mut Vec<u8>, alignment: usize, elements: impl FnOnce(&mut Vec<u8>)) {
    put_u32(bytes, 0);
    let place = bytes.len() - 4;
    align(bytes, alignment);
    let start = bytes.len();
    elements(bytes);
    let length = u32::try_from(bytes.len() - start).unwrap_or(0);
    bytes[place..place + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_variant(bytes: &mut Vec<u8>, value: &Variant) {
    match value {
        Variant::Text(text) => {
            put_signature(bytes, "s");
            put_text(bytes, text);
        }
        Variant::Flag(flag) => {
            put_signature(bytes, "b");
            put_u32(bytes, u32::from(*flag));
        }
        Variant::Number(number) => {
            put_signature(bytes, "t");
            align(bytes, 8);
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        Variant::Numbers(numbers) => {
            put_signature(bytes, "au");
            put_array(bytes, 4, |bytes| {
                for number in numbers {
                    put_u32(bytes, *number);
                }
            });
        }
        Variant::Bytes(content) => {
            put_signature(bytes, "ay");
            put_array(bytes, 1, |bytes| bytes.extend_from_slice(content));
        }
    }
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) kind: Kind,
    /// The serial number of the call that this answers.
    pub(super) answers: Option<u32>,
    /// Of a signal.
    pub(super) member: Option<String>,
    /// Of an error.
    pub(super) error: Option<String>,
    body: Vec<u8>,
}

/// How many bytes follow the first [`PREFIX`] of a message.
pub(super) fn rest_of(prefix: &[u8; PREFIX]) -> Result<usize> {
    if prefix[0] != LITTLE_ENDIAN || prefix[3] != PROTOCOL {
        return Err(strange());
    }
    let mut reader = Reader {
        bytes: prefix,
        at: 4,
    };
    let body = reader.u32()? as usize;
    reader.u32()?;
    let fields = reader.u32()? as usize;
    let total = (PREFIX + fields.min(LARGEST)).next_multiple_of(8) + body.min(LARGEST);
    if total > LARGEST {
        return Err(strange());
    }
    Ok(total - PREFIX)
}

/// Takes a whole message apart. Kinds that nobody knows are `None`.
pub(super) fn parse(message: &[u8]) -> Result<Option<Received>> {
    let kind = match message.get(1) {
        Some(1) => Kind::Call,
        Some(2) => Kind::Return,
        Some(3) => Kind::Error,
        Some(4) => Kind::Signal,
        _ => return Ok(None),
    };
    let mut received = Received {
        kind,
        answers: None,
        member: None,
        error: None,
        body: Vec::new(),
    };
    let mut reader = Reader {
        bytes: message,
        at: 12,
    };
    let end = PREFIX + reader.u32()? as usize;
    while reader.at < end {
        reader.align(8)?;
        let code = reader.byte()?;
        let signature = reader.signature()?;
        match (code, signature) {
            (5, "u") => received.answers = Some(reader.u32()?),
            (3, "s") => received.member = Some(reader.text()?.to_owned()),
            (4, "s") => received.error = Some(reader.text()?.to_owned()),
            (_, "s" | "o") => {
                reader.text()?;
            }
            (_, "g") => {
                reader.signature()?;
            }
            (_, "u") => {
                reader.u32()?;
            }
            _ => return Err(strange()),
        }
    }
    reader.align(8)?;
    message
        .get(reader.at..)
        .ok_or_else(strange)?
        .clone_into(&mut received.body);
    Ok(Some(received))
}

impl Received {
    pub(super) fn body(&self) -> Reader<'_> {
        Reader {
            bytes: &self.body,
            at: 0,
        }
    }
}

/// Values, in the order in which they stand.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or_else(strange)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(strange)?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> Result<()> {
        let next = self.at.next_multiple_of(to);
        self.take(next - self.at).map(|_| ())
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.align(4)?;
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Of a string or an object path.
    pub(super) fn text(&mut self) -> Result<&'a str> {
        let length = self.u32()? as usize;
        let text = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(text).map_err(|_| strange())
    }

    pub(super) fn signature(&mut self) -> Result<&'a str> {
        let length = usize::from(self.byte()?);
        let text = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(text).map_err(|_| strange())
    }
}

pub(super) fn strange() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "systemd answered with what is no message of D-Bus",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHOD: Method<'_> = Method {
        destination: "org.example",
        path: "/a",
        interface: "org.example.I",
        member: "Do",
    };

    #[test]
    fn what_is_written_can_be_read() {
        let body = Body::default()
            .text("scope")
            .flag(true)
            .properties(&[
                ("A", Variant::Number(7)),
                ("B", Variant::Numbers(vec![1, 2])),
                ("C", Variant::Bytes(vec![3])),
                ("D", Variant::Flag(false)),
                ("E", Variant::Text("e".to_owned())),
            ])
            .no_units();
        assert_eq!(body.signature, "sba(sv)a(sa(sv))");
        let message = call(9, &METHOD, &body);
        let prefix: [u8; PREFIX] = message[..PREFIX].try_into().unwrap();
        assert_eq!(rest_of(&prefix).unwrap(), message.len() - PREFIX);
        let read = parse(&message).unwrap().unwrap();
        assert_eq!(
            (read.kind, read.member.as_deref()),
            (Kind::Call, Some("Do"))
        );
        let mut values = read.body();
        assert_eq!(values.text().unwrap(), "scope");
        assert_eq!(values.u32().unwrap(), 1);
    }

    #[test]
    fn cut_short_anywhere_it_is_an_error_and_no_panic() {
        let body = Body::default()
            .text("x")
            .properties(&[("A", Variant::Number(7))]);
        let message = call(1, &METHOD, &body);
        for end in 0..message.len() {
            if let Ok(Some(read)) = parse(&message[..end]) {
                let mut values = read.body();
                while values.text().is_ok() {}
            }
        }
        let mut large = [0xff; PREFIX];
        (large[0], large[3]) = (LITTLE_ENDIAN, PROTOCOL);
        assert!(rest_of(&large).is_err());
    }
}
