use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};

use spec::image::{Descriptor, ImageConfig, Index, Manifest, MediaType, Platform};
use spec::{Algorithm, Digest, Reference};
use sys::{Context, Error, ErrorKind, Result};

use super::{DockerImage, FULL_NAME, REF_NAME};
use crate::buffer::CHUNK;
use crate::commit::json;
use crate::digest::digest_of;
use crate::layer::compression;
use crate::layer::tar::{EntryKind, Reader};
use crate::store::{Image, Store, parse};
use crate::unpack;

/// Files up to this size are kept in memory until it is known what they are.
const SMALL: u64 = 1 << 20;
/// All of those together.
const SMALL_TOTAL: u64 = 64 << 20;
/// Members of an archive: a few per layer.
const MAX_MEMBERS: usize = 100_000;

/// An image that an archive held.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub image: Image,
    /// The names that it got from the archive.
    pub references: Vec<Reference>,
}

/// Takes in every image of the archive that runs here, with its names.
/// `progress` learns the bytes read from the archive.
pub fn load(store: &Store, archive: impl Read, progress: &dyn Fn(u64)) -> Result<Vec<Loaded>> {
    let _lock = store.use_lock()?;
    let counted = Counted {
        inner: archive,
        count: Cell::new(0),
        progress,
    };
    let packed = BufReader::with_capacity(CHUNK, counted);
    let plain = BufReader::with_capacity(CHUNK, compression::decoder(packed)?);
    let members = Members::read(store, plain).context(|| "read archive")?;
    let found = members.images(store).context(|| "read archive")?;
    if found.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the archive holds no image for this machine",
        ));
    }
    let mut loaded = Vec::new();
    for (manifest, references) in found {
        let image = store.read_image(&manifest)?;
        unpack::unpack_layers(store, &store.layers_of(&image.parsed, &image.config)?)?;
        if references.is_empty() {
            store.references().keep(&manifest)?;
        }
        for reference in &references {
            store.references().set(reference, &manifest)?;
        }
        let image = store.load(manifest.digest)?;
        loaded.push(Loaded { image, references });
    }
    Ok(loaded)
}

/// Everything in an archive by path. Large files are blobs of the store by
/// now, whatever they are; the sweep takes what turns out to be unused.
#[derive(Default)]
struct Members {
    files: HashMap<String, Member>,
    links: HashMap<String, String>,
    small_total: u64,
}

#[derive(Clone)]
enum Member {
    Small(Vec<u8>),
    Blob(Box<Descriptor>),
}

impl Members {
    fn read(store: &Store, source: impl BufRead) -> Result<Self> {
        let mut members = Self::default();
        let mut reader = Reader::new(source);
        while let Some(entry) = reader.next_entry()? {
            let path = clean(&String::from_utf8_lossy(&entry.path));
            if members.files.len() + members.links.len() >= MAX_MEMBERS {
                return Err(invalid("it has too many members"));
            }
            match entry.kind {
                EntryKind::File => {
                    let member = members
                        .take(store, &path, (&mut reader, entry.size))
                        .context(|| path.clone())?;
                    members.files.insert(path, member);
                }
                // Older Dockers save a shared layer once and link to it.
                EntryKind::Symlink(target) => {
                    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                    let target = String::from_utf8_lossy(&target);
                    members
                        .links
                        .insert(path.clone(), clean(&format!("{parent}/{target}")));
                }
                EntryKind::HardLink(target) => {
                    let target = clean(&String::from_utf8_lossy(&target));
                    members.links.insert(path, target);
                }
                _ => {}
            }
        }
        Ok(members)
    }

