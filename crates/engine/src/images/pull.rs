//! From a registry into the store: manifest, config, then the missing layers,
//! several at once, each unpacked while it comes. The name is set last.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use image::{Image, LayerProgress, LayerToReceive, Store, receive_layer};
use registry::{Client, CredentialSource, Resolved};
use spec::image::{Descriptor, ImageConfig, Platform};
use spec::{Digest, Reference};
use state::EventKind;
use sys::{Context, Error, ErrorKind, Result};

use super::{Images, parse_name};
use crate::PullPolicy;

/// Layers on their way at once.
const AT_ONCE: usize = 4;
/// Configs are a few kilobytes.
const LARGEST_CONFIG: u64 = 8 << 20;

/// What to pull.
#[derive(Clone, Debug)]
pub struct PullRequest {
    pub reference: Reference,
    /// The host's if absent.
    pub platform: Option<Platform>,
    /// Instead of those of the files.
    pub credentials: Option<CredentialSource>,
}

impl PullRequest {
    pub fn new(reference: Reference) -> Self {
        Self {
            reference,
            platform: None,
            credentials: None,
        }
    }
}

/// What happens while an image is pulled; comes from several threads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PullEvent {
    /// The registry is asked for the name.
    Resolving { reference: Reference },
    /// The manifest is here; these are the layers, lowest first.
    Resolved {
        /// What the name itself leads to: the index, if there is one.
        digest: Digest,
        layers: Vec<LayerInfo>,
    },
    /// A layer goes on. Layers that occur twice report twice.
    Layer {
        digest: Digest,
        progress: LayerProgress,
    },
}

/// A layer as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    pub digest: Digest,
    /// Of the compressed blob, in bytes.
    pub size: u64,
}

/// What a pull came to.
#[derive(Clone, Debug)]
pub struct Pulled {
    pub image: Image,
    /// What the name leads to at the registry.
    pub digest: Digest,
    pub status: PullStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    /// The name led to this image before.
    UpToDate,
    Downloaded,
}

/// Told what happens.
pub type OnPull<'a> = &'a (dyn Fn(PullEvent) + Sync);

impl Images<'_> {
    /// The tags that the repository of `reference` has in its registry.
    pub fn tags(
        &self,
        reference: &Reference,
        credentials: Option<CredentialSource>,
    ) -> Result<Vec<String>> {
        self.client(credentials).tags(reference)
    }

    /// Gets an image from its registry.
    pub fn pull(&self, request: &PullRequest, on_event: OnPull<'_>) -> Result<Pulled> {
        let store = self.store()?;
        // Keeps a sweep away from what has no name yet.
        let _lock = store.use_lock()?;
        let client = self.client(request.credentials.clone());
        let reference = &request.reference;
        let host = Platform::host();
        let platform = request.platform.as_ref().unwrap_or(&host);
        on_event(PullEvent::Resolving {
            reference: reference.clone(),
        });
        let resolved = client.resolve(reference, platform)?;
        let before = store.references().get(reference)?;
        let manifest = resolved.manifest.0.clone();
        let known = before.is_some_and(|before| before.digest == manifest.digest);
        let pull = Pull {
            store: &store,
            client: &client,
            reference,
            on_event,
        };
        pull.receive(&resolved, platform)
            .context(|| format!("pull {}", reference.familiar()))?;
        if !known {
            store.references().set(reference, &manifest)?;
        }
        if let Some((index, _)) = &resolved.index {
            // What others call this very image, for all platforms.
            let name = reference.with_digest(index.digest);
            if store.references().get(&name)?.as_ref() != Some(&manifest) {
                store.references().set(&name, &manifest)?;
            }
        }
        let name = reference.familiar();
        self.engine
            .tell_of(EventKind::Image, "pull", &name, Some(&name));
        Ok(Pulled {
            image: store.load(manifest.digest)?,
            digest: resolved.digest(),
            status: if known {
                PullStatus::UpToDate
            } else {
                PullStatus::Downloaded
            },
        })
    }

    /// The image that a container shall be made of, unpacked: what is here,
    /// or what the registry has, as the policy says. Nothing of the network
    /// is touched for an image that is here.
    pub fn provide(
        &self,
        name: &str,
        policy: PullPolicy,
        platform: Option<&Platform>,
        on_event: OnPull<'_>,
    ) -> Result<Image> {
        let store = self.store()?;
        let here = match store.find(name) {
            Ok(image) => Some(image),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let fits = |image: &Image| platform.is_none_or(|wanted| fits(wanted, &image.config));
        let image = match (here, policy) {
            (Some(image), PullPolicy::Missing | PullPolicy::Never) if fits(&image) => image,
            (Some(image), PullPolicy::Never) => {
                let words = format!("{name} is for {}", platform_of(&image.config));
                return Err(Error::new(ErrorKind::NotFound, words));
            }
            (None, PullPolicy::Never) => return store.find(name),
            // An id cannot be pulled, so what is here is as new as it gets.
            (Some(image), PullPolicy::Always) if image.references.is_empty() => image,
            _ => {
                let request = PullRequest {
                    platform: platform.cloned(),
                    ..PullRequest::new(parse_name(name)?)
                };
                return Ok(self.pull(&request, on_event)?.image);
            }
        };
        store.ensure_unpacked(&image)?;
        Ok(image)
    }
}

