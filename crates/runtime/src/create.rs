//! The parent's side of a start: plan, cgroup, one clone, id maps, hooks.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::FileType;
use spec::runtime::{ConsoleSize, Hooks, Resources, Spec, StateStatus};
use state::{CgroupManager, ProcessRef, RootFs, SeccompProfile, StdioInodes};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::cgroup::{self, Cgroup, CgroupPath, Entry, Hierarchies};
use crate::handshake::Link;
use crate::id_maps::Writer;
use crate::init::{self, Born, Filter, Init, labels};
use crate::lifecycle::{Created, Running};
use crate::sandbox::{Identity, Sandbox};
use crate::seccomp::notify::Agent;
use crate::{birth, elsewhere, hooks, mapped_mounts, net_devices, network_mounts, seccomp};

/// Everything that makes a container.
#[derive(Debug)]
pub struct CreateRequest<'a> {
    /// For messages, hooks and the state that they read.
    pub id: &'a str,
    pub spec: &'a Spec,
    /// Relative paths of the spec start here; hooks run here.
    pub bundle: &'a Path,
    pub rootfs: &'a RootFs,
    /// An empty directory on which an overlay root is mounted (inside the new
    /// mount namespace only). Not used for [`RootFs::Directory`].
    pub mountpoint: &'a Path,
    /// Used if the spec has no `linux.seccomp` of its own.
    pub seccomp: &'a SeccompProfile,
    pub cgroup: CgroupPath,
    pub cgroup_manager: CgroupManager,
    /// `user[:group]` to look up in the container; empty: the spec says it.
    pub user: &'a str,
    /// More groups to look up in the container.
    pub groups: &'a [String],
    pub stdio: ProcessStdio,
    /// How many of our descriptors from 3 on the program gets.
    pub preserve_fds: u32,
    pub keyring: Keyring,
    pub root_switch: RootSwitch,
    pub init: InitProcess,
    /// The network namespace to join; without one the spec decides.
    pub network: Option<OwnedFd>,
    pub gate: Gate,
}

/// What the container's pid 1 is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitProcess {
    /// The program itself.
    #[default]
    Program,
    /// A small process of ours that forwards signals and reaps (`--init`).
    Reaper,
    /// No program: it stands in the finished container, with all the rights
    /// and descriptors of its creator, until that one has made it into
    /// something else by ptrace(2) and calls [`Created::adopt`]. It dies with
    /// its creator and needs no gate.
    Blank,
}

/// The session keyring of the program (session-keyring(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keyring {
    /// One of the container's own, shared by all processes that join it.
    #[default]
    OfContainer,
    /// The caller's.
    Inherited,
}

/// How the host's root goes out of sight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RootSwitch {
    /// pivot_root(2): it is unmounted.
    #[default]
    Pivot,
    /// The container's root is moved over it: for a host that runs from its
    /// initramfs, which cannot be unmounted.
    Move,
}

/// Standard input, output and error of the program.
#[derive(Debug, Default)]
pub enum ProcessStdio {
    /// The caller's own.
    #[default]
    Inherit,
    Fds {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// A pty made inside the container; its master comes up, see
    /// [`Created::take_console`].
    Terminal { size: Option<ConsoleSize> },
}

impl ProcessStdio {
    /// Which pipes and sockets it is made of.
    pub fn inodes(&self) -> StdioInodes {
        let inode = |fd: BorrowedFd<'_>| {
            let stat = rustix::fs::fstat(fd).ok()?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            matches!(kind, FileType::Fifo | FileType::Socket).then_some(stat.st_ino)
        };
        StdioInodes(match self {
            Self::Inherit => [
                inode(rustix::stdio::stdin()),
                inode(rustix::stdio::stdout()),
                inode(rustix::stdio::stderr()),
            ],
            Self::Fds {
                stdin,
                stdout,
                stderr,
            } => [stdin, stdout, stderr].map(|fd| inode(fd.as_fd())),
            Self::Terminal { .. } => [None; 3],
        })
    }
}

/// Who opens the gate behind which the finished init waits.
#[derive(Debug, Default)]
pub enum Gate {
    /// The creating process, by [`Created::start`]. The container dies with it.
    #[default]
    Parent,
    /// Whoever connects to this listening SOCK_SEQPACKET socket, see
    /// [`crate::lifecycle::open_gate`]. The container outlives its creator.
    Socket(OwnedFd),
}

