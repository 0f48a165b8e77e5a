//! `create`: image, name, writable layer, volumes, configuration.
//!
//! The configuration is written last: until then there is no container, and
//! what a crash leaves has no owner and is swept (`reconcile.rs`). Whoever
//! creates holds the creation lock, so that the sweep cannot mistake what is
//! under way for rubbish.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;

use image::{Image, Store};
use state::{
    ContainerConfig, ContainerId, ContainerName, Durability, Endpoint, EventKind, FileLock,
    ImageUse, IpcMode, Link, MountKind, MountRequest, Names, NetworkMode, PidMode, Record,
    Timestamp,
};
use sys::{Context as _, Error, ErrorKind, Result};

use super::request::{Access, IpcRequest, NetworkRequest, PidRequest, PullPolicy, RunRequest};
use super::resolve::{Known, resolve};
use super::stop::no_such;
use super::warm::Warm;
use super::{Containers, CreateEvent, Created, observe, random_name};
use crate::Engine;
use crate::copy::copy_layers;
use crate::crash::crash_point;
use crate::images::PullRequest;
use crate::runtime_spec::devices;
use crate::undo::Undo;
use crate::volumes;

impl Containers<'_> {
    /// Creates a container; the image is pulled first if policy says so.
    pub fn create(
        &self,
        request: &RunRequest,
        observe: &(dyn Fn(CreateEvent) + Sync),
    ) -> Result<Created> {
        let store = self.engine.images().store()?;
        let image = self.image(&store, request, observe)?;
        store.ensure_unpacked(&image)?;
        let network = self.network_mode(&request.network)?;
        let pid = self.pid_mode(&request.namespaces.pid)?;
        let ipc = self.ipc_mode(&request.namespaces.ipc)?;
        let more_mounts = self.mounts_of(&request.volumes_from)?;
        let id = ContainerId::random()?;
        let create = || {
            // Held until the configuration names what is used: no sweep in
            // between.
            let _use = store.use_lock()?;
            let _creation = FileLock::shared(&creation_lock(self.engine.layout()))?;
            let mut undo = Undo::new();
            match self.create_locked(
                request,
                &store,
                &image,
                (id, &network, (&pid, &ipc), &more_mounts),
                &mut undo,
            ) {
                Ok(warnings) => {
                    undo.disarm();
                    Ok(Created { id, warnings })
                }
                Err(error) => Err(undo.roll_back(error)),
            }
        };
        match (create(), &request.name) {
            // A creation that was cut off may hold the name. Without our lock:
            // the look needs all creators to be away.
            (Err(error), Some(name))
                if error.kind() == ErrorKind::Conflict && self.engine.free_name(name)? =>
            {
                create()
            }
            (created, _) => created,
        }
    }

    fn create_locked<'u>(
        &self,
        request: &RunRequest,
        store: &'u Store,
        image: &Image,
        (id, network, (pid, ipc), more_mounts): (
            ContainerId,
            &NetworkMode,
            (&PidMode, &IpcMode),
            &[MountRequest],
        ),
        undo: &mut Undo<'u>,
    ) -> Result<Vec<String>>
    where
        Self: 'u,
    {
        let engine = self.engine;
        let name = self.claim(request.name.as_ref(), &id)?;
        let (layout, claimed) = (engine.layout().clone(), name.clone());
        undo.push(move || Names::new(&layout).release(&claimed, &id));
        crash_point!(engine, "after name");
        let known = Known {
            id,
            name,
            created: Timestamp::now(),
            image: ImageUse {
                name: request.image.clone(),
                id: image.id,
                manifest: image.manifest.digest,
                chain: image.chain.clone(),
            },
            image_config: &image.config,
            network: network.clone(),
            endpoints: self.endpoints(&request.network)?,
            links: self.links(&request.links)?,
            pid: pid.clone(),
            ipc: ipc.clone(),
            more_mounts: more_mounts.to_vec(),
            shared_host_name: if request.namespaces.uts_of_host {
                self.shared_host_name(&NetworkMode::Host)?
            } else {
                self.shared_host_name(network)?
            },
            settings: &engine.config().settings,
        };
        let mut config = resolve(request, known)?;
        check_host(&config)?;
        let mut warnings = warnings(&config);
        let warm = Warm::of(store, image).unwrap_or_else(|error| {
            warnings.push(format!("{} starts cold: {error}", request.image));
            None
        });
        if let Some(warm) = &warm {
            match warm.misfit(&config) {
                None => config.warm = Some(warm.layer()),
                Some(why) => warnings.push(format!("{} starts cold: {why}", request.image)),
            }
        }

        self.make_place(&config, (store, image), undo)?;
        crash_point!(engine, "after prepare");
        find_images(&mut config, store)?;
        let sources = match &warm {
            Some(warm) => warm.claim_volumes(&mut config)?,
            None => Vec::new(),
        };
        self.make_volumes(&mut config, store, image, undo)?;
        fill_volumes(engine, &config, sources)?;
        crash_point!(engine, "after volumes");
        // As a whole: with half of it there would be a container that nobody
        // can read.
        let path = engine.layout().container_config(&id);
        Record::write(&path, &config, Durability::Fast)?;
        crash_point!(engine, "after config");
        engine.tell(&config, "create", &[]);
        Ok(warnings)
    }

    fn image(
        &self,
        store: &Store,
        request: &RunRequest,
        observe: &(dyn Fn(CreateEvent) + Sync),
    ) -> Result<Image> {
        if request.pull != PullPolicy::Always {
            match store.find(&request.image) {
                Ok(image) => return Ok(image),
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Err(error) if request.pull == PullPolicy::Never => return Err(error),
                Err(_) => observe(CreateEvent::ImageMissing {
                    name: request.image.clone(),
                }),
            }
        }
        let reference = request
            .image
            .parse()
            .map_err(|error: spec::ParseError| {
                Error::new(ErrorKind::InvalidInput, error.to_string())
            })
            .context(|| "invalid image name")?;
        let pull = PullRequest {
            platform: request.platform.clone(),
            ..PullRequest::new(reference)
        };
        let pulled = self
            .engine
            .images()
            .pull(&pull, &|event| observe(CreateEvent::Pull(event)))?;
        Ok(pulled.image)
    }

    fn network_mode(&self, request: &NetworkRequest) -> Result<NetworkMode> {
        Ok(match request {
            NetworkRequest::Bridge | NetworkRequest::On(_) => NetworkMode::Bridge,
            NetworkRequest::None => NetworkMode::None,
            NetworkRequest::Host => NetworkMode::Host,
            NetworkRequest::Container(other) => NetworkMode::Container(self.resolve(other)?),
        })
    }

    /// The named networks, each looked up and there once.
    fn endpoints(&self, request: &NetworkRequest) -> Result<Option<Vec<Endpoint>>> {
        let NetworkRequest::On(wanted) = request else {
            return Ok(None);
        };
        let mut endpoints: Vec<Endpoint> = Vec::with_capacity(wanted.len());
        for endpoint in wanted {
            let network = self.engine.network_host().find(&endpoint.network)?;
            if endpoints.iter().any(|other| other.network == network.name) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("network {} is named twice", network.name),
                ));
            }
            endpoints.push(Endpoint {
                network: network.name,
                ..endpoint.clone()
            });
        }
        Ok(Some(endpoints))
    }

    /// The containers meant by what they are called.
    pub(super) fn links(&self, wanted: &[(String, String)]) -> Result<Vec<Link>> {
        let link = |(container, alias): &(String, String)| {
            let named = || format!("link {container}");
            Ok(Link {
                alias: alias.clone(),
                container: self.resolve(container).context(named)?,
            })
        };
        wanted.iter().map(link).collect()
    }

    fn pid_mode(&self, request: &PidRequest) -> Result<PidMode> {
        Ok(match request {
            PidRequest::Private => PidMode::Private,
            PidRequest::Host => PidMode::Host,
            PidRequest::Container(other) => PidMode::Container(self.resolve(other)?),
        })
    }

    fn ipc_mode(&self, request: &IpcRequest) -> Result<IpcMode> {
        let other = match request {
            IpcRequest::Private => return Ok(IpcMode::Private),
            IpcRequest::Shareable => return Ok(IpcMode::Shareable),
            IpcRequest::None => return Ok(IpcMode::None),
            IpcRequest::Host => return Ok(IpcMode::Host),
            IpcRequest::Container(other) => other,
        };
        let id = self.resolve(other)?;
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(other))?;
        if observed.config.namespaces.ipc != IpcMode::Shareable {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "container {other} keeps its shared memory to itself: \
                     make it with --ipc shareable"
                ),
            ));
        }
        Ok(IpcMode::Container(id))
    }

    /// The volumes and directories that other containers have.
    fn mounts_of(&self, others: &[(String, Option<Access>)]) -> Result<Vec<MountRequest>> {
        let mut mounts = Vec::new();
        for (other, access) in others {
            let id = self.resolve(other)?;
            let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(other))?;
            for mut mount in observed.config.mounts {
                match &mut mount.kind {
                    MountKind::Tmpfs { .. } => continue,
                    MountKind::Cloned(_) => {
                        return Err(Error::new(
                            ErrorKind::Unsupported,
                            format!(
                                "the volumes of {other}, a clone, are its own: no other container \
                                 can have them"
                            ),
                        ));
                    }
                    // It goes with the one that it was made for.
                    MountKind::Volume(volume) => volume.anonymous = false,
                    MountKind::Bind { .. } | MountKind::Image(_) => {}
                }
                mount.read_only |= *access == Some(Access::ReadOnly);
                mounts.push(mount);
            }
        }
        Ok(mounts)
    }

    /// The name of whose network it shares.
    fn shared_host_name(&self, network: &NetworkMode) -> Result<Option<String>> {
        Ok(match network {
            NetworkMode::Bridge | NetworkMode::None => None,
            NetworkMode::Host => {
                let name = rustix::system::uname();
                Some(name.nodename().to_string_lossy().into_owned())
            }
            NetworkMode::Container(other) => {
                observe::observe(self.engine, other)?.map(|observed| observed.config.hostname)
            }
        })
    }

    /// Takes the wanted name, or a random one.
    pub(super) fn claim(
        &self,
        wanted: Option<&ContainerName>,
        id: &ContainerId,
    ) -> Result<ContainerName> {
        let names = Names::new(self.engine.layout());
        if let Some(name) = wanted {
            let claim = || names.claim(name, id).map(|()| name.clone());
            return claim().or_else(|taken| {
                // Nobody has it any more if its holder's removal was cut off.
                match names.find(name)? {
                    Some(holder) if self.engine.is_half_removed(&holder) => {
                        self.engine.cleanup_if_free(&holder)?;
                        claim()
                    }
                    _ => Err(taken),
                }
            });
        }
        for attempt in 0.. {
            let name = random_name::random_name(id, attempt)?;
            match names.claim(&name, id) {
                Ok(()) => return Ok(name),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "no name is free"))
    }

    /// Makes the directory and the writable layer of a new container.
    pub(super) fn make_place<'u>(
        &self,
        config: &ContainerConfig,
        (store, image): (&'u Store, &Image),
        undo: &mut Undo<'u>,
    ) -> Result<()> {
        let id = config.id;
        let directory = self.engine.layout().container(&id);
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .context(|| format!("make {}", directory.display()))?;
        undo.push(move || volumes::remove_tree(&directory));
        match &config.clone_of {
            Some(origin) => {
                store
                    .snapshots()
                    .prepare_on(&id, &image.chain, &origin.template)?;
            }
            None => store.snapshots().prepare(&id, &image.chain)?,
        }
        undo.push(move || store.snapshots().remove(&id));
        match config.resources.storage {
            Some(size) => self.limit_storage(&id, size),
            None => Ok(()),
        }
    }

    /// `--storage-opt size=`: of the writable layer, what the kernel keeps
    /// beside it included.
    pub(super) fn limit_storage(&self, id: &ContainerId, size: u64) -> Result<()> {
        let active = self.engine.layout().active_snapshot(id);
        let parts = [active.join("upper"), active.join("work")];
        volumes::limit_directories(&[&parts[0], &parts[1]], size)
            .context(|| "limit the writable layer")
    }

    /// Makes what mounts that were added need.
    pub(super) fn prepare_mounts<'u>(
        &self,
        config: &mut ContainerConfig,
        store: &Store,
        image: &Image,
        undo: &mut Undo<'u>,
    ) -> Result<()>
    where
        Self: 'u,
    {
        check_host(config)?;
        let _use = store.use_lock()?;
        find_images(config, store)?;
        self.make_volumes(config, store, image, undo)
    }

    /// Names anonymous volumes and makes what is not there.
    pub(super) fn make_volumes<'u>(
        &self,
        config: &mut ContainerConfig,
        store: &Store,
        image: &Image,
        undo: &mut Undo<'u>,
    ) -> Result<()>
    where
        Self: 'u,
    {
        let layout = self.engine.layout();
        for mount in &mut config.mounts {
            let MountKind::Volume(volume) = &mut mount.kind else {
                continue;
            };
            let mut labels = volume.labels.clone();
            if volume.name.is_empty() {
                volume.name = ContainerId::random()?.to_string();
                note_anonymous(layout, &config.id, &volume.name)?;
                labels.insert(volumes::ANONYMOUS_LABEL.to_owned(), String::new());
            }
            let wanted = volumes::VolumeRecord::new(labels, volume.options.clone())?;
            let rootfs = store.snapshots().rootfs(&config.id, &image.chain)?;
            let whole = volume.subpath.as_os_str().is_empty();
            let content = (whole && !volume.no_copy).then_some(volumes::Content {
                rootfs: &rootfs,
                target: &mount.target,
            });
            let ensured = volumes::ensure(layout, &volume.name, &wanted, content.as_ref())?;
            if ensured == volumes::Ensured::Made {
                self.engine
                    .tell_of(EventKind::Volume, "create", &volume.name, None);
                let (layout, name) = (layout.clone(), volume.name.clone());
                undo.push(move || volumes::remove(&layout, &name));
            }
        }
        Ok(())
    }
}

