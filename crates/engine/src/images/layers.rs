//! What images are made of: who stands on whom, what each layer added, and
//! what two images differ in.

use image::{Change, ChangeKind, Image, Store};
use spec::Digest;
use sys::Result;

use super::{ImageSummary, Images, layer_size};

/// An image and what stands on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeNode {
    pub image: ImageSummary,
    /// Bytes of the layers that it has and its parent has not.
    pub own: u64,
    /// By name.
    pub children: Vec<TreeNode>,
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerView {
    /// Of its uncompressed tar.
    pub diff_id: String,
    /// Bytes on disk once unpacked.
    pub size: u64,
    pub created_by: String,
    /// What it does to those below, with the bytes of files; sorted by path.
    pub changes: Vec<(Change, u64)>,
}

impl Images<'_> {
    /// All images, each below the one whose layers it has and more; those
    /// without a parent first. With `only`, its relatives.
    pub fn tree(&self, only: Option<&str>) -> Result<Vec<TreeNode>> {
        let store = self.store()?;
        let wanted = only.map(|text| store.find(text)).transpose()?;
        let mut images: Vec<Image> = store.list()?;
        if let Some(wanted) = &wanted {
            images.retain(|one| {
                is_prefix(&one.chain, &wanted.chain) || is_prefix(&wanted.chain, &one.chain)
            });
        }
        images.sort_by_key(|image| image.chain.len());
        let parents: Vec<Option<usize>> =
            (0..images.len()).map(|at| parent_of(&images, at)).collect();
        let summaries = self.list()?;
        let mut roots = Vec::new();
        for (at, parent) in parents.iter().enumerate() {
            if parent.is_none() {
                roots.extend(node(&store, &images, &parents, &summaries, at)?);
            }
        }
        roots.sort_by_key(name);
        Ok(roots)
    }

    /// Its layers, lowest first.
    pub fn layers(&self, text: &str) -> Result<Vec<LayerView>> {
        let store = self.store()?;
        let image = store.find(text)?;
        store.ensure_unpacked(&image)?;
        let steps = image.config.history.iter().filter(|step| !step.empty_layer);
        let steps: Vec<&str> = steps
            .map(|step| step.created_by.as_deref().unwrap_or_default())
            .collect();
        // A config may tell less than it has layers: of the lowest, then.
        let untold = image.chain.len().saturating_sub(steps.len());
        let mut views = Vec::new();
        for (at, layer) in image.chain.iter().enumerate() {
            let step = at.checked_sub(untold).and_then(|step| steps.get(step));
            let changes = store
                .snapshots()
                .changes_of_layer(&image.chain[..at], layer)?;
            let directory = store.snapshots().fs(layer);
            let with_size = |change: Change| {
                let inside = change.path.strip_prefix("/").unwrap_or(&change.path);
                let metadata = std::fs::symlink_metadata(directory.join(inside));
                let size = metadata.ok().filter(std::fs::Metadata::is_file);
                let size = size.filter(|_| change.kind != ChangeKind::Deleted);
                (change, size.map_or(0, |metadata| metadata.len()))
            };
            views.push(LayerView {
                diff_id: image.config.rootfs.diff_ids[at].to_string(),
                size: layer_size(&store, layer)?,
                created_by: (*step.unwrap_or(&"")).to_owned(),
                changes: changes.into_iter().map(with_size).collect(),
            });
        }
        Ok(views)
    }

    /// What has to be done to `from`'s files to have `to`'s; sorted by path.
    pub fn diff(&self, from: &str, to: &str) -> Result<Vec<Change>> {
        let store = self.store()?;
        let (from, to) = (store.find(from)?, store.find(to)?);
        store.ensure_unpacked(&from)?;
        store.ensure_unpacked(&to)?;
        store.snapshots().changes_between(&from.chain, &to.chain)
    }
}

/// The image with the most layers among those whose layers are all below its
/// own. Of those with the very same layers, the first stands for all.
fn parent_of(images: &[Image], at: usize) -> Option<usize> {
    let own = &images[at].chain;
    let is_below = |other: &usize| {
        let chain = &images[*other].chain;
        let shorter = chain.len() < own.len() || (chain.len() == own.len() && *other < at);
        shorter && !chain.is_empty() && is_prefix(chain, own)
    };
    (0..images.len())
        .filter(is_below)
        .max_by_key(|other| (images[*other].chain.len(), std::cmp::Reverse(*other)))
}

fn is_prefix<T: PartialEq>(short: &[T], long: &[T]) -> bool {
    long.starts_with(short)
}

fn node(
    store: &Store,
    images: &[Image],
    parents: &[Option<usize>],
    summaries: &[ImageSummary],
    at: usize,
) -> Result<Option<TreeNode>> {
    let of = |id: &Digest| summaries.iter().find(|one| one.id == *id).cloned();
    let Some(image) = of(&images[at].id) else {
        // It was removed meanwhile.
        return Ok(None);
    };
    let below = parents[at].map_or(0, |parent| images[parent].chain.len());
    let mut own = 0;
    for layer in &images[at].chain[below..] {
        own += layer_size(store, layer)?;
    }
    let mut children = Vec::new();
    for (child, parent) in parents.iter().enumerate() {
        if *parent == Some(at) {
            children.extend(node(store, images, parents, summaries, child)?);
        }
    }
    children.sort_by_key(name);
    Ok(Some(TreeNode {
        image,
        own,
        children,
    }))
}

fn name(node: &TreeNode) -> (String, Digest) {
    let first = node.image.tags.first().map(spec::Reference::familiar);
    (first.unwrap_or_default(), node.image.id)
}
