//! Docker's json-file: one JSON object per line of output.
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","time":"2026-11-22T01:14:34.123456789Z"}
//! ```
//!
//! A line of more than 16 KiB comes in pieces, of which only the last has the
//! `\n`; all carry the time of the first. Bytes that are not UTF-8 become
//! U+FFFD, one each. Output is encoded and written chunk by chunk: one write
//! per read, no buffer that could be lost.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use state::Timestamp;
use state::channel::Stream;

use super::rotate;

/// The longest piece of a line that one entry holds.
const PIECE_MAX: usize = 16 << 10;
/// Encoded bytes after which a write happens in the middle of a chunk.
const WRITE_MAX: usize = 256 << 10;

/// Appends to `path`, which is made with the first output.
#[derive(Debug)]
pub struct JsonFile {
    path: PathBuf,
    max_size: u64,
    max_files: u32,
    file: Option<File>,
    /// Of the current file, all written entries whole.
    size: u64,
    stdout: Line,
    stderr: Line,
    /// Encoded and not written yet.
    encoded: Vec<u8>,
    /// Encoded bytes that could not be written, and why.
    lost: Option<(u64, io::Error)>,
}

/// A line whose end has not come yet.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    /// The time of its first piece, if pieces were written.
    began: Option<Timestamp>,
}

impl JsonFile {
    /// A file of `max_size` bytes (0: no limit) is followed by the next;
    /// `max_files` are kept.
    pub fn new(path: PathBuf, max_size: u64, max_files: u32) -> Self {
        Self {
            path,
            max_size,
            max_files,
            file: None,
            size: 0,
            stdout: Line::default(),
            stderr: Line::default(),
            encoded: Vec::new(),
            lost: None,
        }
    }

    /// Writes the complete lines of `data`, keeps the rest.
    pub fn append(&mut self, stream: Stream, data: &[u8], now: Timestamp) {
        let mut line = std::mem::take(self.line(stream));
        let stamp = Stamp::of(now);
        let mut rest = data;
        loop {
            let room = PIECE_MAX - line.bytes.len();
            let (within, _) = rest.split_at(room.min(rest.len()));
            if let Some(end) = memchr::memchr(b'\n', within) {
                // The usual case copies nothing.
                if line.bytes.is_empty() && line.began.is_none() {
                    self.entry(stream, &rest[..=end], &stamp);
                } else {
                    line.bytes.extend_from_slice(&rest[..=end]);
                    let began = Stamp::of(line.began.take().unwrap_or(now));
                    self.entry(stream, &line.bytes, &began);
                    line.bytes.clear();
                }
                rest = &rest[end + 1..];
            } else if rest.len() >= room {
                line.bytes.extend_from_slice(within);
                rest = &rest[room..];
                let began = *line.began.get_or_insert(now);
                let cut = line.bytes.len() - unfinished_character(&line.bytes);
                self.entry(stream, &line.bytes[..cut], &Stamp::of(began));
                line.bytes.drain(..cut);
            } else {
                line.bytes.extend_from_slice(rest);
                break;
            }
        }
        *self.line(stream) = line;
        self.write();
    }

