//! The short form: one line of text per line of output, its bytes as they are.
//!
//! ```text
//! 2026-11-22T01:14:34.123456789Z stdout F hello
//! ```
//!
//! `F` (full) stands for a line that had its end, `P` (partial) for a piece
//! without: the form of logs that Kubernetes' runtimes write.

use state::channel::Stream;

pub(super) fn encode(into: &mut Vec<u8>, stream: Stream, text: &[u8], stamp: &str) {
    into.reserve(text.len() + stamp.len() + 12);
    into.extend_from_slice(stamp.as_bytes());
    into.extend_from_slice(match stream {
        Stream::Stderr => b" stderr ".as_slice(),
        _ => b" stdout ".as_slice(),
    });
    into.extend_from_slice(if text.ends_with(b"\n") { b"F " } else { b"P " });
    into.extend_from_slice(text);
    if !text.ends_with(b"\n") {
        into.push(b'\n');
    }
}
