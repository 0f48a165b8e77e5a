//! The bytes of the file `checkpoint`: a header of 32 bytes and JSON.

use serde::Deserialize;
use sys::{Error, ErrorKind, Result};

use super::crc::crc32;
use super::schema::{Checkpoint, Parent};

const MAGIC: [u8; 8] = *b"WHARFCKP";
/// Of the format; readers refuse every other one.
pub const VERSION: u32 = 2;
const HEADER: usize = 32;
/// The most bytes that the file may have.
pub const LIMIT: u64 = 256 << 20;

/// Header and content.
pub fn encode(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(checkpoint)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    Ok(frame(&json))
}

/// A header that fits `json`, and `json`.
pub fn frame(json: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + json.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    // Flags, none so far.
    bytes.extend_from_slice(&0u32.to_le_bytes());
    bytes.extend_from_slice(&(json.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&crc32(json).to_le_bytes());
    let header = crc32(&bytes);
    bytes.extend_from_slice(&header.to_le_bytes());
    bytes.extend_from_slice(json);
    bytes
}

/// Understands the file or says in one sentence why it does not. Whoever
/// wrote it may have been anybody.
pub fn decode(bytes: &[u8]) -> Result<Checkpoint> {
    parse(content(bytes)?)
}

/// As [`decode`], but only what image it stands on.
pub(super) fn decode_parent(bytes: &[u8]) -> Result<Option<Parent>> {
    #[derive(Deserialize)]
    struct Only {
        #[serde(default)]
        parent: Option<Parent>,
    }
    Ok(parse::<Only>(content(bytes)?)?.parent)
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))
}

/// What is behind the header, if that is right.
fn content(bytes: &[u8]) -> Result<&[u8]> {
    let wrong = |why: &str| Err(Error::new(ErrorKind::Corrupt, why));
    let Some((header, json)) = bytes.split_at_checked(HEADER) else {
        return wrong("it is shorter than its header");
    };
    let word = |at: usize| {
        let part = header.get(at..at + 4).and_then(|part| part.try_into().ok());
        u32::from_le_bytes(part.unwrap_or_default())
    };
    if header[..8] != MAGIC {
        return wrong("it is not a checkpoint");
    }
    if word(8) != VERSION {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "it has format version {}, and this program knows version {VERSION} only",
                word(8)
            ),
        ));
    }
    if crc32(&header[..HEADER - 4]) != word(28) {
        return wrong("the checksum of its header does not match");
    }
    if word(12) != 0 {
        return wrong("it has unknown flags");
    }
    let length = u64::from(word(16)) | u64::from(word(20)) << 32;
    if length != json.len() as u64 {
        return wrong("it is cut off, or has something after its end");
    }
    if crc32(json) != word(24) {
        return wrong("the checksum of its content does not match");
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_else() {
        let bytes = encode(&Checkpoint::default()).unwrap();
        assert!(decode(&bytes).is_ok());
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 0x10;
            assert!(decode(&changed).is_err(), "changed at {place}");
        }
        let mut longer = bytes;
        longer.push(b' ');
        assert!(decode(&longer).is_err());
    }
}
