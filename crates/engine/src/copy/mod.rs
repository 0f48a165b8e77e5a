//! Files between containers and the host: `cp`, `export`.
//!
//! Whatever lies in a container is hostile, and may change under our hands:
//! a path is looked up by openat2(2) inside the container's root
//! (CVE-2018-15664), everything below it by open directories and single
//! names, and no link is followed on the way. Nothing of the container is
//! ever run or loaded for it (CVE-2019-14271).
//!
//! Start reading at [`root`] (where a container's files are), then [`place`]
//! (what a path means), then [`tree`].

mod layers;
mod mirror;
mod pack;
mod place;
mod reflink;
mod root;
mod tree;
mod unpack;

pub(crate) use layers::{copy_layers, copy_merged};
pub(crate) use mirror::Mirror;
pub(crate) use pack::{Mounts, pack};
pub(crate) use place::{Side, host_root};
pub(crate) use reflink::has_reflinks;
pub(crate) use root::{Access, with_layers, with_root};
pub(crate) use tree::{Copier, Ownership};
pub(crate) use unpack::unpack;

/// Deeper trees are an attack or a mistake.
const DEPTH_MAX: usize = 512;
