//! Which containers, checkpoints and templates use an image.

use spec::Digest;
use state::{
    ContainerConfig, ContainerId, ContainerName, Facts, ImageUse, Layout, MountKind, Record, Status,
};
use sys::{Context, Result};

/// A container, a checkpoint or a template, as far as images are concerned.
pub(super) struct User {
    /// `container` …
    pub(super) what: &'static str,
    /// Of a container.
    pub(super) id: Option<ContainerId>,
    pub(super) name: ContainerName,
    /// The image's id.
    pub(super) image: Digest,
    pub(super) manifest: Digest,
    pub(super) running: bool,
}

/// All containers, checkpoints and templates of a store. One that is being removed is passed over; one
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
        for image in images_of(&config) {
            users.push(User {
                what: "container",
                id: Some(id),
                name: config.name.clone(),
                image: image.id,
                manifest: image.manifest,
                running,
            });
        }
    }
    for checkpoint in crate::checkpoints::all(layout)? {
        for image in images_of(&checkpoint.record.config) {
            users.push(User {
                what: "checkpoint",
                id: None,
                name: checkpoint.name.clone(),
                image: image.id,
                manifest: image.manifest,
                running: false,
            });
        }
    }
    for template in crate::templates::all(layout)? {
        let config = &template.record.config;
        for image in images_of(config) {
            users.push(User {
                what: "template",
                id: None,
                name: template
                    .record
                    .name
                    .clone()
                    .unwrap_or_else(|| config.name.clone()),
                image: image.id,
                manifest: image.manifest,
                running: false,
            });
        }
    }
    Ok(users)
}

fn images_of(config: &ContainerConfig) -> impl Iterator<Item = &ImageUse> {
    let mounted = config.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Image(mount) => mount.image.as_ref(),
        _ => None,
    });
    std::iter::once(&config.image).chain(mounted)
}
