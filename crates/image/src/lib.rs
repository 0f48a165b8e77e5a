//! Images on disk: content store, layers, snapshots.
#![forbid(unsafe_code)]

pub mod layer;
mod limits;
mod tree;

pub use limits::Limits;
