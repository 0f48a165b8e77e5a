//! Containers that remember, through `wharf`: suspended and resumed, checkpointed and restored, whoever dies meanwhile.
//! What of the kernel's objects survives is judged in `tests/checkpoint`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod archive;
mod checkpoint;
mod crash;
mod filling;
mod suspend;
mod terminal;

use black_box_tests::Bed;

pub use black_box_tests::counter::{COUNTER, count, counter, counts_on};

pub fn status(bed: &Bed, name: &str) -> String {
    let filter = format!("name=^{name}$");
    bed.run(&["ps", "-a", "--filter", &filter, "--format", "{{.Status}}"])
        .ok()
}
