//! The child's side of a start: the ordered list of steps up to execve.
//!
//! Order is security: each line of [`set_up`] says what breaks if it moves.
//! `docs/security.md` tells the whole story.

pub(crate) mod confine;
pub(crate) mod console;
pub(crate) mod exec;
mod identity;
pub(crate) mod labels;
pub(crate) mod landlock;
mod old_mounts;
mod pid1;
mod program_file;
mod rootfs;
mod users;

pub(crate) use identity::become_root;

use std::convert::Infallible;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Signal};
use spec::runtime::{Hook, Hooks, Spec, State, StateStatus};
use state::RootFs;
use sys::landlock::Ruleset;
use sys::seccomp::Instruction;
use sys::{Context as _, Error, ErrorKind, Result};

use self::landlock::Landlock;
use crate::cgroup::{CgroupPath, Entry, Hierarchies};
use crate::create::{Gate, InitProcess, Keyring, ProcessStdio, RootSwitch};
use crate::handshake::{FromInit, Link, ToInit};
use crate::mounts::root::Root;
use crate::sandbox::{Identity, Sandbox, apply_scheduling};
use crate::seccomp::notify::Agent;
use crate::{birth, hooks};

/// Everything that the child gets, by way of the copied memory.
#[derive(Debug)]
pub(crate) struct Init<'a> {
    pub(crate) id: &'a str,
    pub(crate) spec: &'a Spec,
    pub(crate) bundle: &'a Path,
    pub(crate) sandbox: Sandbox<'a>,
    pub(crate) rootfs: &'a RootFs,
    pub(crate) mountpoint: &'a Path,
    pub(crate) cgroup: &'a CgroupPath,
    pub(crate) hierarchies: &'a Hierarchies,
    pub(crate) entry: Entry,
    pub(crate) user: &'a str,
    pub(crate) groups: &'a [String],
    pub(crate) stdio: ProcessStdio,
    pub(crate) preserve_fds: u32,
    pub(crate) keyring: Keyring,
    pub(crate) root_switch: RootSwitch,
    pub(crate) kind: InitProcess,
    pub(crate) gate: Gate,
    pub(crate) filter: Option<Filter>,
    /// Mounts that the parent opened or made, by their place in the list.
    pub(crate) opened: Vec<(usize, OwnedFd)>,
    pub(crate) born: Born,
}

impl Init<'_> {
    fn state(&self, status: StateStatus, pid: Option<i32>) -> State {
        hooks::state(self.id, status, pid, self.bundle, &self.spec.annotations)
    }
}

/// How init came to be, and what the parent still has to do for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Born {
    /// It has no ids yet, no cgroup or no links.
    pub(crate) waits_for_parent: bool,
    /// Who maps its ids has to see it.
    pub(crate) hides_late: bool,
    pub(crate) waits_for_hooks: bool,
    /// In the cgroups and the namespaces that are joined.
    pub(crate) has_joined: bool,
}

/// A compiled system call filter.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) program: Vec<Instruction>,
    pub(crate) flags: u64,
    pub(crate) agent: Option<Agent>,
}

/// What a new process of a container is to be, whether init or not.
pub(crate) struct Joining<'a> {
    pub(crate) identity: &'a Identity<'a>,
    pub(crate) user: &'a str,
    pub(crate) groups: &'a [String],
    pub(crate) filter: Option<&'a Filter>,
    pub(crate) landlock: Option<&'a Landlock>,
}

/// What is left for a process to do: to be confined, and to be the program.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) program: exec::Program,
    pub(crate) ruleset: Option<Ruleset>,
}

/// Runs in the clone; returns its exit code if it came to no program.
pub(crate) fn run(init: &Init<'_>, link: Link) -> i32 {
    let mut reply = link;
    match set_up(init, &mut reply) {
        Ok(never) => match never {},
        Err(error) => {
            // If nobody listens any more there is nobody to tell.
            let _ = reply.tell_parent(&FromInit::Failed(error));
            1
        }
    }
}

