//! New images: a container's changes on top of its image, or a root file
//! system from a tar.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use spec::image::{
    ContainerDefaults, Descriptor, History, ImageConfig, LayerCompression, Manifest, MediaType,
    Platform, RootFs,
};
use spec::{Algorithm, DiffId};
use state::{ContainerId, Timestamp};
use sys::{Context, Result};

use crate::buffer::{Buffer, Pool};
use crate::content::NewBlob;
use crate::digest::{Hasher, chain_of};
use crate::layer::compression::{self, Compressor};
use crate::layer::diff::{Root, diff, looks_alike};
use crate::store::{Image, Store};
use crate::{pipe, tree, unpack};

/// What a commit says besides the files.
#[derive(Clone, Debug)]
pub struct CommitOptions {
    pub author: Option<String>,
    pub message: Option<String>,
    /// The command whose work this is.
    pub created_by: Option<String>,
    /// The new image's whole `config`: the container's, with changes.
    pub config: ContainerDefaults,
    pub compression: LayerCompression,
    /// Absolute paths in the container that are not its own doing (what was
    /// made to mount on): left out, with all that is in them.
    pub omit: HashSet<PathBuf>,
}

/// What an import says besides the files.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    pub message: Option<String>,
    pub config: ContainerDefaults,
    pub platform: Platform,
    /// For a plain tar; a compressed one stays as it is.
    pub compression: LayerCompression,
}

/// Makes an image of `parent` and what the container changed. It is kept
/// without a name until one is set. The container should not write meanwhile.
pub fn commit(
    store: &Store,
    id: &ContainerId,
    parent: &Image,
    options: CommitOptions,
) -> Result<Image> {
    // A layer of its own for each snapshot that the container stands on.
    let mut written = store.snapshots().sealed(id)?;
    written.push(store.snapshots().upper(id));
    commit_layers(store, &written, &[], parent, options)
}

/// As [`commit`], of directories in overlayfs' form, the lowest first.
/// `packed` go on top, with zstd; what their roots look like does not matter.
pub fn commit_layers(
    store: &Store,
    written: &[PathBuf],
    packed: &[PathBuf],
    parent: &Image,
    options: CommitOptions,
) -> Result<Image> {
    let _lock = store.use_lock()?;
    let mut config = parent.config.clone();
    let created = Some(Timestamp::now().to_string());
    let mut layers: Vec<Descriptor> = parent.parsed.layers.iter().map(as_oci).collect();
    let mut below = store.snapshots().top(&parent.chain);
    let all = written.iter().chain(packed).enumerate();
    for (number, directory) in all {
        let (layer, diff_id) = if number < written.len() {
            pack(store, directory, &below, &options)
        } else {
            let packing = (LayerCompression::Zstd, &HashSet::new());
            pack_as(store, directory, Root::Omitted, packing)
        }
        .context(|| "pack changes")?;
        config.history.push(History {
            created: created.clone(),
            created_by: options.created_by.clone(),
            author: options.author.clone(),
            comment: options.message.clone(),
            empty_layer: false,
        });
        config.rootfs.diff_ids.push(diff_id);
        layers.push(layer);
        below.clone_from(directory);
    }
    config.created = created;
    config.author = options.author.or(config.author);
    config.config = options.config;
    add(store, &config, layers)
}

/// Makes an image of one layer from a tar, which may be compressed. It is kept
/// without a name until one is set. `progress` learns the bytes read.
pub fn import(
    store: &Store,
    mut tar: impl Read,
    options: ImportOptions,
    progress: &dyn Fn(u64),
) -> Result<Image> {
    let _lock = store.use_lock()?;
    let mut blob = Some(store.content().create_blob()?);
    let staging = store.snapshots().begin()?;
    let mut stored = None;
    let unpacked = pipe::unpack(staging.open()?, store.limits(), Algorithm::Sha256, |feed| {
        let mut first = read_chunk(&mut tar, feed.pool())?;
        let found = compression::detect(&first)?;
        let (packing, write) = match found {
            LayerCompression::None => (options.compression, options.compression),
            packed => (packed, LayerCompression::None),
        };
        let Some(blob) = blob.take() else {
            return Ok(());
        };
        let mut compressor = Compressor::new(write, blob)?;
        let mut read = 0;
        while !first.is_empty() {
            read += first.len() as u64;
            compressor.write_all(&first).context(|| "store layer")?;
            feed.send(first)?;
            progress(read);
            first = read_chunk(&mut tar, feed.pool())?;
        }
        let blob = compressor.finish().context(|| "store layer")?;
        stored = Some(blob.commit(MediaType::OciLayer(packing))?);
        Ok(())
    })
    .context(|| "import")?;
    let layer = stored.ok_or_else(|| {
        sys::Error::new(sys::ErrorKind::Internal, "an import ended without a layer")
    })?;
    let chain = chain_of(&[unpacked.diff_id]);
    staging.finish(store.snapshots(), &chain[0], &unpacked.unfinished)?;
    let created = Some(Timestamp::now().to_string());
    let config = ImageConfig {
        created: created.clone(),
        author: None,
        architecture: options.platform.architecture,
        os: options.platform.os,
        variant: options.platform.variant,
        os_version: None,
        config: options.config,
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: vec![unpacked.diff_id],
        },
        history: vec![History {
            created,
            comment: options.message,
            ..History::default()
        }],
    };
    add(store, &config, vec![layer])
}

