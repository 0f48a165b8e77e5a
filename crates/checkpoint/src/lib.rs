//! A process tree becomes an image, and back.
//!
//! [`dump`] stops the processes of a container, reads what they are and lets
//! them go on or ends them; [`restore`] makes the runtime's ordinary sandbox
//! and fills it:
//!
//! ```text
//! dump:    seize and interrupt until nobody is new → collect, one file per
//!          kernel object → write the metadata last → let go, or end
//! restore: runtime::create with a blank init → descriptions, once, in a pool
//!          → fork the tree with its pids → memory → descriptors → threads →
//!          who they are → registers → let go
//! ```
//!
//! The controlling process stays outside and steers by ptrace(2); inside run
//! only programs of system calls (`inject`). `docs/checkpoint.md` has the
//! format of the image, the order of the steps and what is refused.
//!
//! Not here: which checkpoints there are and what they are called (the
//! engine), and what a container may do: that comes from the specification
//! given at the restore, never from the image.

#![forbid(unsafe_code)]

mod check;
mod collect;
mod copies;
mod copy;
mod dump;
mod freeze;
mod host;
pub mod image;
mod inject;
mod maps;
mod mend;
mod paging;
mod precopy;
mod procfs;
mod rebuild;
mod restore;
mod staging;
mod tcp;
mod template;

pub use check::check;
pub use copies::Copies;
pub use dump::{DumpOptions, Dumped, Held, TcpPolicy, dump, hold};
pub use image::{Base, CHAIN_MAX, Difference, Parents, stand_on};
pub use mend::mend;
pub use paging::{Filled, Pager};
pub use restore::{Restoring, restore};
pub use template::Template;
