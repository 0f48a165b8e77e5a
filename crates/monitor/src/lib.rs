//! The loop beside each container.
#![forbid(unsafe_code)]

pub mod log;
pub mod transition;
