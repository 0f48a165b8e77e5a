//! What a container is: its configuration, which never changes after create,
//! and the facts that are found out about it. Status is derived, never stored.
//!
//! ```text
//!            create                start                      exit
//!  (none) ───────────► Created ───────────► Running ─────────────────► Exited ── remove ──► (none)
//!                         │                 │   ▲                         │
//!                         │           pause │   │ resume      start, or a │
//!                         └─ remove         ▼   │        policy restarts it ▼
//!                                          Paused        Restarting ──► Running
//! ```
//! A running container that is suspended is Suspended, and its memory on the
//! disk, until it is resumed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spec::{ChainId, Digest};

use crate::{
    BootId, ContainerId, ContainerName, MacAddress, PidfsInode, PortMapping, PortRange,
    PortRequest, ProcessRef, Protocol, SuspendRecord, Timestamp,
};

/// The form of [`ContainerConfig`] on disk.
pub const CONFIG_VERSION: u32 = 1;

/// Everything that was decided when the container was created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerConfig {
    pub version: u32,
    pub id: ContainerId,
    pub name: ContainerName,
    pub created: Timestamp,
    pub image: ImageUse,
    pub process: ProcessConfig,
    pub hostname: String,
    #[serde(default)]
    pub domainname: String,
    #[serde(default)]
    pub mounts: Vec<MountRequest>,
    #[serde(default)]
    pub devices: Vec<DeviceRequest>,
    pub network: NetworkMode,
    /// With [`NetworkMode::Bridge`]: the networks it is on, the default one
    /// if absent.
    #[serde(default)]
    pub endpoints: Option<Vec<Endpoint>>,
    #[serde(default)]
    pub dns: DnsConfig,
    #[serde(default)]
    pub namespaces: NamespaceModes,
    #[serde(default)]
    pub ports: Vec<PortRequest>,
    /// Ports of `EXPOSE` and `--expose`, published by `-P`.
    #[serde(default)]
    pub exposed: Vec<(PortRange, Protocol)>,
    #[serde(default)]
    pub publish_all: bool,
    #[serde(default)]
    pub extra_hosts: Vec<(String, IpAddr)>,
    #[serde(default)]
    pub links: Vec<Link>,
    #[serde(default)]
    pub resources: ResourceLimits,
    pub confinement: Confinement,
    pub stop: StopConfig,
    pub restart: RestartPolicy,
    #[serde(default)]
    pub health: Option<HealthConfig>,
    pub log: LogConfig,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// `--rm`.
    pub auto_remove: bool,
    /// Where it comes from, if it is a clone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone_of: Option<CloneOf>,
    /// Its first run goes on from the memory in this layer of its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<ChainId>,
}

/// Where a clone comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneOf {
    /// Whose files lie below its own.
    pub template: ContainerId,
    /// The container that was copied, as it was called then.
    pub parent: ContainerId,
    pub parent_name: ContainerName,
}

/// Which image a container was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUse {
    /// As the user wrote it.
    pub name: String,
    /// Digest of the image's config.
    pub id: Digest,
    pub manifest: Digest,
    /// Snapshots, lowest first.
    pub chain: Vec<ChainId>,
}

/// The program, after image and request were put together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessConfig {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub workdir: String,
    /// `user[:group]`, by name or number; empty for root.
    pub user: String,
    #[serde(default)]
    pub groups: Vec<String>,
    pub tty: bool,
    pub stdin: StdinMode,
    /// `--init`: a small pid 1 that reaps and forwards signals.
    pub init: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StdinMode {
    /// `/dev/null`.
    #[default]
    Closed,
    /// Open until the first client that sent input goes away (`-i`).
    Once,
    /// Open for client after client (`-i -d`).
    Open,
}

/// One `-v`, `--mount` or `--tmpfs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    pub target: PathBuf,
    pub kind: MountKind,
    pub read_only: bool,
    /// What is mounted below the source stays writable if it is read-only.
    #[serde(default)]
    pub writable_below: bool,
    /// Files of the source's owner are somebody's in the container.
    #[serde(default)]
    pub id_map: Option<MountIdMap>,
}

/// Who the owner of a mount's source is inside: the container's own user
/// unless ids are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountIdMap {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKind {
    Bind {
        source: PathBuf,
        /// `rprivate` if empty; else one of (r)private, (r)shared, (r)slave.
        #[serde(default)]
        propagation: String,
        /// `-v` makes a missing source directory, `--mount` does not.
        #[serde(default)]
        create_source: bool,
        /// Bind the directory without what is mounted below it.
        #[serde(default)]
        non_recursive: bool,
    },
    Volume(VolumeMount),
    Tmpfs {
        /// Bytes.
        #[serde(default)]
        size: Option<u64>,
        #[serde(default)]
        mode: Option<u32>,
        /// Other mount options, as given: `noexec`, `uid=1000`.
        #[serde(default)]
        options: Vec<String>,
    },
    Image(ImageMount),
    Cloned(ClonedVolume),
}

