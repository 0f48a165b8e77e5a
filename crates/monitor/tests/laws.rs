//! Laws of the log, for any output in any pieces.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use monitor::log::LogFile;
use proptest::prelude::*;
use state::Timestamp;
use state::channel::Stream;

/// What a reader gets from `log.N` … `log.1`, `log`, per stream.
fn read_back(path: &Path) -> BTreeMap<String, String> {
    let mut files: Vec<std::path::PathBuf> = Vec::new();
    let mut number = 1;
    loop {
        let rotated = path.with_file_name(format!("log.{number}"));
        if !rotated.exists() {
            break;
        }
        files.insert(0, rotated);
        number += 1;
    }
    if path.exists() {
        files.push(path.to_owned());
    }
    let mut streams = BTreeMap::new();
    for file in files {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            let time = entry["time"].as_str().unwrap();
            time.parse::<Timestamp>().unwrap();
            let stream: &mut String = streams
                .entry(entry["stream"].as_str().unwrap().to_owned())
                .or_default();
            stream.push_str(entry["log"].as_str().unwrap());
        }
    }
    streams
}

fn chunk() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let text = prop_oneof![
        "\\PC{0,40}\n?".prop_map(String::into_bytes),
        "[a-z\u{0}-\u{20}<>&\"\\\\€𝄞\u{2028}\n]{0,60}".prop_map(String::into_bytes),
        (1usize..40_000).prop_map(|length| "é".repeat(length).into_bytes()),
    ];
    (any::<bool>(), text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nothing is lost, changed or reordered, whatever the pieces (cut also
    /// inside of characters) and however often files are changed.
    #[test]
    fn reading_gives_what_was_written(
        chunks in proptest::collection::vec(chunk(), 0..12),
        max_size in prop_oneof![Just(0u64), 1u64..3000],
        cut in 1usize..5000,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::json(path.clone(), max_size, 10_000, &BTreeMap::new());
        let mut expected: BTreeMap<String, String> = BTreeMap::new();
        for (is_error, bytes) in &chunks {
            let (stream, name) = if *is_error { (Stream::Stderr, "stderr") } else { (Stream::Stdout, "stdout") };
            for piece in bytes.chunks(cut) {
                log.append(stream, piece, Timestamp::now());
            }
            if !bytes.is_empty() {
                let text = std::str::from_utf8(bytes).unwrap();
                expected.entry(name.to_owned()).or_default().push_str(text);
            }
        }
        log.finish(Timestamp::now());
        prop_assert_eq!(read_back(&path), expected);
    }

    /// Any bytes give valid JSON with one U+FFFD for each wrong byte.
    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::json(path.clone(), 0, 2, &BTreeMap::new());
        log.append(Stream::Stdout, &bytes, Timestamp::now());
        log.finish(Timestamp::now());
        let mut expected = String::new();
        for chunk in bytes.utf8_chunks() {
            expected.push_str(chunk.valid());
            expected.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
        }
        let read = read_back(&path).remove("stdout").unwrap_or_default();
        prop_assert_eq!(read, expected);
    }
}