/// Makes an image of the layers that `image` has above `from`, on top of
/// `onto`. It is kept without a name until one is set.
pub fn rebase(store: &Store, image: &Image, from: &Image, onto: &Image) -> Result<Image> {
    let _lock = store.use_lock()?;
    let own = from.chain.len();
    let layers = onto.parsed.layers.iter().chain(&image.parsed.layers[own..]);
    let layers = layers.map(as_oci).collect();
    let mut config = image.config.clone();
    config
        .rootfs
        .diff_ids
        .clone_from(&onto.config.rootfs.diff_ids);
    config
        .rootfs
        .diff_ids
        .extend_from_slice(&image.config.rootfs.diff_ids[own..]);
    let steps = image.config.history.iter().skip(from.config.history.len());
    config.history = onto.config.history.iter().chain(steps).cloned().collect();
    config.created = Some(Timestamp::now().to_string());
    add(store, &config, layers)
}

/// Stores config and manifest, and finishes the snapshots.
fn add(store: &Store, config: &ImageConfig, layers: Vec<Descriptor>) -> Result<Image> {
    let config_blob = store.content().put(MediaType::OciConfig, &json(config)?)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MediaType::OciManifest),
        artifact_type: None,
        config: config_blob,
        layers,
        subject: None,
        annotations: BTreeMap::new(),
    };
    let manifest_blob = store
        .content()
        .put(MediaType::OciManifest, &json(&manifest)?)?;
    unpack::unpack_layers(store, &store.layers_of(&manifest, config)?)?;
    store.references().keep(&manifest_blob)?;
    store.load(manifest_blob.digest)
}

fn pack(
    store: &Store,
    directory: &Path,
    below: &Path,
    options: &CommitOptions,
) -> Result<(Descriptor, DiffId)> {
    let upper = tree::open_directory(directory)?;
    let below = tree::open_directory(below)?;
    let root = if looks_alike(&upper, &below)? {
        Root::Omitted
    } else {
        Root::Described
    };
    pack_as(store, directory, root, (options.compression, &options.omit))
}

fn pack_as(
    store: &Store,
    directory: &Path,
    root: Root,
    (compression, omitted): (LayerCompression, &HashSet<PathBuf>),
) -> Result<(Descriptor, DiffId)> {
    let upper = tree::open_directory(directory)?;
    let sink = Hashing {
        hasher: Hasher::new(Algorithm::Sha256),
        inner: Compressor::new(compression, store.content().create_blob()?)?,
    };
    let omit = |path: &[u8]| {
        let path = Path::new(OsStr::from_bytes(path));
        !omitted.is_empty() && omitted.contains(&Path::new("/").join(path))
    };
    let sink = diff(&upper, root, &omit, sink)?;
    let diff_id = DiffId(sink.hasher.finish());
    let blob: NewBlob = sink.inner.finish()?;
    Ok((blob.commit(MediaType::OciLayer(compression))?, diff_id))
}

/// The same blob in a manifest of the OCI.
fn as_oci(layer: &Descriptor) -> Descriptor {
    let mut layer = layer.clone();
    if let MediaType::DockerLayer(compression) = layer.media_type {
        layer.media_type = MediaType::OciLayer(compression);
    }
    layer
}

/// Hashes what passes.
struct Hashing<W> {
    hasher: Hasher,
    inner: W,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| sys::Error::new(sys::ErrorKind::Internal, error.to_string()))
}

/// As much as fits; empty at the end.
fn read_chunk(source: &mut impl Read, pool: &Pool) -> Result<Buffer> {
    let fill = |bytes: &mut [u8]| {
        let mut filled = 0;
        while filled < bytes.len() {
            match source.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    };
    pool.fill(fill).context(|| "read tar")
}
