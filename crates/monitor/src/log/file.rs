//! A log in files: encoded, written, rotated.
//!
//! Output is encoded and written chunk by chunk: one write per read, no buffer
//! that could be lost.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use state::Timestamp;
use state::channel::Stream;

use super::lines::Lines;
use super::rotate::{self, Archive};
use super::{json, local};

/// Encoded bytes after which a write happens in the middle of a chunk.
const WRITE_MAX: usize = 256 << 10;

/// Appends to `path`, which is made with the first output.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    form: Form,
    max_size: u64,
    max_files: u32,
    file: Option<File>,
    /// Of the current file, all written entries whole.
    size: u64,
    lines: Lines,
    /// Encoded and not written yet.
    encoded: Vec<u8>,
    /// Of the last entry.
    stamp: (Timestamp, String),
    /// Encoded bytes that could not be written, and why.
    lost: Option<(u64, io::Error)>,
}

/// How an entry is written, and what becomes of a full file.
#[derive(Debug)]
enum Form {
    /// Docker's; full files are renamed to `log.1` ….
    Json { attributes: Vec<u8> },
    /// Short; full files are numbered and packed.
    Local(Archive),
}

impl LogFile {
    /// A file of `max_size` bytes (0: no limit) is followed by the next;
    /// `max_files` are kept.
    pub fn json(
        path: PathBuf,
        max_size: u64,
        max_files: u32,
        attributes: &BTreeMap<String, String>,
    ) -> Self {
        let attributes = json::attributes(attributes);
        Self::new(path, max_size, max_files, Form::Json { attributes })
    }

    /// As [`Self::json`]; `pack` is the command that compresses the file which
    /// is named behind it.
    pub fn local(path: PathBuf, max_size: u64, max_files: u32, pack: Vec<String>) -> Self {
        let archive = Archive::new(path.clone(), max_files, pack);
        Self::new(path, max_size, max_files, Form::Local(archive))
    }

    fn new(path: PathBuf, max_size: u64, max_files: u32, form: Form) -> Self {
        let epoch = Timestamp::from_nanos(0);
        Self {
            path,
            form,
            max_size,
            max_files,
            file: None,
            size: 0,
            lines: Lines::default(),
            encoded: Vec::new(),
            stamp: (epoch, stamp_of(epoch)),
            lost: None,
        }
    }

    /// Writes the complete lines of `data`, keeps the rest.
    pub fn append(&mut self, stream: Stream, data: &[u8], now: Timestamp) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.split(stream, data, now, &mut |text, time| {
            self.entry(stream, text, time);
        });
        self.lines = lines;
        self.write();
    }

    /// Writes lines that never got their end.
    pub fn finish(&mut self, now: Timestamp) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.finish(now, &mut |stream, text, time| {
            self.entry(stream, text, time);
        });
        self.write();
    }

    pub fn release_memory(&mut self) {
        self.encoded = Vec::new();
        self.lines.release_memory();
    }

    fn entry(&mut self, stream: Stream, text: &[u8], time: Timestamp) {
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
        if self.stamp.0 != time {
            self.stamp = (time, stamp_of(time));
        }
        encode(&self.form, &mut self.encoded, stream, text, &self.stamp.1);
    }

    /// Writes what is encoded, after a note of what was lost before it.
    fn write(&mut self) {
        if self.encoded.is_empty() {
            return;
        }
        if let Some((bytes, why)) = &self.lost {
            let text = format!("[wharf] {bytes} bytes of log were lost: {why}\n");
            let mut note = Vec::new();
            let stamp = stamp_of(Timestamp::now());
            encode(
                &self.form,
                &mut note,
                Stream::Stderr,
                text.as_bytes(),
                &stamp,
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
            let rotated = match &mut self.form {
                Form::Json { .. } => rotate::rotate(&self.path, self.max_files),
                Form::Local(archive) => archive.add(),
            };
            if rotated.is_ok() {
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

fn encode(form: &Form, into: &mut Vec<u8>, stream: Stream, text: &[u8], stamp: &str) {
    match form {
        Form::Json { attributes } => json::encode(into, stream, text, stamp, attributes),
        Form::Local(_) => local::encode(into, stream, text, stamp),
    }
}

/// A time as Go writes it: RFC 3339 without zeroes at the end of the fraction.
fn stamp_of(time: Timestamp) -> String {
    let mut text = time.to_string();
    text.pop();
    let digits = text.trim_end_matches('0').trim_end_matches('.').len();
    // A time without a fraction still ends in its seconds.
    text.truncate(digits.max("2026-01-01T00:00:00".len()));
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::lines::PIECE_MAX;

    fn log_at(path: PathBuf, max_size: u64) -> LogFile {
        LogFile::json(path, max_size, 1, &BTreeMap::new())
    }

    fn written(stream: Stream, chunks: &[&[u8]]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = log_at(path.clone(), 0);
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
        let mut log = log_at(inside.join("log"), 0);
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
        let mut log = log_at("/dev/full".into(), 0);
        log.append(Stream::Stdout, b"one\n", Timestamp::from_nanos(0));
        let (bytes, why) = log.lost.as_ref().unwrap();
        assert!(*bytes > 4);
        assert_eq!(why.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_single_file_is_emptied_when_it_is_full() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = log_at(path.clone(), 200);
        for number in 0..100 {
            let line = format!("{number}\n");
            log.append(Stream::Stdout, line.as_bytes(), Timestamp::from_nanos(0));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() <= 300 && text.contains("99"), "{text}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn attributes_stand_in_each_entry() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let all = BTreeMap::from([("a".into(), "1".into()), ("b\"".into(), "<".into())]);
        let mut log = LogFile::json(path.clone(), 0, 1, &all);
        log.append(Stream::Stdout, b"x\n", Timestamp::from_nanos(0));
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"log\":\"x\\n\",\"stream\":\"stdout\",\"attrs\":{\"a\":\"1\",\"b\\\"\":\"\\u003c\"},\
             \"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
    }

    #[test]
    fn the_short_form_keeps_bytes_and_numbers_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::local(path.clone(), 60, 3, Vec::new());
        for number in 0..6 {
            let line = [format!("line {number} ").as_bytes(), b"\xff\r\n"].concat();
            log.append(Stream::Stderr, &line, Timestamp::from_nanos(1));
        }
        log.append(Stream::Stdout, b"no end", Timestamp::from_nanos(1));
        log.finish(Timestamp::from_nanos(1));
        let mut names: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["log", "log.2", "log.3"]);
        let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
        assert_eq!(
            read("log.3"),
            b"1970-01-01T00:00:00.000000001Z stderr F line 4 \xff\r\n\
              1970-01-01T00:00:00.000000001Z stderr F line 5 \xff\r\n"
        );
        assert_eq!(
            read("log"),
            b"1970-01-01T00:00:00.000000001Z stdout P no end\n"
        );
    }
}
