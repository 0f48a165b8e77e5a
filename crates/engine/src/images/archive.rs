//! `save`, `load` and `import`.

use spec::{Digest, Reference};

/// What an archive held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedImage {
    pub id: Digest,
    /// The names it got; none if the archive names it not.
    pub names: Vec<Reference>,
}

/// A root file system that becomes an image.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// Name of the new image.
    pub name: Option<Reference>,
    pub message: Option<String>,
    /// Dockerfile instructions, such as `CMD ["sh"]`.
    pub changes: Vec<String>,
}
