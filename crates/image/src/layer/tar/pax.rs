//! Extended headers of POSIX.1-2001 (`x`), with the keys of GNU tar and star.

use sys::Result;

use super::header::corrupt;
use super::{Segment, Timestamp};

/// More runs than this are no real sparse file.
pub(super) const MAX_SEGMENTS: usize = 1 << 20;

/// No file system of Linux holds more per file in practice.
const MAX_XATTRS: usize = 1024;

/// What an extended header says about the entry that follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Sparse,
}

/// GNU's three sparse formats inside pax.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sparse {
    pub(super) major: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// Formats 0.0 and 0.1; 1.0 has its map before the data.
    pub(super) map: Option<Vec<Segment>>,
    pending_offset: Option<u64>,
}

impl Overrides {
    /// Takes in the records of one extended header; later ones win.
    pub(super) fn read(&mut self, mut records: &[u8]) -> Result<()> {
        // Some writers pad with NULs.
        while records.first().is_some_and(|byte| *byte != 0) {
            let (key, value, rest) = split_record(records)?;
            self.take(key, value)?;
            records = rest;
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            if name.is_empty() || name.contains(&0) {
                return Err(corrupt("an extended attribute has no valid name"));
            }
            self.xattrs.retain(|(known, _)| known != name);
            if self.xattrs.len() == MAX_XATTRS {
                return Err(corrupt("an entry has too many extended attributes"));
            }
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        match key {
            b"path" => self.path = name(value)?,
            b"linkpath" => self.link = name(value)?,
            b"size" => self.size = optional(value, decimal)?,
            b"uid" => self.uid = optional(value, decimal)?,
            b"gid" => self.gid = optional(value, decimal)?,
            b"mtime" => self.mtime = optional(value, timestamp)?,
            b"SCHILY.devmajor" => self.major = optional(value, decimal)?,
            b"SCHILY.devminor" => self.minor = optional(value, decimal)?,
            b"GNU.sparse.major" => self.sparse.major = Some(decimal(value)?),
            b"GNU.sparse.name" => self.sparse.name = name(value)?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse.real_size = Some(decimal(value)?);
            }
            b"GNU.sparse.numblocks" => self.sparse.map = Some(Vec::new()),
            b"GNU.sparse.offset" => self.sparse.pending_offset = Some(decimal(value)?),
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.pending_offset.take();
                let offset = offset.ok_or_else(|| corrupt("a sparse map is out of order"))?;
                let length = decimal(value)?;
                let map = self.sparse.map.get_or_insert_default();
                map.push(Segment { offset, length });
            }
            b"GNU.sparse.map" => self.sparse.map = Some(map(value)?),
            _ => {}
        }
        Ok(())
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts the whole record.
fn split_record(records: &[u8]) -> Result<(&[u8], &[u8], &[u8])> {
    let wrong = || corrupt("an extended header is malformed");
    let space = records.iter().take(12).position(|byte| *byte == b' ');
    let space = space.ok_or_else(wrong)?;
    let length = usize::try_from(decimal(&records[..space])?).map_err(|_| wrong())?;
    if length <= space + 1 || length > records.len() || records[length - 1] != b'\n' {
        return Err(wrong());
    }
    let record = &records[space + 1..length - 1];
    let equals = record.iter().position(|byte| *byte == b'=');
    let equals = equals.ok_or_else(wrong)?;
    Ok((&record[..equals], &record[equals + 1..], &records[length..]))
}

/// An empty value takes the override back.
fn optional<T>(value: &[u8], parse: fn(&[u8]) -> Result<T>) -> Result<Option<T>> {
    if value.is_empty() {
        return Ok(None);
    }
    parse(value).map(Some)
}

fn name(value: &[u8]) -> Result<Option<Vec<u8>>> {
    if value.contains(&0) {
        return Err(corrupt("a name in an extended header holds a zero byte"));
    }
    Ok(Some(value.to_vec()).filter(|name| !name.is_empty()))
}

pub(super) fn decimal(text: &[u8]) -> Result<u64> {
    let wrong = || corrupt("a number in an extended header is malformed");
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    text.parse().map_err(|_| wrong())
}

fn map(value: &[u8]) -> Result<Vec<Segment>> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Vec<u64> = value
        .split(|byte| *byte == b',')
        .map(decimal)
        .collect::<Result<_>>()?;
    if !numbers.len().is_multiple_of(2) {
        return Err(corrupt("a sparse map is cut short"));
    }
    let pairs = numbers.chunks_exact(2);
    Ok(pairs
        .map(|pair| Segment {
            offset: pair[0],
            length: pair[1],
        })
        .collect())
}

/// `-12.345`: a decimal fraction of any length; below the nanosecond is cut.
fn timestamp(text: &[u8]) -> Result<Timestamp> {
    let wrong = || corrupt("a time in an extended header is malformed");
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let seconds = i64::try_from(decimal(whole)?).map_err(|_| wrong())?;
    let nanoseconds = (0..9).fold(0, |sum, place| {
        sum * 10
            + fraction
                .get(place)
                .map_or(0, |digit| u32::from(digit - b'0'))
    });
    Ok(match (negative, nanoseconds) {
        (false, _) => Timestamp {
            seconds,
            nanoseconds,
        },
        (true, 0) => Timestamp {
            seconds: -seconds,
            nanoseconds,
        },
        (true, _) => Timestamp {
            seconds: -seconds - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_records() {
        let mut overrides = Overrides::default();
        overrides
            .read(
                b"12 path=abc\n20 mtime=-1.5000001\n13 uid=70000\n25 SCHILY.xattr.user.a=\n\n\0\0",
            )
            .unwrap();
        assert_eq!(overrides.path.as_deref(), Some(&b"abc"[..]));
        assert_eq!(overrides.uid, Some(70000));
        assert_eq!(
            overrides.mtime,
            Some(Timestamp {
                seconds: -2,
                nanoseconds: 499_999_900
            })
        );
        assert_eq!(overrides.xattrs, [(b"user.a".to_vec(), b"\n".to_vec())]);
    }

    #[test]
    fn refuses_malformed_records() {
        for records in [
            &b"x"[..],
            b"5 a=b",
            b"6 a=bc",
            b"0 a=b\n",
            b"99 path=x\n",
            b"9 path x\n",
            b"99999999999999999999 a=b\n",
            b"9 uid=-1\n",
            b"10 path=\0a\n",
        ] {
            assert!(Overrides::default().read(records).is_err(), "{records:?}");
        }
    }
}
