//! What processes say to each other: one enum per direction.
//!
//! The engine starts a monitor with a [`MonitorJob`] on a sealed memfd and a
//! [`crate::Channel`], and gets answers; later clients reach the same monitor
//! through the container's control socket.
//!
//! ```text
//!  engine                                    monitor
//!    │  spawn, job on fd 3, channel on fd 4     │
//!    │ ───────────────────────────────────────► │ runtime::create
//!    │ ◄──────────────────────────── Ready ──── │ (with the network namespace, if it is new)
//!    │  (network is applied meanwhile)          │
//!    │ ── Go ─────────────────────────────────► │ start
//!    │ ◄───────────── Started | Failed ──────── │
//!    │ ── Attach, Stdin…, Resize, Detach ─────► │
//!    │ ◄──────────── Stdout, Stderr frames ──── │
//!    │ ◄──────────────────────────── Exited ─── │ exit record written
//!    │  clean-up lease: while this channel is   │
//!    │  open the engine cleans up; if it drops  │ runs `on_exit`
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use spec::runtime::{ConsoleSize, Mount, Process, Resources, Spec};
use sys::Error;

use crate::{
    ContainerId, Departure, ExitRecord, HealthConfig, ProcessRef, RestartPolicy, SeccompProfile,
    StdinMode, StopConfig,
};

/// Where the monitor finds its job (a sealed memfd holding JSON).
pub const JOB_FD: i32 = 3;
/// Where the monitor finds its end of the launching engine's channel.
pub const CONTROL_FD: i32 = 4;
/// Where the descriptors begin that [`MonitorJob::fds`] lists.
pub const FIRST_EXTRA_FD: i32 = 5;

/// Everything a monitor needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonitorJob {
    pub id: ContainerId,
    pub work: Work,
    /// Holds facts.json and control.sock; made by the engine. For an exec
    /// session: where its own control.sock goes.
    pub run_dir: PathBuf,
    /// Where the exit record goes; none for an exec session.
    pub exit_record: Option<PathBuf>,
    pub log: LogTarget,
    pub stdin: StdinMode,
    pub restart: RestartPolicy,
    pub health: Option<Box<HealthJob>>,
    /// The record of events ([`crate::events`]); none for an exec session.
    #[serde(default)]
    pub events: Option<PathBuf>,
    /// Run (with its arguments) when the container is gone for good and no
    /// engine holds the clean-up lease.
    pub on_exit: Vec<String>,
    /// What each descriptor from [`FIRST_EXTRA_FD`] on is for.
    pub fds: Vec<FdRole>,
}

/// How the monitor looks after the health of its container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthJob {
    pub config: HealthConfig,
    /// The probe, run inside the container as `exec` would.
    pub process: Process,
    pub seccomp: SeccompProfile,
    /// As in [`StartSpec`].
    pub user: String,
    pub groups: Vec<String>,
    /// How an unhealthy container is ended, if it is.
    pub stop: StopConfig,
}

/// Meaning of an extra descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FdRole {
    /// The network namespace to join, kept for restarts.
    NetworkNamespace,
    /// A namespace that the specification names as /proc/self/fd/N; kept for
    /// restarts.
    Namespace,
    /// Holds a published port on the host; only kept open.
    Port,
    /// The directory of the memory image to go on from; after it those of the
    /// images that it stands on.
    Memory,
}

/// The hinge: everything before and after it is shared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    Start(Box<StartSpec>),
    /// Its first run goes on from memory on the disk; later ones are starts.
    Restore(Box<RestoreSpec>),
    Exec(Box<ExecSpec>),
}

/// A container to start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartSpec {
    pub spec: Spec,
    pub rootfs: RootFs,
    pub seccomp: SeccompProfile,
    /// `user[:group]` still to be looked up in the container's /etc/passwd
    /// and /etc/group by the runtime (which has the root open safely);
    /// overrides `spec.process.user`. Empty if the spec says it all.
    pub user: String,
    pub groups: Vec<String>,
    /// `--init`.
    pub init: bool,
    /// An empty directory to mount the root on, inside the new namespace.
    pub mountpoint: PathBuf,
}

/// A container whose processes go on where a memory image left them. The
/// image comes as a descriptor ([`FdRole::Memory`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoreSpec {
    pub start: StartSpec,
    /// Says that the container is suspended: taken away at the last moment
    /// before it goes on.
    pub record: Option<PathBuf>,
    /// Whoever launched it is asked before it goes on
    /// ([`FromMonitor::Whole`]).
    #[serde(default)]
    pub asks: bool,
}