    fn take<R: BufRead>(
        &mut self,
        store: &Store,
        path: &str,
        (reader, size): (&mut Reader<R>, u64),
    ) -> Result<Member> {
        let digest = digest_in(path);
        if size <= SMALL && self.small_total + size <= SMALL_TOTAL {
            self.small_total += size;
            let mut bytes = Vec::new();
            while let Some(chunk) = reader.next_chunk()? {
                bytes.extend_from_slice(chunk.bytes);
            }
            if digest.is_some_and(|digest| digest_of(digest.algorithm(), &bytes) != digest) {
                return Err(corrupt("the content does not match the digest"));
            }
            return Ok(Member::Small(bytes));
        }
        let media_type = MediaType::Other("application/octet-stream".to_owned());
        if let Some(digest) = digest {
            let blob = Descriptor::new(media_type, digest, size);
            if let Some(mut ingest) = store.content().ingest(&blob)? {
                ingest.restart()?;
                while let Some(chunk) = reader.next_chunk()? {
                    ingest.write(chunk.bytes)?;
                }
                ingest.commit()?;
            }
            return Ok(Member::Blob(Box::new(blob)));
        }
        let mut blob = store.content().create_blob()?;
        while let Some(chunk) = reader.next_chunk()? {
            blob.write_all(chunk.bytes).context(|| "store blob")?;
        }
        Ok(Member::Blob(Box::new(blob.commit(media_type)?)))
    }

    /// The manifests of all images with their names; their blobs are stored.
    fn images(&self, store: &Store) -> Result<Vec<(Descriptor, Vec<Reference>)>> {
        let docker: Vec<DockerImage> = match self.find("manifest.json") {
            Some(member) => parse(&content(store, member)?, "manifest.json")?,
            None => Vec::new(),
        };
        let mut found = match self.find("index.json") {
            Some(member) => {
                let index: Index = parse(&content(store, member)?, "index.json")?;
                let mut found = Vec::new();
                self.collect_index(store, &index, None, &mut found)?;
                found
            }
            None if docker.is_empty() => {
                return Err(invalid("it has neither index.json nor manifest.json"));
            }
            None => Vec::new(),
        };
        for image in &docker {
            self.add_docker(store, image, &mut found)
                .context(|| "manifest.json")?;
        }
        Ok(found)
    }

    fn collect_index(
        &self,
        store: &Store,
        index: &Index,
        inherited: Option<&Reference>,
        found: &mut Vec<(Descriptor, Vec<Reference>)>,
    ) -> Result<()> {
        for entry in &index.manifests {
            let named = name_in(entry);
            let name = named.as_ref().or(inherited);
            let mut bare = entry.clone();
            bare.annotations = BTreeMap::new();
            if entry.media_type.is_index() && inherited.is_none() {
                let bytes = self.store_document(store, &bare)?;
                let index: Index = parse(&bytes, "index")?;
                if let Some(chosen) = index.choose(&Platform::host()) {
                    let one = Index {
                        manifests: vec![chosen.clone()],
                        ..index.clone()
                    };
                    self.collect_index(store, &one, name, found)?;
                }
                continue;
            }
            if !entry.media_type.is_manifest() {
                continue;
            }
            let bytes = self.store_document(store, &bare)?;
            let manifest: Manifest = parse(&bytes, "manifest")?;
            self.store_document(store, &manifest.config)?;
            for layer in &manifest.layers {
                self.store_layer(store, layer)?;
            }
            bare.platform = None;
            add_names(found, bare, name.cloned());
        }
        Ok(())
    }

    /// Adds an image of `manifest.json`, unless the index had it: then its
    /// names alone.
    fn add_docker(
        &self,
        store: &Store,
        image: &DockerImage,
        found: &mut Vec<(Descriptor, Vec<Reference>)>,
    ) -> Result<()> {
        let config = self.find(&clean(&image.config));
        let config = config.ok_or_else(|| invalid(format!("{} is missing", image.config)))?;
        let config_bytes = content(store, config)?;
        let config_digest = digest_of(Algorithm::Sha256, &config_bytes);
        let names: Vec<Reference> = (image.repo_tags.iter().flatten())
            .filter_map(|name| name.parse().ok())
            .collect();
        let mut known = None;
        for (manifest, _) in &*found {
            let parsed: Manifest = parse(&store.content().read(manifest)?, "manifest")?;
            if parsed.config.digest == config_digest {
                known = Some(manifest.clone());
            }
        }
        let manifest = match known {
            Some(manifest) => manifest,
            None => self.make_manifest(store, image, &config_bytes)?,
        };
        add_names(found, manifest.clone(), None);
        for name in names {
            add_names(found, manifest.clone(), Some(name));
        }
        Ok(())
    }

