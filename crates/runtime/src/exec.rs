//! One more process in a running container.

use std::convert::Infallible;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags, openat, stat};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal};
use spec::runtime::{NamespaceKind, Process, Spec, State};
use state::{CgroupManager, ProcessRef, SeccompProfile};
use sys::caps::Caps;
use sys::clone::{CLONE_NEWPID, CLONE_NEWUSER};
use sys::scheduling::{self, NumberSet};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::birth::{by_go_between, in_pid_namespace};
use crate::cgroup::{Cgroup, CgroupPath, Entry, Hierarchies, SubCgroup, place_beside};
use crate::create::{Keyring, ProcessStdio, filter_of};
use crate::handshake::{FromInit, Link};
use crate::init::landlock::{self, Landlock};
use crate::init::{self, Filter, Joining, confine, console, labels};
use crate::lifecycle::{Running, wait_for_execution};
use crate::mounts::root::Root;
use crate::sandbox::{Identity, KINDS, linux_of};
use crate::seccomp::notify::Connection;

/// Everything that makes the process.
#[derive(Debug)]
pub struct ExecRequest<'a> {
    /// The container's init.
    pub target: ProcessRef,
    pub process: &'a Process,
    pub container: Option<Container<'a>>,
    pub seccomp: &'a SeccompProfile,
    pub cgroup: CgroupPath,
    pub cgroup_manager: CgroupManager,
    /// Where it goes below that.
    pub sub_cgroups: &'a [SubCgroup],
    /// `user[:group]` to look up in the container; empty: `process` says it.
    pub user: &'a str,
    /// More groups to look up in the container.
    pub groups: &'a [String],
    pub stdio: ProcessStdio,
    /// How many of our descriptors from 3 on the program gets.
    pub preserve_fds: u32,
    /// The id of the container whose session keyring it joins; `None`: it
    /// keeps ours.
    pub keyring: Option<&'a str>,
    /// Whether it may outlive us.
    pub lifetime: Lifetime,
}

/// The container that a process joins.
#[derive(Clone, Debug)]
pub struct Container<'a> {
    /// What it was made from: a process takes from it what it does not say
    /// itself.
    pub spec: &'a Spec,
    /// For whom `linux.seccomp.listenerPath` names.
    pub state: State,
}

/// How long a process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// No longer than its parent.
    #[default]
    WithParent,
    Own,
}

