//! `start`: the order of a start is the text of [`Locked::start`].

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use state::{
    Channel, ContainerConfig, ContainerId, Durability, ExitRecord, ExitStatus, FdRole, FileLock,
    HealthJob, IpcMode, MonitorJob, NetworkMode, PidMode, Record, RestoreSpec, StartSpec, Status,
    Timestamp, ToMonitor, Work,
};
use sys::{Context as _, Error, ErrorKind, Result};

use super::hook::Hook;
use super::networking::{self, attach_all};
use super::observe::{self, Observed};
use super::publish::reserve;
use super::request::AttachRequest;
use super::session::{Role, Session};
use super::{Containers, create, logs};
use crate::Engine;
use crate::apparmor;
use crate::cgroup::Hierarchies;
use crate::crash::crash_point;
use crate::launch::{Launched, launch, launch_from};
use crate::runtime_spec::{NetworkFiles, SpecInput, cgroup_path, devices, process, runtime_spec};
use crate::undo::Undo;
use crate::volumes;

impl Containers<'_> {
    /// Starts a container in the background; one that is suspended goes on.
    pub fn start(&self, container: &str) -> Result<Started> {
        self.start_telling(container, &|_| ())
    }

    /// As [`Containers::start`]; `tell` hears why one that was made from a warm
    /// image starts cold, if it does.
    pub fn start_telling(&self, container: &str, tell: &dyn Fn(&Error)) -> Result<Started> {
        let id = self.resolve(container)?;
        let locked = Locked::take(self.engine, id)?;
        refuse_if_paused(&locked.observed)?;
        if locked.observed.is_running() {
            return Ok(Started::RanAlready);
        }
        let started = if locked.observed.is_suspended() {
            Started::Resumed
        } else {
            Started::Anew
        };
        locked.start_telling(None, tell)?;
        Ok(started)
    }

    /// Starts a container and takes part in it: nothing of its output is
    /// missed. `run` is `create` and this. One that runs already is attached
    /// to. `tell` as in [`Containers::start_telling`].
    pub fn start_attached(
        &self,
        container: &str,
        attach: &AttachRequest,
        tell: &dyn Fn(&Error),
    ) -> Result<Session> {
        let id = self.resolve(container)?;
        let locked = Locked::take(self.engine, id)?;
        if locked.observed.is_running() {
            drop(locked);
            return self.attach(container, attach);
        }
        let channel = locked.start_telling(Some(attach), tell)?;
        Ok(Session::new(self.engine, id, channel, Role::Launcher))
    }
}

/// What a start was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    Anew,
    /// It was suspended and went on.
    Resumed,
    RanAlready,
}

/// Where a container's processes come from.
pub(super) enum Origin {
    /// Its program is started.
    Program,
    /// They go on from memory on the disk.
    Memory {
        directory: PathBuf,
        /// What that stands on, the nearest first; more than it needs does no
        /// harm.
        parents: Vec<PathBuf>,
        /// Says that it is suspended, until they do.
        record: Option<PathBuf>,
        /// Runs in it before they do.
        hook: Option<Hook>,
        /// Where the process listens that has that memory already.
        template: Option<PathBuf>,
        /// TCP connections go on, for which nothing may come too early.
        has_connections: bool,
    },
}

impl Origin {
    fn has_connections(&self) -> bool {
        matches!(
            self,
            Self::Memory {
                has_connections: true,
                ..
            }
        )
    }
}

fn refuse_if_paused(observed: &Observed) -> Result<()> {
    if matches!(observed.status, Status::Paused { .. }) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("container {} is paused: unpause it", observed.config.name),
        ));
    }
    Ok(())
}

/// A container that nobody else may change meanwhile.
pub(super) struct Locked<'a> {
    pub(super) engine: &'a Engine,
    pub(super) observed: Observed,
    pub(super) lock: FileLock,
}