/// A clone's own view of a volume: what it writes lies on the template's copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClonedVolume {
    /// As the volume is called that the parent has.
    pub name: String,
    /// Whose copy it is.
    pub template: ContainerId,
    /// Which one of the template's.
    pub number: u32,
    /// As in [`VolumeMount`].
    #[serde(default)]
    pub subpath: PathBuf,
}

/// A named or anonymous volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    pub name: String,
    /// Made for this container, goes with it on `rm -v` and `--rm`.
    pub anonymous: bool,
    /// Do not copy the image's content into a new volume.
    #[serde(default)]
    pub no_copy: bool,
    /// A directory or file of the volume instead of all of it; empty for all.
    #[serde(default)]
    pub subpath: PathBuf,
    /// What a volume that is not there yet is made with (`volume create -o`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// As `options`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The files of an image, read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMount {
    /// As the user wrote it.
    pub name: String,
    /// Which one that was when the container was created.
    #[serde(default)]
    pub image: Option<ImageUse>,
    /// A directory of the image; empty for all of it.
    #[serde(default)]
    pub subpath: PathBuf,
}

/// `--device host[:container[:rwm]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    pub host: PathBuf,
    pub container: PathBuf,
    /// Of `r`, `w` and `m`.
    pub access: String,
}

/// The name of the network a container is on unless it asks otherwise.
pub const DEFAULT_NETWORK: &str = "bridge";

/// A network that a container is on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// The network's name.
    pub network: String,
    /// Names beside the container's own.
    pub aliases: Vec<String>,
    /// A free one if absent.
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    /// The one that goes with the IPv4 address if absent.
    pub mac: Option<MacAddress>,
    /// What has no better way leaves by the network with the highest one.
    pub priority: i32,
    /// The link inside of the container: `eth` and a number if absent.
    pub interface: Option<String>,
}

/// A name by which one container alone finds another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub alias: String,
    pub container: ContainerId,
}

/// How a container finds names, where it does not follow the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsConfig {
    pub servers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

impl ContainerConfig {
    /// The networks it is on, if it has a namespace of its own for them.
    pub fn networks(&self) -> Vec<Endpoint> {
        match (&self.network, &self.endpoints) {
            (NetworkMode::Bridge, Some(endpoints)) => endpoints.clone(),
            (NetworkMode::Bridge, None) => vec![Endpoint {
                network: DEFAULT_NETWORK.to_owned(),
                ..Endpoint::default()
            }],
            _ => Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// A namespace of its own, on networks.
    #[default]
    Bridge,
    None,
    Host,
    /// The namespace of another container.
    Container(ContainerId),
}

/// Which of the host's namespaces it is in, the network's apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceModes {
    pub pid: PidMode,
    pub ipc: IpcMode,
    /// The host's name is its own.
    pub uts_of_host: bool,
    /// It sees the host's cgroups.
    pub cgroup_of_host: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PidMode {
    #[default]
    Private,
    /// It sees every process of the host.
    Host,
    /// It sees the processes of another container, and they see its.
    Container(ContainerId),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpcMode {
    #[default]
    Private,
    /// Its own, and others may join it.
    Shareable,
    /// Private, and without /dev/shm.
    None,
    Host,
    /// The queues, semaphores and shared memory of another container.
    Container(ContainerId),
}

/// What the container may use; absent means unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceLimits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes.
    pub memory_reservation: Option<u64>,
    /// Bytes of memory and swap together, -1 unlimited.
    pub memory_swap: Option<i64>,
    /// Thousand-millionths of a processor.
    pub nano_cpus: Option<u64>,
    pub cpu_shares: Option<u64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// Microseconds.
    pub cpu_quota: Option<i64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    pub pids: Option<i64>,
    pub oom_score_adj: Option<i32>,
    /// The kernel lets it wait for memory instead of killing (version 1 only).
    pub oom_kill_disable: bool,
    /// 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Microseconds (version 1 only).
    pub cpu_rt_period: Option<u64>,
    /// Microseconds (version 1 only).
    pub cpu_rt_runtime: Option<i64>,
    /// The cgroup that its own is made in, from the root of each hierarchy,
    /// without a slash at the ends; `wharf` if absent.
    pub cgroup_parent: Option<String>,
    pub ulimits: Vec<Ulimit>,
    /// Bytes of /dev/shm.
    pub shm_size: Option<u64>,
    pub sysctls: BTreeMap<String, String>,
    /// Bytes of the writable layer.
    pub storage: Option<u64>,
    /// Bits per second in either direction of each network.
    pub network_rate: Option<u64>,
}

/// `--ulimit name=soft[:hard]`; `u64::MAX` is unlimited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// As `nofile`.
    pub name: String,
    pub soft: u64,
    pub hard: u64,
}

/// What the container may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Confinement {
    pub privileged: bool,
    /// As given: `NET_ADMIN`, `CAP_NET_ADMIN`, `ALL`.
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub no_new_privileges: bool,
    pub seccomp: SeccompProfile,
    pub apparmor: AppArmorProfile,
    pub read_only_root: bool,
}

