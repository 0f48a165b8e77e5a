//! The command line of `wharf-runtime`, as the engines that call it and people use it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod calls;
mod exec;
mod files;
mod limits;
mod listing;
mod run;

use black_box_tests::{Bed, Bundle};

/// A container that sleeps until it is deleted.
fn sleeping(bed: &Bed) -> Bundle<'_> {
    let bundle = Bundle::new(bed, &["sleep", "1000"]);
    start(&bundle);
    bundle
}

fn start(bundle: &Bundle<'_>) {
    bundle.create().ok();
    bundle.runtime(&["start", bundle.id()]).ok();
}
