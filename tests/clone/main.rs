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

use std::fs;

use black_box_tests::Bed;
pub use black_box_tests::counter::{count, counter, counts_on};

/// What is left of templates.
pub fn templates(bed: &Bed) -> usize {
    let found = fs::read_dir(bed.root().join("templates"));
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

/// Lets the program in each of these containers look at what it has, one after the other: what it says is kept in its
/// volume when it has ended. Nothing is executed inside.
pub fn judged(bed: &Bed, names: &[&str]) {
    let go = bed.file("go", "");
    for name in names {
        bed.run(&["cp", &go, &format!("{name}:/data/go")]).ok();
        bed.run(&["wait", name]).ok();
        let out = bed.dir().join(name);
        let from = format!("{name}:/data/verdict");
        bed.run(&["cp", &from, out.to_str().unwrap()]).ok();
        assert_eq!(fs::read_to_string(out).unwrap(), "ok", "{name}");
    }
}