/// Runs a process in the namespaces and the cgroup of `target`, as a child of
/// the caller; returns once the program runs, or with the words of what went
/// wrong. [`Running::take_console`] has the terminal.
///
/// The calling process must have one thread only.
pub fn exec(request: ExecRequest<'_>) -> Result<Running> {
    let target = open_target(request.target)?;
    let namespaces = differing_namespaces(request.target.pid)?;
    let rights = sys::caps::permitted()?;
    let available = if namespaces & CLONE_NEWUSER == 0 {
        rights
    } else {
        Caps::ALL
    };
    let identity = identity_of(&request, available)?;
    labels::check(identity.labels, None)?;
    let filter = filter_of(None, request.seccomp, &identity)?;
    let manager = request.cgroup_manager;
    let hierarchies = Hierarchies::of(manager)?;
    let entry = if request.sub_cgroups.is_empty() {
        let place = place_beside(request.target.pid, &request.cgroup, &hierarchies);
        Entry::open(&place, &hierarchies)?
    } else {
        Entry::open_below(&request.cgroup, request.sub_cgroups, &hierarchies)?
    };
    let pid_namespace = open_pid_namespace(request.target.pid)?;
    // The pid named this process all the while that we looked at its /proc.
    still_there(request.target)?;
    let (ours, theirs) = Link::pair()?;
    let birth_group = entry
        .unified
        .as_ref()
        .map(rustix::io::dup)
        .transpose()
        .context(|| "hold the cgroup")?;
    // Who has no rights outside gets them by joining the user namespace first.
    let by_user_namespace = namespaces & CLONE_NEWUSER != 0 && !rights.contains(Caps::SYS_ADMIN);
    let joiner = Joiner {
        target: target.as_fd(),
        namespaces: if by_user_namespace {
            namespaces & !CLONE_NEWUSER
        } else {
            namespaces
        },
        becomes_root: namespaces & CLONE_NEWUSER != 0,
        entry: &entry,
        identity: &identity,
        filter: filter.as_ref(),
        landlock: landlock_of(&request)?,
        state: request.container.as_ref().map(|container| &container.state),
        user: request.user,
        groups: request.groups,
        stdio: &request.stdio,
        preserve_fds: request.preserve_fds,
        keyring: request.keyring,
        lifetime: request.lifetime,
    };
    // From the first instruction on, and so of ours too for a moment.
    let initial = identity.affinity.0.as_ref().map(Moved::to).transpose()?;
    let birth_group = birth_group.as_ref().map(|fd| fd.as_fd());
    let run = || {
        let link = theirs;
        match joiner.run(&link) {
            Ok(never) => match never {},
            Err(error) => {
                // If nobody listens any more there is nobody to tell.
                let _ = link.tell_parent(&FromInit::Failed(error));
                1
            }
        }
    };
    let child = if by_user_namespace {
        // Only a member of the user namespace may join its pid namespace, and
        // only children of whoever joined are in that.
        by_go_between(birth_group, || {
            sys::namespace::join(target.as_fd(), CLONE_NEWUSER | CLONE_NEWPID)
                .context(|| "join the container's user and pid namespaces")?;
            Ok(sys::clone::clone_sibling(0, run)?.pidfd)
        })
    } else {
        in_pid_namespace(pid_namespace.as_ref(), || {
            sys::clone::clone_child(0, birth_group, run)
        })
    }
    .context(|| "clone a process into the container")?;
    drop(initial);
    let cgroup = Cgroup::with(request.cgroup, manager, hierarchies);
    let process = ProcessRef::of(child.pid)?;
    let mut running = Running::new(process, child.pidfd, cgroup);
    match wait_until_running(&ours) {
        Ok(console) => {
            running.set_console(console);
            Ok(running)
        }
        Err(error) => {
            let _ = running.signal(9);
            let _ = running.reap();
            Err(error)
        }
    }
}

fn identity_of<'a>(request: &ExecRequest<'a>, available: Caps) -> Result<Identity<'a>> {
    static NONE: OnceLock<Spec> = OnceLock::new();
    let container = request.container.as_ref().map(|container| container.spec);
    let container = container.unwrap_or_else(|| NONE.get_or_init(Spec::default));
    let mut identity = Identity::plan(request.process, linux_of(container), available)?;
    if let Some(first) = &container.process {
        identity.take_from(first)?;
    }
    Ok(identity)
}

fn landlock_of(request: &ExecRequest<'_>) -> Result<Option<Landlock>> {
    match &request.container {
        Some(container) => landlock::plan(&container.spec.annotations),
        None => Ok(None),
    }
}

/// We run elsewhere until this is dropped.
struct Moved(NumberSet);

impl Moved {
    fn to(processors: &NumberSet) -> Result<Self> {
        let before = scheduling::affinity().context(|| "look where we run")?;
        scheduling::set_affinity(processors).context(|| "set process.execCPUAffinity.initial")?;
        Ok(Self(before))
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        // It was so before.
        let _ = scheduling::set_affinity(&self.0);
    }
}

fn wait_until_running(link: &Link) -> Result<Option<OwnedFd>> {
    let died = || {
        Error::new(
            ErrorKind::Internal,
            "the process died before it ran its program; did the container stop?",
        )
    };
    match link.hear_init()? {
        Some(FromInit::Ready { console, .. }) => {
            wait_for_execution(link, died)?;
            Ok(console)
        }
        Some(FromInit::Failed(error)) => Err(error),
        _ => Err(died()),
    }
}

struct Joiner<'a> {
    target: BorrowedFd<'a>,
    namespaces: i32,
    /// Whether it is in another user namespace then.
    becomes_root: bool,
    entry: &'a Entry,
    identity: &'a Identity<'a>,
    filter: Option<&'a Filter>,
    state: Option<&'a State>,
    landlock: Option<Landlock>,
    user: &'a str,
    groups: &'a [String],
    stdio: &'a ProcessStdio,
    preserve_fds: u32,
    keyring: Option<&'a str>,
    lifetime: Lifetime,
}