/// What AppArmor confines the processes by, where it is active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppArmorProfile {
    /// The engine's own, but for privileged containers.
    #[default]
    Default,
    Unconfined,
    /// One that the host has loaded.
    Named(String),
}

/// Which system calls are filtered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeccompProfile {
    /// The built-in profile, which fits the capabilities.
    #[default]
    Builtin,
    Unconfined,
    /// The user's own.
    Custom(Box<spec::runtime::Seccomp>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopConfig {
    /// Number of the signal.
    pub signal: i32,
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    #[default]
    No,
    OnFailure {
        at_most: Option<u32>,
    },
    Always,
    UnlessStopped,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthConfig {
    /// `["CMD", …]` or `["CMD-SHELL", line]`.
    pub test: Vec<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub start_period: Duration,
    pub start_interval: Duration,
    pub retries: u32,
    #[serde(default)]
    pub on_failure: HealthAction,
}

/// What follows when a container turns unhealthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthAction {
    #[default]
    None,
    /// It is ended as `stop` does and started again, whatever its policy.
    Restart,
    /// It is ended as `stop` does, and stays so.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthStatus {
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What the probes of a run found (`health.json`, in the run root).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRecord {
    pub status: HealthStatus,
    pub failing_streak: u32,
    /// The last five, oldest first.
    pub log: Vec<HealthResult>,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResult {
    pub start: Timestamp,
    pub end: Timestamp,
    /// 0 is healthy; -1: it could not be run, or took too long.
    pub exit_code: i32,
    /// At most 4 KiB of what it printed.
    pub output: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Docker's json-file form, rotated.
    JsonFile,
    /// A shorter form, rotated and compressed.
    Local,
    /// The host's journal.
    Journald,
    None,
}

impl LogDriver {
    /// As Docker calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::Journald => "journald",
            Self::None => "none",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    pub driver: LogDriver,
    /// Bytes after which a new file begins.
    pub max_size: u64,
    /// Files kept, the current one included.
    pub max_files: u32,
    /// Labels whose values each entry carries.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Variables whose values each entry carries.
    #[serde(default)]
    pub env: Vec<String>,
    /// What the journal calls the container, a template of Docker's; the short
    /// id if absent.
    #[serde(default)]
    pub tag: Option<String>,
}

impl Default for LogConfig {
    /// 3 × 10 MB, so that logs never fill a disk.
    fn default() -> Self {
        Self {
            driver: LogDriver::JsonFile,
            max_size: 10_000_000,
            max_files: 3,
            labels: Vec::new(),
            env: Vec::new(),
            tag: None,
        }
    }
}

/// What is known of a container of this boot (`facts.json`, in the run root).
/// Written by the monitor once the container is started; the exit is a record
/// of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub boot: BootId,
    pub monitor: ProcessRef,
    pub sandbox: Option<SandboxRecord>,
    /// Of the sandbox's init, where the kernel has such numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_inode: Option<PidfsInode>,
    pub started: Option<Timestamp>,
    /// How often the restart policy has started it again.
    #[serde(default)]
    pub restarts: u32,
    /// Set before a stop is tried, so that no policy restarts it.
    #[serde(default)]
    pub stop_requested: bool,
    /// The monitor has made it stand still.
    #[serde(default)]
    pub paused: bool,
    /// How the last run ended, while the restart policy waits.
    #[serde(default)]
    pub waiting: Option<ExitRecord>,
    /// If it is probed.
    #[serde(default)]
    pub health: Option<HealthStatus>,
}

/// What the runtime knows of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxRecord {
    pub bundle: PathBuf,
    pub init: ProcessRef,
    /// Below the root of each hierarchy: `/wharf/<id>`.
    pub cgroup: String,
    #[serde(default)]
    pub cgroup_manager: CgroupManager,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    pub created: Timestamp,
    #[serde(default)]
    pub stdio: StdioInodes,
}

/// Inode numbers of the pipes and sockets that a program got as standard
/// input, output and error. What it has there later may be something else: a
/// shell moves them while it redirects a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StdioInodes(pub [Option<u64>; 3]);

/// Who makes cgroups and takes them away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupManager {
    /// We, through the files of the cgroup hierarchies.
    #[default]
    Cgroupfs,
    /// systemd, as a scope per container.
    Systemd,
    /// Nobody: containers stay in the cgroup of whoever started them.
    Disabled,
}

