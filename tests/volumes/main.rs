//! Volumes: the verbs, what containers mount of them, transfers, attacks.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod attacks;
mod mounts;
mod transfer;
mod verbs;
