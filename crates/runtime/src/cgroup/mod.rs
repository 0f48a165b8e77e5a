//! The control groups of a container: `/wharf/<id>` below the root of each
//! hierarchy.
//!
//! Start reading at [`Cgroup`]. `limits` is the pure table of what is written
//! where; nothing outside this module knows which version is in use.

mod handle;
mod path;

pub use handle::{Cgroup, CgroupStats};
pub use path::CgroupPath;
