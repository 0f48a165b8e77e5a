//! Entries as a tar, always the same bytes for the same entries.

use std::io::Write;

use sys::{Context, Result};

use super::{BLOCK, Device, Entry, EntryKind, Segment};

/// Zeroes to pad with.
static ZEROES: [u8; BLOCK] = [0; BLOCK];

/// Writes ustar headers, with a pax header before those that do not fit.
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    /// Bytes of the current entry's data that are still to come.
    due: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    pub fn new(sink: W) -> Self {
        Self {
            sink,
            due: 0,
            padding: 0,
        }
    }

    /// Starts an entry. A regular file's `entry.size` bytes follow by
    /// [`Self::data`].
    pub fn begin(&mut self, entry: &Entry) -> Result<()> {
        let size = match entry.kind {
            EntryKind::File => entry.size,
            _ => 0,
        };
        self.write_headers(entry, size, &[])?;
        self.expect(size);
        Ok(())
    }

    /// Starts a file with holes: `segments` are its data (in order, inside
    /// `entry.size`), which follow one after the other by [`Self::data`].
    pub fn begin_sparse(&mut self, entry: &Entry, segments: &[Segment]) -> Result<()> {
        // GNU tar makes a file as long as its last run says.
        let end = Segment {
            offset: entry.size,
            length: 0,
        };
        let mut map = format!("{}\n", segments.len() + 1);
        for segment in segments.iter().chain([&end]) {
            for number in [segment.offset, segment.length] {
                map += &number.to_string();
                map.push('\n');
            }
        }
        let mut map = map.into_bytes();
        map.resize(map.len().next_multiple_of(BLOCK), 0);
        let data: u64 = segments.iter().map(|segment| segment.length).sum();
        let stored = data + map.len() as u64;
        // GNU's format 1.0: the real name and size in pax, the map before the
        // data; Go and libarchive read it.
        let records = [
            (b"GNU.sparse.major".to_vec(), b"1".to_vec()),
            (b"GNU.sparse.minor".to_vec(), b"0".to_vec()),
            (b"GNU.sparse.name".to_vec(), entry.path.clone()),
            (
                b"GNU.sparse.realsize".to_vec(),
                entry.size.to_string().into_bytes(),
            ),
        ];
        let mut named = entry.clone();
        named.path = sparse_name(&entry.path);
        self.write_headers(&named, stored, &records)?;
        self.expect(stored);
        self.data(&map)
    }

    /// The next bytes of the entry's data.
    pub fn data(&mut self, bytes: &[u8]) -> Result<()> {
        debug_assert!(bytes.len() as u64 <= self.due, "more data than announced");
        self.put(bytes)?;
        self.due -= bytes.len() as u64;
        if self.due == 0 {
            let padding = std::mem::take(&mut self.padding);
            self.put(&ZEROES[..padding])?;
        }
        Ok(())
    }

    /// How many bytes of data the current entry still wants.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// Writes the end of the tar and gives the sink back.
    pub fn finish(mut self) -> Result<W> {
        self.put(&ZEROES)?;
        self.put(&ZEROES)?;
        Ok(self.sink)
    }

    fn expect(&mut self, size: u64) {
        self.due = size;
        self.padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or_default();
    }

    fn write_headers(
        &mut self,
        entry: &Entry,
        stored: u64,
        records: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<()> {
        let (header, mut pax) = encode(entry, stored);
        for (key, value) in records {
            push_record(&mut pax, key, value);
        }
        if !pax.is_empty() {
            let mut about = Block::new(b"PaxHeaders.0/entry", b'x');
            about.number(124, 12, pax.len() as u64);
            about.number(100, 8, 0o644);
            self.put(&about.finish())?;
            let padding = pax.len().next_multiple_of(BLOCK) - pax.len();
            self.put(&pax)?;
            self.put(&ZEROES[..padding])?;
        }
        self.put(&header)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write_all(bytes).context(|| "write tar")
    }
}

/// The name that readers without sparse files see.
fn sparse_name(path: &[u8]) -> Vec<u8> {
    let at = path.iter().rposition(|byte| *byte == b'/');
    let (parent, name) = path.split_at(at.map_or(0, |slash| slash + 1));
    [parent, b"GNUSparseFile.0/", name].concat()
}

