//! The life of a container after its start: every verb, restarts, health, and what is written down about it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod boot;
mod change;
mod check;
mod copy;
mod disk;
mod events;
mod health;
mod live;
mod policy;
mod prune;
mod snapshot;
mod storage;
mod troubled;
mod usage;
mod verbs;
