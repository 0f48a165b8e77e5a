//! Messages of the domain name system (RFC 1035), as far as a resolver of few
//! names needs them. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of the header.
const HEADER: usize = 12;
/// The longest name, with all lengths.
const NAME_MAX: usize = 255;
const LABEL_MAX: usize = 63;
/// What fits into a datagram unless the client says otherwise.
const UDP_MIN: usize = 512;
/// No more than this, whatever the client says: what fits into one packet.
const UDP_MAX: usize = 1232;
/// What fits behind the length of a TCP message.
const TCP_MAX: usize = 65_535;
/// Seconds that an answer may be kept: containers come and go.
const TIME_TO_LIVE: u32 = 5;

/// Types of records.
pub const TYPE_A: u16 = 1;
pub const TYPE_PTR: u16 = 12;
pub const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const CLASS_INTERNET: u16 = 1;

/// Bits of the header's second word.
const IS_RESPONSE: u16 = 0x8000;
const OPERATION: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NoSuchName = 3,
    NotImplemented = 4,
    Refused = 5,
}

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub id: u16,
    /// In lower case, without the last dot; empty if it holds what no name of
    /// ours does.
    pub name: String,
    pub kind: u16,
    pub class: u16,
    /// Most bytes of an answer by UDP.
    pub udp_size: usize,
    recursion_desired: bool,
    /// As it came, to be sent back.
    question: Vec<u8>,
}

/// Why a message is no question for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Not to be answered: no message, or an answer itself.
    Noise,
    /// To be answered with this.
    Wrong(u16, Code),
}

/// What an answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    Address(IpAddr),
    Name(String),
}

impl Query {
    /// Reads a question.
    pub fn parse(message: &[u8]) -> Result<Self, Unusable> {
        let id = word(message, 0).ok_or(Unusable::Noise)?;
        let flags = word(message, 2).ok_or(Unusable::Noise)?;
        if flags & IS_RESPONSE != 0 {
            return Err(Unusable::Noise);
        }
        let wrong = Unusable::Wrong(id, Code::FormatError);
        if flags & OPERATION != 0 {
            return Err(Unusable::Wrong(id, Code::NotImplemented));
        }
        let counts = [4, 6, 8, 10].map(|at| word(message, at));
        let [Some(1), Some(0), Some(0), Some(additional)] = counts else {
            return Err(wrong);
        };
        let (name, end) = name_at(message, HEADER).ok_or(wrong)?;
        let kind = word(message, end).ok_or(wrong)?;
        let class = word(message, end + 2).ok_or(wrong)?;
        let question = message.get(HEADER..end + 4).ok_or(wrong)?.to_vec();
        Ok(Self {
            id,
            name,
            kind,
            class,
            udp_size: udp_size(message, end + 4, additional),
            recursion_desired: flags & RECURSION_DESIRED != 0,
            question,
        })
    }

    /// An answer with records of the question's type, as many as fit: the
    /// rest is to be asked for by TCP.
    pub fn answer(&self, code: Code, records: &[Data], transport: Transport) -> Vec<u8> {
        let most = match transport {
            Transport::Udp => self.udp_size,
            Transport::Tcp => TCP_MAX,
        };
        let mut flags = IS_RESPONSE | AUTHORITATIVE | RECURSION_AVAILABLE | code as u16;
        if self.recursion_desired {
            flags |= RECURSION_DESIRED;
        }
        let mut message = Vec::with_capacity(UDP_MIN);
        for word in [self.id, flags, 1, 0, 0, 0] {
            message.extend(word.to_be_bytes());
        }
        message.extend(&self.question);
        let mut count: u16 = 0;
        for record in records {
            let (kind, data) = match record {
                Data::Address(IpAddr::V4(address)) => (TYPE_A, address.octets().to_vec()),
                Data::Address(IpAddr::V6(address)) => (TYPE_AAAA, address.octets().to_vec()),
                Data::Name(name) => (TYPE_PTR, encode(name)),
            };
            let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
            if message.len() + HEADER + data.len() > most || count == u16::MAX {
                flags |= TRUNCATED;
                break;
            }
            // The name: where the question has it.
            for word in [0xc00c, kind, CLASS_INTERNET] {
                message.extend(word.to_be_bytes());
            }
            message.extend(TIME_TO_LIVE.to_be_bytes());
            message.extend(length.to_be_bytes());
            message.extend(data);
            count += 1;
        }
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[6..8].copy_from_slice(&count.to_be_bytes());
        message
    }

    /// Whether it is about the Internet, as all of ours are.
    pub fn is_internet(&self) -> bool {
        self.class == CLASS_INTERNET
    }

    /// Whether a message answers this question under the number `id`.
    pub fn is_answered_by(&self, message: &[u8], id: u16) -> bool {
        let is_response = word(message, 2).is_some_and(|flags| flags & IS_RESPONSE != 0);
        word(message, 0) == Some(id)
            && is_response
            && word(message, 4) == Some(1)
            && message
                .get(HEADER..HEADER + self.question.len())
                .is_some_and(|question| question.eq_ignore_ascii_case(&self.question))
    }
}

/// An answer to what could not be understood.
pub fn refusal(id: u16, code: Code) -> Vec<u8> {
    let flags = IS_RESPONSE | code as u16;
    [id, flags, 0, 0, 0, 0]
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .collect()
}

/// How it went, by an answer of somebody else.
pub fn code_of(message: &[u8]) -> Option<u16> {
    word(message, 2).map(|flags| flags & 0xf)
}

