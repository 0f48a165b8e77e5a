//! How much of our resources a foreign image may claim.

/// Bounds on what images from outside may make us store. All are generous:
/// they stop bombs, not big images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of one layer (files, directories, links, whiteouts).
    pub max_entries: u64,
    /// Bytes of one layer once uncompressed, holes not counted.
    pub max_layer_bytes: u64,
    /// Bytes of a manifest, an index or a config.
    pub max_document_bytes: u64,
    /// Layers of one image. The kernel takes 500 overlay layers.
    pub max_layers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_entries: 4_000_000,
            max_layer_bytes: 100 << 30,
            max_document_bytes: 8 << 20,
            max_layers: 400,
        }
    }
}
