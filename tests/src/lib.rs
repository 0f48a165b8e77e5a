//! What all black-box tests share: a machine of its own for each test, the real binaries in it, images made on the
//! spot, and a look at what is left behind at the end.
//!
//! Not for assertions about Wharf's insides: nothing here links a crate of the product. Start reading at [`in_bed`],
//! then [`Bed`].
//!
//! A test is one call:
//! ```ignore
//! #[test]
//! fn the_exit_code_is_the_commands() {
//!     bed!(|bed| { bed.run(&["run", "--rm", BUSYBOX, "sh", "-c", "exit 7"]).code(7); });
//! }
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bed;
mod bundle;
mod command;
pub mod counter;
mod deaths;
mod hostile;
mod image;
mod leaks;
pub mod programs;
mod registry;
mod store;
mod tar;
mod terminal;

pub use bed::{BUSYBOX, Bed, binary, in_bed};
pub use bundle::Bundle;
pub use command::{Invocation, Outcome, Started};
pub use deaths::{crash_everywhere, kill_counts, killed_at};
pub use hostile::{Answer, HostileRegistry, Request, plain_answers};
pub use image::{ImageBuilder, Layer, busybox_image, gzip, sha256};
pub use registry::{Access, Registry};
pub use store::Store;
pub use tar::{Member, Tar};
pub use terminal::Terminal;

/// Runs the body in a machine of its own; see [`in_bed`].
#[macro_export]
macro_rules! bed {
    ($body:expr) => {{
        fn here() {}
        $crate::in_bed(std::any::type_name_of_val(&here), $body)
    }};
}

/// Calls `check` until it gives something, for at most `seconds`; panics with `what` otherwise.
pub fn eventually<T>(seconds: u64, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(
            std::time::Instant::now() < end,
            "waited {seconds} s in vain: {what}"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
