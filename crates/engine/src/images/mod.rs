//! Images: pull, push, list, remove, tag, load, save, import, inspect.
//!
//! Here registries and the image store meet: `registry` gives readers, `image`
//! takes them. A verb that dies half-way leaves blobs and snapshots that no
//! name leads to; the next sweep takes them.
//!
//! Start reading at [`Images`], then [`pull`].

pub mod archive;
pub mod inspect;
pub mod layers;
pub mod list;
mod login;
pub mod pull;
pub mod push;
pub mod remove;
mod rework;
mod users;

use image::{Image, Limits, Store};
use registry::{Client, CredentialSource};
use spec::{Digest, Reference};
use state::EventKind;
use sys::{Context, Error, ErrorKind, Result};

pub use ::image::LayerProgress;
pub use ::registry::{CredentialFiles, Credentials, Uploaded};
pub use archive::ImportRequest;
pub use image::archive::Loaded;
pub use inspect::{HistoryEntry, ImageInspect};
pub use layers::{LayerView, TreeNode};
pub use list::ImageSummary;
pub(crate) use list::layer_size;
pub use pull::{LayerInfo, PullEvent, PullRequest, PullStatus, Pulled};
pub use push::{PushEvent, PushRequest, PushStep, Pushed};
pub use remove::{Force, Prune, Removed};

use crate::Engine;

/// The images of a store; one method is one verb.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    engine: &'a Engine,
}

impl<'a> Images<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine }
    }

    /// The store itself; cheap to open.
    pub fn store(&self) -> Result<Store> {
        let limits = Limits::from(&self.engine.config().settings.limits);
        Store::open(self.engine.layout(), limits)
    }

    /// The image of that name or id. `NotFound`: "no such image: x".
    pub fn find(&self, text: &str) -> Result<Image> {
        self.store()?.find(text)
    }

    /// Gives an image another name; another image loses it.
    pub fn tag(&self, source: &str, target: &str) -> Result<()> {
        let name = parse_name(target)?;
        if name.digest().is_some() {
            let words = format!("{target:?} has a digest, which cannot be given");
            return Err(Error::new(ErrorKind::InvalidInput, words));
        }
        let store = self.store()?;
        let _lock = store.use_lock()?;
        let image = store.find(source)?;
        store.references().set(&name, &image.manifest)?;
        self.tell("tag", &image.id, Some(&name));
        Ok(())
    }

    /// Writes an event about an image down.
    fn tell(self, action: &str, id: &Digest, name: Option<&Reference>) {
        let name = name.map(Reference::familiar);
        let id = id.to_string();
        self.engine
            .tell_of(EventKind::Image, action, &id, name.as_deref());
    }

    /// A client with the configured mirrors and credentials; opens nothing.
    fn client(self, credentials: Option<CredentialSource>) -> Client {
        let config = self.engine.config();
        let files = || CredentialSource::Files(config.credentials.clone());
        Client::new(
            config.settings.registry.clone(),
            credentials.unwrap_or_else(files),
        )
    }
}

/// A name as users write it.
fn parse_name(text: &str) -> Result<Reference> {
    text.parse::<Reference>()
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
        .context(|| "invalid image name")
}