    /// Writes lines that never got their end.
    pub fn finish(&mut self, now: Timestamp) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(self.line(stream));
            if !line.bytes.is_empty() {
                let began = Stamp::of(line.began.unwrap_or(now));
                self.entry(stream, &line.bytes, &began);
            }
        }
        self.write();
    }

    pub fn release_memory(&mut self) {
        self.encoded = Vec::new();
        for line in [&mut self.stdout, &mut self.stderr] {
            line.bytes.shrink_to_fit();
        }
    }

    fn line(&mut self, stream: Stream) -> &mut Line {
        match stream {
            Stream::Stderr => &mut self.stderr,
            _ => &mut self.stdout,
        }
    }

    fn entry(&mut self, stream: Stream, text: &[u8], stamp: &Stamp) {
        let full = self.max_size > 0 && self.size + self.encoded.len() as u64 >= self.max_size;
        if full {
            self.write();
            // After a failed write the file may have room again.
            if self.size >= self.max_size {
                self.next_file();
            }
        } else if self.encoded.len() >= WRITE_MAX {
            self.write();
        }
        encode(&mut self.encoded, stream, text, stamp);
    }

    /// Writes what is encoded, after a note of what was lost before it.
    fn write(&mut self) {
        if self.encoded.is_empty() {
            return;
        }
        if let Some((bytes, why)) = &self.lost {
            let text = format!("[wharf] {bytes} bytes of log were lost: {why}\n");
            let mut note = Vec::new();
            encode(
                &mut note,
                Stream::Stderr,
                text.as_bytes(),
                &Stamp::of(Timestamp::now()),
            );
            if self.write_whole(&note).is_ok() {
                self.lost = None;
            }
        }
        let encoded = std::mem::take(&mut self.encoded);
        if let Err(error) = self.write_whole(&encoded) {
            let before = self.lost.take().map_or(0, |(bytes, _)| bytes);
            self.lost = Some((before + encoded.len() as u64, error));
        }
        self.encoded = encoded;
        self.encoded.clear();
    }

    /// All of `bytes` or nothing.
    fn write_whole(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut options = OpenOptions::new();
                let file = options
                    .append(true)
                    .create(true)
                    .mode(0o600)
                    .open(&self.path)?;
                self.size = file.metadata()?.len();
                none.insert(file)
            }
        };
        match file.write_all(bytes) {
            Ok(()) => {
                self.size += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half an entry would break every reader.
                if file.set_len(self.size).is_err() {
                    self.file = None;
                }
                Err(error)
            }
        }
    }

    /// If anything fails here the current file goes on growing.
    fn next_file(&mut self) {
        if self.max_files >= 2 {
            if rotate::rotate(&self.path, self.max_files).is_ok() {
                self.file = None;
                self.size = 0;
            }
        } else if let Some(file) = &self.file
            && file.set_len(0).is_ok()
        {
            self.size = 0;
        }
    }
}

/// A time as Go writes it: RFC 3339 without zeroes at the end of the fraction.
struct Stamp(String);

impl Stamp {
    fn of(time: Timestamp) -> Self {
        let mut text = time.to_string();
        text.pop();
        let digits = text.trim_end_matches('0').trim_end_matches('.').len();
        // A time without a fraction still ends in its seconds.
        text.truncate(digits.max("2026-01-01T00:00:00".len()));
        text.push('Z');
        Self(text)
    }
}

fn encode(into: &mut Vec<u8>, stream: Stream, text: &[u8], stamp: &Stamp) {
    into.reserve(text.len() + 80);
    into.extend_from_slice(b"{\"log\":\"");
    escape(into, text);
    into.extend_from_slice(match stream {
        Stream::Stderr => b"\",\"stream\":\"stderr\",\"time\":\"".as_slice(),
        _ => b"\",\"stream\":\"stdout\",\"time\":\"".as_slice(),
    });
    into.extend_from_slice(stamp.0.as_bytes());
    into.extend_from_slice(b"\"}\n");
}

/// What stands for itself inside a string: printable ASCII but `"`, `\`, and
/// what Docker's encoder keeps away from HTML.
static PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x20;
    while byte < 0x80 {
        table[byte] = true;
        byte += 1;
    }
    let special = *b"\"\\<>&";
    let mut index = 0;
    while index < special.len() {
        table[special[index] as usize] = false;
        index += 1;
    }
    table
};

fn escape(into: &mut Vec<u8>, mut text: &[u8]) {
    loop {
        let plain = text
            .iter()
            .position(|byte| !PLAIN[usize::from(*byte)])
            .unwrap_or(text.len());
        into.extend_from_slice(&text[..plain]);
        text = &text[plain..];
        let Some(first) = text.first() else { return };
        if first.is_ascii() {
            escape_byte(into, *first);
            text = &text[1..];
            continue;
        }
        // A stretch beyond ASCII: check it in one go.
        let stretch = text.iter().position(u8::is_ascii).unwrap_or(text.len());
        let (foreign, rest) = text.split_at(stretch);
        for chunk in foreign.utf8_chunks() {
            escape_separators(into, chunk.valid());
            for _ in chunk.invalid() {
                into.extend_from_slice(b"\\ufffd");
            }
        }
        text = rest;
    }
}

fn escape_byte(into: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => into.extend_from_slice(&[b'\\', byte]),
        b'\n' => into.extend_from_slice(b"\\n"),
        b'\r' => into.extend_from_slice(b"\\r"),
        _ => {
            into.extend_from_slice(b"\\u00");
            into.push(HEX[usize::from(byte >> 4)]);
            into.push(HEX[usize::from(byte & 15)]);
        }
    }
}

