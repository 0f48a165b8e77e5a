//! `diff` and `commit`.

use std::path::Path;

use image::CommitOptions;
use spec::image::{ContainerDefaults, Empty, LayerCompression};
use spec::{Digest, Reference};
use state::{ContainerConfig, MountKind};
use sys::{Context as _, Error, ErrorKind, Result};

use super::request::{CommitCompression, CommitRequest};
use super::start::Locked;
use super::stop::no_such;
use super::{Containers, observe};
use crate::cgroup::Hierarchies;
use crate::runtime_spec::cgroup_path;

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
        Ok(without_mount_points(changes, config))
    }

    /// Makes an image of it; gives the image's id. A running container stands
    /// still meanwhile, unless asked otherwise.
    pub fn commit(&self, container: &str, request: &CommitRequest) -> Result<Digest> {
        let id = self.resolve(container)?;
        let name = request.name.as_deref().map(parse_name).transpose()?;
        let locked = Locked::take(self.engine, id)?;
        let observed = &locked.observed;
        let config = &observed.config;
        let store = self.engine.images().store()?;
        let parent = store
            .load(config.image.manifest)
            .context(|| "find the image that the container was made from")?;
        let mut defaults = defaults(config, &parent.config.config);
        image::apply_changes(&mut defaults, &request.changes)?;
        let frozen = if request.pause && observed.is_running() {
            Some(Hierarchies::find()?.freeze(&cgroup_path(&id))?)
        } else {
            None
        };
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
        };
        let image = image::commit(&store, &id, &parent, options)?;
        drop(frozen);
        if let Some(name) = name {
            store.references().set(&name, &image.manifest)?;
        }
        Ok(image.id)
    }
}

/// The directories and files that were made to mount something on are not the
/// container's doing, nor is what that did to the directories around them.
fn without_mount_points(changes: Vec<Change>, config: &ContainerConfig) -> Vec<Change> {
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
    let (made, changes): (Vec<Change>, Vec<Change>) = changes
        .into_iter()
        .partition(|change| change.kind == ChangeKind::Added && is_mount_point(&change.path));
    let mut kept: Vec<Change> = Vec::new();
    // From the end, so that what is inside is judged before what is around.
    for change in changes.into_iter().rev() {
        let holds = |list: &[Change]| {
            list.iter()
                .any(|one| one.path != change.path && one.path.starts_with(&change.path))
        };
        if change.kind == ChangeKind::Deleted || !holds(&made) || holds(&kept) {
            kept.push(change);
        }
    }
    kept.reverse();
    kept
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
    for (range, protocol) in &config.exposed {
        for port in range.first..=range.last {
            let key = format!("{port}/{protocol}");
            defaults.exposed_ports.insert(key, Empty {});
        }
    }
    for mount in &config.mounts {
        if let MountKind::Volume(volume) = &mount.kind
            && volume.anonymous
        {
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
        config.mounts = vec![crate::parse::tmpfs("/srv/a/b").unwrap()];
        let change = |path: &str, kind| Change {
            path: path.into(),
            kind,
        };
        let changes = vec![
            change("/dev", Added),
            change("/etc", Modified),
            change("/etc/hosts", Added),
            change("/srv", Modified),
            change("/srv/a", Added),
            change("/srv/a/b", Added),
            change("/var", Modified),
            change("/var/x", Deleted),
            change("/zone", Modified),
        ];
        let left: Vec<String> = without_mount_points(changes, &config)
            .into_iter()
            .map(|change| change.path.display().to_string())
            .collect();
        assert_eq!(left, ["/var", "/var/x", "/zone"]);
    }
}
