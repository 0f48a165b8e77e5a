//! `image inspect` and `history`, in Docker's words.

use image::{Image, Store};
use serde::Serialize;
use spec::image::ContainerDefaults;
use sys::Result;

use super::list::{digests_of, layer_size, size_of, tags_of};
use super::{Images, users};

/// What Docker's API calls an image; serialises to its JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageInspect {
    pub id: String,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    pub parent: String,
    pub comment: String,
    pub created: Option<String>,
    pub docker_version: String,
    pub author: String,
    pub config: ContainerDefaults,
    pub architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    pub os: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Bytes on disk once unpacked.
    pub size: u64,
    pub graph_driver: GraphDriver,
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    pub descriptor: spec::image::Descriptor,
    /// Containers made from it.
    pub containers: usize,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GraphDriver {
    pub name: String,
    pub data: GraphData,
}

/// The directories of the layers; topmost first, as overlayfs lists them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GraphData {
    pub lower_dir: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootFs {
    #[serde(rename = "Type")]
    pub kind: String,
    /// Digests of the uncompressed layers, lowest first.
    pub layers: Vec<String>,
}

/// One step of an image's making, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HistoryEntry {
    /// The image's id at the top, `<missing>` below.
    pub id: String,
    /// RFC 3339.
    pub created: Option<String>,
    pub created_by: String,
    /// Bytes on disk of the step's layer, 0 if it made none.
    pub size: u64,
    pub comment: String,
    pub tags: Vec<String>,
}

const MISSING: &str = "<missing>";

impl Images<'_> {
    /// All about one image.
    pub fn inspect(&self, text: &str) -> Result<ImageInspect> {
        let store = self.store()?;
        let image = store.find(text)?;
        let users = users::all(self.engine.layout())?;
        let containers = users
            .iter()
            .filter(|user| user.id.is_some() && user.image == image.id)
            .count();
        describe(&store, &image, containers)
    }

    /// How an image was made, newest step first.
    pub fn history(&self, text: &str) -> Result<Vec<HistoryEntry>> {
        let store = self.store()?;
        let image = store.find(text)?;
        let told = image.config.history.iter();
        let told = told.filter(|step| !step.empty_layer).count();
        // A config may tell less than it has layers: of the lowest, then.
        let (untold, layers) = image.chain.split_at(image.chain.len().saturating_sub(told));
        let mut layers = layers.iter();
        let mut entries = Vec::new();
        for layer in untold {
            entries.push(HistoryEntry {
                id: MISSING.to_owned(),
                created: image.config.created.clone(),
                created_by: String::new(),
                size: layer_size(&store, layer)?,
                comment: String::new(),
                tags: Vec::new(),
            });
        }
        for step in &image.config.history {
            let layer = if step.empty_layer {
                None
            } else {
                layers.next()
            };
            entries.push(HistoryEntry {
                id: MISSING.to_owned(),
                created: step.created.clone(),
                created_by: step.created_by.clone().unwrap_or_default(),
                size: layer.map_or(Ok(0), |layer| layer_size(&store, layer))?,
                comment: step.comment.clone().unwrap_or_default(),
                tags: Vec::new(),
            });
        }
        entries.reverse();
        if let Some(top) = entries.first_mut() {
            top.id = image.id.to_string();
            top.tags = familiar(&tags_of(&image));
        }
        Ok(entries)
    }
}

fn describe(store: &Store, image: &Image, containers: usize) -> Result<ImageInspect> {
    let config = &image.config;
    let lower = image.chain.iter().rev();
    let lower: Vec<_> = lower
        .map(|layer| store.snapshots().fs(layer).display().to_string())
        .collect();
    let last = config.history.last();
    Ok(ImageInspect {
        id: image.id.to_string(),
        repo_tags: familiar(&tags_of(image)),
        repo_digests: familiar(&digests_of(image)),
        parent: String::new(),
        comment: last
            .and_then(|step| step.comment.clone())
            .unwrap_or_default(),
        created: config.created.clone(),
        docker_version: String::new(),
        author: config.author.clone().unwrap_or_default(),
        config: config.config.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        os: config.os.clone(),
        os_version: config.os_version.clone(),
        size: size_of(store, image)?,
        graph_driver: GraphDriver {
            name: "overlay".to_owned(),
            data: GraphData {
                lower_dir: lower.join(":"),
            },
        },
        root_fs: RootFs {
            kind: "layers".to_owned(),
            layers: config
                .rootfs
                .diff_ids
                .iter()
                .map(ToString::to_string)
                .collect(),
        },
        descriptor: image.manifest.clone(),
        containers,
    })
}

fn familiar(names: &[spec::Reference]) -> Vec<String> {
    names.iter().map(spec::Reference::familiar).collect()
}