/// U+2028 and U+2029 end lines in JavaScript; Docker escapes them.
fn escape_separators(into: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['\u{2028}', '\u{2029}']) {
        into.extend_from_slice(&rest.as_bytes()[..at]);
        let line = rest[at..].starts_with('\u{2028}');
        into.extend_from_slice(if line { b"\\u2028" } else { b"\\u2029" });
        rest = &rest[at + '\u{2028}'.len_utf8()..];
    }
    into.extend_from_slice(rest.as_bytes());
}

/// How many bytes at the end begin a character that is not complete.
fn unfinished_character(bytes: &[u8]) -> usize {
    let Some(chunk) = bytes[bytes.len().saturating_sub(4)..].utf8_chunks().last() else {
        return 0;
    };
    let tail = chunk.invalid();
    let needed = match tail.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => return 0,
    };
    if bytes.ends_with(tail) && tail.len() < needed {
        tail.len()
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(stream: Stream, chunks: &[&[u8]]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = JsonFile::new(path.clone(), 0, 1);
        for chunk in chunks {
            log.append(stream, chunk, Timestamp::from_nanos(1_500_000_000));
        }
        log.finish(Timestamp::from_nanos(2_000_000_000));
        std::fs::read_to_string(&path).unwrap_or_default()
    }

    #[test]
    fn writes_what_docker_writes() {
        for (chunks, expected) in [
            (
                vec![b"hello\n".as_slice()],
                "{\"log\":\"hello\\n\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:01.5Z\"}\n",
            ),
            (
                vec![b"a <b>&\t\"\\\r\x7f\n"],
                "{\"log\":\"a \\u003cb\\u003e\\u0026\\u0009\\\"\\\\\\r\x7f\\n\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:01.5Z\"}\n",
            ),
            (
                // Two bytes of a character of three, then a good one and a separator.
                vec![b"\xe2\x82a\xc3", b"\xa4\xe2\x80\xa8\xff"],
                "{\"log\":\"\\ufffd\\ufffda\u{e4}\\u2028\\ufffd\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:02Z\"}\n",
            ),
            (vec![], ""),
        ] {
            assert_eq!(written(Stream::Stdout, &chunks), expected);
        }
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        let mut line = vec![b'x'; 2 * PIECE_MAX + 10];
        line.push(b'\n');
        let (one, two) = line.split_at(1000);
        let text = written(Stream::Stderr, &[one, two]);
        let pieces: Vec<(usize, bool)> = text
            .lines()
            .map(|entry| {
                let entry: serde_json::Value = serde_json::from_str(entry).unwrap();
                assert_eq!(entry["stream"], "stderr");
                let text = entry["log"].as_str().unwrap();
                (text.len(), text.ends_with('\n'))
            })
            .collect();
        assert_eq!(pieces, [(PIECE_MAX, false), (PIECE_MAX, false), (11, true)]);
    }

    #[test]
    fn pieces_do_not_cut_characters() {
        let text = format!("x{}\n", "€".repeat(PIECE_MAX));
        let log = written(Stream::Stdout, &[text.as_bytes()]);
        let together: String = log
            .lines()
            .map(|entry| {
                let entry: serde_json::Value = serde_json::from_str(entry).unwrap();
                entry["log"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(together, text);
    }

    #[test]
    fn a_log_that_cannot_be_written_is_noted_once_it_can() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("later");
        let mut log = JsonFile::new(inside.join("log"), 0, 1);
        let now = Timestamp::from_nanos(0);
        log.append(Stream::Stdout, b"one\ntwo\n", now);
        std::fs::create_dir(&inside).unwrap();
        log.append(Stream::Stdout, b"three\n", now);
        let text = std::fs::read_to_string(inside.join("log")).unwrap();
        let entries: Vec<&str> = text.lines().collect();
        assert_eq!(entries.len(), 2);
        assert!(entries[0].contains("bytes of log were lost"), "{text}");
        assert!(entries[1].contains("three"));
    }

    /// /dev/full takes no byte, like a disk without room.
    #[test]
    fn a_full_disk_does_not_stop_the_container() {
        let mut log = JsonFile::new("/dev/full".into(), 0, 1);
        log.append(Stream::Stdout, b"one\n", Timestamp::from_nanos(0));
        let (bytes, why) = log.lost.as_ref().unwrap();
        assert!(*bytes > 4);
        assert_eq!(why.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_single_file_is_emptied_when_it_is_full() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = JsonFile::new(path.clone(), 200, 1);
        for number in 0..100 {
            let line = format!("{number}\n");
            log.append(Stream::Stdout, line.as_bytes(), Timestamp::from_nanos(0));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() <= 300 && text.contains("99"), "{text}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
