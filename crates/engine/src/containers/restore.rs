//! `restore`: one more container goes on from a checkpoint.

use std::collections::BTreeMap;
use std::path::PathBuf;

use image::{Image, Store};
use state::{
    ContainerConfig, ContainerId, ContainerName, FileLock, ImageUse, MountKind, Names, PortRequest,
    Record, Timestamp,
};
use sys::{Context as _, Error, ErrorKind, Result};

use super::create::{check_host, fill_volumes};
use super::request::RemoveRequest;
use super::start::{Locked, Origin};
use super::{Containers, creation_lock};
use crate::checkpoints::{self, Checkpoint};
use crate::copy::copy_layers;
use crate::crash::crash_point;
use crate::undo::Undo;
use crate::volumes;

/// What is another one's than the checkpointed container's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreRequest {
    /// A random one if absent.
    pub name: Option<ContainerName>,
    /// In the place of those that the container published; as it did if
    /// absent.
    pub ports: Option<Vec<PortRequest>>,
    /// `--rm`.
    pub auto_remove: bool,
}

impl Containers<'_> {
    /// Makes a container of a checkpoint, which goes on where that one was. On
    /// failure nothing is left of it.
    pub fn restore(&self, checkpoint: &str, request: &RestoreRequest) -> Result<ContainerId> {
        let (_held, checkpoint) = self.engine.checkpoints().hold(checkpoint)?;
        let id = ContainerId::random()?;
        let create = || self.create_from(&checkpoint, id, request);
        match (create(), &request.name) {
            // As in `create`.
            (Err(error), Some(name))
                if error.kind() == ErrorKind::Conflict && self.engine.free_name(name)? =>
            {
                create()?;
            }
            (created, _) => created?,
        }
        crash_point!(self.engine, "after create");
        let memory = checkpoints::place(self.engine.layout(), &checkpoint.name).join("memory");
        let origin = Origin::Memory {
            directory: memory,
            parents: Vec::new(),
            record: None,
            hook: None,
            template: None,
            has_connections: checkpoint.record.memory.connections > 0,
        };
        let started = Locked::take(self.engine, id)
            .and_then(|locked| locked.start_from(&origin, None).map(drop));
        if let Err(error) = started {
            let remove = RemoveRequest {
                force: true,
                volumes: true,
            };
            return Err(match self.remove(&id.to_string(), remove) {
                Err(second) if second.kind() != ErrorKind::NotFound => {
                    error.wrap(format!("and its removal failed ({second})"))
                }
                _ => error,
            });
        }
        Ok(id)
    }

    fn create_from(
        &self,
        checkpoint: &Checkpoint,
        id: ContainerId,
        request: &RestoreRequest,
    ) -> Result<()> {
        let place = checkpoints::place(self.engine.layout(), &checkpoint.name);
        let config = &checkpoint.record.config;
        let volumes = super::checkpoint::anonymous_volumes(config)
            .enumerate()
            .map(|(number, volume)| {
                (
                    volume.name.clone(),
                    place.join("volumes").join(number.to_string()),
                )
            })
            .collect();
        let change = |config: &mut ContainerConfig| {
            config.auto_remove = request.auto_remove;
            config.clone_of = None;
            if let Some(ports) = &request.ports {
                config.ports.clone_from(ports);
                config.publish_all = false;
            }
        };
        let saved = Saved {
            config,
            layer: Some(place.join("layer")),
            volumes,
            change: &change,
            origin: ("checkpoint", checkpoint.name.to_string()),
        };
        self.create_saved(&saved, (id, request.name.as_ref()))
    }

    /// Makes a container as `saved` was; it does not run yet.
    pub(super) fn create_saved(
        &self,
        saved: &Saved<'_>,
        (id, name): (ContainerId, Option<&ContainerName>),
    ) -> Result<()> {
        let store = self.engine.images().store()?;
        let image = image_of(&store, saved.config)?;
        store.ensure_unpacked(&image)?;
        // As in `create`: no sweep in between.
        let _use = store.use_lock()?;
        let _creation = FileLock::shared(&creation_lock(self.engine.layout()))?;
        let mut undo = Undo::new();
        match self.create_saved_locked(saved, (id, name), (&store, &image), &mut undo) {
            Ok(()) => {
                undo.disarm();
                Ok(())
            }
            Err(error) => Err(undo.roll_back(error)),
        }
    }

    fn create_saved_locked<'u>(
        &self,
        saved: &Saved<'_>,
        (id, name): (ContainerId, Option<&ContainerName>),
        (store, image): (&'u Store, &Image),
        undo: &mut Undo<'u>,
    ) -> Result<()>
    where
        Self: 'u,
    {
        let engine = self.engine;
        let layout = engine.layout();
        let name = self.claim(name, &id)?;
        let (names, claimed) = (layout.clone(), name.clone());
        undo.push(move || Names::new(&names).release(&claimed, &id));
        let mut config = ContainerConfig {
            id,
            name,
            created: Timestamp::now(),
            // Never as the record says: it may come from elsewhere.
            image: ImageUse {
                name: saved.config.image.name.clone(),
                id: image.id,
                manifest: image.manifest.digest,
                chain: image.chain.clone(),
            },
            warm: None,
            ..saved.config.clone()
        };
        for endpoint in config.endpoints.iter_mut().flatten() {
            // The other one may have it still.
            endpoint.ipv4 = None;
            endpoint.ipv6 = None;
            endpoint.mac = None;
        }
        (saved.change)(&mut config);
        check_host(&config)?;
        self.make_place(&config, (store, image), undo)?;
        self.make_views(&config, store)?;
        if let Some(layer) = &saved.layer {
            let upper = layout.active_snapshot(&id).join("upper");
            copy_layers(std::slice::from_ref(layer), &upper)
                .context(|| "copy the writable layer")?;
        }
        crash_point!(engine, "after layer");
        let sources = new_volumes(&mut config, saved);
        self.make_volumes(&mut config, store, image, undo)?;
        fill_volumes(engine, &config, sources)?;
        crash_point!(engine, "after volumes");
        Record::create(&layout.container_config(&id), &config)?;
        engine.tell(&config, "create", std::slice::from_ref(&saved.origin));
        Ok(())
    }
}

