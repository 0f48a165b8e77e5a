//! `checkpoint`: a container at one instant, with its memory and its files,
//! under a name.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use state::checkpoint::CHECKPOINT_VERSION;
use state::{
    Channel, CheckpointRecord, Connections, ContainerConfig, ContainerName, Departure, DumpJob,
    IpcMode, MountKind, MountRequest, PidMode, RootFs, Timestamp, ToMonitor, VolumeMount,
};
use sys::{Context as _, Error, ErrorKind, Result};

use super::attach::running;
use super::pause::ask;
use super::start::Locked;
use super::stop::no_such;
use super::suspend::{Afterwards, SHARED_IPC, depart, write_twice};
use super::{Containers, DumpProgress, observe};
use crate::checkpoints::{self, Unfinished};
use crate::copy::{copy_layers, copy_merged};
use crate::crash::crash_point;
use crate::dumper::Dumper;
use crate::{Engine, volumes};

/// How a checkpoint is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointRequest {
    /// The container goes on afterwards.
    pub leave_running: bool,
    pub connections: Connections,
}

impl Containers<'_> {
    /// Makes a checkpoint of a running container. On failure it runs on, and
    /// there is none.
    pub fn checkpoint(
        &self,
        container: &str,
        name: &str,
        request: CheckpointRequest,
        tell: &dyn Fn(DumpProgress),
    ) -> Result<CheckpointRecord> {
        let id = self.resolve(container)?;
        let name = checkpoints::parse(name)?;
        let write = |afterwards| {
            let locked = Locked::take(self.engine, id)?;
            let channel = running(self.engine, &id, container)?;
            let unfinished = Unfinished::begin(self.engine.layout(), &name)?;
            let how = (request.connections, afterwards);
            locked
                .checkpoint(&channel, unfinished, (&name, how), tell)
                .context(|| format!("container {container}"))
        };
        if request.leave_running {
            return write_twice(write);
        }
        write(Afterwards::Ends)
    }

    /// What would be in the way of a checkpoint, one sentence each. The
    /// container is only looked at.
    pub fn check_checkpoint(
        &self,
        container: &str,
        connections: Connections,
    ) -> Result<Vec<String>> {
        let id = self.resolve(container)?;
        drop(running(self.engine, &id, container)?);
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        let sandbox = observed.facts.and_then(|facts| facts.sandbox);
        let Some(sandbox) = sandbox else {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("container {container} just ended"),
            ));
        };
        let mut found = Vec::new();
        if observed.config.namespaces.pid != PidMode::Private {
            found.push("its process ids are not its own; run it without --pid".to_owned());
        }
        if matches!(observed.config.namespaces.ipc, IpcMode::Container(_)) {
            found.push(SHARED_IPC.to_owned());
        }
        let job = DumpJob {
            init: sandbox.init,
            stdio: sandbox.stdio,
            cgroup: sandbox.cgroup,
            connections,
            goes_on: true,
            is_exact: false,
            only_check: true,
        };
        found.extend(Dumper::start(self.engine, &job, None)?.checked()?);
        Ok(found)
    }
}

impl Locked<'_> {
    fn checkpoint(
        self,
        monitor: &Channel,
        unfinished: Unfinished,
        (name, how): (&ContainerName, (Connections, Afterwards)),
        tell: &dyn Fn(DumpProgress),
    ) -> Result<CheckpointRecord> {
        let engine = self.engine;
        let config = &self.observed.config;
        ask(monitor, &ToMonitor::Hold, &[])?;
        let release = || ask(monitor, &ToMonitor::Release, &[]);
        let (connections, afterwards) = how;
        let goes_on = afterwards != Afterwards::Ends;
        let written = self.write_down(&unfinished.memory(), how, tell, &mut || {});
        let (dumper, memory) = match written {
            Ok(written) => written,
            Err(error) => {
                release()?;
                return Err(error);
            }
        };
        crash_point!(engine, "after dump");
        // While nothing of it moves, so that files and memory are of one moment.
        let volumes = carried_volumes(engine, config);
        let copied = copy_files(engine, config, &volumes, unfinished.path());
        let made = copied.map(|files| CheckpointRecord {
            version: CHECKPOINT_VERSION,
            created: Timestamp::now(),
            config: Box::new(as_itself(config)),
            left_running: goes_on,
            memory,
            files,
        });
        let record = match made {
            Ok(record) => record,
            Err(error) => {
                dumper.let_go()?;
                release()?;
                return Err(error);
            }
        };
        if goes_on {
            dumper.let_go()?;
            release()?;
            unfinished.complete(&record)?;
            crash_point!(engine, "before checkpoint");
            unfinished.name(engine.layout(), name)?;
            engine.tell(config, "checkpoint", &[("checkpoint", name.to_string())]);
            return Ok(record);
        }
        let named = unfinished.complete(&record).and_then(|()| {
            crash_point!(engine, "before checkpoint");
            unfinished.name(engine.layout(), name)
        });
        if let Err(error) = named {
            dumper.let_go()?;
            release()?;
            return Err(error);
        }
        engine.tell(config, "checkpoint", &[("checkpoint", name.to_string())]);
        crash_point!(engine, "after checkpoint");
        self.keep_peers_away(connections);
        depart(dumper, monitor, Departure::Checkpointed)?;
        let id = config.id;
        let observed =
            observe::observe(engine, &id)?.ok_or_else(|| no_such(config.name.as_str()))?;
        engine.clear_run(&id, &observed)?;
        if config.auto_remove {
            drop(self);
            engine.cleanup(&id)?;
        }
        Ok(record)
    }
}

