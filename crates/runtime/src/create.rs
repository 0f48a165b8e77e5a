//! The parent's side of a start: plan, cgroup, one clone, id maps, hooks.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use spec::runtime::{ConsoleSize, Hooks, IdMapping, Resources, Spec, StateStatus};
use state::{ProcessRef, RootFs, SeccompProfile};
use sys::clone::{
    CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS,
};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::cgroup::{self, Cgroup, CgroupPath, Entry, Hierarchies};
use crate::handshake::Link;
use crate::init::{self, Filter, Init};
use crate::lifecycle::{Created, Running};
use crate::sandbox::{Identity, NamespaceUse, Sandbox};
use crate::{hooks, seccomp};

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
    /// `user[:group]` to look up in the container; empty: the spec says it.
    pub user: &'a str,
    /// More groups to look up in the container.
    pub groups: &'a [String],
    pub stdio: ProcessStdio,
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
    let mut sandbox = Sandbox::plan(request.spec, request.bundle, request.network)?;
    let filter = filter_of(
        sandbox.linux.seccomp.as_ref(),
        request.seccomp,
        &sandbox.process,
    )?;
    let hierarchies = Hierarchies::find()?;
    let nothing = Resources::default();
    let resources = sandbox.linux.resources.as_ref().unwrap_or(&nothing);
    let (cgroup, mut warnings) = cgroup::prepare(&request.cgroup, resources, &hierarchies)
        .context(|| "set up the cgroup")?;
    let undo = RemoveOnDrop(Some(cgroup));
    let entry = Entry::open(&request.cgroup, &hierarchies)?;
    let (ours, theirs) = Link::pair()?;
    let parent_hooks = request
        .spec
        .hooks
        .as_ref()
        .is_some_and(|hooks| *hooks != Hooks::default());
    let waits_for_parent = parent_hooks || sandbox.namespaces.user.is_new();
    let flags = new_namespaces(&sandbox);
    let pid_namespace = match std::mem::take(&mut sandbox.namespaces.pid) {
        NamespaceUse::Join(fd) => Some(fd),
        _ => None,
    };
    let id_maps = [
        ("uid_map", sandbox.uid_mappings),
        ("gid_map", sandbox.gid_mappings),
    ];
    let birth_group = entry
        .unified
        .as_ref()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3).context(|| "hold the cgroup"));
    let birth_group = birth_group.transpose()?;
    let state = request.spec;
    let (id, bundle) = (request.id, request.bundle);
    let init = Init {
        id,
        spec: request.spec,
        bundle,
        sandbox,
        rootfs: request.rootfs,
        mountpoint: request.mountpoint,
        cgroup: &request.cgroup,
        hierarchies: &hierarchies,
        entry,
        user: request.user,
        groups: request.groups,
        stdio: request.stdio,
        kind: request.init,
        gate: request.gate,
        filter,
        waits_for_parent,
    };
    let child = in_pid_namespace(pid_namespace.as_ref(), || {
        sys::clone::clone_child(flags, birth_group.as_ref().map(AsFd::as_fd), || {
            init::run(&init, theirs)
        })
    })
    .context(|| "clone the container's init")?;
    let Some(cgroup) = undo.keep() else {
        return Err(Error::new(ErrorKind::Internal, "the cgroup is gone"));
    };
    let process = ProcessRef::of(child.pid)?;
    let running = Running::new(process, child.pidfd, cgroup);
    let created = Created::new(running, ours, std::mem::take(&mut warnings));
    if waits_for_parent {
        // Dropping `created` on an error kills what was made.
        write_id_maps(child.pid, &id_maps)?;
        if let Some(hooks) = &state.hooks {
            let input = hooks::state(
                id,
                StateStatus::Creating,
                Some(child.pid),
                bundle,
                &state.annotations,
            );
            hooks::run(&hooks.prestart, &input)?;
            hooks::run(&hooks.create_runtime, &input)?;
        }
        created.go_on(child.pid);
    }
    Ok(created)
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
            return Ok(Some(Filter { program, flags: 0 }));
        }
    };
    let (program, flags) = seccomp::custom(custom).context(|| "linux.seccomp")?;
    Ok(Some(Filter { program, flags }))
}

fn new_namespaces(sandbox: &Sandbox<'_>) -> i32 {
    let all = [
        (&sandbox.namespaces.pid, CLONE_NEWPID),
        (&sandbox.namespaces.network, CLONE_NEWNET),
        (&sandbox.namespaces.ipc, CLONE_NEWIPC),
        (&sandbox.namespaces.uts, CLONE_NEWUTS),
        (&sandbox.namespaces.user, CLONE_NEWUSER),
    ];
    // The cgroup namespace is made by the child: its root is the group that
    // the child is in then.
    all.iter()
        .filter(|(usage, _)| usage.is_new())
        .fold(CLONE_NEWNS, |flags, (_, flag)| flags | flag)
}

/// Runs `act` so that children are born into `namespace`: no second fork is
/// needed to get there.
pub(crate) fn in_pid_namespace<T>(
    namespace: Option<&OwnedFd>,
    act: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let Some(namespace) = namespace else {
        return act();
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let ours = openat(CWD, "/proc/self/ns/pid", flags, Mode::empty())
        .context(|| "open our own pid namespace")?;
    sys::namespace::join(namespace.as_fd(), CLONE_NEWPID).context(|| "join the pid namespace")?;
    let done = act();
    sys::namespace::join(ours.as_fd(), CLONE_NEWPID)
        .context(|| "return to our own pid namespace")?;
    done
}

fn write_id_maps(pid: i32, maps: &[(&str, &[IdMapping])]) -> Result<()> {
    for (file, map) in maps {
        if map.is_empty() {
            continue;
        }
        let lines: Vec<String> = map
            .iter()
            .map(|map| format!("{} {} {}", map.container_id, map.host_id, map.size))
            .collect();
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, lines.join("\n")).context(|| format!("write {path}"))?;
    }
    Ok(())
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
