//! The control groups of a container: `/wharf/<id>` below the root of each
//! hierarchy.
//!
//! Start reading at [`Cgroup`]. [`hierarchy`] finds what is mounted,
//! `limits` is the pure table of what is written where, `devices` the rules
//! for device access; nothing outside this module knows which version is in
//! use.

mod devices;
mod handle;
mod hierarchy;
mod limits;
mod path;
mod setup;

pub(crate) use hierarchy::Hierarchies;
pub(crate) use setup::{Entry, prepare};

pub use handle::{Cgroup, CgroupStats};
pub use path::CgroupPath;
