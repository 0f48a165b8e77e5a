use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Descriptor, MediaType, Platform};

/// One image: its config and its layers, lowest first (manifest.md). Docker's
/// schema 2 manifest has the same shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Several images under one name, one per platform (image-index.md); Docker's
/// manifest list has the same shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// The manifest that fits `wanted` best, or `None`.
    pub fn choose(&self, wanted: &Platform) -> Option<&Descriptor> {
        self.manifests
            .iter()
            .filter_map(|entry| {
                let fit = match &entry.platform {
                    Some(platform) => wanted.fit(platform)?,
                    // An entry without a platform serves any, as a last resort.
                    None => u32::MAX,
                };
                Some((fit, entry))
            })
            .min_by_key(|(fit, _)| *fit)
            .map(|(_, entry)| entry)
    }
}
