//! `create`: a bundle becomes a container that waits to be started.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use runtime::cgroup::{Placement, Rights};
use runtime::{Cgroup, CreateRequest, Created, Gate, InitProcess, Keyring, ProcessStdio};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use spec::runtime::{Process, Spec};
use state::{
    Durability, ProcessRef, Record, RootFs, SandboxRecord, SeccompProfile, StdioInodes, Timestamp,
};
use sys::{Context as _, Error, ErrorKind, Result};

use super::args::{Bring, Global, Rootless};
use super::container::{CONFIG, Container, Facts, GATE};
use super::{console, listen_fds, log, pidfd};

/// A bundle and what belongs to a container made from it.
pub(super) struct Making<'a> {
    global: &'a Global,
    bring: &'a Bring,
    spec: Spec,
    bundle: PathBuf,
    root: PathBuf,
    directory: PathBuf,
    cgroup: Placement,
    preserve_fds: u32,
}

/// What there is when everybody knows of it.
pub(super) struct Announced {
    pub(super) container: Container,
    /// The terminal, if nobody else has it.
    pub(super) console: Option<OwnedFd>,
}

pub(super) fn create(global: &Global, bring: &Bring) -> Result<()> {
    let making = Making::begin(global, bring)?;
    making.up_to_the_gate()
}

impl<'a> Making<'a> {
    /// Reads the bundle and claims the id.
    pub(super) fn begin(global: &'a Global, bring: &'a Bring) -> Result<Self> {
        let listening = listen_fds::inherited(bring.preserve_fds)?;
        let bundle = real_path(&bring.bundle)
            .context(|| format!("open bundle {}", bring.bundle.display()))?;
        let path = bundle.join(&bring.config);
        let spec = runtime::read_spec(&path)?;
        let root = spec.root.as_ref().map(|root| root.path.clone());
        let root = root
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "root is missing in config.json"))?;
        let cgroup = place_of_cgroup(global, &spec, &bring.id)?;
        let directory = claim(global, &bring.id)?;
        let mut making = Self {
            global,
            bring,
            spec,
            bundle,
            root,
            directory,
            cgroup,
            preserve_fds: listening.count(),
        };
        // As it is now: a bundle may change or go while the container lives.
        let copy = making.directory.join(CONFIG);
        if let Err(error) = Record::create(&copy, &making.spec) {
            return Err(making.failed(error));
        }
        if let Some(process) = &mut making.spec.process {
            process.env.extend(listening.variables());
        }
        global.timings.done("bundle");
        Ok(making)
    }

    /// Makes it, waiting at a gate that `start` opens.
    pub(super) fn up_to_the_gate(&self) -> Result<()> {
        self.create_at_gate().map_err(|error| self.failed(error))
    }

    fn create_at_gate(&self) -> Result<()> {
        let stdio = self.stdio_of_detached()?;
        let gate = listen(&self.directory.join(GATE))?;
        let mut created = self.create(stdio, Gate::Socket(gate))?;
        created.wait_ready()?;
        self.global.timings.done("set up");
        self.announce(&mut created)?;
        created.leave()
    }

    pub(super) fn create(&self, stdio: ProcessStdio, gate: Gate) -> Result<Created> {
        log::debug(self.global, || {
            format!(
                "create {} from {}, cgroup {}",
                self.bring.id,
                self.bundle.display(),
                self.cgroup.path
            )
        });
        let rootfs = self.rootfs();
        let created = runtime::create(self.request(&rootfs, stdio, gate))?;
        self.global.timings.done("clone");
        Ok(created)
    }

    /// Of a container whose root is the bundle's.
    pub(super) fn request<'b>(
        &'b self,
        rootfs: &'b RootFs,
        stdio: ProcessStdio,
        gate: Gate,
    ) -> CreateRequest<'b> {
        CreateRequest {
            id: &self.bring.id,
            spec: &self.spec,
            bundle: &self.bundle,
            rootfs,
            mountpoint: Path::new("/"),
            // A foreign engine says which filter it wants.
            seccomp: &SeccompProfile::Unconfined,
            cgroup: self.cgroup.path.clone(),
            cgroup_manager: self.cgroup.manager,
            user: "",
            groups: &[],
            stdio,
            preserve_fds: self.preserve_fds,
            keyring: self.bring.keyring,
            root_switch: self.bring.root_switch,
            init: InitProcess::Program,
            network: None,
            gate,
        }
    }

    pub(super) fn rootfs(&self) -> RootFs {
        RootFs::Directory(self.root.clone())
    }

    /// Records it and tells everybody who asked.
    pub(super) fn announce(&self, created: &mut Created) -> Result<Announced> {
        let console = created.take_console()?;
        log::warn(self.global, created.warnings());
        let console = match (&self.bring.console_socket, console) {
            (Some(socket), Some(master)) => {
                console::send(socket, &master)?;
                None
            }
            (_, console) => console,
        };
        if let Some(socket) = &self.bring.pidfd_socket {
            pidfd::send(socket, created.pidfd(), "standard")?;
        }
        let process = created.process();
        let container = self.record(process, created.cgroup())?;
        write_pid_file(self.bring.pid_file.as_deref(), process.pid)?;
        log::debug(self.global, || {
            format!("{} is created, pid {}", self.bring.id, process.pid)
        });
        self.global.timings.done("record");
        Ok(Announced { container, console })
    }

    fn record(&self, init: ProcessRef, cgroup: &Cgroup) -> Result<Container> {
        let facts = Facts {
            sandbox: SandboxRecord {
                bundle: self.bundle.clone(),
                init,
                cgroup: cgroup.name().to_owned(),
                cgroup_manager: self.cgroup.manager,
                annotations: self.spec.annotations.clone(),
                created: Timestamp::now(),
                stdio: match self.terminal() {
                    Some(_) => StdioInodes::default(),
                    None => ProcessStdio::Inherit.inodes(),
                },
            },
            rootfs: self.bundle.join(&self.root),
            has_keyring: self.bring.keyring == Keyring::OfContainer,
        };
        Container::write(&self.directory, &facts)?;
        Ok(Container {
            id: self.bring.id.clone(),
            directory: self.directory.clone(),
            facts,
        })
    }

    pub(super) fn stdio_of_detached(&self) -> Result<ProcessStdio> {
        match (self.terminal(), &self.bring.console_socket) {
            (Some(process), Some(_)) => Ok(ProcessStdio::Terminal {
                size: process.console_size,
            }),
            (Some(_), None) => Err(Error::new(
                ErrorKind::InvalidInput,
                "process.terminal needs --console-socket, since nobody here stays to hold the \
                 terminal",
            )),
            (None, Some(_)) => Err(Error::new(
                ErrorKind::InvalidInput,
                "--console-socket without process.terminal: there is no terminal to send",
            )),
            (None, None) => Ok(ProcessStdio::Inherit),
        }
    }

    /// Of one that we stay with.
    pub(super) fn stdio_of_attached(&self) -> ProcessStdio {
        self.terminal()
            .map_or(ProcessStdio::Inherit, |process| ProcessStdio::Terminal {
                size: console::size().or(process.console_size),
            })
    }

    fn terminal(&self) -> Option<&Process> {
        let process = self.spec.process.as_ref();
        process.filter(|process| process.terminal)
    }

    pub(super) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Gives the id back.
    pub(super) fn forget(&self) {
        let _ = fs::remove_dir_all(&self.directory);
    }

    pub(super) fn failed(&self, error: Error) -> Error {
        self.forget();
        error
    }
}

