//! Which containers use an image.

use spec::Digest;
use state::{
    ContainerConfig, ContainerId, ContainerName, Facts, Layout, MountKind, Record, Status,
};
use sys::{Context, Result};

/// A container, as far as images are concerned.
pub(super) struct User {
    pub(super) id: ContainerId,
    pub(super) name: ContainerName,
    /// The image's id.
    pub(super) image: Digest,
    pub(super) manifest: Digest,
    pub(super) running: bool,
}

/// All containers of a store. One that is being removed is passed over; one
/// that cannot be read is an error: its image would be lost.
pub(super) fn all(layout: &Layout) -> Result<Vec<User>> {
    let directory = layout.containers();
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(|| format!("read {}", directory.display())),
    };
    let mut users = Vec::new();
    for entry in entries {
        let entry = entry.context(|| format!("read {}", directory.display()))?;
        let name = entry.file_name();
        let Some(Ok(id)) = name.to_str().map(str::parse::<ContainerId>) else {
            continue;
        };
        let config: Option<ContainerConfig> =
            Record::read_if_exists(&layout.container_config(&id))?;
        let Some(config) = config else { continue };
        let facts: Option<Facts> = Record::read_if_exists(&layout.facts(&id))?;
        let running = matches!(
            Facts::status(facts.as_ref(), None),
            Status::Running { .. } | Status::Paused { .. }
        );
        let mounted = config.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Image(mount) => mount.image.as_ref(),
            _ => None,
        });
        for image in std::iter::once(&config.image).chain(mounted) {
            users.push(User {
                id,
                name: config.name.clone(),
                image: image.id,
                manifest: image.manifest,
                running,
            });
        }
    }
    Ok(users)
}
