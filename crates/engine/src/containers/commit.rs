//! `diff`, `commit` and the sizes of both.

use std::path::Path;

use image::{CommitOptions, Image};
use spec::image::{ContainerDefaults, Empty, LayerCompression};
use spec::{Digest, Reference};
use state::{ContainerConfig, MountKind, Status};
use sys::{Context as _, Error, ErrorKind, Result};

use super::request::{CommitCompression, CommitRequest};
use super::start::Locked;
use super::still::Still;
use super::stop::no_such;
use super::{Containers, observe};
use crate::crash::crash_point;

/// One changed path of a container (`diff`).
pub use image::{Change, ChangeKind};

impl Containers<'_> {
    /// What its writable layer changes, sorted by path.
    pub fn diff(&self, container: &str) -> Result<Vec<Change>> {
        let id = self.resolve(container)?;
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        let store = self.engine.images().store()?;
        let config = &observed.config;
        let changes = store.snapshots().changes(&id, &config.image.chain)?;
        Ok(Sorted::by_author(changes, config).container)
    }

    /// Bytes on disk of what it wrote, and of that with its image's layers.
    pub fn sizes(&self, container: &str) -> Result<(u64, u64)> {
        let id = self.resolve(container)?;
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        let store = self.engine.images().store()?;
        let own = store.snapshots().usage(&id)?;
        let mut whole = own;
        for layer in &observed.config.image.chain {
            whole += crate::images::layer_size(&store, layer)?;
        }
        Ok((own, whole))
    }

    /// Makes an image of it; gives the image's id. A running container stands
    /// still meanwhile, unless asked otherwise.
    pub fn commit(&self, container: &str, request: &CommitRequest) -> Result<Digest> {
        let id = self.resolve(container)?;
        let locked = Locked::take(self.engine, id)?;
        let observed = &locked.observed;
        let config = &observed.config;
        let store = self.engine.images().store()?;
        // One that stands still already is not let go afterwards.
        let is_to_stand = request.pause && matches!(observed.status, Status::Running { .. });
        let still = is_to_stand.then(|| Still::make(&locked)).transpose()?;
        let (name, parent, options) = self.commit_options(container, request)?;
        crash_point!(self.engine, "while it stands");
        let image = image::commit(&store, &id, &parent, options);
        still.map_or(Ok(()), Still::let_go)?;
        let image = image?;
        if let Some(name) = name {
            store.references().set(&name, &image.manifest)?;
        }
        self.engine
            .tell(config, "commit", &[("imageID", image.id.to_string())]);
        Ok(image.id)
    }

    /// The new image's name, what it lies on, and all that it says besides
    /// its files.
    pub(super) fn commit_options(
        &self,
        container: &str,
        request: &CommitRequest,
    ) -> Result<(Option<Reference>, Image, CommitOptions)> {
        let name = request.name.as_deref().map(parse_name).transpose()?;
        let id = self.resolve(container)?;
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        let config = &observed.config;
        let store = self.engine.images().store()?;
        let parent = store
            .load(config.image.manifest)
            .context(|| "find the image that the container was made from")?;
        let mut defaults = defaults(config, &parent.config.config);
        image::apply_changes(&mut defaults, &request.changes)?;
        let changes = store.snapshots().changes(&id, &config.image.chain)?;
        let ours = Sorted::by_author(changes, config).ours;
        let command = config
            .process
            .entrypoint
            .iter()
            .chain(&config.process.command);
        let command: Vec<&str> = command.map(String::as_str).collect();
        let options = CommitOptions {
            author: request.author.clone(),
            message: request.message.clone(),
            created_by: Some(command.join(" ")),
            config: defaults,
            compression: match request.compression {
                CommitCompression::Gzip => LayerCompression::Gzip,
                CommitCompression::Zstd => LayerCompression::Zstd,
            },
            omit: ours.into_iter().map(|change| change.path).collect(),
        };
        Ok((name, parent, options))
    }
}

/// Changes, by whose doing they are.
pub(super) struct Sorted {
    pub(super) container: Vec<Change>,
    /// What was made to mount something on, and what that did to the times of
    /// the directories around.
    ours: Vec<Change>,
}

