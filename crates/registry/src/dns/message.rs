//! DNS messages (RFC 1035, section 4): one question out, addresses in.
//! Answers are hostile input.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sys::{Error, ErrorKind, Result};

const HEADER: usize = 12;
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;
/// Pointers in one name; a longer chain is an attack.
const MOST_JUMPS: usize = 32;
/// Aliases between the name asked for and its addresses.
const MOST_ALIASES: usize = 16;
const MOST_RECORDS: usize = 256;

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const CLASS_INTERNET: u16 = 1;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    fn record_type(self) -> u16 {
        match self {
            Self::V4 => TYPE_A,
            Self::V6 => TYPE_AAAA,
        }
    }
}

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Possibly none: the name exists not, or not in this family.
    Addresses(Vec<IpAddr>),
    /// Too long for UDP.
    Truncated,
}

/// The question for `name`, or `None` if that can be no host name.
pub fn query(id: u16, name: &str, family: Family) -> Option<Vec<u8>> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return None;
    }
    let mut message = Vec::with_capacity(HEADER + name.len() + 6);
    message.extend(id.to_be_bytes());
    // A standard query, recursion desired; one question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        if label.is_empty() || label.len() > LONGEST_LABEL || !label.is_ascii() {
            return None;
        }
        message.push(u8::try_from(label.len()).ok()?);
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(family.record_type().to_be_bytes());
    message.extend(CLASS_INTERNET.to_be_bytes());
    Some(message)
}

/// Whether `answer` has the id and the question of `query`.
pub fn answers(query: &[u8], answer: &[u8]) -> bool {
    let is_response = answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    is_response
        && answer.get(..2) == query.get(..2)
        && answer.get(4..6) == Some(&[0, 1])
        && match (query.get(HEADER..), answer.get(HEADER..query.len())) {
            (Some(asked), Some(repeated)) => asked.eq_ignore_ascii_case(repeated),
            _ => false,
        }
}

/// The addresses that an answer gives to `name`, aliases followed.
pub fn parse(answer: &[u8], name: &str, family: Family) -> Result<Answer> {
    read(answer, name, family)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the answer is malformed"))?
}

fn read(answer: &[u8], name: &str, family: Family) -> Option<Result<Answer>> {
    let flags = [*answer.get(2)?, *answer.get(3)?];
    match flags[1] & 0x0f {
        // NOERROR, NXDOMAIN
        0 => {}
        3 => return Some(Ok(Answer::Addresses(Vec::new()))),
        2 => {
            return Some(Err(Error::new(
                ErrorKind::Unavailable,
                "it failed to answer",
            )));
        }
        5 => {
            return Some(Err(Error::new(
                ErrorKind::Unavailable,
                "it refuses to answer",
            )));
        }
        code => {
            let words = format!("it answers with error {code}");
            return Some(Err(Error::new(ErrorKind::Unavailable, words)));
        }
    }
    if flags[0] & 0x02 != 0 {
        return Some(Ok(Answer::Truncated));
    }
    let questions = number(answer, 4)?;
    let records = number(answer, 6)?;
    let mut at = HEADER;
    for _ in 0..questions {
        at = name_at(answer, at)?.1.checked_add(4)?;
    }
    let mut all = Vec::new();
    for _ in 0..usize::from(records).min(MOST_RECORDS) {
        let (record, next) = record_at(answer, at)?;
        all.extend(record);
        at = next;
    }
    Some(Ok(Answer::Addresses(addresses_of(name, family, &all))))
}

struct Record {
    owner: String,
    data: Data,
}

enum Data {
    Address(IpAddr),
    Alias(String),
}

/// The record at an offset, if it is of a kind that matters, and where the
/// next one starts.
fn record_at(message: &[u8], at: usize) -> Option<(Option<Record>, usize)> {
    let (owner, at) = name_at(message, at)?;
    let kind = number(message, at)?;
    let class = number(message, at + 2)?;
    let length = usize::from(number(message, at + 8)?);
    let start = at + 10;
    let bytes = message.get(start..start + length)?;
    let data = match kind {
        _ if class != CLASS_INTERNET => None,
        TYPE_A => {
            let bytes: [u8; 4] = bytes.try_into().ok()?;
            Some(Data::Address(Ipv4Addr::from(bytes).into()))
        }
        TYPE_AAAA => {
            let bytes: [u8; 16] = bytes.try_into().ok()?;
            Some(Data::Address(Ipv6Addr::from(bytes).into()))
        }
        TYPE_CNAME => Some(Data::Alias(name_at(message, start)?.0)),
        _ => None,
    };
    let record = data.map(|data| Record { owner, data });
    Some((record, start + length))
}