impl<'a> Locked<'a> {
    pub(super) fn take(engine: &'a Engine, id: ContainerId) -> Result<Self> {
        let gone = || {
            Error::new(
                ErrorKind::NotFound,
                format!("no such container: {}", id.short()),
            )
        };
        let lock = match FileLock::exclusive_existing(&engine.layout().container(&id)) {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(gone()),
            Err(error) => return Err(error),
        };
        let observed = observe::observe(engine, &id)?.ok_or_else(gone)?;
        Ok(Self {
            engine,
            observed,
            lock,
        })
    }

    pub(super) fn start(self, attach: Option<&AttachRequest>) -> Result<Channel> {
        self.start_telling(attach, &|_| ())
    }

    fn start_telling(
        self,
        attach: Option<&AttachRequest>,
        tell: &dyn Fn(&Error),
    ) -> Result<Channel> {
        let mut memory = self.warm_memory()?.into_iter();
        if let Some(directory) = memory.next() {
            let mut undo = Undo::new();
            let origin = Origin::Memory {
                directory,
                parents: memory.collect(),
                record: None,
                hook: None,
                template: None,
                has_connections: false,
            };
            match self.try_start(&origin, attach, &mut undo) {
                Ok(channel) => {
                    undo.disarm();
                    return Ok(channel);
                }
                Err(error) => tell(&undo.roll_back(error)),
            }
        }
        let layout = self.engine.layout();
        let id = self.observed.config.id;
        let origin = if let Status::Suspended(record) = &self.observed.status {
            Origin::Memory {
                directory: layout.container_memory(&id),
                parents: Vec::new(),
                record: Some(layout.container_suspended(&id)),
                hook: None,
                template: None,
                has_connections: record.memory.connections > 0,
            }
        } else {
            Origin::Program
        };
        self.start_from(&origin, attach)
    }

    pub(super) fn start_from(
        self,
        origin: &Origin,
        attach: Option<&AttachRequest>,
    ) -> Result<Channel> {
        let engine = self.engine;
        let id = self.observed.config.id;
        let mut undo = Undo::new();
        match self.try_start(origin, attach, &mut undo) {
            Ok(channel) => {
                undo.disarm();
                if self.observed.is_suspended() {
                    // What is left of it goes with the end of this run.
                    let _ = volumes::remove_tree(&engine.layout().container_memory(&id));
                }
                Ok(channel)
            }
            Err(error) => {
                let error = undo.roll_back(error);
                let stays_suspended = engine.layout().container_suspended(&id).exists();
                let noted = if stays_suspended {
                    Ok(())
                } else {
                    self.record_failure(&error)
                };
                let error = match noted {
                    Ok(()) => error,
                    Err(second) => Error::new(error.kind(), format!("{error}; and {second}")),
                };
                drop(self.lock);
                engine.cleanup(&id).ok();
                Err(error)
            }
        }
    }