/// Gives a message another number.
pub fn renumber(message: &mut [u8], id: u16) {
    if let Some(place) = message.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
pub fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut parts = digits.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts
            .next()
            .is_none()
            .then(|| Ipv4Addr::from(octets).into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let mut bits: u128 = 0;
    let mut count = 0;
    for digit in digits.split('.') {
        let [digit] = digit.as_bytes() else {
            return None;
        };
        let value = char::from(*digit).to_digit(16)?;
        bits |= u128::from(value).checked_shl(4 * count)?;
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(bits).into())
}

fn word(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// A name without references to others, and where it ends.
fn name_at(message: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut is_plain = true;
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        if length > LABEL_MAX || at + length - start > NAME_MAX {
            return None;
        }
        let label = message.get(at..at + length)?;
        at += length;
        if !name.is_empty() {
            name.push('.');
        }
        for byte in label {
            is_plain &= byte.is_ascii_graphic() && *byte != b'.';
            name.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    if !is_plain {
        name.clear();
    }
    Some((name, at))
}

fn encode(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(LABEL_MAX)];
        if bytes.len() + label.len() + 2 > NAME_MAX {
            break;
        }
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend(label);
    }
    bytes.push(0);
    bytes
}

/// What the client says about datagrams (EDNS, RFC 6891), if it does.
fn udp_size(message: &[u8], at: usize, additional: u16) -> usize {
    let size = |at: usize| -> Option<usize> {
        // The option's name is the root.
        let is_option = message.get(at) == Some(&0) && word(message, at + 1) == Some(TYPE_OPT);
        (additional > 0 && is_option).then_some(())?;
        Some(usize::from(word(message, at + 3)?))
    };
    size(at).unwrap_or(UDP_MIN).clamp(UDP_MIN, UDP_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(encode(name));
        message.extend(kind.to_be_bytes());
        message.extend([0, 1]);
        message
    }

    #[test]
    fn a_question_is_read_and_answered() {
        let query = Query::parse(&ask("Web.Example", TYPE_A)).unwrap();
        assert_eq!(
            (query.id, &*query.name, query.kind),
            (0x1234, "web.example", TYPE_A)
        );
        let address = Data::Address("10.0.0.2".parse().unwrap());
        let answer = query.answer(Code::NoError, &[address], Transport::Udp);
        assert!(query.is_answered_by(&answer, 0x1234));
        assert!(!query.is_answered_by(&answer, 0x1235));
        assert_eq!(code_of(&answer), Some(0));
        assert!(answer.ends_with(&[0, 4, 10, 0, 0, 2]));
        assert_eq!(
            Query::parse(&answer),
            Err(Unusable::Noise),
            "it is no question"
        );
    }

    #[test]
    fn what_does_not_fit_is_cut_and_said_to_be() {
        let query = Query::parse(&ask("all", TYPE_A)).unwrap();
        let many: Vec<Data> = (0..200)
            .map(|last| Data::Address(Ipv4Addr::new(10, 0, 0, last).into()))
            .collect();
        let short = query.answer(Code::NoError, &many, Transport::Udp);
        assert!(short.len() <= 512);
        assert_eq!(word(&short, 2).unwrap() & TRUNCATED, TRUNCATED);
        let long = query.answer(Code::NoError, &many, Transport::Tcp);
        assert_eq!(
            (word(&long, 6), word(&long, 2).unwrap() & TRUNCATED),
            (Some(200), 0)
        );
    }

    #[test]
    fn the_size_that_a_client_can_take_is_heeded() {
        let mut message = ask("all", TYPE_A);
        message[11] = 1;
        message.extend([0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Query::parse(&message).unwrap().udp_size, UDP_MAX);
    }

    #[test]
    fn rubbish_is_refused_or_passed_over() {
        let wrong = |message: &[u8]| Query::parse(message).unwrap_err();
        assert_eq!(wrong(&[]), Unusable::Noise);
        assert_eq!(wrong(&[0; 3]), Unusable::Noise);
        let cut = ask("web", TYPE_A);
        for length in 4..cut.len() {
            assert!(matches!(wrong(&cut[..length]), Unusable::Wrong(0x1234, _)));
        }
        // A name that refers to itself, and one that never ends.
        let mut loops = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0x0c, 0, 1, 0, 1];
        assert_eq!(wrong(&loops), Unusable::Wrong(1, Code::FormatError));
        loops.truncate(12);
        loops.extend([1, b'a'].repeat(200));
        assert_eq!(wrong(&loops), Unusable::Wrong(1, Code::FormatError));
        let mut update = ask("web", TYPE_A);
        update[2] = 0x28;
        assert_eq!(
            wrong(&update),
            Unusable::Wrong(0x1234, Code::NotImplemented)
        );
        // A dot inside of a label is not one between labels.
        let mut odd = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        odd.extend([3, b'a', b'.', b'b', 0, 0, 1, 0, 1]);
        assert_eq!(Query::parse(&odd).unwrap().name, "");
    }

    #[test]
    fn addresses_are_read_backwards() {
        assert_eq!(
            reversed("4.3.87.10.in-addr.arpa"),
            Some("10.87.3.4".parse().unwrap())
        );
        let nibbles = "4.0.3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        assert_eq!(reversed(nibbles), Some("fd00::304".parse().unwrap()));
        for bad in [
            "1.2.3.in-addr.arpa",
            "1.2.3.4.5.in-addr.arpa",
            "x.ip6.arpa",
            "256.0.0.1.in-addr.arpa",
            "web",
            "ab.ip6.arpa",
        ] {
            assert_eq!(reversed(bad), None, "{bad}");
        }
    }
}