impl Sorted {
    pub(super) fn by_author(changes: Vec<Change>, config: &ContainerConfig) -> Self {
        const OURS: [&str; 6] = [
            "/dev",
            "/proc",
            "/sys",
            "/etc/hosts",
            "/etc/hostname",
            "/etc/resolv.conf",
        ];
        let is_mount_point = |path: &Path| {
            OURS.iter().any(|ours| path == Path::new(ours))
                || config.mounts.iter().any(|mount| mount.target == path)
        };
        let mut sorted = Self {
            container: Vec::new(),
            ours: Vec::new(),
        };
        // From the end, so that what is inside is judged before what is around.
        for change in changes.into_iter().rev() {
            let holds = |list: &[Change]| list.iter().any(|one| one.path.starts_with(&change.path));
            // A directory made on the way to a mount point looks like one that
            // the container made for it: what only holds ours is ours.
            let ours = match change.kind {
                ChangeKind::Deleted => false,
                ChangeKind::Added => is_mount_point(&change.path) || holds(&sorted.ours),
                ChangeKind::Modified => !change.itself && holds(&sorted.ours),
            };
            if ours && !holds(&sorted.container) {
                sorted.ours.push(change);
            } else {
                sorted.container.push(change);
            }
        }
        sorted.container.reverse();
        sorted
    }
}

/// What the new image's containers begin with: the container's own settings
/// over what only images have.
fn defaults(config: &ContainerConfig, parent: &ContainerDefaults) -> ContainerDefaults {
    let process = &config.process;
    let some = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    let mut defaults = ContainerDefaults {
        user: process.user.clone(),
        env: process.env.clone(),
        entrypoint: some(&process.entrypoint),
        cmd: some(&process.command),
        working_dir: process.workdir.clone(),
        labels: config.labels.clone(),
        ..parent.clone()
    };
    // Its memory lies below what is written now.
    defaults.labels.remove(super::warm::LABEL);
    for (range, protocol) in &config.exposed {
        for port in range.first..=range.last {
            let key = format!("{port}/{protocol}");
            defaults.exposed_ports.insert(key, Empty {});
        }
    }
    for mount in &config.mounts {
        let is_own = match &mount.kind {
            MountKind::Volume(volume) => volume.anonymous,
            MountKind::Cloned(_) => true,
            _ => false,
        };
        if is_own {
            let target = mount.target.display().to_string();
            defaults.volumes.insert(target, Empty {});
        }
    }
    defaults
}

fn parse_name(text: &str) -> Result<Reference> {
    let name = text
        .parse::<Reference>()
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
        .context(|| "invalid image name")?;
    if name.digest().is_some() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{text:?} has a digest, which cannot be given"),
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ChangeKind::{Added, Deleted, Modified};

    #[test]
    fn mount_points_are_no_changes() {
        let mut config = super::super::test_config();
        config.mounts = vec![
            crate::parse::tmpfs("/srv/a/b").unwrap(),
            crate::parse::tmpfs("/used").unwrap(),
        ];
        let change = |path: &str, kind, itself| Change {
            path: path.into(),
            kind,
            itself,
        };
        let changes = vec![
            change("/dev", Added, true),
            change("/etc", Modified, false),
            change("/etc/hosts", Added, true),
            // Made for a mount, and given other rights by the container.
            change("/run", Modified, true),
            change("/srv", Modified, false),
            change("/srv/a", Added, true),
            change("/srv/a/b", Added, true),
            change("/used", Added, true),
            change("/used/file", Added, true),
            change("/var", Modified, false),
            change("/var/x", Deleted, true),
            change("/zone", Modified, false),
        ];
        let sorted = Sorted::by_author(changes, &config);
        let names = |list: Vec<Change>| -> Vec<String> {
            list.into_iter()
                .map(|change| change.path.display().to_string())
                .collect()
        };
        assert_eq!(
            names(sorted.container),
            ["/run", "/used", "/used/file", "/var", "/var/x", "/zone"]
        );
        assert_eq!(
            names(sorted.ours),
            ["/srv/a/b", "/srv/a", "/srv", "/etc/hosts", "/etc", "/dev"]
        );
    }
}