    fn try_start<'u>(
        &'u self,
        origin: &Origin,
        attach: Option<&AttachRequest>,
        undo: &mut Undo<'u>,
    ) -> Result<Channel> {
        let (engine, config) = (self.engine, &self.observed.config);
        let id = config.id;
        // What an earlier run left if nobody cleaned up after it.
        engine.clear_run(&id, &self.observed)?;
        create::check_host(config)?;
        let store = engine.images().store()?;
        store.snapshots().heal(&id, &config.image.chain)?;
        let ports = reserve(engine, config)?;
        let netns = namespace(self)?;
        let pid_namespace = pid_namespace(self)?;
        let ipc_namespaces = ipc_namespaces(self)?;
        let files = make_run_dir(engine, config, undo)?;
        crash_point!(engine, "after run dir");
        let mut extra: Vec<BorrowedFd<'_>> = Vec::new();
        let mut roles = Vec::new();
        if let Some(netns) = &netns {
            extra.push(netns.as_fd());
            roles.push(FdRole::NetworkNamespace);
        }
        for fd in pid_namespace.iter().chain(ipc_namespaces.iter().flatten()) {
            extra.push(fd.as_fd());
            roles.push(FdRole::Namespace);
        }
        for port in &ports {
            extra.push(port.socket.as_fd());
            roles.push(FdRole::Port);
        }
        let (memory, template) = match origin {
            Origin::Program => (Vec::new(), None),
            Origin::Memory {
                template: Some(socket),
                ..
            } => (Vec::new(), Some(socket)),
            Origin::Memory {
                directory, parents, ..
            } => {
                let all = [directory].into_iter().chain(parents);
                let opened: Result<Vec<_>> = all.map(|one| open_memory(one)).collect();
                (opened?, None)
            }
        };
        for memory in &memory {
            extra.push(memory.as_fd());
            roles.push(FdRole::Memory);
        }
        let size = attach.and_then(|attach| attach.size);
        let work = self.work(origin, &files, size)?;
        let job = self.job(work, roles)?;
        let mappings: Vec<_> = ports.iter().map(|port| port.mapping).collect();
        let bridge = netns
            .as_ref()
            .filter(|_| config.network == NetworkMode::Bridge);
        let (launched, records) = std::thread::scope(|scope| -> Result<_> {
            // Links and addresses are made while the monitor execs.
            let networking = bridge.map(|netns| {
                scope.spawn(|| {
                    if origin.has_connections() {
                        // Its processes' memory opens it.
                        sys::netlink::hold::shut(netns.as_fd())?;
                    }
                    attach_all(engine, config, netns.as_fd(), &mappings)
                })
            });
            let launched = match template {
                Some(socket) => launch_from(socket, &job, &extra),
                None => launch(engine, &job, &extra),
            };
            let launched = launched.and_then(|launched| {
                crash_point!(engine, "after launch");
                // Nobody waits for us here but the kernel.
                engine.look_around(&id);
                launched.wait_ready()?;
                Ok(launched)
            });
            let records = networking.map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    Err(Error::new(ErrorKind::Internal, "the network thread died"))
                })
            });
            if let Some(Ok(_)) = &records {
                undo.push(move || engine.network_host().detach(&id));
            }
            // If both failed, the monitor's words are the cause more often.
            Ok((launched?, records.transpose()?))
        })?;
        if let Some(records) = &records {
            networking::write_files(engine, config, records)?;
        }
        crash_point!(engine, "after network");
        let hook = match origin {
            Origin::Memory { hook, .. } => hook.as_ref(),
            Origin::Program => None,
        };
        self.go(launched, attach, hook)
    }

    fn go(
        &self,
        launched: Launched,
        attach: Option<&AttachRequest>,
        hook: Option<&Hook>,
    ) -> Result<Channel> {
        if let Some(attach) = attach {
            launched.channel().send(&ToMonitor::Attach {
                stdin: attach.stdin,
            })?;
        }
        // From here on an end without a record is an end that nobody saw.
        let exit = self
            .engine
            .layout()
            .container_exit(&self.observed.config.id);
        if self.observed.exit.is_some() || self.observed.is_suspended() {
            volumes::remove_tree_or_file(&exit)?;
        }
        let (channel, _init) = launched.go_after(&|init| match hook {
            Some(hook) => hook.run(self.engine, &self.observed.config, init),
            None => Ok(()),
        })?;
        crash_point!(self.engine, "after go");
        Ok(channel)
    }

    fn work(
        &self,
        origin: &Origin,
        files: &NetworkFiles,
        size: Option<spec::runtime::ConsoleSize>,
    ) -> Result<Work> {
        let start = self.start_spec_of(files, size)?;
        Ok(match origin {
            Origin::Program => Work::Start(Box::new(start)),
            Origin::Memory { record, hook, .. } => Work::Restore(Box::new(RestoreSpec {
                start,
                record: record.clone(),
                asks: hook.is_some(),
            })),
        })
    }

    fn job(&self, work: Work, fds: Vec<FdRole>) -> Result<MonitorJob> {
        let (engine, config) = (self.engine, &self.observed.config);
        let layout = engine.layout();
        Ok(MonitorJob {
            id: config.id,
            work,
            run_dir: layout.run_container(&config.id),
            exit_record: Some(layout.container_exit(&config.id)),
            log: logs::target(engine, config),
            stdin: config.process.stdin,
            restart: config.restart,
            health: health_job(config)?,
            events: Some(layout.events()),
            on_exit: engine.cleanup_command(&config.id),
            fds,
        })
    }

    /// What a running container would be started from now.
    pub(super) fn start_spec(&self) -> Result<StartSpec> {
        let config = &self.observed.config;
        let layout = self.engine.layout();
        let own = files_in(&layout.run_container(&config.id));
        let files = match &config.network {
            NetworkMode::Container(other) => NetworkFiles {
                hostname: own.hostname,
                ..files_in(&layout.run_container(other))
            },
            _ => own,
        };
        self.start_spec_of(&files, None)
    }

    fn start_spec_of(
        &self,
        files: &NetworkFiles,
        size: Option<spec::runtime::ConsoleSize>,
    ) -> Result<StartSpec> {
        let (engine, config) = (self.engine, &self.observed.config);
        let layout = engine.layout();
        let devices = if config.confinement.privileged {
            devices::all()?
        } else {
            devices::requested(&config.devices)?
        };
        let mut spec = runtime_spec(&SpecInput {
            config,
            layout,
            files,
            devices: &devices,
            size,
            sources: &volumes::mount_sources(engine, config)?,
        })?;
        if let Some(process) = &mut spec.process {
            process.apparmor_profile = apparmor::prepare(&config.confinement)?;
        }
        let store = engine.images().store()?;
        Ok(StartSpec {
            spec,
            rootfs: store.snapshots().rootfs(&config.id, &config.image.chain)?,
            seccomp: config.confinement.seccomp.clone(),
            user: config.process.user.clone(),
            groups: config.process.groups.clone(),
            init: config.process.init,
            mountpoint: layout.rootfs_mountpoint(),
        })
    }

    /// Docker keeps why a container could not be started.
    fn record_failure(&self, error: &Error) -> Result<()> {
        let code = match error.kind() {
            ErrorKind::CommandNotFound => 127,
            ErrorKind::CommandNotExecutable => 126,
            _ => 128,
        };
        let record = ExitRecord {
            status: ExitStatus::Code(code),
            error: Some(error.clone()),
            ..ExitRecord::unseen(None, Timestamp::now())
        };
        let path = self
            .engine
            .layout()
            .container_exit(&self.observed.config.id);
        Record::write(&path, &record, Durability::Fast)
    }
}