impl Joiner<'_> {
    /// The same order as for init, with joining in place of building; see
    /// `docs/security.md`.
    fn run(&self, link: &Link) -> Result<Infallible> {
        // We are in the container's pid namespace: its processes see us.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        sys::process::reset_signals()?;
        self.entry.enter()?;
        if let Some(processors) = &self.identity.affinity.1 {
            scheduling::set_affinity(processors).context(|| "set process.execCPUAffinity.final")?;
        }
        let mut warnings = confine::oom_score(self.identity.process)?;
        warnings.extend(self.identity.warnings.iter().cloned());
        let labels = labels::open(self.identity.labels)?;
        let agent = self.connect_to_agent()?;
        // All in one call: there is no moment with half of them.
        sys::namespace::join(self.target, self.namespaces)
            .context(|| "join the container's namespaces")?;
        rustix::process::setsid().context(|| "make a session")?;
        if self.becomes_root {
            init::become_root()?;
        }
        if let Some(id) = self.keyring {
            confine::session_keyring(Keyring::OfContainer, id)?;
        }
        // Joining the mount namespace made its root ours.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = Root::new(openat(CWD, "/", flags, Mode::empty())?);
        let console = console::open(self.stdio, &root)?;
        console::attach_stdio(self.stdio, console.as_ref())?;
        let joining = Joining {
            identity: self.identity,
            user: self.user,
            groups: self.groups,
            filter: self.filter,
            landlock: self.landlock.as_ref(),
        };
        let umask = Mode::from(0o022);
        let ready = init::get_ready(&joining, &root, umask, console.as_ref(), &mut warnings)?;
        if self.lifetime == Lifetime::WithParent {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        }
        drop(root);
        sys::process::close_on_exec_from(3 + self.preserve_fds)?;
        link.tell_parent(&FromInit::Ready {
            warnings,
            console: console.map(|console| console.master),
        })?;
        labels.write()?;
        link.tell_parent(&FromInit::Executing)?;
        confine::restrict(&ready)?;
        confine::filter(joining.filter, joining.identity, agent.as_ref())?;
        init::exec::execute(&ready.program)
    }

    fn connect_to_agent(&self) -> Result<Option<Connection>> {
        let Some(agent) = self.filter.and_then(|filter| filter.agent.as_ref()) else {
            return Ok(None);
        };
        let state = self.state.ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "SCMP_ACT_NOTIFY needs a container whose state is known",
            )
        })?;
        agent.connect(state.clone()).map(Some)
    }
}

fn open_target(target: ProcessRef) -> Result<OwnedFd> {
    let open = || -> Result<OwnedFd> {
        let pid = Pid::from_raw(target.pid)
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "not a pid"))?;
        Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
    };
    let pidfd = open().map_err(|_| not_running())?;
    still_there(target)?;
    Ok(pidfd)
}

fn still_there(target: ProcessRef) -> Result<()> {
    if target.is_alive() {
        return Ok(());
    }
    Err(not_running())
}

fn not_running() -> Error {
    Error::new(ErrorKind::Conflict, "the container is not running")
}

/// The namespaces of the target that are not ours. Joining one's own user
/// namespace is refused by the kernel; for the others it is only a waste.
fn differing_namespaces(pid: i32) -> Result<i32> {
    let mut differing = 0;
    for (kind, _, name, flag) in KINDS {
        // The pid namespace is entered by birth.
        if kind != NamespaceKind::Pid && differs(pid, name)? {
            differing |= flag;
        }
    }
    Ok(differing)
}

fn open_pid_namespace(pid: i32) -> Result<Option<OwnedFd>> {
    if !differs(pid, "pid")? {
        return Ok(None);
    }
    let path = format!("/proc/{pid}/ns/pid");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(CWD, &path, flags, Mode::empty())
        .context(|| format!("open {path}"))
        .map(Some)
}

fn differs(pid: i32, name: &str) -> Result<bool> {
    let path = format!("/proc/{pid}/ns/{name}");
    let theirs = match stat(&path) {
        // A kind that this kernel was built without.
        Err(Errno::NOENT) if name == "time" => return Ok(false),
        theirs => theirs.context(|| format!("look at {path}"))?,
    };
    let ours = stat(format!("/proc/self/ns/{name}"))
        .context(|| format!("look at our {name} namespace"))?;
    Ok((theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino))
}
