//! Images that are damaged, or belong to other files: refused, and nothing of the attempt stays.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use black_box_tests::{Bed, bed};

use crate::Subject;

/// What `damage` makes of a good image is refused.
fn refused_after(bed: &Bed, damage: impl Fn(&Path, &Subject<'_>) -> Vec<&'static str>) {
    let subject = Subject::new(bed, "pipes");
    subject.start();
    let image = subject.image("image");
    subject.checkpoint(&image, &[]).ok();
    subject.bundle.delete();
    let parts = damage(Path::new(&image), &subject);
    let outcome = subject.restore(&image);
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.story());
    let said = fs::read_to_string(subject.bundle.dir().join("stdio")).unwrap();
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    let state = ["state", subject.bundle.id()];
    subject.bundle.runtime(&state).fails(1, &["not exist"]);
}

#[test]
fn cut_off() {
    bed!(|bed| refused_after(bed, |image, _| {
        let path = image.join("checkpoint");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
        vec!["cut off"]
    }));
}

#[test]
fn changed() {
    bed!(|bed| refused_after(bed, |image, _| {
        let path = image.join("checkpoint");
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        vec!["checksum"]
    }));
}

#[test]
fn of_the_future() {
    bed!(|bed| refused_after(bed, |image, _| {
        let path = image.join("checkpoint");
        let mut bytes = fs::read(&path).unwrap();
        bytes[8] = 9;
        fs::write(&path, &bytes).unwrap();
        vec!["format version 9"]
    }));
}

#[test]
fn without_its_pages() {
    bed!(|bed| refused_after(bed, |image, _| {
        let pages = image.join("pages");
        let half = fs::metadata(&pages).unwrap().len() / 8192 * 4096;
        let file = fs::OpenOptions::new().write(true).open(&pages).unwrap();
        file.set_len(half).unwrap();
        vec!["damaged", "beyond the end"]
    }));
}

#[test]
fn that_lead_elsewhere() {
    bed!(|bed| refused_after(bed, |image, _| {
        let pages = image.join("pages");
        fs::rename(&pages, image.join("elsewhere")).unwrap();
        symlink("elsewhere", &pages).unwrap();
        vec!["pages"]
    }));
}

#[test]
fn of_a_program_that_was_changed() {
    bed!(|bed| refused_after(bed, |_, subject| {
        let program = subject.bundle.root().join("bin/programs");
        let bytes = fs::read(&program).unwrap();
        fs::write(&program, bytes).unwrap();
        vec!["/bin/programs is not the file that it was"]
    }));
}