fn open_memory(directory: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty())
        .context(|| format!("open {}", directory.display()))
}

/// The network namespace that the monitor is given, if it is given one.
fn namespace(locked: &Locked<'_>) -> Result<Option<OwnedFd>> {
    match &locked.observed.config.network {
        NetworkMode::None | NetworkMode::Host => Ok(None),
        NetworkMode::Bridge => network::create_namespace().map(Some),
        NetworkMode::Container(other) => {
            namespace_of(locked.engine, other, "net", "network is used").map(Some)
        }
    }
}

/// The pid namespace that the monitor is given, if it is another container's.
fn pid_namespace(locked: &Locked<'_>) -> Result<Option<OwnedFd>> {
    match &locked.observed.config.namespaces.pid {
        PidMode::Private | PidMode::Host => Ok(None),
        PidMode::Container(other) => {
            namespace_of(locked.engine, other, "pid", "processes are joined").map(Some)
        }
    }
}

/// What the monitor is given if shared memory is another container's: that
/// one's ipc namespace, and its mounts, of which /dev/shm is one.
fn ipc_namespaces(locked: &Locked<'_>) -> Result<Option<[OwnedFd; 2]>> {
    let IpcMode::Container(other) = &locked.observed.config.namespaces.ipc else {
        return Ok(None);
    };
    let of = |kind| namespace_of(locked.engine, other, kind, "shared memory is used");
    Ok(Some([of("ipc")?, of("mnt")?]))
}