/// Copies the writable layer and volumes to `into`, as `layer` and
/// `volumes/<n>`; gives the bytes of their files.
fn copy_files(
    engine: &Engine,
    config: &ContainerConfig,
    volumes: &[(String, Vec<PathBuf>)],
    into: &Path,
) -> Result<u64> {
    let layer = into.join("layer");
    make(&layer)?;
    let mut bytes =
        copy_layers(&own_layers(engine, config)?, &layer).context(|| "copy the writable layer")?;
    for (number, (name, layers)) in volumes.iter().enumerate() {
        let all = into.join("volumes");
        if number == 0 {
            make(&all)?;
        }
        let into = all.join(number.to_string());
        make(&into)?;
        bytes += copy_merged(layers, &into).context(|| format!("copy volume {name}"))?;
    }
    Ok(bytes)
}

/// Names of the volumes that go with a checkpoint, and what they are made of,
/// lowest first.
fn carried_volumes(engine: &Engine, config: &ContainerConfig) -> Vec<(String, Vec<PathBuf>)> {
    let layout = engine.layout();
    let carried = |mount: &MountRequest| match &mount.kind {
        MountKind::Volume(volume) if volume.anonymous => {
            let data = volumes::data(layout, &volume.name);
            Some((volume.name.clone(), vec![data]))
        }
        MountKind::Cloned(volume) => {
            let layers = volumes::layers_of_clone(layout, &config.id, volume);
            Some((volume.name.clone(), layers))
        }
        _ => None,
    };
    config.mounts.iter().filter_map(carried).collect()
}

/// A clone as if it was none: its volumes are its own.
fn as_itself(config: &ContainerConfig) -> ContainerConfig {
    let mut config = config.clone();
    config.clone_of = None;
    for (number, mount) in config.mounts.iter_mut().enumerate() {
        if let MountKind::Cloned(volume) = &mount.kind {
            mount.kind = MountKind::Volume(VolumeMount {
                // Another one's in each container; it tells them apart here.
                name: format!("{number}-{}", volume.name),
                anonymous: true,
                no_copy: true,
                subpath: volume.subpath.clone(),
                ..VolumeMount::default()
            });
        }
    }
    config
}

/// What is the container's own and not its image's, lowest first.
pub(super) fn own_layers(engine: &Engine, config: &ContainerConfig) -> Result<Vec<PathBuf>> {
    let store = engine.images().store()?;
    let rootfs = store.snapshots().rootfs(&config.id, &config.image.chain)?;
    let RootFs::Overlay(overlay) = rootfs else {
        return Err(Error::new(ErrorKind::Internal, "the root is no overlay"));
    };
    // An image without layers has an empty directory in their place.
    let of_image = config.image.chain.len().max(1);
    let own = overlay.lower.len().saturating_sub(of_image);
    let mut layers: Vec<PathBuf> = overlay.lower.into_iter().take(own).rev().collect();
    layers.push(overlay.upper);
    Ok(layers)
}

/// Those that were made for this container; all others are shared by name.
pub(crate) fn anonymous_volumes(config: &ContainerConfig) -> impl Iterator<Item = &VolumeMount> {
    config.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Volume(volume) if volume.anonymous => Some(volume),
        _ => None,
    })
}

pub(super) fn make(path: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .context(|| format!("make {}", path.display()))
}
