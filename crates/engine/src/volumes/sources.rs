//! What the mounts of a container stand for on this host, found when it
//! starts.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use spec::runtime::IdMapping;
use state::{ContainerConfig, MountIdMap, MountKind, MountRequest};
use sys::{Context as _, Error, ErrorKind, Result};

use super::record::{Backing, with_address};
use super::{data, store};
use crate::Engine;

/// What is known of mounts beyond their requests, by target.
#[derive(Clone, Debug, Default)]
pub(crate) struct MountSources {
    /// Volumes that are not directories of their own.
    pub(crate) backings: BTreeMap<PathBuf, Backing>,
    /// Layers of images, the topmost first.
    pub(crate) layers: BTreeMap<PathBuf, Vec<PathBuf>>,
    /// Maps of user and group ids.
    pub(crate) ids: BTreeMap<PathBuf, (IdMapping, IdMapping)>,
}

/// Looks at everything that the container mounts.
pub(crate) fn mount_sources(engine: &Engine, config: &ContainerConfig) -> Result<MountSources> {
    let mut sources = MountSources::default();
    for mount in &config.mounts {
        look(engine, config, mount, &mut sources)
            .context(|| format!("mount {}", mount.target.display()))?;
    }
    Ok(sources)
}

fn look(
    engine: &Engine,
    config: &ContainerConfig,
    mount: &MountRequest,
    sources: &mut MountSources,
) -> Result<()> {
    let layout = engine.layout();
    let source = match &mount.kind {
        MountKind::Bind { source, .. } => source.clone(),
        MountKind::Volume(volume) => {
            let record = store::read(layout, &volume.name)?.ok_or_else(|| {
                let name = &volume.name;
                Error::new(ErrorKind::NotFound, format!("no such volume: {name}"))
            })?;
            let mut backing = record.backing()?;
            if let Backing::FileSystem {
                kind,
                device,
                options,
            } = &mut backing
            {
                with_address(kind, device, options)?;
            }
            let source = match &backing {
                Backing::Own => data(layout, &volume.name),
                Backing::Bind(path) => path.clone(),
                Backing::FileSystem { .. } if !volume.subpath.as_os_str().is_empty() => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "a subpath of a file system that the container mounts for itself",
                    ));
                }
                Backing::FileSystem { .. } => PathBuf::new(),
            };
            sources.backings.insert(mount.target.clone(), backing);
            source
        }
        MountKind::Tmpfs { .. } | MountKind::Cloned(_) => return Ok(()),
        MountKind::Image(image) => {
            let used = image
                .image
                .as_ref()
                .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the image is not known"))?;
            let store = engine.images().store()?;
            let layers = used
                .chain
                .iter()
                .rev()
                .map(|chain| store.snapshots().fs(chain));
            sources
                .layers
                .insert(mount.target.clone(), layers.collect());
            return Ok(());
        }
    };
    if let Some(wanted) = mount.id_map {
        let ids = id_maps(&source, wanted, &config.process.user)?;
        sources.ids.insert(mount.target.clone(), ids);
    }
    Ok(())
}

/// The owner of the source is the container's user. Files of everybody else
/// show as nobody's and cannot be made: who else is mapped could be made the
/// owner of set-id programs on the host.
fn id_maps(source: &Path, wanted: MountIdMap, user: &str) -> Result<(IdMapping, IdMapping)> {
    if source.as_os_str().is_empty() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "idmap is for directories of this host",
        ));
    }
    let owner = source
        .metadata()
        .context(|| format!("look at {}", source.display()))?;
    let (uid, gid) = match wanted {
        MountIdMap {
            uid: Some(uid),
            gid: Some(gid),
        } => (uid, gid),
        _ => numbers(user)?,
    };
    let map = |outside, inside| IdMapping {
        container_id: outside,
        host_id: inside,
        size: 1,
    };
    Ok((map(owner.uid(), uid), map(owner.gid(), gid)))
}

/// User and group as `--user` has them, in numbers.
fn numbers(user: &str) -> Result<(u32, u32)> {
    let (uid, gid) = user.split_once(':').unwrap_or((user, ""));
    let number = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text.parse().ok()
        }
    };
    match (number(uid), number(gid)) {
        (Some(uid), Some(gid)) => Ok((uid, gid)),
        _ => Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "idmap cannot know which numbers the user {user:?} has in the image: write idmap=UID@GID"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users_are_not_guessed() {
        assert_eq!(numbers("").unwrap(), (0, 0));
        assert_eq!(numbers("70").unwrap(), (70, 0));
        assert_eq!(numbers("70:71").unwrap(), (70, 71));
        assert!(numbers("postgres").is_err() && numbers("70:adm").is_err());
    }
}
