//! Metadata of checkpoints: what is understood and verified leads nowhere outside of itself.
#![no_main]

use checkpoint::image::schema::{Backing, Checkpoint};
use checkpoint::image::{decode, encode, frame, verify};
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
    }
});

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
