//! What is supervised: a container, or a process added to one.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use checkpoint::{Pager, Parents, Restoring, Template};
use runtime::{
    CgroupManager, CgroupPath, CreateRequest, Created, ExecRequest, Gate, InitProcess, Keyring,
    Lifetime, ProcessStdio, RootSwitch, Running,
};
use spec::runtime::{NamespaceKind, Process, Spec};
use state::{ContainerId, ExecSpec, ProcessRef, StartSpec, StdinMode, StdioInodes, Work};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::stdio::{Stdio, Wiring};

/// What the engine handed down.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) network: Option<OwnedFd>,
    pub(crate) memory: Option<GivenMemory>,
}

/// The memory that a container goes on from.
#[derive(Debug)]
pub(crate) enum GivenMemory {
    /// The directory of an image, and those of the images that it stands on.
    Image(OwnedFd, Vec<OwnedFd>),
    /// It is here already: a template is our parent.
    Template(Box<Template>),
}

/// A container that does not run yet.
#[derive(Debug)]
enum Made {
    /// Its program waits at the gate.
    Program(Created),
    /// It waits for the processes of a memory image.
    Empty(Box<Restoring>),
}

/// A process before and while it runs.
#[derive(Debug)]
pub(crate) struct Task {
    id: ContainerId,
    run_dir: PathBuf,
    stdin: StdinMode,
    /// Dropped once it cannot be needed any more.
    work: Option<Work>,
    /// The namespace that the engine made, kept for restarts.
    network: Option<OwnedFd>,
    /// What the first run goes on from.
    memory: Option<GivenMemory>,
    created: Option<Made>,
    pub(crate) running: Option<Running>,
    /// Brings what is missing of its memory.
    pub(crate) pager: Option<Pager>,
    /// Reaped, and still holding what takes time to let go of.
    ended: Option<Running>,
    /// Processes outside of a pid namespace of their own outlive the first.
    has_pid_namespace: bool,
    cgroup: String,
    word: &'static str,
    stdio: StdioInodes,
    /// The kernel's count after the last run: the cgroup outlives a restart.
    oom_kills: u64,
}

/// Where a program is, and what it got from us.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) cgroup: String,
    pub(crate) stdio: StdioInodes,
}

impl Task {
    pub(crate) fn new(
        id: ContainerId,
        run_dir: PathBuf,
        work: Work,
        stdin: StdinMode,
        given: Given,
    ) -> Self {
        Self {
            id,
            run_dir,
            stdin,
            network: given.network,
            memory: given.memory,
            created: None,
            running: None,
            pager: None,
            ended: None,
            has_pid_namespace: has_pid_namespace(&work),
            cgroup: String::new(),
            word: "start",
            stdio: StdioInodes::default(),
            oom_kills: 0,
            work: Some(work),
        }
    }