    fn make_manifest(
        &self,
        store: &Store,
        image: &DockerImage,
        config_bytes: &[u8],
    ) -> Result<Descriptor> {
        let _: ImageConfig = parse(config_bytes, "image config")?;
        let config = store.content().put(MediaType::OciConfig, config_bytes)?;
        let mut layers = Vec::new();
        for path in image.layers.iter().flatten() {
            let member = self.find(&clean(path));
            let member = member.ok_or_else(|| invalid(format!("{path} is missing")))?;
            layers.push(layer_of(store, member).context(|| path.clone())?);
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MediaType::OciManifest),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        };
        store
            .content()
            .put(MediaType::OciManifest, &json(&manifest)?)
    }

    /// A member by path, through links as in a file system.
    fn find(&self, path: &str) -> Option<&Member> {
        let mut path = path;
        for _ in 0..40 {
            if let Some(member) = self.files.get(path) {
                return Some(member);
            }
            path = self.links.get(path)?;
        }
        None
    }

    fn by_digest(&self, digest: &Digest) -> Option<&Member> {
        let algorithm = digest.algorithm().name();
        self.find(&format!("blobs/{algorithm}/{}", digest.hex()))
    }

    /// Stores a manifest, index or config, and gives it.
    fn store_document(&self, store: &Store, wanted: &Descriptor) -> Result<Vec<u8>> {
        if let Some(Member::Small(bytes)) = self.by_digest(&wanted.digest) {
            store.content().put_verified(wanted, bytes)?;
        }
        store.content().read(wanted)
    }

    fn store_layer(&self, store: &Store, layer: &Descriptor) -> Result<()> {
        if let Some(Member::Small(bytes)) = self.by_digest(&layer.digest) {
            return store.content().put_verified(layer, bytes);
        }
        // It may have been here before: archives can leave such layers out.
        if store.content().size(&layer.digest)? != layer.size {
            return Err(corrupt(format!("layer {} has another size", layer.digest)));
        }
        Ok(())
    }
}

fn content(store: &Store, member: &Member) -> Result<Vec<u8>> {
    match member {
        Member::Small(bytes) => Ok(bytes.clone()),
        Member::Blob(blob) => store.content().read(blob),
    }
}

/// A layer of a docker-archive, as it is: plain, mostly.
fn layer_of(store: &Store, member: &Member) -> Result<Descriptor> {
    let mut start = [0; 16];
    match member {
        Member::Small(bytes) => {
            let packing = compression::detect(bytes)?;
            store.content().put(MediaType::OciLayer(packing), bytes)
        }
        Member::Blob(blob) => {
            let mut file = store.content().open_blob(&blob.digest)?;
            let length = file.read(&mut start)?;
            let packing = compression::detect(&start[..length])?;
            let media_type = MediaType::OciLayer(packing);
            Ok(Descriptor::new(media_type, blob.digest, blob.size))
        }
    }
}

/// The name of an entry of `index.json`. A bare tag there is no name.
fn name_in(entry: &Descriptor) -> Option<Reference> {
    let full = entry.annotations.get(FULL_NAME);
    let short = entry.annotations.get(REF_NAME);
    let is_name = |name: &&String| name.contains([':', '/', '@']);
    full.or(short.filter(is_name))?.parse().ok()
}

fn add_names(
    found: &mut Vec<(Descriptor, Vec<Reference>)>,
    manifest: Descriptor,
    name: Option<Reference>,
) {
    let at = found
        .iter()
        .position(|(known, _)| known.digest == manifest.digest);
    let at = at.unwrap_or_else(|| {
        found.push((manifest, Vec::new()));
        found.len() - 1
    });
    if let Some(name) = name
        && !found[at].1.contains(&name)
    {
        found[at].1.push(name);
    }
}

/// A path of the archive as a key; `..` cannot leave it.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The digest that a path of an OCI layout claims.
fn digest_in(path: &str) -> Option<Digest> {
    let (algorithm, hex) = path.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

struct Counted<'a, R> {
    inner: R,
    count: Cell<u64>,
    progress: &'a dyn Fn(u64),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.count.set(self.count.get() + length as u64);
        (self.progress)(self.count.get());
        Ok(length)
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}
