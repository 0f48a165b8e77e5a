//! `system df`: what is where on the disk, and what could go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use spec::{ChainId, Digest};
use state::{ContainerConfig, ContainerId, Record, Status, Timestamp};
use sys::Result;

use crate::Engine;
use crate::containers::observe;
use crate::images::layer_size;
use crate::volumes::{self, volumes_of};

/// All that a store holds.
#[derive(Clone, Debug, Default)]
pub struct DiskUsage {
    pub images: Vec<ImageUsage>,
    pub containers: Vec<ContainerUsage>,
    pub volumes: Vec<VolumeUsage>,
    pub checkpoints: Vec<CheckpointUsage>,
    pub templates: Vec<TemplateUsage>,
    /// Bytes of all layers, each once, and of what they were made from.
    pub layers: u64,
    /// Bytes of images that no container uses.
    pub layers_unused: u64,
}

/// One image.
#[derive(Clone, Debug)]
pub struct ImageUsage {
    pub id: Digest,
    /// Names with a tag, as people write them.
    pub names: Vec<String>,
    pub created: Option<String>,
    /// Bytes of layers that other images have, too.
    pub shared: u64,
    /// Bytes that are its own.
    pub unique: u64,
    pub containers: usize,
}

/// One container.
#[derive(Clone, Debug)]
pub struct ContainerUsage {
    pub id: ContainerId,
    pub name: String,
    pub image: String,
    pub command: Vec<String>,
    pub created: Timestamp,
    pub status: Status,
    /// Bytes of its writable layer and, while it is suspended, its memory.
    pub size: u64,
    /// Bytes of its log, old files included.
    pub log: u64,
    pub volumes: usize,
}

/// One checkpoint.
#[derive(Clone, Debug)]
pub struct CheckpointUsage {
    pub name: String,
    /// Of the container that it was made of.
    pub container: String,
    pub created: Timestamp,
    /// Bytes of memory and files.
    pub size: u64,
}

/// One template.
#[derive(Clone, Debug)]
pub struct TemplateUsage {
    pub id: ContainerId,
    /// None of one that is there for its clones alone.
    pub name: Option<String>,
    /// Of the container that it was made of.
    pub container: String,
    pub created: Timestamp,
    /// Bytes of memory and files.
    pub size: u64,
    pub clones: usize,
}

/// One volume.
#[derive(Clone, Debug)]
pub struct VolumeUsage {
    pub name: String,
    pub size: u64,
    /// Containers that have it.
    pub users: usize,
}

impl ContainerUsage {
    /// Neither runs nor waits to.
    pub fn is_over(&self) -> bool {
        matches!(self.status, Status::Created | Status::Exited(_))
    }
}