/// Copies the sources to the volumes of these mounts, which are new.
pub(super) fn fill_volumes(
    engine: &Engine,
    config: &ContainerConfig,
    sources: Vec<(usize, PathBuf)>,
) -> Result<()> {
    for (place, from) in sources {
        if let MountKind::Volume(volume) = &config.mounts[place].kind {
            copy_layers(&[from], &volumes::data(engine.layout(), &volume.name))
                .context(|| format!("fill volume {}", volume.name))?;
        }
    }
    Ok(())
}

/// Which images the mounts of images mean. They are used from here on, so no
/// sweep takes their layers away.
fn find_images(config: &mut ContainerConfig, store: &Store) -> Result<()> {
    for mount in &mut config.mounts {
        if let MountKind::Image(mount) = &mut mount.kind
            && mount.image.is_none()
        {
            let image = store.find(&mount.name)?;
            store.ensure_unpacked(&image)?;
            mount.image = Some(ImageUse {
                name: mount.name.clone(),
                id: image.id,
                manifest: image.manifest.digest,
                chain: image.chain,
            });
        }
    }
    Ok(())
}

/// Begins the names of the files that [`note_anonymous`] makes.
pub(crate) const ANONYMOUS_PREFIX: &str = "volume-";

/// Says whose the volume is until the configuration does: without this a
/// creation that is cut off would leave a volume without an owner.
fn note_anonymous(layout: &state::Layout, id: &ContainerId, volume: &str) -> Result<()> {
    let path = layout
        .container(id)
        .join(format!("{ANONYMOUS_PREFIX}{volume}"));
    std::fs::File::create_new(&path)
        .map(drop)
        .context(|| format!("write {}", path.display()))
}

