//! Layers: tars on the wire, directories in overlayfs' form on disk.
//!
//! Not here: which layers make an image ([`crate::unpack`]), where they are
//! kept ([`crate::snapshot`]). Start reading at [`apply`], then [`diff`].

pub mod apply;
pub mod compression;
pub mod diff;
mod directories;
mod gzip;
pub mod tar;
pub mod whiteout;
pub(crate) mod xattrs;

pub(crate) use directories::times as file_times;