/// How the container is on the network, kept while it runs
/// (`network.json`, in the run root, written by the engine).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    pub network: String,
    #[serde(default)]
    pub network_id: Option<ContainerId>,
    /// The link inside.
    #[serde(default)]
    pub interface: String,
    /// Of the host's end.
    pub link: String,
    pub mac: String,
    pub ipv4: Option<IpAddr>,
    pub ipv4_prefix: u8,
    pub ipv4_gateway: Option<IpAddr>,
    pub ipv6: Option<IpAddr>,
    pub ipv6_prefix: u8,
    pub ipv6_gateway: Option<IpAddr>,
    /// Who resolves names there.
    #[serde(default)]
    pub resolver: Option<Ipv4Addr>,
    pub ports: Vec<PortMapping>,
}

/// How and when it ended (`exit.json`, durable).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub status: ExitStatus,
    /// Whether the kernel killed a process of it for lack of memory.
    pub out_of_memory: bool,
    pub started: Option<Timestamp>,
    pub finished: Timestamp,
    /// Why it could not be started, if it could not.
    #[serde(default)]
    pub error: Option<sys::Error>,
    #[serde(default)]
    pub restarts: u32,
    /// Somebody asked for the end: `unless-stopped` does not start it at boot.
    #[serde(default)]
    pub stopped: bool,
    /// Bytes of memory that it was allowed, if it ran out of them.
    #[serde(default)]
    pub memory_limit: Option<u64>,
    /// Its processes were taken into a checkpoint and ended by that.
    #[serde(default)]
    pub checkpointed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitStatus {
    Code(u8),
    /// Number of the signal.
    Signal(i32),
    /// Nobody saw it end: the host or the monitor went away first.
    Unknown,
}

impl ExitStatus {
    /// As a shell reports it: 128 + the signal's number. Unknown is 255, as
    /// Docker reports it after a crash of the host.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + (signal & 0x7f)).unwrap_or(255),
            Self::Unknown => 255,
        }
    }
}

/// Derived from facts; see [`Facts::status`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Created,
    Running {
        since: Timestamp,
    },
    Paused {
        since: Timestamp,
    },
    /// The restart policy waits; how the last run ended.
    Restarting(ExitRecord),
    /// Its memory is on the disk.
    Suspended(SuspendRecord),
    Exited(ExitRecord),
}

impl Facts {
    /// Status from what was written down and what is true right now. `exit`
    /// is the durable record, if there is one.
    pub fn status(facts: Option<&Self>, exit: Option<&ExitRecord>) -> Status {
        let started = facts.and_then(|facts| {
            let sandbox = facts.sandbox.as_ref()?;
            let since = facts.started?;
            let is_alive = match facts.init_inode {
                Some(inode) => sandbox.init.is_alive_as(inode),
                None => sandbox.init.is_alive(),
            };
            is_alive.then_some(since)
        });
        match (started, facts, exit) {
            (Some(since), Some(facts), _) if facts.paused => Status::Paused { since },
            (Some(since), _, _) => Status::Running { since },
            (None, _, Some(exit)) => Status::Exited(exit.clone()),
            (None, Some(facts), None) if facts.started.is_some() => match &facts.waiting {
                Some(last) if facts.monitor.is_alive() => Status::Restarting(last.clone()),
                // It was started and nobody wrote down its end.
                _ => Status::Exited(ExitRecord {
                    restarts: facts.restarts,
                    ..ExitRecord::unseen(
                        facts.started,
                        facts.started.unwrap_or_else(Timestamp::now),
                    )
                }),
            },
            (None, _, None) => Status::Created,
        }
    }
}

impl ExitRecord {
    /// Of an end that nobody saw.
    pub fn unseen(started: Option<Timestamp>, finished: Timestamp) -> Self {
        Self {
            status: ExitStatus::Unknown,
            out_of_memory: false,
            started,
            finished,
            error: None,
            restarts: 0,
            stopped: false,
            memory_limit: None,
            checkpointed: false,
        }
    }
}