/// The volume is the container's no more.
pub(super) fn forget_anonymous(
    layout: &state::Layout,
    id: &ContainerId,
    volume: &str,
) -> Result<()> {
    let path = layout
        .container(id)
        .join(format!("{ANONYMOUS_PREFIX}{volume}"));
    volumes::remove_tree_or_file(&path)
}

/// Shared by all who create containers; the sweep of what none of them owns
/// takes it exclusively.
pub(crate) fn creation_lock(layout: &state::Layout) -> std::path::PathBuf {
    layout.containers().join(".creation")
}

/// What the host has to have. Asked again at each start: it may be gone then.
pub(super) fn check_host(config: &ContainerConfig) -> Result<()> {
    for mount in &config.mounts {
        if let MountKind::Bind {
            source,
            create_source,
            ..
        } = &mount.kind
            && !source.exists()
        {
            if !create_source {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!(
                        "the source of a bind mount does not exist: {}",
                        source.display()
                    ),
                ));
            }
            // As Docker's -v: a directory, for everybody to enter, whatever
            // the caller's umask.
            DirBuilder::new()
                .recursive(true)
                .create(source)
                .and_then(|()| std::fs::set_permissions(source, Permissions::from_mode(0o755)))
                .context(|| format!("make {}", source.display()))?;
        }
    }
    devices::requested(&config.devices).map(drop)
}

/// What the host cannot give, in words.
fn warnings(config: &ContainerConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    let discards_ports = matches!(config.network, NetworkMode::Host | NetworkMode::None);
    if discards_ports && (!config.ports.is_empty() || config.publish_all) {
        warnings.push("published ports are discarded with this network".to_owned());
    }
    if config.resources.oom_kill_disable && !crate::cgroup::can_disable_oom_kill() {
        warnings.push(
            "this kernel cannot keep the out-of-memory killer away: --oom-kill-disable is discarded"
                .to_owned(),
        );
    }
    warnings
}
