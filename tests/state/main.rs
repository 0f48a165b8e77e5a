//! What is known about containers and stays true: listing, logs, waiting, many commands at once, sudden deaths.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod attach;
mod concurrency;
mod crash;
mod list;
mod logs;
