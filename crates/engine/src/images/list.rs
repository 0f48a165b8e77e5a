//! `images`: what is here.

use std::collections::BTreeMap;

use image::{Image, Store};
use spec::{ChainId, Digest, Reference};
use state::{Durability, Record};
use sys::Result;

use super::{Images, users};

/// One image, with all its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSummary {
    pub id: Digest,
    pub manifest: Digest,
    /// Names with a tag, as people write them. None: the image is dangling.
    pub tags: Vec<Reference>,
    /// `repository@sha256:…`: where the very same image can be pulled.
    pub digests: Vec<Reference>,
    /// RFC 3339, as the config has it.
    pub created: Option<String>,
    /// On disk once unpacked, in bytes; shared layers count in each image.
    pub size: u64,
    pub labels: BTreeMap<String, String>,
    /// How many containers were made from it.
    pub containers: usize,
}

impl Images<'_> {
    /// All images, newest first.
    pub fn list(&self) -> Result<Vec<ImageSummary>> {
        let store = self.store()?;
        let users = users::all(self.engine.layout())?;
        let mut sizes = BTreeMap::new();
        let mut summaries = Vec::new();
        for image in store.list()? {
            let mut size = 0;
            for layer in &image.chain {
                if !sizes.contains_key(layer) {
                    sizes.insert(*layer, layer_size(&store, layer)?);
                }
                size += sizes[layer];
            }
            summaries.push(ImageSummary {
                id: image.id,
                manifest: image.manifest.digest,
                tags: tags_of(&image),
                digests: digests_of(&image),
                created: image.config.created.clone(),
                size,
                labels: image.config.config.labels.clone(),
                containers: users
                    .iter()
                    .filter(|user| user.id.is_some() && user.image == image.id)
                    .count(),
            });
        }
        summaries.sort_by(|a, b| b.created.cmp(&a.created).then(a.id.cmp(&b.id)));
        Ok(summaries)
    }
}

pub(super) fn tags_of(image: &Image) -> Vec<Reference> {
    let mut tags = image.references.clone();
    tags.retain(|name| name.tag().is_some() && name.digest().is_none());
    tags.sort();
    tags
}

/// The digests that the image was pulled by, and its own in each of its
/// repositories.
pub(super) fn digests_of(image: &Image) -> Vec<Reference> {
    let own = image.manifest.digest;
    let mut digests: Vec<_> = image
        .references
        .iter()
        .map(|name| name.with_digest(name.digest().unwrap_or(own)))
        .collect();
    digests.sort();
    digests.dedup();
    digests
}

/// Bytes on disk of all layers.
pub(super) fn size_of(store: &Store, image: &Image) -> Result<u64> {
    image
        .chain
        .iter()
        .map(|layer| layer_size(store, layer))
        .sum()
}

/// Bytes on disk of one layer. Layers never change, so the sum is kept beside
/// the layer once somebody asked for it.
pub(crate) fn layer_size(store: &Store, layer: &ChainId) -> Result<u64> {
    if !store.snapshots().has(layer) {
        return Ok(0);
    }
    let kept = store.snapshots().fs(layer).with_file_name("size.json");
    if let Ok(Some(size)) = Record::read_if_exists::<u64>(&kept) {
        return Ok(size);
    }
    let size = store.snapshots().layer_usage(layer)?;
    // Without the note the next one counts again.
    let _ = Record::write(&kept, &size, Durability::Fast);
    Ok(size)
}
