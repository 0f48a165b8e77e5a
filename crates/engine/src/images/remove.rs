//! `rmi`: names go first, and with the last name the image.

use std::time::{Duration, Instant};

use image::{Freed, Image, KeepAlive, Store};
use spec::image::{Descriptor, MediaType};
use spec::{Digest, Reference};
use sys::{Error, ErrorKind, Result};

use super::Images;
use super::list::tags_of;
use super::users::{self, User};
use crate::containers::PruneFilter;

/// How long a removal waits for pulls, loads and creations to end.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Whether to remove what is in the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Force {
    #[default]
    No,
    /// All names of an id; also under containers that do not run.
    Yes,
}

/// What a removal took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names, as people write them.
    pub untagged: Vec<String>,
    /// Ids of images.
    pub deleted: Vec<Digest>,
    /// Blobs, snapshots and bytes that are free now; none if a pull that goes
    /// on left them to the next removal.
    pub freed: Freed,
}

impl Images<'_> {
    /// Takes away a name, or an image by its id. `Conflict` if the image is in
    /// use, or has more names than the one given.
    pub fn remove(&self, text: &str, force: Force) -> Result<Removed> {
        let store = self.store()?;
        let image = store.find(text)?;
        let mut removed = Removed::default();
        match name_meant(&image, text) {
            Some(name) if has_another_name(&image, &name) => {
                store.references().remove(&name)?;
                self.tell("untag", &image.id, Some(&name));
                removed.untagged.push(name.familiar());
                return Ok(removed);
            }
            Some(_) => {}
            None => check_names(&image, text, force)?,
        }
        self.check_users(&image, text, force)?;
        let names = store.references().remove_manifest(&image.manifest.digest)?;
        removed.untagged = names.iter().map(Reference::familiar).collect();
        self.tell_removal(&image.id, &names);
        removed.deleted.push(image.id);
        removed.freed = self.sweep(&store)?;
        Ok(removed)
    }

    fn tell_removal(self, id: &Digest, names: &[Reference]) {
        for name in names {
            self.tell("untag", id, Some(name));
        }
        self.tell("delete", id, None);
    }

    /// Removes images that no container uses and that pass all filters: those
    /// without a tag, or all.
    pub fn prune(&self, which: Prune, filters: &[PruneFilter]) -> Result<Removed> {
        let store = self.store()?;
        let users = users::all(self.engine.layout())?;
        let mut removed = Removed::default();
        for image in store.list()? {
            let used = users.iter().any(|user| user.image == image.id);
            let wanted = which == Prune::Unused || tags_of(&image).is_empty();
            let created = image.config.created.as_deref();
            let created = created.and_then(|text| text.parse().ok());
            let labels = &image.config.config.labels;
            let passes = filters.iter().all(|filter| filter.lets_go(created, labels));
            if wanted && !used && passes {
                let names = store.references().remove_manifest(&image.manifest.digest)?;
                removed
                    .untagged
                    .extend(names.iter().map(Reference::familiar));
                self.tell_removal(&image.id, &names);
                removed.deleted.push(image.id);
            }
        }
        removed.freed = self.sweep(&store)?;
        Ok(removed)
    }

    fn check_users(self, image: &Image, text: &str, force: Force) -> Result<()> {
        let users = users::all(self.engine.layout())?;
        let Some(user) = in_the_way(&users, &image.id, force) else {
            return Ok(());
        };
        let state = if user.running { "running" } else { "stopped" };
        let words = match user.id {
            Some(id) => format!(
                "image {text} is used by {state} container {} ({})",
                user.name,
                id.short()
            ),
            None => format!("image {text} is used by {} {}", user.what, user.name),
        };
        Err(Error::new(ErrorKind::Conflict, words))
    }

    /// Frees what no name and no container leads to; waits for pulls to end.
    pub(crate) fn sweep_now(self) -> Result<Freed> {
        let store = self.store()?;
        store.sweep(|| self.still_used(&store))
    }

    /// Frees what no name and no container leads to. Where a pull or the like
    /// goes on for long, that is left to the next sweep.
    fn sweep(self, store: &Store) -> Result<Freed> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(freed) = store.try_sweep(|| self.still_used(store))? {
                return Ok(freed);
            }
            if Instant::now() >= deadline {
                return Ok(Freed::default());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What containers need. Asked under the store's lock, so that one made
    /// meanwhile keeps its image.
    pub(crate) fn still_used(self, store: &Store) -> Result<KeepAlive> {
        let mut keep = KeepAlive::default();
        for user in users::all(self.engine.layout())? {
            let size = match store.content().size(&user.manifest) {
                Ok(size) => size,
                // A lost manifest keeps nothing alive.
                Err(error) if error.kind() == ErrorKind::NotFound => 0,
                Err(error) => return Err(error),
            };
            let kind = MediaType::OciManifest;
            let manifest = Descriptor::new(kind, user.manifest, size);
            keep.manifests.push(manifest);
            keep.active.extend(user.id);
        }
        Ok(keep)
    }
}

/// The container that forbids to remove an image: any, or with force one that
/// runs, which is told first.
fn in_the_way<'a>(users: &'a [User], image: &Digest, force: Force) -> Option<&'a User> {
    let own = || users.iter().filter(|user| user.image == *image);
    own()
        .find(|user| user.running)
        .or_else(|| own().find(|_| force == Force::No))
}

fn check_names(image: &Image, text: &str, force: Force) -> Result<()> {
    let tags = tags_of(image);
    if force == Force::Yes || tags.len() < 2 {
        return Ok(());
    }
    let names: Vec<_> = tags.iter().map(Reference::familiar).collect();
    let words = format!("image {text} has several names ({})", names.join(", "));
    Err(Error::new(ErrorKind::Conflict, words))
}

/// Which images a prune takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prune {
    /// Those without a tag.
    #[default]
    Dangling,
    /// All that no container was made from.
    Unused,
}

/// Whether the image stays when `name` goes: by a tag, or in another
/// repository. A digest that it was pulled by goes with the last tag.
fn has_another_name(image: &Image, name: &Reference) -> bool {
    let mut others = image.references.iter().filter(|other| *other != name);
    others.any(|other| {
        other.digest().is_none()
            || other.registry() != name.registry()
            || other.repository() != name.repository()
    })
}

/// The name of the image that `text` is, if it is no id.
fn name_meant(image: &Image, text: &str) -> Option<Reference> {
    let wanted: Reference = text.parse().ok()?;
    image
        .references
        .iter()
        .find(|name| **name == wanted)
        .cloned()
}

#[cfg(test)]
mod tests {
    use state::ContainerId;

    use super::*;

    #[test]
    fn a_running_container_protects_its_image_even_from_force() {
        let image = |byte| Digest::sha256([byte; 32]);
        let user = |byte: u8, running| User {
            what: "container",
            id: Some(ContainerId::from_bytes([byte; 32])),
            name: "web".parse().unwrap(),
            image: image(byte),
            manifest: image(0),
            running,
        };
        let users = [user(1, false), user(2, false), user(2, true)];
        let found = |byte, force| in_the_way(&users, &image(byte), force).map(|user| user.running);
        assert_eq!(found(1, Force::No), Some(false));
        assert_eq!(found(1, Force::Yes), None);
        assert_eq!(found(2, Force::No), Some(true));
        assert_eq!(found(2, Force::Yes), Some(true));
        assert_eq!(found(3, Force::No), None);
    }
}