/// Clones the container's init. It sets itself up on its own from here on:
/// [`Created::wait_ready`], [`Created::start`] and [`Created::take_console`]
/// wait for that and return its errors word for word.
///
/// The calling process must have one thread only.
pub fn create(request: CreateRequest<'_>) -> Result<Created> {
    let hooks = ParentHooks::of(&request);
    let mut sandbox = Sandbox::plan(request.spec, request.bundle, request.network)?;
    let filter = filter_of(
        sandbox.linux.seccomp.as_ref(),
        request.seccomp,
        &sandbox.process,
    )?;
    if request.init == InitProcess::Reaper
        && filter.as_ref().is_some_and(|filter| filter.agent.is_some())
    {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "SCMP_ACT_NOTIFY does not go with an init of ours (--init)",
        ));
    }
    labels::check(sandbox.process.labels, sandbox.mount_label)?;
    sandbox.namespaces.open()?;
    let manager = request.cgroup_manager;
    let hierarchies = Hierarchies::of(manager)?;
    let nothing = Resources::default();
    let resources = sandbox.linux.resources.as_ref().unwrap_or(&nothing);
    let (cgroup, mut warnings) = cgroup::prepare(&request.cgroup, manager, resources, &hierarchies)
        .context(|| "set up the cgroup")?;
    warnings.append(&mut sandbox.process.warnings);
    let undo = RemoveOnDrop(Some(cgroup));
    let entry = match manager {
        CgroupManager::Cgroupfs => Entry::open(&request.cgroup, &hierarchies)?,
        CgroupManager::Systemd | CgroupManager::Disabled => Entry::none(),
    };
    let (ours, theirs) = Link::pair()?;
    let (uids, gids) = (sandbox.uid_mappings, sandbox.gid_mappings);
    let id_map_writer = if sandbox.namespaces.user.is_new() {
        Some(Writer::find()?)
    } else {
        None
    };
    let mut opened = mapped_mounts::open_mapped(&sandbox)?;
    opened.extend(network_mounts::open(&sandbox)?);
    opened.extend(elsewhere::open_sources(&sandbox)?);
    let born = Born {
        waits_for_parent: id_map_writer.is_some()
            || manager == CgroupManager::Systemd
            || !sandbox.net_devices.is_empty(),
        hides_late: id_map_writer == Some(Writer::Owner),
        waits_for_hooks: hooks.is_some(),
        has_joined: birth::needs_go_between(&sandbox.namespaces),
    };
    let init = Init {
        id: request.id,
        spec: request.spec,
        bundle: request.bundle,
        sandbox,
        rootfs: request.rootfs,
        mountpoint: request.mountpoint,
        cgroup: &request.cgroup,
        hierarchies: &hierarchies,
        entry,
        user: request.user,
        groups: request.groups,
        stdio: request.stdio,
        preserve_fds: request.preserve_fds,
        keyring: request.keyring,
        root_switch: request.root_switch,
        kind: request.init,
        gate: request.gate,
        filter,
        opened,
        born,
    };
    let child = birth::clone_init(&init.sandbox.namespaces, &init.entry, || {
        init::run(&init, theirs)
    })
    .context(|| "clone the container's init")?;
    let Some(cgroup) = undo.keep() else {
        return Err(Error::new(ErrorKind::Internal, "the cgroup is gone"));
    };
    let process = ProcessRef::of(child.pid)?;
    let running = Running::new(process, child.pidfd, cgroup);
    // Dropping it on an error kills what was made.
    let mut created = Created::new(running, ours, warnings);
    if born.waits_for_parent {
        if manager == CgroupManager::Systemd {
            let more = cgroup::adopt(created.cgroup(), child.pid, resources)
                .context(|| "set up the cgroup")?;
            created.warn(more);
        }
        if let Some(writer) = id_map_writer {
            writer.write(child.pid, uids, gids)?;
        }
        if !init.sandbox.net_devices.is_empty() {
            let network = match init.sandbox.namespaces.network.joined() {
                Some(network) => network.try_clone().context(|| "hold the namespace")?,
                None => created.network_namespace()?,
            };
            net_devices::move_in(&init.sandbox.net_devices, network.as_fd())?;
        }
        created.go_on();
    }
    if let Some(hooks) = hooks {
        created.wait_built()?;
        hooks.run(child.pid)?;
        created.go_on();
    }
    Ok(created)
}

/// Hooks that run in our namespaces while init waits, its mounts made and its
/// root not entered.
struct ParentHooks<'a> {
    hooks: &'a Hooks,
    id: &'a str,
    bundle: &'a Path,
    annotations: &'a BTreeMap<String, String>,
}

impl<'a> ParentHooks<'a> {
    fn of(request: &CreateRequest<'a>) -> Option<Self> {
        let hooks = request.spec.hooks.as_ref()?;
        (!hooks.prestart.is_empty() || !hooks.create_runtime.is_empty()).then_some(Self {
            hooks,
            id: request.id,
            bundle: request.bundle,
            annotations: &request.spec.annotations,
        })
    }

    fn run(&self, pid: i32) -> Result<()> {
        let status = StateStatus::Creating;
        let state = hooks::state(self.id, status, Some(pid), self.bundle, self.annotations);
        hooks::run("prestart", &self.hooks.prestart, &state)?;
        hooks::run("createRuntime", &self.hooks.create_runtime, &state)
    }
}

/// The filter that the process gets: the specification's own profile, else
/// the one that goes with the request.
pub(crate) fn filter_of(
    own: Option<&spec::runtime::Seccomp>,
    profile: &SeccompProfile,
    identity: &Identity<'_>,
) -> Result<Option<Filter>> {
    let custom = match (own, profile) {
        (Some(own), _) => own,
        (None, SeccompProfile::Custom(profile)) => profile,
        (None, SeccompProfile::Unconfined) => return Ok(None),
        (None, SeccompProfile::Builtin) => {
            let program = seccomp::builtin(identity.bounding)?;
            return Ok(Some(Filter {
                program,
                flags: 0,
                agent: None,
            }));
        }
    };
    let compiled = seccomp::custom(custom)?;
    let agent = custom.listener_path.as_ref().filter(|_| compiled.notifies);
    Ok(Some(Filter {
        program: compiled.program,
        flags: compiled.flags,
        agent: agent.map(|path| Agent {
            path: path.clone(),
            metadata: custom.listener_metadata.clone().unwrap_or_default(),
        }),
    }))
}

/// A cgroup that goes again if the clone does not come about.
struct RemoveOnDrop(Option<Cgroup>);

impl RemoveOnDrop {
    fn keep(mut self) -> Option<Cgroup> {
        self.0.take()
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(cgroup) = &self.0 {
            // The error that brought us here is the one to tell.
            let _ = cgroup.remove();
        }
    }
}
