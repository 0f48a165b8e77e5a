//! What is mounted in a container: `plan` reads the specification (pure),
//! `root` has the one descriptor through which everything in the root is
//! reached, `step` makes the mounts.

pub(crate) mod cgroups;
mod copy_up;
pub(crate) mod devices;
pub(crate) mod masks;
pub(crate) mod overlay;
pub(crate) mod plan;
pub(crate) mod root;
pub(crate) mod step;
