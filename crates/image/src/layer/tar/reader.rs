//! A tar as a stream of entries.

use std::io::BufRead;

use sys::{Context, Error, ErrorKind, Result};

use super::header::{self, Header, corrupt};
use super::pax::{self, MAX_SEGMENTS, Overrides};
use super::{BLOCK, Device, Entry, EntryKind, NAME_MAX, Segment, Timestamp};

/// The largest extended header, GNU long name or sparse map that is read.
/// Linux takes 64 KiB per attribute value.
const MAX_EXTENSION: u64 = 1 << 20;

/// A piece of a file's data and where it belongs.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    pub offset: u64,
    pub bytes: &'a [u8],
}

/// Reads a tar from front to back.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    /// Bytes of the current entry's data not yet read, and their padding.
    data_left: u64,
    padding: u64,
    /// Where the data belongs; a plain file is one run.
    segments: std::vec::IntoIter<Segment>,
    current: Segment,
    /// Bytes that the last chunk lent out.
    lent: usize,
    finished: bool,
}

impl<R: BufRead> Reader<R> {
    pub fn new(source: R) -> Self {
        Self {
            source,
            data_left: 0,
            padding: 0,
            segments: Vec::new().into_iter(),
            current: Segment {
                offset: 0,
                length: 0,
            },
            lent: 0,
            finished: false,
        }
    }

