use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use spec::image::{Descriptor, Index, MediaType};
use spec::{Digest, Reference};
use sys::{Context, Result};

use super::{DockerImage, FULL_NAME, REF_NAME};
use crate::buffer::CHUNK;
use crate::commit::json;
use crate::layer::tar::{Entry, EntryKind, Writer};
use crate::store::{Image, Store};

/// Writes the images, each with the names that are to be in the archive.
/// `progress` learns the bytes of blobs written.
pub fn save<W: Write>(
    store: &Store,
    images: &[(Image, Vec<Reference>)],
    sink: W,
    progress: &dyn Fn(u64),
) -> Result<W> {
    let _lock = store.use_lock()?;
    let mut tar = Writer::new(sink);
    let mut written = 0;
    let mut done: BTreeSet<Digest> = BTreeSet::new();
    for directory in ["blobs", "blobs/sha256"] {
        tar.begin(&entry(directory, EntryKind::Directory, 0))?;
    }
    for (image, _) in images {
        let parts = [&image.manifest, &image.parsed.config];
        for part in parts.into_iter().chain(&image.parsed.layers) {
            if done.insert(part.digest) {
                add_blob(store, part, &mut tar, &mut |bytes| {
                    written += bytes;
                    progress(written);
                })?;
            }
        }
    }
    for (name, content) in [
        ("index.json", json(&index_of(images))?),
        ("manifest.json", json(&docker_images(images))?),
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
    ] {
        tar.begin(&entry(name, EntryKind::File, content.len() as u64))?;
        tar.data(&content)?;
    }
    tar.finish()
}

fn add_blob<W: Write>(
    store: &Store,
    blob: &Descriptor,
    tar: &mut Writer<W>,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut file = store.content().open_blob(&blob.digest)?;
    let size = store.content().size(&blob.digest)?;
    tar.begin(&entry(&path_of(&blob.digest), EntryKind::File, size))?;
    let mut buffer = vec![0; CHUNK];
    while tar.due() > 0 {
        let wanted = usize::try_from(tar.due()).unwrap_or(CHUNK).min(CHUNK);
        (file.read_exact(&mut buffer[..wanted]))
            .context(|| format!("read blob {}", blob.digest))?;
        tar.data(&buffer[..wanted])?;
        progress(wanted as u64);
    }
    Ok(())
}

fn index_of(images: &[(Image, Vec<Reference>)]) -> Index {
    let mut manifests = Vec::new();
    for (image, names) in images {
        if names.is_empty() {
            manifests.push(image.manifest.clone());
        }
        for name in names {
            let mut manifest = image.manifest.clone();
            for key in [FULL_NAME, REF_NAME] {
                manifest
                    .annotations
                    .insert(key.to_owned(), name.to_string());
            }
            manifests.push(manifest);
        }
    }
    Index {
        schema_version: 2,
        media_type: Some(MediaType::OciIndex),
        manifests,
        annotations: BTreeMap::new(),
    }
}

fn docker_images(images: &[(Image, Vec<Reference>)]) -> Vec<DockerImage> {
    let one = |(image, names): &(Image, Vec<Reference>)| {
        // Docker knows only tags there.
        let tagged = names.iter().filter(|name| name.tag().is_some());
        let layers = image.parsed.layers.iter();
        DockerImage {
            config: path_of(&image.parsed.config.digest),
            repo_tags: Some(tagged.map(Reference::familiar).collect()),
            layers: Some(layers.map(|layer| path_of(&layer.digest)).collect()),
        }
    };
    images.iter().map(one).collect()
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The same images give the same archive: no times, no owners.
fn entry(path: &str, kind: EntryKind, size: u64) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        mode: if kind == EntryKind::Directory {
            0o755
        } else {
            0o644
        },
        kind,
        size,
        ..Entry::default()
    }
}
