//! Images: archives, registries, commit, names.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod archive;
mod commit;
mod layers;
mod names;
mod registry;
mod rework;