    /// The next entry, or `None` at the end. Data of the last entry that was
    /// not asked for is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.skip_data()?;
        let mut overrides = Overrides::default();
        let (mut long_name, mut long_link) = (None, None);
        // However many they are, the headers about one entry stay in bounds.
        let mut about_it = 0_u64;
        while let Some(header) = self.next_header()? {
            if matches!(header.typeflag, b'x' | b'X' | b'L' | b'K') {
                about_it = about_it.saturating_add(header.size);
                if about_it > MAX_EXTENSION {
                    return Err(corrupt("the extended headers of one entry are too long"));
                }
            }
            match header.typeflag {
                b'x' | b'X' => {
                    let records = self.extension(header.size)?;
                    overrides.read(&records)?;
                }
                b'L' => long_name = Some(self.long_name(header.size)?),
                b'K' => long_link = Some(self.long_name(header.size)?),
                // Global headers (git writes its commit there) and volume
                // labels make nothing.
                b'g' | b'V' => self.skip(header.size)?,
                _ => {
                    return self
                        .entry(header, overrides, long_name, long_link)
                        .map(Some);
                }
            }
        }
        Ok(None)
    }

    /// The next piece of the current entry's data, or `None` at its end.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk<'_>>> {
        self.give_back();
        while self.current.length == 0 {
            match self.segments.next() {
                Some(next) => self.current = next,
                None => return Ok(None),
            }
        }
        let offset = self.current.offset;
        let available = fill(&mut self.source)?;
        let length = usize::try_from(self.current.length).unwrap_or(usize::MAX);
        let length = length.min(available.len());
        if length == 0 {
            return Err(cut_short());
        }
        self.lent = length;
        self.current.offset += length as u64;
        self.current.length -= length as u64;
        self.data_left -= length as u64;
        Ok(Some(Chunk {
            offset,
            bytes: &available[..length],
        }))
    }

    /// Ends the reading and gives the stream back, just after what was read.
    pub fn into_inner(mut self) -> R {
        self.give_back();
        self.source
    }

    fn give_back(&mut self) {
        self.source.consume(std::mem::take(&mut self.lent));
    }

    fn skip_data(&mut self) -> Result<()> {
        self.give_back();
        self.segments = Vec::new().into_iter();
        self.current.length = 0;
        let left = std::mem::take(&mut self.data_left);
        let padding = std::mem::take(&mut self.padding);
        self.skip_bytes(left)?;
        self.skip_bytes(padding)
    }

    /// The next header block that is not the end.
    fn next_header(&mut self) -> Result<Option<Header>> {
        if self.finished {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        // A tar without its closing zero blocks is met, and taken.
        if fill(&mut self.source)?.is_empty() {
            self.finished = true;
            return Ok(None);
        }
        self.read_exact(&mut block)?;
        let header = header::parse(&block)?;
        self.finished = header.is_none();
        Ok(header)
    }

    fn entry(
        &mut self,
        header: Header,
        overrides: Overrides,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry> {
        let sparse = overrides.sparse;
        let path = (sparse.name.clone())
            .or(overrides.path)
            .or(long_name)
            .unwrap_or(header.name);
        let named = |error: Error| error.wrap(display_name(&path));
        let link = overrides.link.or(long_link).unwrap_or(header.link);
        let stored = overrides.size.unwrap_or(header.size);
        let device = Device {
            major: narrow(overrides.major.unwrap_or(header.major), "device number")
                .map_err(named)?,
            minor: narrow(overrides.minor.unwrap_or(header.minor), "device number")
                .map_err(named)?,
        };
        if path.len() > NAME_MAX || link.len() > NAME_MAX {
            return Err(named(corrupt("a name is longer than 4096 bytes")));
        }
        let kind = match header.typeflag {
            // V7 has no directories, only names that end in a slash.
            b'0' | b'\0' | b'7' if path.ends_with(b"/") => EntryKind::Directory,
            b'0' | b'\0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink(link),
            b'2' => EntryKind::Symlink(link),
            b'3' => EntryKind::CharDevice(device),
            b'4' => EntryKind::BlockDevice(device),
            b'5' | b'D' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                let letter = char::from(other).escape_default();
                return Err(named(Error::new(
                    ErrorKind::Unsupported,
                    format!("tar entries of type '{letter}' are not known"),
                )));
            }
        };
        let mut entry = Entry {
            mode: u32::try_from(header.mode & 0o7777).unwrap_or_default(),
            uid: id(overrides.uid.unwrap_or(header.uid)).map_err(named)?,
            gid: id(overrides.gid.unwrap_or(header.gid)).map_err(named)?,
            mtime: overrides.mtime.unwrap_or(Timestamp {
                seconds: header.mtime,
                nanoseconds: 0,
            }),
            size: 0,
            xattrs: overrides.xattrs,
            kind,
            path: Vec::new(),
        };
        match entry.kind {
            EntryKind::File => {
                self.begin_data(stored);
                self.map_data(&mut entry, header.sparse, &sparse, stored)
                    .map_err(named)?;
            }
            // Directories of GNU dumps carry a listing.
            EntryKind::Directory if header.typeflag == b'D' => self.begin_data(stored),
            // Others carry nothing, whatever their size field says.
            _ => {}
        }
        entry.path = path;
        Ok(entry)
    }

    fn begin_data(&mut self, stored: u64) {
        self.data_left = stored;
        self.padding = padding_of(stored);
    }

    /// Finds out where the data of a regular file belongs.
    fn map_data(
        &mut self,
        entry: &mut Entry,
        old: Option<header::OldSparse>,
        sparse: &pax::Sparse,
        stored: u64,
    ) -> Result<()> {
        let (segments, real_size) = if let Some(mut old) = old {
            let mut more = old.extended;
            while more {
                let mut block = [0; BLOCK];
                self.read_exact(&mut block)?;
                let (segments, extended) = header::parse_sparse_extension(&block)?;
                old.segments.extend(segments);
                more = extended && old.segments.len() <= MAX_SEGMENTS;
            }
            (old.segments, old.real_size)
        } else if sparse.major == Some(1) {
            let real_size = sparse.real_size.unwrap_or_default();
            (self.map_before_data()?, real_size)
        } else if let Some(map) = &sparse.map {
            (map.clone(), sparse.real_size.unwrap_or_default())
        } else {
            let whole = Segment {
                offset: 0,
                length: stored,
            };
            (vec![whole], stored)
        };
        check_segments(&segments, real_size, self.data_left)?;
        entry.size = real_size;
        self.segments = segments.into_iter();
        Ok(())
    }

    /// Format 1.0: decimal numbers, one a line, padded to a block.
    fn map_before_data(&mut self) -> Result<Vec<Segment>> {
        let mut block = [0; BLOCK];
        let mut at = BLOCK;
        let mut number = |reader: &mut Self| -> Result<u64> {
            let mut digits = Vec::new();
            loop {
                if at == BLOCK {
                    reader.data_left = (reader.data_left.checked_sub(BLOCK as u64))
                        .ok_or_else(|| corrupt("a sparse map is cut short"))?;
                    reader.read_exact(&mut block)?;
                    at = 0;
                }
                let byte = block[at];
                at += 1;
                if byte == b'\n' {
                    return pax::decimal(&digits);
                }
                if digits.len() == 20 {
                    return Err(corrupt("a sparse map is malformed"));
                }
                digits.push(byte);
            }
        };
        let count = number(self)?;
        if count > MAX_SEGMENTS as u64 {
            return Err(corrupt("a sparse map is too long"));
        }
        let mut segments = Vec::new();
        for _ in 0..count {
            let offset = number(self)?;
            let length = number(self)?;
            segments.push(Segment { offset, length });
        }
        Ok(segments)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut name = self.extension(size)?;
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    /// The data of a header that describes another one.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        // Bounded by the caller, and grown only as data comes.
        let mut bytes = Vec::new();
        let mut left = usize::try_from(size).unwrap_or(usize::MAX);
        while left > 0 {
            let available = fill(&mut self.source)?;
            let length = left.min(available.len());
            if length == 0 {
                return Err(cut_short());
            }
            bytes.extend_from_slice(&available[..length]);
            self.source.consume(length);
            left -= length;
        }
        self.skip_bytes(padding_of(size))?;
        Ok(bytes)
    }

    fn skip(&mut self, size: u64) -> Result<()> {
        self.skip_bytes(size)?;
        self.skip_bytes(padding_of(size))
    }

    fn skip_bytes(&mut self, mut left: u64) -> Result<()> {
        while left > 0 {
            let available = fill(&mut self.source)?.len();
            if available == 0 {
                return Err(cut_short());
            }
            let length = available.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.source.consume(length);
            left -= length as u64;
        }
        Ok(())
    }

    fn read_exact(&mut self, block: &mut [u8; BLOCK]) -> Result<()> {
        let mut filled = 0;
        while filled < BLOCK {
            let available = fill(&mut self.source)?;
            if available.is_empty() {
                return Err(cut_short());
            }
            let length = available.len().min(BLOCK - filled);
            block[filled..filled + length].copy_from_slice(&available[..length]);
            self.source.consume(length);
            filled += length;
        }
        Ok(())
    }
}