fn addresses_of(name: &str, family: Family, records: &[Record]) -> Vec<IpAddr> {
    let mut current = name.to_ascii_lowercase();
    for _ in 0..MOST_ALIASES {
        let own = records.iter().filter(|record| record.owner == current);
        let mut alias = None;
        let mut addresses = Vec::new();
        for record in own {
            match &record.data {
                Data::Address(address) if address.is_ipv4() == (family == Family::V4) => {
                    addresses.push(*address);
                }
                Data::Address(_) => {}
                Data::Alias(target) => alias = Some(target.clone()),
            }
        }
        match alias {
            Some(target) if addresses.is_empty() => current = target,
            _ => return addresses,
        }
    }
    Vec::new()
}

/// The name at an offset, in lower case, and where what follows it starts.
fn name_at(message: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = start;
    let mut end = None;
    let mut jumps = 0;
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some((name, end.unwrap_or(at + 1))),
            1..=LONGEST_LABEL => {
                let label = message.get(at + 1..at + 1 + length)?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.extend(label.iter().map(|byte| byte.to_ascii_lowercase() as char));
                if name.len() > 4 * LONGEST_NAME {
                    return None;
                }
                at += 1 + length;
            }
            0xc0.. => {
                let low = usize::from(*message.get(at + 1)?);
                end.get_or_insert(at + 2);
                jumps += 1;
                if jumps > MOST_JUMPS {
                    return None;
                }
                at = (length & 0x3f) << 8 | low;
            }
            _ => return None,
        }
    }
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to `query` with these records, each `(owner, type, data)`.
    fn reply(query: &[u8], records: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
        let mut message = query.to_vec();
        message[2] = 0x81;
        message[3] = 0x80;
        message[7] = u8::try_from(records.len()).unwrap();
        for (owner, kind, data) in records {
            message.extend(*owner);
            message.extend(kind.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 60]);
            message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend(*data);
        }
        message
    }

    const ASKED: &[u8] = &[0xc0, 12];

    #[test]
    fn follows_aliases_to_addresses() {
        let query = query(7, "Reg.Example", Family::V4).unwrap();
        let alias = b"\x03cdn\x07example\x00";
        let message = reply(
            &query,
            &[
                (ASKED, TYPE_CNAME, alias),
                (alias, TYPE_A, &[10, 0, 0, 9]),
                (b"\x05other\x00", TYPE_A, &[6, 6, 6, 6]),
            ],
        );
        assert!(answers(&query, &message));
        let found = parse(&message, "reg.example", Family::V4).unwrap();
        assert_eq!(found, Answer::Addresses(vec!["10.0.0.9".parse().unwrap()]));
    }

    #[test]
    fn believes_no_other_question() {
        let asked = query(7, "a.example", Family::V4).unwrap();
        let other = query(7, "b.example", Family::V4).unwrap();
        let late = query(8, "a.example", Family::V4).unwrap();
        assert!(!answers(&asked, &asked));
        assert!(!answers(&asked, &reply(&other, &[])));
        assert!(!answers(&asked, &reply(&late, &[])));
        assert!(!answers(&asked, &[]));
        assert!(answers(&asked, &reply(&asked, &[])));
    }

    #[test]
    fn a_loop_ends() {
        let query = query(7, "a.example", Family::V4).unwrap();
        let own = u8::try_from(query.len()).unwrap();
        let pointer_to_itself: &[u8] = &[0xc0, own];
        let message = reply(&query, &[(pointer_to_itself, TYPE_A, &[1, 2, 3, 4])]);
        assert!(parse(&message, "a.example", Family::V4).is_err());
        let message = reply(&query, &[(ASKED, TYPE_CNAME, ASKED)]);
        let none = Answer::Addresses(Vec::new());
        assert_eq!(parse(&message, "a.example", Family::V4).unwrap(), none);
    }

    #[test]
    fn no_host_name_no_query() {
        for name in ["", ".", "a..b", &"a".repeat(64), &"a.".repeat(150), "é"] {
            assert!(query(1, name, Family::V4).is_none(), "{name}");
        }
    }
}
