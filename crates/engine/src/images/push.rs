//! From the store to a registry: blobs that it lacks, several at once, then
//! the manifest, as it is.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use image::{Image, Store};
use registry::{Client, CredentialSource, Upload, Uploaded};
use spec::image::Descriptor;
use spec::{Digest, Reference};
use sys::{Context, Error, ErrorKind, Result};

use super::Images;
use super::pull::LayerInfo;

const AT_ONCE: usize = 4;
/// Repositories that are asked whether they have a blob already.
const MOST_MOUNTS: usize = 2;

/// What to push.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// A name that is here and says where to push.
    pub reference: Reference,
    /// Instead of those of the files.
    pub credentials: Option<CredentialSource>,
}

/// What happens while an image is pushed; comes from several threads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushEvent {
    /// These layers shall be there, lowest first.
    Started {
        layers: Vec<LayerInfo>,
    },
    Layer {
        digest: Digest,
        step: PushStep,
    },
}

/// How far a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushStep {
    /// So many bytes are sent; begins anew when the connection breaks.
    Sent(u64),
    Done(Uploaded),
}

/// What a push came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Of the manifest.
    pub digest: Digest,
    /// Of the manifest, in bytes.
    pub size: u64,
}

/// Told what happens.
pub type OnPush<'a> = &'a (dyn Fn(PushEvent) + Sync);

impl Images<'_> {
    /// Sends an image to the registry of its name.
    pub fn push(&self, request: &PushRequest, on_event: OnPush<'_>) -> Result<Pushed> {
        let reference = &request.reference;
        let store = self.store()?;
        // Keeps a sweep away while blobs are read.
        let _lock = store.use_lock()?;
        let missing = || {
            let words = format!("no such image: {}", reference.familiar());
            Error::new(ErrorKind::NotFound, words)
        };
        let manifest = store.references().get(reference)?.ok_or_else(missing)?;
        let image = store.read_image(&manifest)?;
        let client = self.client(request.credentials.clone());
        let push = Push {
            store: &store,
            client: &client,
            reference,
            neighbours: neighbours(&store, reference)?,
            on_event,
        };
        push.send(&image)
            .context(|| format!("push {}", reference.familiar()))?;
        self.tell("push", &image.id, Some(reference));
        Ok(Pushed {
            digest: manifest.digest,
            size: manifest.size,
        })
    }
}

/// A repository of the same registry, and blobs that it probably has.
struct Neighbour {
    repository: String,
    blobs: BTreeSet<Digest>,
}

fn neighbours(store: &Store, reference: &Reference) -> Result<Vec<Neighbour>> {
    let mut found: Vec<Neighbour> = Vec::new();
    for image in store.list()? {
        let blobs = image.parsed.layers.iter().map(|layer| layer.digest);
        let blobs: BTreeSet<_> = blobs.collect();
        for name in &image.references {
            if name.registry() == reference.registry()
                && name.repository() != reference.repository()
            {
                found.push(Neighbour {
                    repository: name.repository().to_owned(),
                    blobs: blobs.clone(),
                });
            }
        }
    }
    Ok(found)
}

/// One push on its way.
struct Push<'a> {
    store: &'a Store,
    client: &'a Client,
    reference: &'a Reference,
    neighbours: Vec<Neighbour>,
    on_event: OnPush<'a>,
}

impl Push<'_> {
    fn send(&self, image: &Image) -> Result<()> {
        let mut blobs: Vec<&Descriptor> = Vec::new();
        for layer in &image.parsed.layers {
            // What lies at a vendor's URL is not ours to distribute.
            let foreign = !layer.urls.is_empty();
            if !foreign && blobs.iter().all(|blob| blob.digest != layer.digest) {
                blobs.push(layer);
            }
        }
        let layers = blobs.iter().map(|layer| LayerInfo {
            digest: layer.digest,
            size: layer.size,
        });
        (self.on_event)(PushEvent::Started {
            layers: layers.collect(),
        });
        self.layers(&blobs)?;
        self.blob(&image.parsed.config, &|_| {})?;
        let text = self.store.content().read(&image.manifest)?;
        self.client
            .put_manifest(self.reference, &image.manifest, &text)
    }

    fn layers(&self, blobs: &[&Descriptor]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let failure = Mutex::new(None);
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    return;
                };
                let digest = blob.digest;
                let tell = |step| (self.on_event)(PushEvent::Layer { digest, step });
                match self.blob(blob, &|sent| tell(PushStep::Sent(sent))) {
                    Ok(uploaded) => tell(PushStep::Done(uploaded)),
                    Err(error) => {
                        let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                        failure.get_or_insert(error);
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(blobs.len()) {
                scope.spawn(work);
            }
        });
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        failure.map_or(Ok(()), Err)
    }

    fn blob(&self, descriptor: &Descriptor, progress: &(dyn Fn(u64) + Sync)) -> Result<Uploaded> {
        let holders = self.neighbours.iter();
        let holders = holders.filter(|neighbour| neighbour.blobs.contains(&descriptor.digest));
        let mut mount_from: Vec<_> = holders
            .map(|neighbour| neighbour.repository.clone())
            .collect();
        mount_from.dedup();
        mount_from.truncate(MOST_MOUNTS);
        let open = || -> Result<Box<dyn Read + Send>> {
            Ok(Box::new(
                self.store.content().open_blob(&descriptor.digest)?,
            ))
        };
        let upload = Upload {
            descriptor,
            mount_from: &mount_from,
            open: &open,
            progress,
        };
        self.client.upload_blob(self.reference, &upload)
    }
}
