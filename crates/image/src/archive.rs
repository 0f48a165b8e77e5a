//! Images as one tar: what `save` writes is an OCI layout and a docker-archive
//! at once (as Docker 25 and later do); `load` takes either, packed or not.

mod load;
mod save;

pub use load::{Loaded, load};
pub use save::save;

use serde::{Deserialize, Serialize};

/// One image in `manifest.json` of a docker-archive.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    /// Path of the config in the archive.
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    /// Paths of the layers, lowest first.
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Where containerd and Docker keep the full name of an image.
const FULL_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
