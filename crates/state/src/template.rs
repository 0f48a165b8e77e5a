//! What is written down of templates: containers at one instant that others
//! are cloned from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ContainerConfig, ContainerName, MemoryImage, Timestamp};

/// The form of [`TemplateRecord`] on disk.
pub const TEMPLATE_VERSION: u32 = 1;

/// A container at one instant (`template.json`). Clones may be made of it
/// while somebody makes them or it has a name; its files stay for as long as
/// there are clones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateRecord {
    pub version: u32,
    pub created: Timestamp,
    /// None unless it is kept.
    pub name: Option<ContainerName>,
    /// The container as it was; its image is pinned by digest in there.
    pub config: Box<ContainerConfig>,
    pub memory: MemoryImage,
    /// Where the volumes are mounted of which there are copies, in their order.
    pub volumes: Vec<PathBuf>,
    /// Bytes of its writable layer and its volumes.
    pub files: u64,
}
