//! Metadata of checkpoints: what is understood and verified leads nowhere outside of itself, and can have another image
//! stand on it.
#![no_main]

use checkpoint::image::schema::{Backing, Checkpoint};
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::LazyLock;

use checkpoint::image::{decode, encode, frame, verify};
use checkpoint::{Base, Parents, stand_on};
use libfuzzer_sys::fuzz_target;

const PAGES: u64 = 1000;

fuzz_target!(|bytes: &[u8]| {
    // As a whole file, and as content under checksums that fit.
    let _ = decode(bytes);
    let Ok(found) = decode(&frame(bytes)) else { return };
    let again = decode(&encode(&found).expect("what was read can be written")).expect("and read again");
    assert_eq!(format!("{again:?}"), format!("{found:?}"));
    if verify(&found, PAGES).is_ok() {
        stays_within(&found);
        can_be_stood_on(&found);
    }
});

/// Two images with these metadata, of whose pages every third differs.
static IMAGES: LazyLock<[PathBuf; 2]> = LazyLock::new(|| {
    [1, 3].map(|every| {
        let path = std::env::temp_dir().join(format!("wharf-fuzz-{}-{every}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory can be made");
        let page = |number: u64| [u8::from(number % every == 0) * 7 + 1; 4096];
        let pages: Vec<u8> = (0..PAGES).flat_map(page).collect();
        fs::write(path.join("whole"), &pages).expect("a file can be written");
        path
    })
});

fn can_be_stood_on(found: &Checkpoint) {
    let bytes = encode(found).expect("what was read can be written");
    for path in &*IMAGES {
        fs::write(path.join("checkpoint"), &bytes).expect("a file can be written");
        let _ = fs::remove_file(path.join("pages"));
        fs::hard_link(path.join("whole"), path.join("pages")).expect("a file can be linked");
    }
    let [base, own] = IMAGES.each_ref().map(|path| File::open(path).expect("it is there"));
    let opened = Base::open(&base, &Parents::none());
    if found.parent.is_some() {
        assert!(opened.is_err());
        return;
    }
    let opened = opened.expect("it was verified");
    let difference = stand_on(&own, &opened).expect("both are whole");
    assert!(difference.shared + difference.own < 1 << 40);
    let parents = if difference.shared > 0 { vec![base.into()] } else { Vec::new() };
    Base::open(&own, &Parents::Given(parents)).expect("it is whole again");
}

fn stays_within(found: &Checkpoint) {
    for process in &found.processes {
        for descriptor in &process.descriptors {
            assert!(found.descriptions.get(descriptor.description).is_some());
        }
        for mapping in &process.memory.mappings {
            assert!(mapping.start < mapping.end && mapping.end < 1 << 47);
            if let Backing::PrivateFile { file, .. } | Backing::SharedFile { file, .. } = mapping.backing {
                assert!(found.files.get(file).is_some());
            }
        }
        for (start, count, stored) in &process.memory.pages {
            assert!(stored + count <= PAGES && start + count * 4096 < 1 << 47);
        }
    }
}