pub(super) fn namespace_of(
    engine: &Engine,
    other: &ContainerId,
    kind: &str,
    why: &str,
) -> Result<OwnedFd> {
    let observed = observe::observe(engine, other)?;
    let init = observed.as_ref().and_then(Observed::init).ok_or_else(|| {
        Error::new(
            ErrorKind::Conflict,
            format!("container {}, whose {why}, is not running", other.short()),
        )
    })?;
    let path = format!("/proc/{}/ns/{kind}", init.pid);
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let namespace = rustix::fs::open(&path, flags, rustix::fs::Mode::empty())
        .context(|| format!("open {path}"))?;
    // The pid could have been taken by another process meanwhile.
    if init.is_alive() {
        return Ok(namespace);
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("container {} just ended", other.short()),
    ))
}

/// The run directory with the files that containers find names by. They are
/// mounted into the container as they are, so they are written in place.
fn make_run_dir(
    engine: &Engine,
    config: &ContainerConfig,
    undo: &mut Undo<'_>,
) -> Result<NetworkFiles> {
    let layout = engine.layout();
    let directory = layout.run_container(&config.id);
    DirBuilder::new()
        .mode(0o700)
        .create(&directory)
        .context(|| format!("make {}", directory.display()))?;
    let (undone, group) = (directory.clone(), cgroup_path(config));
    undo.push(move || {
        // A monitor takes its cgroups away, unless it was killed.
        Hierarchies::find().and_then(|all| all.remove(&group))?;
        volumes::remove_tree(&undone)
    });
    let files = files_in(&directory);
    if let NetworkMode::Container(other) = &config.network {
        write(&files.hostname, &format!("{}\n", config.hostname))?;
        return Ok(NetworkFiles {
            hostname: files.hostname,
            ..files_in(&layout.run_container(other))
        });
    }
    write(&files.hostname, &format!("{}\n", config.hostname))?;
    write(&files.resolv_conf, &networking::resolv_conf(config, &[])?)?;
    // The address of a bridge comes later.
    let hosts = match &config.network {
        NetworkMode::Host => networking::read_or_empty("/etc/hosts")?,
        _ => networking::hosts(config, &[]),
    };
    write(&files.hosts, &hosts)?;
    Ok(files)
}

fn files_in(run_dir: &Path) -> NetworkFiles {
    NetworkFiles {
        hosts: run_dir.join("hosts"),
        hostname: run_dir.join("hostname"),
        resolv_conf: run_dir.join("resolv.conf"),
    }
}

/// How the monitor looks after its health.
fn health_job(config: &ContainerConfig) -> Result<Option<Box<HealthJob>>> {
    let Some(health) = &config.health else {
        return Ok(None);
    };
    let mut process = process(config, None)?;
    process.terminal = false;
    process.apparmor_profile = apparmor::prepare(&config.confinement)?;
    process.args = match health.test.split_first() {
        Some((kind, words)) if kind == "CMD" => words.to_vec(),
        Some((_, words)) => {
            let shell = ["/bin/sh".to_owned(), "-c".to_owned()];
            shell.into_iter().chain(words.iter().cloned()).collect()
        }
        None => return Ok(None),
    };
    Ok(Some(Box::new(HealthJob {
        config: health.clone(),
        process,
        seccomp: config.confinement.seccomp.clone(),
        user: config.process.user.clone(),
        groups: config.process.groups.clone(),
        stop: config.stop.clone(),
    })))
}

/// Containers read it whoever they run as.
fn write(path: &Path, text: &str) -> Result<()> {
    let write = || -> Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)?;
        // The umask must not take the others' right away.
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        Ok(())
    };
    write().context(|| format!("write {}", path.display()))
}
