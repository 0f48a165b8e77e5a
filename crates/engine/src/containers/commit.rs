//! `diff` and `commit`.

use spec::Digest;
use sys::{Error, ErrorKind, Result};

use super::request::CommitRequest;
use super::start::Locked;
use super::stop::no_such;
use super::{Containers, observe};

/// One changed path of a container (`diff`).
pub use image::{Change, ChangeKind};

impl Containers<'_> {
    /// What its writable layer changes, sorted by path.
    pub fn diff(&self, container: &str) -> Result<Vec<Change>> {
        let id = self.resolve(container)?;
        let observed =
            observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        let store = self.engine.images().store()?;
        store.snapshots().changes(&id, &observed.config.image.chain)
    }

    /// Makes an image of it; gives the image's id.
    pub fn commit(&self, container: &str, request: &CommitRequest) -> Result<Digest> {
        let id = self.resolve(container)?;
        let _locked = Locked::take(self.engine, id)?;
        let _ = request;
        Err(Error::new(ErrorKind::Unsupported, "commit is not there yet"))
    }
}