impl Containers<'_> {
    /// Makes what clones write to their views of volumes to.
    fn make_views(&self, config: &ContainerConfig, store: &Store) -> Result<()> {
        let own = config.clone_of.as_ref().map(|origin| origin.template);
        for mount in &config.mounts {
            let MountKind::Cloned(volume) = &mount.kind else {
                continue;
            };
            let below = volumes::below_clone(self.engine.layout(), volume);
            // A record that comes from elsewhere may say anything.
            let (Some(top), true) = (below.last(), own == Some(volume.template)) else {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("volume {} is another one's", volume.name),
                ));
            };
            store
                .snapshots()
                .prepare_volume(&config.id, volume.number, top)?;
        }
        Ok(())
    }
}

/// A container as it was, of which others are made.
pub(super) struct Saved<'a> {
    pub(super) config: &'a ContainerConfig,
    /// Its writable layer, to be copied.
    pub(super) layer: Option<PathBuf>,
    /// Volumes that the new one gets copies of, by their names.
    pub(super) volumes: BTreeMap<String, PathBuf>,
    /// What is another one's.
    pub(super) change: &'a dyn Fn(&mut ContainerConfig),
    /// For the record of events.
    pub(super) origin: (&'static str, String),
}

/// Names nothing that is to be a copy; gives which mounts these are, and of
/// what.
fn new_volumes(config: &mut ContainerConfig, saved: &Saved<'_>) -> Vec<(usize, PathBuf)> {
    let mut sources = Vec::new();
    for (place, mount) in config.mounts.iter_mut().enumerate() {
        if let MountKind::Volume(volume) = &mut mount.kind
            && let Some(from) = saved.volumes.get(&volume.name)
        {
            volume.name.clear();
            volume.anonymous = true;
            volume.no_copy = true;
            sources.push((place, from.clone()));
        }
    }
    sources
}

/// The very image that the container ran from.
fn image_of(store: &Store, config: &ContainerConfig) -> Result<Image> {
    let image = store.load(config.image.manifest).map_err(|error| {
        if error.kind() != ErrorKind::NotFound {
            return error;
        }
        Error::new(
            ErrorKind::NotFound,
            format!(
                "the image that the container was made from is not here: pull or load {} with the \
                 digest {}",
                config.image.name, config.image.manifest
            ),
        )
    })?;
    if image.id != config.image.id {
        return Err(Error::new(
            ErrorKind::Corrupt,
            "the checkpoint names an image whose digests do not belong together",
        ));
    }
    Ok(image)
}