    /// Clones the container; an exec session has nothing to be made before
    /// its start.
    pub(crate) fn create(&mut self, stdio: &mut Stdio) -> Result<()> {
        let (start, is_restore) = match &self.work {
            Some(Work::Start(start)) => (&**start, false),
            Some(Work::Restore(restore)) => (&restore.start, true),
            Some(Work::Exec(_)) | None => return Ok(()),
        };
        let cgroup = match start
            .spec
            .linux
            .as_ref()
            .and_then(|linux| linux.cgroups_path.as_deref())
        {
            Some(path) => CgroupPath::parse(path)?,
            None => CgroupPath::of_container(&self.id.to_string())?,
        };
        cgroup.as_str().clone_into(&mut self.cgroup);
        let network = match &self.network {
            Some(network) => Some(
                network
                    .try_clone()
                    .context(|| "keep the network namespace")?,
            ),
            None => None,
        };
        // An overlay must not be mounted twice.
        self.ended = None;
        let theirs = stdio.connect(wiring(process_of(&start.spec)?, self.stdin))?;
        self.stdio = theirs.inodes();
        let id = self.id.to_string();
        let request = request(&id, &self.run_dir, start, cgroup, theirs, network);
        self.created = Some(if is_restore {
            let memory = self.memory.take().ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidInput,
                    "the job has no memory to go on from",
                )
            })?;
            Made::Empty(Box::new(match memory {
                GivenMemory::Image(directory, parents) => {
                    Restoring::begin(request, &directory, &Parents::Given(parents))?
                }
                GivenMemory::Template(template) => Restoring::begin_from(request, *template)?,
            }))
        } else {
            Made::Program(runtime::create(request)?)
        });
        Ok(())
    }

    pub(crate) fn place(&self) -> Place {
        Place {
            cgroup: self.cgroup.clone(),
            stdio: self.stdio,
        }
    }

    /// The network namespace that the runtime made for it.
    pub(crate) fn new_network_namespace(&self) -> Option<OwnedFd> {
        let is_new = self.network.is_none()
            && start_of(self.work.as_ref()?)?
                .spec
                .linux
                .as_ref()
                .is_some_and(|linux| {
                    linux.namespaces.iter().any(|namespace| {
                        namespace.kind == NamespaceKind::Network && namespace.path.is_none()
                    })
                });
        let created = match self.created.as_ref().filter(|_| is_new)? {
            Made::Program(created) => created,
            Made::Empty(restoring) => restoring.created(),
        };
        created.network_namespace().ok()
    }

    /// Lets the program run; or lets processes go on from memory, after
    /// `ready` was told their init.
    pub(crate) fn start(
        &mut self,
        stdio: &mut Stdio,
        ready: &mut dyn FnMut(ProcessRef) -> Result<()>,
    ) -> Result<()> {
        let mut running = match (&self.work, self.created.take()) {
            (_, Some(Made::Program(created))) => created.start()?,
            (_, Some(Made::Empty(restoring))) => {
                let (running, pager) = restoring.finish(&mut |created| ready(created.process()))?;
                self.pager = pager;
                self.start_from_now_on();
                running
            }
            (Some(Work::Exec(exec)), None) => {
                let cgroup = CgroupPath::parse(&exec.cgroup)?;
                exec.cgroup.clone_into(&mut self.cgroup);
                let theirs = stdio.connect(wiring(&exec.process, self.stdin))?;
                runtime::exec(exec_request(exec, cgroup, theirs))?
            }
            _ => return Err(Error::new(ErrorKind::Internal, "nothing was created")),
        };
        if let Some(master) = running.take_console() {
            stdio.set_console(master)?;
        }
        self.running = Some(running);
        Ok(())
    }

    /// Kills what was created and never ran.
    pub(crate) fn abandon(&mut self) {
        self.created = None;
    }

    /// It went on from memory once; what comes after that is a start.
    fn start_from_now_on(&mut self) {
        if let Some(Work::Restore(restore)) = self.work.take() {
            self.word = if restore.record.is_some() {
                "resume"
            } else {
                "restore"
            };
            self.work = Some(Work::Start(Box::new(restore.start)));
        }
    }

    /// What happened at the last start, for the record of events.
    pub(crate) fn take_word(&mut self) -> &'static str {
        std::mem::replace(&mut self.word, "start")
    }

    pub(crate) fn is_restore(&self) -> bool {
        matches!(self.work, Some(Work::Restore(_)))
    }

    /// What says that it is suspended, until it goes on.
    pub(crate) fn suspend_record(&self) -> Option<PathBuf> {
        match &self.work {
            Some(Work::Restore(restore)) => restore.record.clone(),
            _ => None,
        }
    }

    /// Whether the launcher is asked before it goes on.
    pub(crate) fn asks(&self) -> bool {
        matches!(&self.work, Some(Work::Restore(restore)) if restore.asks)
    }

    /// How to start from now on.
    pub(crate) fn set_work(&mut self, start: StartSpec) {
        self.work = Some(Work::Start(Box::new(start)));
    }

    /// Forgets how to start: it will not happen again.
    pub(crate) fn forget_work(&mut self) {
        if let Some(Work::Start(_)) = &self.work {
            self.work = None;
        }
    }

    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(Running::pidfd)
    }

    pub(crate) fn id(&self) -> &ContainerId {
        &self.id
    }

    pub(crate) fn cgroup(&self) -> &str {
        &self.cgroup
    }

    pub(crate) fn is_exec(&self) -> bool {
        matches!(self.work, Some(Work::Exec(_)))
    }

    /// How it ended; to be called when the pidfd is readable.
    pub(crate) fn reap(&mut self) -> crate::transition::End {
        let Some(mut running) = self.running.take() else {
            return crate::transition::End {
                status: state::ExitStatus::Unknown,
                out_of_memory: false,
                memory_limit: None,
            };
        };
        let status = running.reap().unwrap_or(state::ExitStatus::Unknown);
        let is_exec = self.is_exec();
        if !is_exec && !self.has_pid_namespace {
            // Nobody but us can tell that they belong to a container that is over.
            let _ = running.cgroup().kill_all();
        }
        let oom_kills = if is_exec {
            0
        } else {
            running.cgroup().oom_kills()
        };
        let out_of_memory = oom_kills > self.oom_kills;
        self.oom_kills = oom_kills;
        let memory_limit = if out_of_memory {
            running.cgroup().memory_limit()
        } else {
            None
        };
        self.ended = Some(running);
        crate::transition::End {
            status,
            out_of_memory,
            memory_limit,
        }
    }

    /// Takes down the namespaces of what ended: the kernel takes some
    /// milliseconds for it, so everybody is told of the end before.
    pub(crate) fn let_go(&mut self) {
        self.ended = None;
    }
}