fn place_of_cgroup(global: &Global, spec: &Spec, id: &str) -> Result<Placement> {
    let linux = spec.linux.as_ref();
    let named = linux.and_then(|linux| linux.cgroups_path.as_deref());
    let rights = match global.rootless {
        Rootless::Auto => Rights::Unknown,
        Rootless::Yes => Rights::Delegated,
        Rootless::No => Rights::All,
    };
    Placement::choose(global.cgroup_manager, rights, named, id)
}

/// Who makes the directory has the id.
fn claim(global: &Global, id: &str) -> Result<PathBuf> {
    let directory = global.root.join(id);
    let make = || rustix::fs::mkdir(&directory, rustix::fs::Mode::from(0o700));
    let made = match make() {
        // The first container of this machine, or since it was started.
        Err(rustix::io::Errno::NOENT) => {
            make_root(&global.root)?;
            make()
        }
        made => made,
    };
    match made {
        Ok(()) => Ok(directory),
        Err(rustix::io::Errno::EXIST) => Err(Error::new(
            ErrorKind::AlreadyExists,
            format!("container {id} already exists"),
        )),
        Err(errno) => Err(Error::from(errno)).context(|| format!("make {}", directory.display())),
    }
}

fn make_root(root: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(root)
        .context(|| format!("make {}", root.display()))
}

fn listen(path: &Path) -> Result<OwnedFd> {
    let bind = || -> Result<OwnedFd> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, 4)?;
        Ok(socket)
    };
    bind().context(|| format!("listen on {}", path.display()))
}

pub(super) fn write_pid_file(path: Option<&Path>, pid: i32) -> Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    state::record::replace(path, pid.to_string().as_bytes(), Durability::Fast)
        .context(|| format!("write the pid to {}", path.display()))
}

/// As `fs::canonicalize`, which asks for each part of the path; the kernel
/// knows the whole.
fn real_path(path: &Path) -> Result<PathBuf> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    match fs::read_link(format!("/proc/self/fd/{}", held.as_raw_fd())) {
        Ok(real) => Ok(real),
        // No /proc, or not ours.
        Err(_) => Ok(fs::canonicalize(path)?),
    }
}
