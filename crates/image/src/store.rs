//! Everything about images under one root, and how images are found.

use std::path::PathBuf;

use spec::image::{Descriptor, ImageConfig, Manifest};
use spec::{ChainId, DiffId, Digest, Reference};
use state::{FileLock, Layout};
use sys::{Context, Error, ErrorKind, Result};

use crate::content::{ContentStore, make_private};
use crate::digest::chain_of;
use crate::references::{Named, References};
use crate::snapshot::OverlaySnapshots;
use crate::{Limits, unpack};

/// Content, references and snapshots.
#[derive(Clone, Debug)]
pub struct Store {
    content: ContentStore,
    references: References,
    snapshots: OverlaySnapshots,
    limits: Limits,
    lock: PathBuf,
}

/// An image that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub manifest: Descriptor,
    /// The config's digest, as Docker identifies images.
    pub id: Digest,
    /// All its names.
    pub references: Vec<Reference>,
    pub parsed: Manifest,
    pub config: ImageConfig,
    /// Lowest layer first.
    pub chain: Vec<ChainId>,
}

/// One layer of an image that is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerToReceive {
    /// The blob, compressed as it is.
    pub descriptor: Descriptor,
    /// The digest that its tar must have.
    pub diff_id: DiffId,
    /// The snapshot that it becomes.
    pub chain_id: ChainId,
}

impl Store {
    /// Opens the store, which is made if it is not there. Reads nothing.
    pub fn open(layout: &Layout, limits: Limits) -> Result<Self> {
        let root = layout.content();
        make_private(layout.root())?;
        let content = ContentStore::open(&root, limits.max_document_bytes)?;
        Ok(Self {
            references: References::open(&root),
            snapshots: OverlaySnapshots::open(layout)?,
            lock: root.join("lock"),
            content,
            limits,
        })
    }

    /// Shared with all who add blobs or snapshots, or create containers; keeps
    /// [`Self::sweep`] away until dropped.
    pub fn use_lock(&self) -> Result<FileLock> {
        FileLock::shared(&self.lock)
    }

    /// Excludes all who add.
    pub(crate) fn sweep_lock(&self) -> Result<FileLock> {
        FileLock::exclusive(&self.lock)
    }

    /// The same without waiting; `None` if somebody adds.
    pub(crate) fn try_sweep_lock(&self) -> Result<Option<FileLock>> {
        FileLock::try_exclusive(&self.lock)
    }

    pub fn content(&self) -> &ContentStore {
        &self.content
    }

    pub fn references(&self) -> &References {
        &self.references
    }

    pub fn snapshots(&self) -> &OverlaySnapshots {
        &self.snapshots
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The image that `text` means: a name, an id, or the beginning of just
    /// one id. `NotFound` if there is none.
    pub fn find(&self, text: &str) -> Result<Image> {
        let missing = || Error::new(ErrorKind::NotFound, format!("no such image: {text}"));
        let entries = self.references.list()?;
        if let Ok(wanted) = text.parse::<Reference>() {
            let by_digest = wanted.digest();
            let found = entries.iter().find(|named| {
                named.reference.as_ref().is_some_and(|reference| {
                    *reference == wanted
                        || (reference.registry() == wanted.registry()
                            && reference.repository() == wanted.repository()
                            && (wanted.tag().is_none() || wanted.tag() == reference.tag())
                            && by_digest == Some(named.manifest.digest))
                })
            });
            if let Some(named) = found {
                return self.load_from(&entries, named.manifest.digest);
            }
        }
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        if prefix.is_empty() || prefix.len() > 128 || !prefix.bytes().all(is_hex) {
            return Err(missing());
        }
        let mut matching = self.list_from(&entries);
        matching.retain(|image| image.id.hex().starts_with(prefix));
        match matching.len() {
            0 => Err(missing()),
            1 => matching.pop().ok_or_else(missing),
            _ => {
                // Several manifests may share a config: that is one image id.
                let first = matching[0].id;
                if matching.iter().all(|image| image.id == first) {
                    return Ok(matching.swap_remove(0));
                }
                Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("several images have ids that begin with {text}"),
                ))
            }
        }
    }

    /// All images that are whole. One whose blobs are lost or damaged is left
    /// out here and says so when it is used.
    pub fn list(&self) -> Result<Vec<Image>> {
        Ok(self.list_from(&self.references.list()?))
    }

    /// The image of a manifest that the index keeps.
    pub fn load(&self, manifest: Digest) -> Result<Image> {
        self.load_from(&self.references.list()?, manifest)
    }

    fn list_from(&self, entries: &[Named]) -> Vec<Image> {
        let mut images: Vec<Image> = Vec::new();
        for named in entries {
            let digest = named.manifest.digest;
            if images.iter().all(|image| image.manifest.digest != digest)
                && let Ok(image) = self.load_from(entries, digest)
            {
                images.push(image);
            }
        }
        images
    }

    fn load_from(&self, entries: &[Named], manifest: Digest) -> Result<Image> {
        let missing = || Error::new(ErrorKind::NotFound, format!("no such image: {manifest}"));
        let own = || (entries.iter()).filter(|named| named.manifest.digest == manifest);
        let descriptor = &own().next().ok_or_else(missing)?.manifest;
        let mut image = self.read_image(descriptor)?;
        image.references = own().filter_map(|named| named.reference.clone()).collect();
        Ok(image)
    }

    /// Reads manifest and config, whether or not the index keeps them.
    pub fn read_image(&self, manifest: &Descriptor) -> Result<Image> {
        let parsed: Manifest = parse(&self.content.read(manifest)?, "manifest")?;
        let config: ImageConfig = parse(&self.content.read(&parsed.config)?, "image config")?;
        Ok(Image {
            manifest: manifest.clone(),
            id: parsed.config.digest,
            references: Vec::new(),
            chain: chain_of(&config.rootfs.diff_ids),
            parsed,
            config,
        })
    }

    /// What has to be had for an image, lowest layer first; checks that
    /// manifest and config fit each other.
    pub fn layers_of(
        &self,
        manifest: &Manifest,
        config: &ImageConfig,
    ) -> Result<Vec<LayerToReceive>> {
        let diff_ids = &config.rootfs.diff_ids;
        let (layers, ids) = (manifest.layers.len(), diff_ids.len());
        if layers != ids {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("the image has {layers} layers and its config lists {ids}"),
            ));
        }
        if layers > self.limits.max_layers {
            let limit = self.limits.max_layers;
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the image has {layers} layers, more than the limit of {limit}"),
            ));
        }
        if let Some(foreign) =
            (manifest.layers.iter()).find(|layer| layer.media_type.layer_compression().is_none())
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("layers of type {} are not known", foreign.media_type),
            ));
        }
        let parts = manifest.layers.iter().zip(diff_ids).zip(chain_of(diff_ids));
        Ok(parts
            .map(|((descriptor, diff_id), chain_id)| LayerToReceive {
                descriptor: descriptor.clone(),
                diff_id: *diff_id,
                chain_id,
            })
            .collect())
    }

    /// Unpacks from the blobs what is not unpacked yet or did not survive a
    /// power cut. Costs one lookup per layer if all is there.
    pub fn ensure_unpacked(&self, image: &Image) -> Result<()> {
        if image
            .chain
            .iter()
            .all(|chain_id| self.snapshots.has(chain_id))
        {
            return Ok(());
        }
        let _lock = self.use_lock()?;
        unpack::unpack_layers(self, &self.layers_of(&image.parsed, &image.config)?)
    }
}

/// Parses a JSON document that came from outside.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))
        .context(|| format!("read {what}"))
}
