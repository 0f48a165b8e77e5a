//! The cross-cutting invariants of container security, each shown from inside a hostile container.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bundles;
mod invariants;
mod races;