/// The ustar header of an entry, and the pax records for what it cannot say.
fn encode(entry: &Entry, stored: u64) -> ([u8; BLOCK], Vec<u8>) {
    let mut pax = Vec::new();
    let (flag, link, device): (u8, &[u8], Device) = match &entry.kind {
        EntryKind::File => (b'0', b"", Device::default()),
        EntryKind::HardLink(target) => (b'1', target, Device::default()),
        EntryKind::Symlink(target) => (b'2', target, Device::default()),
        EntryKind::CharDevice(device) => (b'3', b"", *device),
        EntryKind::BlockDevice(device) => (b'4', b"", *device),
        EntryKind::Directory => (b'5', b"", Device::default()),
        EntryKind::Fifo => (b'6', b"", Device::default()),
    };
    let mut path = entry.path.clone();
    if entry.kind == EntryKind::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    let mut block = if let Some((prefix, name)) = split_name(&path) {
        let mut block = Block::new(name, flag);
        block.bytes[345..345 + prefix.len()].copy_from_slice(prefix);
        block
    } else {
        push_record(&mut pax, b"path", &path);
        Block::new(&path[..path.len().min(100)], flag)
    };
    if link.len() > 100 || !link.is_ascii() {
        push_record(&mut pax, b"linkpath", link);
    }
    let shown = &link[..link.len().min(100)];
    block.bytes[157..157 + shown.len()].copy_from_slice(shown);
    block.number(100, 8, u64::from(entry.mode & 0o7777));
    for (at, width, key, value) in [
        (108, 8, "uid", u64::from(entry.uid)),
        (116, 8, "gid", u64::from(entry.gid)),
        (124, 12, "size", stored),
    ] {
        if !block.number(at, width, value) {
            push_record(&mut pax, key.as_bytes(), value.to_string().as_bytes());
        }
    }
    let seconds = u64::try_from(entry.mtime.seconds).ok();
    let fits = seconds.is_some_and(|seconds| block.number(136, 12, seconds));
    if !fits || entry.mtime.nanoseconds != 0 {
        push_record(&mut pax, b"mtime", time_text(entry).as_bytes());
    }
    for (at, key, value) in [
        (329, "SCHILY.devmajor", device.major),
        (337, "SCHILY.devminor", device.minor),
    ] {
        if !block.number(at, 8, u64::from(value)) {
            push_record(&mut pax, key.as_bytes(), value.to_string().as_bytes());
        }
    }
    for (name, value) in &entry.xattrs {
        push_record(&mut pax, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    (block.finish(), pax)
}

fn time_text(entry: &Entry) -> String {
    let (seconds, nanoseconds) = (entry.mtime.seconds, entry.mtime.nanoseconds);
    let text = if seconds < 0 && nanoseconds > 0 {
        let whole = -(seconds + 1);
        format!("-{whole}.{:09}", 1_000_000_000 - nanoseconds)
    } else {
        format!("{seconds}.{nanoseconds:09}")
    };
    let text = text.trim_end_matches('0');
    text.trim_end_matches('.').to_owned()
}

/// Prefix and name as ustar holds them, if they fit. Non-ASCII names go to
/// pax, where their encoding is defined.
fn split_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= 100 {
        return Some((b"", path));
    }
    // The longest prefix that fits leaves the shortest name.
    let last = path.len().min(156).min(path.len() - 1);
    let slash = path[..last].iter().rposition(|byte| *byte == b'/')?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (!prefix.is_empty() && !name.is_empty() && name.len() <= 100).then_some((prefix, name))
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn push_record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + digits(rest);
    length = rest + digits(length);
    pax.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        pax.extend_from_slice(part);
    }
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

struct Block {
    bytes: [u8; BLOCK],
}

impl Block {
    fn new(name: &[u8], flag: u8) -> Self {
        let mut bytes = [0; BLOCK];
        bytes[..name.len()].copy_from_slice(name);
        bytes[156] = flag;
        bytes[257..265].copy_from_slice(b"ustar\x0000");
        let mut block = Self { bytes };
        for (at, width) in [
            (100, 8),
            (108, 8),
            (116, 8),
            (124, 12),
            (136, 12),
            (329, 8),
            (337, 8),
        ] {
            block.number(at, width, 0);
        }
        block
    }

    /// Octal digits and a NUL; says whether the number fits (else zero).
    fn number(&mut self, at: usize, width: usize, value: u64) -> bool {
        let digits = width - 1;
        let fits = value < 1 << (3 * digits);
        let value = if fits { value } else { 0 };
        let text = format!("{value:0digits$o}");
        self.bytes[at..at + digits].copy_from_slice(text.as_bytes());
        fits
    }

    fn finish(mut self) -> [u8; BLOCK] {
        self.bytes[148..156].fill(b' ');
        let sum: u64 = self.bytes.iter().map(|byte| u64::from(*byte)).sum();
        let text = format!("{sum:06o}\0 ");
        self.bytes[148..156].copy_from_slice(text.as_bytes());
        self.bytes
    }
}
