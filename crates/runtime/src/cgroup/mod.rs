//! The control groups of a container: `/wharf/<id>` below the root of each
//! hierarchy, if nobody says another place.
//!
//! Start reading at [`Cgroup`]. `hierarchy` finds what is mounted, `limits` is
//! the pure table of what is written where, `apply` writes it and explains
//! what the kernel refuses, `devices` has the rules for device access,
//! `systemd` has a unit made for the group; nothing outside this module knows
//! which version is in use.

mod apply;
mod below;
mod devices;
mod freezer;
mod handle;
mod hierarchy;
mod limits;
mod membership;
mod oom;
mod path;
mod place;
mod setup;
pub mod stats;
mod systemd;

pub(crate) use apply::size_in_words;
pub(crate) use below::place_beside;
pub(crate) use hierarchy::{Hierarchies, Hierarchy};
pub(crate) use setup::{Entry, adopt, prepare};

pub use below::SubCgroup;
pub use handle::Cgroup;
pub use membership::{Membership, make_and_enter};
pub use oom::{OomNews, OomWatch};
pub use path::CgroupPath;
pub use place::{Placement, Rights};

pub use state::CgroupManager;

#[cfg(test)]
mod tests;