impl Engine {
    /// Measures everything in the store; reads every directory of it.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        let mut usage = DiskUsage::default();
        let store = self.images().store()?;
        let mut configs = Vec::new();
        for entry in crate::entries(&self.layout().containers())? {
            let Ok(id) = entry.parse::<ContainerId>() else {
                continue;
            };
            let Some(observed) = observe::observe(self, &id)? else {
                continue;
            };
            let memory = match &observed.status {
                Status::Suspended(suspended) => suspended.memory.size,
                _ => 0,
            };
            let config = observed.config;
            usage.containers.push(ContainerUsage {
                id,
                name: config.name.to_string(),
                image: config.image.name.clone(),
                command: [&config.process.entrypoint[..], &config.process.command].concat(),
                created: config.created,
                status: observed.status,
                size: store.snapshots().usage(&id).unwrap_or(0) + memory,
                log: self.log_usage(&id)?,
                volumes: volumes_of(&config).count(),
            });
            configs.push(config);
        }
        for one in crate::checkpoints::all(self.layout())? {
            usage.checkpoints.push(CheckpointUsage {
                size: crate::checkpoints::size(self.layout(), &one.name).unwrap_or(0),
                container: one.record.config.name.to_string(),
                created: one.record.created,
                name: one.name.to_string(),
            });
            // Its image has to stay.
            configs.push(*one.record.config);
        }
        for one in crate::templates::all(self.layout())? {
            usage.templates.push(TemplateUsage {
                id: one.id,
                size: crate::templates::size(self.layout(), &one.id).unwrap_or(0),
                container: one.record.config.name.to_string(),
                created: one.record.created,
                name: one.record.name.map(|name| name.to_string()),
                clones: one.users.len(),
            });
            configs.push(*one.record.config);
        }
        self.measure_images(&mut usage, &configs)?;
        configs.truncate(usage.containers.len());
        for name in volumes::names(self.layout())? {
            let users = configs
                .iter()
                .filter(|config| volumes_of(config).any(|volume| volume == name))
                .count();
            usage.volumes.push(VolumeUsage {
                size: image::disk_usage(&self.layout().volumes().join(&name)).unwrap_or(0),
                users,
                name,
            });
        }
        Ok(usage)
    }

    /// The configurations of all containers.
    pub(crate) fn configs(&self) -> Result<Vec<ContainerConfig>> {
        let mut configs = Vec::new();
        for entry in crate::entries(&self.layout().containers())? {
            if let Ok(id) = entry.parse::<ContainerId>() {
                let path = self.layout().container_config(&id);
                configs.extend(Record::read_if_exists::<ContainerConfig>(&path)?);
            }
        }
        Ok(configs)
    }

    fn measure_images(&self, usage: &mut DiskUsage, configs: &[ContainerConfig]) -> Result<()> {
        let store = self.images().store()?;
        let images = store.list()?;
        let mut holders: BTreeMap<ChainId, usize> = BTreeMap::new();
        for image in &images {
            for layer in &image.chain {
                *holders.entry(*layer).or_default() += 1;
            }
        }
        let mut needed: BTreeSet<ChainId> = BTreeSet::new();
        let mut needed_blobs: BTreeSet<Digest> = BTreeSet::new();
        for config in configs {
            needed.extend(&config.image.chain);
        }
        for image in &images {
            let of_image = |config: &&ContainerConfig| config.image.id == image.id;
            // Those of checkpoints follow: they keep the image, and run in nothing.
            let containers = configs.iter().take(usage.containers.len());
            let containers = containers.filter(of_image).count();
            if configs.iter().any(|config| of_image(&config)) {
                needed_blobs.extend(image.parsed.layers.iter().map(|layer| layer.digest));
            }
            let (mut shared, mut unique) = (0, 0);
            for layer in &image.chain {
                let size = layer_size(&store, layer)?;
                if holders.get(layer).is_some_and(|count| *count > 1) {
                    shared += size;
                } else {
                    unique += size;
                }
            }
            let mut names: Vec<String> = image
                .references
                .iter()
                .filter(|name| name.digest().is_none())
                .map(spec::Reference::familiar)
                .collect();
            names.sort();
            usage.images.push(ImageUsage {
                id: image.id,
                names,
                created: image.config.created.clone(),
                shared,
                unique,
                containers,
            });
        }
        // Layers as containers use them, and the blobs that they came as.
        for layer in holders
            .keys()
            .chain(needed.iter().filter(|one| !holders.contains_key(one)))
        {
            let size = layer_size(&store, layer)?;
            usage.layers += size;
            if !needed.contains(layer) {
                usage.layers_unused += size;
            }
        }
        let blobs: BTreeMap<Digest, u64> = images
            .iter()
            .flat_map(|image| &image.parsed.layers)
            .map(|layer| (layer.digest, layer.size))
            .collect();
        for (digest, size) in blobs {
            usage.layers += size;
            if !needed_blobs.contains(&digest) {
                usage.layers_unused += size;
            }
        }
        Ok(())
    }

    fn log_usage(&self, id: &ContainerId) -> Result<u64> {
        let directory = self.layout().container(id);
        let is_log = |name: &String| name == "log" || name.starts_with("log.");
        let names = crate::entries(&directory)?;
        Ok(names
            .iter()
            .filter(|name| is_log(name))
            .filter_map(|name| size_of(&directory.join(name)))
            .sum())
    }
}

/// On the disk.
fn size_of(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Some(path.symlink_metadata().ok()?.blocks() * 512)
}
