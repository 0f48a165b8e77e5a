//! Docker's json-file: one JSON object per line of output.
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","time":"2026-11-22T01:14:34.123456789Z"}
//! ```
//!
//! Bytes that are not UTF-8 become U+FFFD, one each. If attributes were asked
//! for (`--log-opt labels=…`), `"attrs":{…}` stands before the time.

use std::collections::BTreeMap;

use state::channel::Stream;

/// `attributes` is what [`attributes`] gives.
pub(super) fn encode(
    into: &mut Vec<u8>,
    stream: Stream,
    text: &[u8],
    stamp: &str,
    attributes: &[u8],
) {
    into.reserve(text.len() + attributes.len() + 80);
    into.extend_from_slice(b"{\"log\":\"");
    escape(into, text);
    into.extend_from_slice(match stream {
        Stream::Stderr => b"\",\"stream\":\"stderr\",".as_slice(),
        _ => b"\",\"stream\":\"stdout\",".as_slice(),
    });
    into.extend_from_slice(attributes);
    into.extend_from_slice(b"\"time\":\"");
    into.extend_from_slice(stamp.as_bytes());
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

/// As each entry has them: `"attrs":{"a":"b"},`, or nothing.
pub(super) fn attributes(all: &BTreeMap<String, String>) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in all {
        text.extend_from_slice(if text.is_empty() {
            b"\"attrs\":{\"".as_slice()
        } else {
            b",\"".as_slice()
        });
        escape(&mut text, key.as_bytes());
        text.extend_from_slice(b"\":\"");
        escape(&mut text, value.as_bytes());
        text.push(b'"');
    }
    if !text.is_empty() {
        text.extend_from_slice(b"},");
    }
    text
}