fn has_pid_namespace(work: &Work) -> bool {
    start_of(work).is_some_and(|start| {
        start.spec.linux.as_ref().is_some_and(|linux| {
            linux
                .namespaces
                .iter()
                .any(|namespace| namespace.kind == NamespaceKind::Pid && namespace.path.is_none())
        })
    })
}

fn start_of(work: &Work) -> Option<&StartSpec> {
    match work {
        Work::Start(start) => Some(start),
        Work::Restore(restore) => Some(&restore.start),
        Work::Exec(_) => None,
    }
}

fn process_of(spec: &Spec) -> Result<&Process> {
    spec.process
        .as_ref()
        .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the job has no process to start"))
}

fn wiring(process: &Process, stdin: StdinMode) -> Wiring {
    if process.terminal {
        Wiring::Terminal(process.console_size)
    } else {
        Wiring::Pipes(stdin)
    }
}

fn request<'a>(
    id: &'a str,
    run_dir: &'a PathBuf,
    start: &'a StartSpec,
    cgroup: CgroupPath,
    stdio: ProcessStdio,
    network: Option<OwnedFd>,
) -> CreateRequest<'a> {
    CreateRequest {
        id,
        spec: &start.spec,
        bundle: run_dir,
        rootfs: &start.rootfs,
        mountpoint: &start.mountpoint,
        seccomp: &start.seccomp,
        cgroup,
        cgroup_manager: CgroupManager::Cgroupfs,
        user: &start.user,
        groups: &start.groups,
        stdio,
        preserve_fds: 0,
        keyring: Keyring::OfContainer,
        root_switch: RootSwitch::Pivot,
        init: if start.init {
            InitProcess::Reaper
        } else {
            InitProcess::Program
        },
        network,
        gate: Gate::Parent,
    }
}

fn exec_request(exec: &ExecSpec, cgroup: CgroupPath, stdio: ProcessStdio) -> ExecRequest<'_> {
    ExecRequest {
        target: exec.target,
        process: &exec.process,
        container: None,
        seccomp: &exec.seccomp,
        cgroup,
        cgroup_manager: CgroupManager::Cgroupfs,
        sub_cgroups: &[],
        user: &exec.user,
        groups: &exec.groups,
        stdio,
        preserve_fds: 0,
        // The engine names a container's cgroup after the container.
        keyring: exec.cgroup.rsplit('/').next(),
        // Whoever watches it is gone then, and so are its streams.
        lifetime: Lifetime::WithParent,
    }
}
