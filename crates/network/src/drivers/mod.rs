//! The kinds of networks, one file each.

pub(crate) mod bridge;
pub(crate) mod forwarding;
