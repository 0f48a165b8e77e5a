//! Layer tars, compressed or not: unpacked for real, beside a directory that must stay as it is.
//!
//! Runs as root in a directory of its own, best on a tmpfs.
#![no_main]

use std::fs;
use std::io::BufReader;

use image::Limits;
use image::layer::{apply::apply, compression::decoder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|blob: &[u8]| {
    let base = if fs::exists("/dev/shm").unwrap_or(false) { "/dev/shm" } else { "/tmp" };
    let dir = tempfile::tempdir_in(base).expect("a directory to unpack into");
    let victim = dir.path().join("victim");
    fs::create_dir(&victim).expect("create");
    fs::write(victim.join("file"), "untouched").expect("write");
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("create");

    let limits = Limits { max_entries: 200, max_layer_bytes: 1 << 20, ..Limits::default() };
    let handle = fs::File::open(&root).expect("open");
    if let Ok(plain) = decoder(blob) {
        let _ = apply(BufReader::new(plain), handle.into(), &limits);
    }

    assert_eq!(fs::read_to_string(victim.join("file")).expect("read"), "untouched");
    let names: Vec<_> = fs::read_dir(dir.path()).expect("list").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names.len(), 2, "something was put beside the root: {names:?}");
    assert_eq!(fs::read_dir(&victim).expect("list").count(), 1);
});
