//! Images on disk: content store, layers, snapshots.
//!
//! Everything lies under one root ([`Store`]): blobs by digest and names of
//! manifests in an OCI image layout ([`content`], [`references`]), unpacked
//! layers and the containers' writable directories ([`snapshot`]). On top are
//! the acts: [`receive_layer`] (pull), [`commit`], [`import`](fn@import),
//! [`archive`] (save and load), [`Store::sweep`].
//!
//! Not here: registries, and what a container is. Nothing is mounted here.
//!
//! Start reading at [`Store`], then [`unpack`].

#![forbid(unsafe_code)]

pub mod archive;
mod audit;
mod buffer;
mod change;
mod commit;
pub mod content;
pub mod digest;
pub mod layer;
mod limits;
mod pipe;
pub mod references;
pub mod snapshot;
mod store;
mod sweep;
mod tree;
pub mod unpack;

pub use audit::{Depth as AuditDepth, Finding};
pub use change::{apply_change, apply_changes};
pub use commit::{CommitOptions, ImportOptions, commit, commit_layers, import, rebase};
pub use content::ContentStore;
pub use digest::chain_of;
pub use limits::Limits;
pub use references::{Named, References};
pub use snapshot::{
    Change, ChangeKind, Copying, OVERLAY_OPTIONS, OverlaySnapshots, Snapshot, template_layers,
};
pub use store::{Image, LayerToReceive, Store};
pub use sweep::{Freed, KeepAlive};
pub use tree::disk_usage;
pub use unpack::{Fetch, LayerProgress, receive_layer, unpack_layer, unpack_layers};