/// One pull on its way.
struct Pull<'a> {
    store: &'a Store,
    client: &'a Client,
    reference: &'a Reference,
    on_event: OnPull<'a>,
}

impl Pull<'_> {
    fn receive(&self, resolved: &Resolved, platform: &Platform) -> Result<()> {
        let content = self.store.content();
        let (manifest, text) = &resolved.manifest;
        let config = self.config(&resolved.parsed.config)?;
        let layers = self.store.layers_of(&resolved.parsed, &config)?;
        if !fits(platform, &config) {
            let found = platform_of(&config);
            let words = format!(
                "the image is for {found}, not for {platform}; name its platform to pull it all the same"
            );
            return Err(Error::new(ErrorKind::Unsupported, words));
        }
        (self.on_event)(PullEvent::Resolved {
            digest: resolved.digest(),
            layers: layers.iter().map(info).collect(),
        });
        content.put_verified(manifest, text)?;
        self.layers(&layers)?;
        self.store.finish_layers(&layers)
    }

    fn config(&self, descriptor: &Descriptor) -> Result<ImageConfig> {
        let content = self.store.content();
        if !content.contains(&descriptor.digest) {
            if descriptor.size > LARGEST_CONFIG {
                let words = format!("the image config has {} bytes", descriptor.size);
                return Err(Error::new(ErrorKind::InvalidInput, words));
            }
            let mut text = Vec::new();
            self.client
                .blob(self.reference, descriptor, 0)?
                .read_to_end(&mut text)
                .context(|| "get the image config")?;
            content.put_verified(descriptor, &text)?;
        }
        serde_json::from_slice(&content.read(descriptor)?)
            .map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))
            .context(|| "read the image config")
    }

    /// The first failure stops the other layers; what they have is kept for
    /// the next attempt.
    fn layers(&self, layers: &[LayerToReceive]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let stop = Arc::new(AtomicBool::new(false));
        let failure = Mutex::new(None);
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    return;
                };
                if let Err(error) = self.layer(layer, &stop) {
                    // First the reason, then the stop that others fail of.
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(error);
                    stop.store(true, Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(layers.len()) {
                scope.spawn(work);
            }
        });
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        failure.map_or(Ok(()), Err)
    }

    fn layer(&self, layer: &LayerToReceive, stop: &Arc<AtomicBool>) -> Result<()> {
        let digest = layer.descriptor.digest;
        let content = self.store.content();
        if content.contains(&digest) && content.size(&digest)? != layer.descriptor.size {
            let words = format!("layer {digest} has not the size that the manifest says");
            return Err(Error::new(ErrorKind::Corrupt, words));
        }
        let mut fetch = |offset| -> Result<Box<dyn Read + Send>> {
            let blob = self
                .client
                .blob(self.reference, &layer.descriptor, offset)?;
            let stop = Arc::clone(stop);
            Ok(Box::new(Stoppable { blob, stop }))
        };
        receive_layer(self.store, layer, &mut fetch, &|progress| {
            (self.on_event)(PullEvent::Layer { digest, progress });
        })
    }
}

/// A blob that ends in an error once another layer failed.
struct Stoppable {
    blob: Box<dyn Read + Send>,
    stop: Arc<AtomicBool>,
}

impl Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            let error = Error::new(ErrorKind::Interrupted, "another layer failed");
            return Err(io::Error::other(error));
        }
        self.blob.read(buffer)
    }
}

fn info(layer: &LayerToReceive) -> LayerInfo {
    LayerInfo {
        digest: layer.descriptor.digest,
        size: layer.descriptor.size,
    }
}

/// Whether an image runs there. Configs that say nothing run anywhere.
fn fits(wanted: &Platform, config: &ImageConfig) -> bool {
    let unsaid = config.os.is_empty() || config.architecture.is_empty();
    unsaid || wanted.fit(&platform_of(config)).is_some()
}

pub(super) fn platform_of(config: &ImageConfig) -> Platform {
    Platform {
        variant: config.variant.clone(),
        ..Platform::new(&config.os, &config.architecture)
    }
}
