//! `wharf run`, `create`, `start`, `stop`, `kill` and `rm` with their options, as Docker documents them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod exit;
mod files;
mod input;
mod lifecycle;
mod limits;
mod namespaces;
mod options;
mod privileges;
mod process;
mod terminal;
