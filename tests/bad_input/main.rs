//! Bad input: each gives one clear sentence and leaves nothing behind.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod containers;
mod images;
mod interrupted;
mod layers;