fn set_up(init: &Init<'_>, link: &mut Link) -> Result<Infallible> {
    // First of all, for our memory is a copy of the parent's: nobody in the
    // container may look at it, or at our descriptors.
    if !init.born.hides_late {
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    // The parent may have blocked signals and ignores SIGPIPE.
    sys::process::reset_signals()?;
    // Before anything is made: all of it is charged to the container. Before
    // the cgroup namespace, whose root it becomes.
    let sandbox = &init.sandbox;
    if !init.born.has_joined {
        init.entry.enter()?;
        birth::join_namespaces(&sandbox.namespaces)?;
    }
    if init.born.waits_for_parent {
        wait_for_parent(link)?;
    }
    if init.born.hides_late {
        // /proc of a process that hides belongs to root, and an owner without
        // privileges could not write its id maps. Until here nobody shared
        // its ids: it is alone in its user namespace.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    identity::check_joined_maps(sandbox)?;
    if sandbox.namespaces.cgroup.is_new() {
        sys::namespace::unshare(sys::clone::CLONE_NEWCGROUP)
            .context(|| "make a cgroup namespace")?;
    }
    rustix::process::setsid().context(|| "make a session")?;
    // While the host's /proc is the only one in sight.
    let mut warnings = confine::oom_score(sandbox.process.process)?;
    identity::time_namespace(sandbox)?;
    let labels = labels::open(sandbox.process.labels)?;
    let agent = init
        .filter
        .as_ref()
        .and_then(|filter| filter.agent.as_ref());
    let agent = agent.map(|agent| agent.connect(init.state(StateStatus::Creating, None)));
    let agent = agent.transpose()?;
    // Modes of what we make are meant as given.
    let umask = rustix::process::umask(Mode::empty());
    // From here to the pivot every path in the root goes through `built.root`.
    let mut built = rootfs::build(init)?;
    if !sandbox.namespaces.user.is_host() {
        // Only now: the host's directories were opened as who we were.
        identity::become_root()?;
    }
    confine::session_keyring(init.keyring, init.id)?;
    warnings.extend(rootfs::fill(init, &mut built)?);
    let console = console::open(&init.stdio, &built.root)?;
    console::bind(console.as_ref(), &built.root)?;
    if init.born.waits_for_hooks {
        link.tell_parent(&FromInit::Built)?;
        wait_for_parent(link)?;
    }
    run_hooks(init, "createContainer", StateStatus::Creating, |hooks| {
        &hooks.create_container
    })?;
    // Through a procfs of our own, before /proc/sys is made read-only.
    identity::names_and_sysctls(sandbox, &mut built.spent)?;
    rootfs::protect(init, &mut built)?;
    // The host is out of sight from here on.
    rootfs::enter(init, &built.root)?;
    console::attach_stdio(&init.stdio, console.as_ref())?;
    // Not by chdir's own lookup: that would follow a descriptor of ours in
    // /proc out of the container.
    built
        .root
        .ensure_directory(Path::new(&sandbox.process.process.cwd))?;
    if init.kind == InitProcess::Blank {
        drop(built);
        return stand_blank(link, warnings, console);
    }
    let joining = Joining {
        identity: &sandbox.process,
        user: init.user,
        groups: init.groups,
        filter: init.filter.as_ref(),
        landlock: sandbox.landlock.as_ref(),
    };
    let ready = get_ready(
        &joining,
        &built.root,
        umask,
        console.as_ref(),
        &mut warnings,
    )?;
    if matches!(init.gate, Gate::Parent) {
        // After the ids changed: that clears it. A parent that died before
        // shows at the gate.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    // Whatever else the parent had open ends here, before anybody outside can
    // make us wait; a parent at the gate does not.
    if matches!(init.gate, Gate::Parent) {
        std::mem::forget(built);
    } else {
        drop(built);
    }
    sys::process::close_on_exec_from(3 + init.preserve_fds)?;
    link.tell_parent(&FromInit::Ready {
        warnings,
        console: console.map(|console| console.master),
    })?;
    wait_at_gate(&init.gate, link)?;
    run_hooks(init, "startContainer", StateStatus::Created, |hooks| {
        &hooks.start_container
    })?;
    labels.write()?;
    match init.kind {
        InitProcess::Program => {
            // The filter may forbid telling anything.
            link.tell_parent(&FromInit::Executing)?;
            confine::restrict(&ready)?;
            confine::filter(joining.filter, joining.identity, agent.as_ref())?;
            exec::execute(&ready.program)
        }
        InitProcess::Reaper => pid1::run(&ready, &joining, link, &init.stdio),
        // It left above.
        InitProcess::Blank => Err(parent_gone()),
    }
}

/// Says that it is ready and stands until its creator has replaced what it is.
fn stand_blank(link: &Link, warnings: Vec<String>, console: Option<Console>) -> Result<Infallible> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    link.tell_parent(&FromInit::Ready {
        warnings,
        console: console.map(|console| console.master),
    })?;
    loop {
        if link.hear_parent()?.is_none() {
            return Err(parent_gone());
        }
    }
}

/// From the root to the point where only the filter and execve are left; the
/// same for init and for a process that joins later.
pub(crate) fn get_ready(
    joining: &Joining<'_>,
    root: &Root,
    umask: Mode,
    console: Option<&Console>,
    warnings: &mut Vec<String>,
) -> Result<Ready> {
    let process = joining.identity.process;
    // While we may still read every file of the container.
    let account = users::look_up(root, process, joining.user, joining.groups)?;
    console::give_to(console, account.uid);
    // While CAP_SYS_NICE and CAP_SYS_RESOURCE are ours, if they ever were.
    apply_scheduling(joining.identity)?;
    warnings.extend(confine::limits(joining.identity)?);
    // As root: the directory may be closed to the user, as in Docker.
    exec::enter_directory(root, &process.cwd)?;
    let ruleset = joining.landlock.map(|landlock| landlock.prepare(root));
    let ruleset = ruleset.transpose()?;
    confine::apply(joining.identity, &account)?;
    let mask = process.user.umask.map_or(umask, Mode::from);
    rustix::process::umask(mask);
    if let Some(domain) = joining.identity.personality {
        sys::scheduling::set_personality(domain).context(|| "set linux.personality")?;
    }
    // With the user's rights, and before the gate: "not found" is known when
    // the container is created.
    let program = exec::Program::find(process, &account)?;
    Ok(Ready { program, ruleset })
}

fn wait_for_parent(link: &Link) -> Result<()> {
    match link.hear_parent()? {
        Some(ToInit::Continue) => Ok(()),
        _ => Err(parent_gone()),
    }
}

/// Returns when the gate is open. With a socket, answers go to whoever opened
/// it.
fn wait_at_gate(gate: &Gate, link: &mut Link) -> Result<()> {
    match gate {
        Gate::Parent => match link.hear_parent()? {
            Some(ToInit::Start) => Ok(()),
            _ => Err(parent_gone()),
        },
        Gate::Socket(listener) => loop {
            let client = rustix::io::retry_on_intr(|| {
                rustix::net::accept_with(listener.as_fd(), rustix::net::SocketFlags::CLOEXEC)
            })
            .context(|| "wait for the start")?;
            let client = Link::from_fd(client);
            // A client that goes away without a word has not opened anything.
            if let Ok(Some(ToInit::Start)) = client.hear_parent() {
                *link = client;
                return Ok(());
            }
        },
    }
}

/// Hooks in the container's namespaces, which see its pid as it does.
fn run_hooks(
    init: &Init<'_>,
    kind: &str,
    status: StateStatus,
    which: impl FnOnce(&Hooks) -> &Vec<Hook>,
) -> Result<()> {
    let hooks = init.spec.hooks.as_ref().map(which);
    let Some(hooks) = hooks.filter(|hooks| !hooks.is_empty()) else {
        return Ok(());
    };
    let pid = rustix::process::getpid().as_raw_pid();
    hooks::run(kind, hooks, &init.state(status, Some(pid)))
}

fn parent_gone() -> Error {
    Error::new(ErrorKind::Interrupted, "the creating process went away")
}

/// The terminal's two ends while init sets itself up.
#[derive(Debug)]
pub(crate) struct Console {
    pub(crate) master: OwnedFd,
    pub(crate) slave: OwnedFd,
}
