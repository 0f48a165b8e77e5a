//! One 512-byte header block.

use sys::{Error, ErrorKind, Result};

use super::{BLOCK, Segment};

/// The fields of a header as they are, before extended headers override them.
#[derive(Clone, Debug, Default)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) typeflag: u8,
    pub(super) mode: u64,
    pub(super) uid: u64,
    pub(super) gid: u64,
    /// Bytes of data that follow, without padding.
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) major: u64,
    pub(super) minor: u64,
    /// GNU's old sparse format (`S`): the first runs, the file's length, and
    /// whether blocks with more runs follow.
    pub(super) sparse: Option<OldSparse>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct OldSparse {
    pub(super) segments: Vec<Segment>,
    pub(super) real_size: u64,
    pub(super) extended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V7,
    Posix,
    /// Schilling's star: a shorter prefix, then access and change times.
    Star,
    Gnu,
}

/// Reads the block; `None` if it is all zeroes, which ends a tar.
pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Option<Header>> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    check_sum(block)?;
    let dialect = match (&block[257..265], &block[508..512]) {
        (b"ustar\x0000", b"tar\0") => Dialect::Star,
        (magic, _) if magic.starts_with(b"ustar\0") => Dialect::Posix,
        (b"ustar  \0", _) => Dialect::Gnu,
        _ => Dialect::V7,
    };
    let typeflag = block[156];
    let mut header = Header {
        name: text(&block[..100]).to_vec(),
        link: text(&block[157..257]).to_vec(),
        typeflag,
        mode: number(&block[100..108], "mode")?,
        uid: number(&block[108..116], "user id")?,
        gid: number(&block[116..124], "group id")?,
        size: number(&block[124..136], "size")?,
        mtime: signed(&block[136..148], "time")?,
        ..Header::default()
    };
    // Old writers leave rubbish here for entries that are no devices.
    if dialect != Dialect::V7 && matches!(typeflag, b'3' | b'4') {
        header.major = number(&block[329..337], "device number")?;
        header.minor = number(&block[337..345], "device number")?;
    }
    let prefix = match dialect {
        Dialect::Posix => text(&block[345..500]),
        Dialect::Star => text(&block[345..476]),
        Dialect::Gnu | Dialect::V7 => b"",
    };
    if !prefix.is_empty() {
        header.name = [prefix, b"/", &header.name].concat();
    }
    if dialect == Dialect::Gnu && typeflag == b'S' {
        header.sparse = Some(OldSparse {
            segments: segments(&block[386..482])?,
            real_size: number(&block[483..495], "size")?,
            extended: block[482] != 0,
        });
    }
    Ok(Some(header))
}

/// The runs of an extension block of GNU's old sparse format, and whether
/// another follows.
pub(super) fn parse_sparse_extension(block: &[u8; BLOCK]) -> Result<(Vec<Segment>, bool)> {
    Ok((segments(&block[..504])?, block[504] != 0))
}

fn segments(area: &[u8]) -> Result<Vec<Segment>> {
    area.chunks_exact(24)
        .take_while(|pair| pair[0] != 0)
        .map(|pair| {
            Ok(Segment {
                offset: number(&pair[..12], "sparse map")?,
                length: number(&pair[12..], "sparse map")?,
            })
        })
        .collect()
}

/// Some old writers summed signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<()> {
    let claimed = signed(&block[148..156], "checksum")?;
    let (mut unsigned_sum, mut signed_sum) = (0_i64, 0_i64);
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) {
            b' '
        } else {
            *byte
        };
        unsigned_sum += i64::from(byte);
        signed_sum += i64::from(byte.cast_signed());
    }
    if claimed == unsigned_sum || claimed == signed_sum {
        Ok(())
    } else {
        Err(corrupt("this is not a tar (a header's checksum is wrong)"))
    }
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

fn number(field: &[u8], what: &str) -> Result<u64> {
    u64::try_from(signed(field, what)?)
        .map_err(|_| corrupt(format!("a header's {what} is negative")))
}

/// Octal digits, or GNU's base 256 where the first bit is set.
fn signed(field: &[u8], what: &str) -> Result<i64> {
    let wrong = || corrupt(format!("a header's {what} is not a number"));
    if field[0] & 0x80 != 0 {
        // Two's complement over the whole field; 0xff starts negative ones.
        let negative = field[0] & 0x40 != 0;
        let mut value: i64 = if negative { -1 } else { 0 };
        for (at, byte) in field.iter().enumerate() {
            let byte = match (at, negative) {
                (0, false) => byte & 0x7f,
                (0, true) => byte | 0x80,
                _ => *byte,
            };
            let shifted = value.checked_mul(256).ok_or_else(wrong)?;
            value = shifted | i64::from(byte);
        }
        return Ok(value);
    }
    let digits = field
        .iter()
        .skip_while(|byte| **byte == b' ' || **byte == 0)
        .take_while(|byte| **byte != b' ' && **byte != 0);
    let mut value: i64 = 0;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return Err(wrong());
        }
        let shifted = value.checked_mul(8).ok_or_else(wrong)?;
        value = shifted + i64::from(digit - b'0');
    }
    Ok(value)
}

pub(super) fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_octal_and_base_256() {
        assert_eq!(signed(b"0000644\0", "x").unwrap(), 0o644);
        assert_eq!(signed(b"   644 \0", "x").unwrap(), 0o644);
        assert_eq!(signed(&[0; 8], "x").unwrap(), 0);
        let big = [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe];
        assert_eq!(signed(&big, "x").unwrap(), 0xffff_fffe);
        assert_eq!(signed(&[0xff; 12], "x").unwrap(), -1);
        assert!(signed(&[0x8f; 12], "x").is_err());
        assert!(signed(b"12x\0", "x").is_err());
        assert!(number(&[0xff; 8], "x").is_err());
    }
}
