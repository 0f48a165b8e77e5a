//! Copies of running containers, through `wharf`: each its own, the container unharmed, nothing left of what fails.
//! What of the kernel's objects survives is judged in `tests/checkpoint`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod connections;
mod crash;
mod files;
mod fixture;
mod hook;
mod image;
mod many;
mod objects;
mod reflinks;
mod servers;
mod template;

use black_box_tests::Bed;
pub use black_box_tests::counter::{count, counter, counts_on};

/// What is left of templates.
pub fn templates(bed: &Bed) -> usize {
    let found = std::fs::read_dir(bed.root().join("templates"));
    found.map_or(0, |entries| {
        entries
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .count()
    })
}

/// A script in a running container.
pub fn inside(bed: &Bed, name: &str, script: &str) -> String {
    bed.run(&["exec", name, "sh", "-c", script]).ok()
}
