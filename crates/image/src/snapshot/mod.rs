//! Unpacked layers, and the writable directories of containers above them.
//!
//! Start reading at [`OverlaySnapshots`].

mod changes;
mod overlay;
mod sealed;
mod settle;

pub use changes::{Change, ChangeKind};
pub(crate) use overlay::Staging;
pub use overlay::{OVERLAY_OPTIONS, OverlaySnapshots};
pub use sealed::{Copying, Snapshot, template_layers};
