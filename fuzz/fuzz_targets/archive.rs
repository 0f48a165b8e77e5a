//! Archives of checkpoints: whatever comes in, nothing is left of what was refused and nothing is written outside.
#![no_main]

use std::fs;
use std::path::Path;

use engine::checkpoints::ImportRequest;
use engine::config::Programs;
use engine::{Config, Engine};
use image::layer::tar::{Entry, EntryKind, Writer};
use libfuzzer_sys::fuzz_target;
use state::Layout;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let (root, run) = (scratch.path().join("root"), scratch.path().join("run"));
    let programs = Programs::beside(scratch.path());
    let engine = Engine::open(Config::new(Layout::new(&root, &run), programs)).expect("a store");
    // As a whole, or as what comes after a header that is right.
    let archive = match choice % 3 {
        0 => bytes.to_vec(),
        1 => tar(&[("wharf-checkpoint", HEADER), ("checkpoint.json", bytes)]),
        _ => tar(&[("wharf-checkpoint", bytes)]),
    };
    let request = ImportRequest {
        name: None,
        trust: choice % 2 == 0,
    };
    let taken = engine.checkpoints().import(archive.as_slice(), &request, &|_| {});
    let left = names(&root.join("checkpoints"));
    match taken {
        Ok(checkpoint) => assert_eq!(left, [checkpoint.name.to_string()]),
        Err(_) => assert!(left.is_empty(), "{left:?}"),
    }
    assert_eq!(names(scratch.path()), ["root", "run"]);
});

const HEADER: &[u8] = br#"{"format":1,"name":"fuzz"}"#;

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    for (name, content) in members {
        let entry = Entry {
            path: name.as_bytes().to_vec(),
            kind: EntryKind::File,
            mode: 0o600,
            size: content.len() as u64,
            ..Entry::default()
        };
        tar.begin(&entry).expect("a header");
        tar.data(content).expect("content");
    }
    tar.finish().expect("an end")
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