/// A process to add to a running container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// The container's init.
    pub target: ProcessRef,
    /// Below the root of each hierarchy.
    pub cgroup: String,
    pub process: Process,
    pub seccomp: SeccompProfile,
    /// As in [`StartSpec`].
    pub user: String,
    pub groups: Vec<String>,
}

/// Where the root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootFs {
    /// `root.path` of the spec, relative to the bundle.
    Directory(PathBuf),
    Overlay(OverlayRoot),
}

/// Directories for one overlay mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayRoot {
    /// Topmost first.
    pub lower: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
}

/// Where output is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogTarget {
    None,
    /// `path`, rotated to `path.1` … when `max_size` bytes are reached;
    /// `max_files` counts them all.
    JsonFile {
        path: PathBuf,
        max_size: u64,
        max_files: u32,
        /// What each entry carries besides.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        attributes: BTreeMap<String, String>,
    },
    /// As `JsonFile`, in a shorter form; full files are `path.N`, N counts up.
    Local {
        path: PathBuf,
        max_size: u64,
        max_files: u32,
        /// Command that packs the file which is named behind it.
        pack: Vec<String>,
    },
    /// The host's journal; names and values that each entry carries.
    Journald {
        fields: Vec<(String, String)>,
    },
}

/// From engines and clients to a monitor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToMonitor {
    /// Start what was created, or let what is whole go on. Only from the
    /// launching engine.
    Go,
    /// Send me output from now on; `stdin` if I shall send input.
    Attach { stdin: bool },
    /// No more output to me; the container goes on.
    Detach,
    /// New size of the terminal.
    Resize(ConsoleSize),
    /// Tell me when it exits.
    Wait,
    /// A stop begins: do not restart it.
    StopRequested,
    /// Signal to the container's init (or the exec's process).
    Signal(i32),
    /// Let everything in it stand still; answered by `Done` or `Refused`.
    Pause,
    /// Let it go on; answered likewise.
    Unpause,
    /// Change what can change while it runs; answered likewise.
    Update(Box<LiveUpdate>),
    /// So many sockets that hold published ports come with it, and are kept
    /// open with the others from here on; answered likewise.
    HoldPorts { count: usize },
    /// Let go of all ports but those listed on a sealed memfd that comes with
    /// it, as [`crate::PortMapping`]s; answered likewise.
    KeepPorts,
    /// Take mounts away and make others, as the [`LiveMounts`] on a sealed
    /// memfd that comes with it say; answered likewise.
    ChangeMounts,
    /// Its processes are about to be written down: put nothing into it until
    /// `Release`, or until this connection closes; answered likewise.
    Hold,
    /// They are: nothing of it may move from here on, whoever dies. If this
    /// connection closes, what `record` says holds: if it is there, the
    /// container is suspended, else, and without one, it goes on. Answered
    /// likewise.
    Seal { record: Option<PathBuf> },
    /// It goes on.
    Release,
    /// It ends here, for this reason and no other.
    Leave(Departure),
}

/// What changes while a container runs. If it may be restarted afterwards, a
/// sealed memfd with the new [`StartSpec`] comes with it, for the monitor may
/// have forgotten the old one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveUpdate {
    /// What is absent stays as it is.
    pub resources: Resources,
    pub restart: Option<RestartPolicy>,
}

/// Mounts that change while a container runs: all of it, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveMounts {
    /// Where something goes; fine if nothing is mounted there any more.
    pub remove: Vec<PathBuf>,
    pub add: Vec<Mount>,
}

/// From a monitor to engines and clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromMonitor {
    /// Created. The descriptor of a new network namespace comes with it, if
    /// the runtime made one.
    Ready,
    /// All of it is there again and nothing moves: `Go` lets it go on,
    /// anything else ends it.
    Whole {
        init: ProcessRef,
    },
    Started {
        init: ProcessRef,
    },
    /// It could not be started; the words of whoever failed.
    Failed(Error),
    /// It is over and written down; no output comes after this.
    Exited(ExitRecord),
    /// Its processes are on the disk and gone from here; no output comes after
    /// this.
    Suspended,
    /// What was asked for is done.
    Done,
    /// It is not, and nothing was changed.
    Refused(Error),
}