/// A name for messages: no control characters, not endless.
pub(crate) fn display_name(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let mut text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    if text.len() < name.len().min(200) {
        text.push('…');
    }
    text
}

fn fill<R: BufRead>(source: &mut R) -> Result<&[u8]> {
    // `fill_buf` retries nothing; our sources do not return `Interrupted`.
    source.fill_buf().context(|| "read tar")
}

fn padding_of(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// Runs in order, inside the file, and as long as the data.
fn check_segments(segments: &[Segment], real_size: u64, stored: u64) -> Result<()> {
    if segments.len() > MAX_SEGMENTS {
        return Err(corrupt("a sparse map is too long"));
    }
    let (mut end, mut sum) = (0_u64, 0_u64);
    for segment in segments {
        if segment.offset < end {
            return Err(corrupt("a sparse map is out of order"));
        }
        end = (segment.offset.checked_add(segment.length))
            .ok_or_else(|| corrupt("a sparse map is out of range"))?;
        sum += segment.length;
    }
    if end > real_size || sum != stored || i64::try_from(real_size).is_err() {
        return Err(corrupt("a sparse map does not fit its file"));
    }
    Ok(())
}

/// The last id means "no change" to the kernel and is nobody's.
fn id(value: u64) -> Result<u32> {
    match u32::try_from(value) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(corrupt(format!("user or group id {value} is out of range"))),
    }
}

fn narrow(value: u64, what: &str) -> Result<u32> {
    u32::try_from(value).map_err(|_| corrupt(format!("{what} {value} is out of range")))
}

fn cut_short() -> Error {
    corrupt("the tar is cut short")
}
