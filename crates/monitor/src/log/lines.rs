//! Output in any pieces becomes lines.
//!
//! A line of more than 16 KiB comes in pieces, of which only the last has the
//! `\n`; all carry the time of the first. Characters are not cut.

use state::Timestamp;
use state::channel::Stream;

/// The longest piece of a line that one entry holds.
pub(super) const PIECE_MAX: usize = 16 << 10;

/// Lines of both streams whose ends have not come yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    stdout: Line,
    stderr: Line,
}

#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    /// The time of its first piece, if pieces were handed over.
    began: Option<Timestamp>,
}

impl Lines {
    /// Hands over the complete lines of `data`, keeps the rest.
    pub(super) fn split(
        &mut self,
        stream: Stream,
        data: &[u8],
        now: Timestamp,
        entry: &mut dyn FnMut(&[u8], Timestamp),
    ) {
        let line = self.line(stream);
        let mut rest = data;
        loop {
            let room = PIECE_MAX - line.bytes.len();
            let (within, _) = rest.split_at(room.min(rest.len()));
            if let Some(end) = memchr::memchr(b'\n', within) {
                // The usual case copies nothing.
                if line.bytes.is_empty() && line.began.is_none() {
                    entry(&rest[..=end], now);
                } else {
                    line.bytes.extend_from_slice(&rest[..=end]);
                    entry(&line.bytes, line.began.take().unwrap_or(now));
                    line.bytes.clear();
                }
                rest = &rest[end + 1..];
            } else if rest.len() >= room {
                line.bytes.extend_from_slice(within);
                rest = &rest[room..];
                let began = *line.began.get_or_insert(now);
                let cut = line.bytes.len() - unfinished_character(&line.bytes);
                entry(&line.bytes[..cut], began);
                line.bytes.drain(..cut);
            } else {
                line.bytes.extend_from_slice(rest);
                break;
            }
        }
    }

    /// Hands over what never got its end.
    pub(super) fn finish(
        &mut self,
        now: Timestamp,
        entry: &mut dyn FnMut(Stream, &[u8], Timestamp),
    ) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(self.line(stream));
            if !line.bytes.is_empty() {
                entry(stream, &line.bytes, line.began.unwrap_or(now));
            }
        }
    }

    pub(super) fn release_memory(&mut self) {
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
