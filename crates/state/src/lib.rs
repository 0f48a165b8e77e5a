//! What two wharf processes must agree on: where things are, how they are
//! written and locked, what a container is, and what is said over sockets.
//!
//! The command line, the API server, the monitor and the runtime share
//! nothing but the files and messages described here. Not here: any decision
//! about containers, and anything that only one process needs.
//!
//! Start reading at [`layout`] (every path), then [`container`] (what is
//! stored), then [`message`] (what is said).

#![forbid(unsafe_code)]

pub mod channel;
pub mod checkpoint;
pub mod container;
pub mod events;
pub mod id;
pub mod layout;
pub mod lock;
mod mac;
pub mod message;
pub mod names;
pub mod network;
pub mod ports;
pub mod process;
pub mod record;
pub mod template;
pub mod template_process;
pub mod time;

pub use channel::{Channel, Frame, Listener};
pub use checkpoint::{
    CheckpointRecord, Connections, Departure, DifferenceJob, DumpJob, FromDifference, FromDumper,
    MemoryImage, SuspendRecord, ToDumper,
};
pub use container::{
    AppArmorProfile, CgroupManager, CloneOf, ClonedVolume, Confinement, ContainerConfig,
    DeviceRequest, DnsConfig, Endpoint, ExitRecord, ExitStatus, Facts, HealthAction, HealthConfig,
    HealthRecord, HealthResult, HealthStatus, ImageMount, ImageUse, IpcMode, Link, LogConfig,
    LogDriver, MountIdMap, MountKind, MountRequest, NamespaceModes, NetworkMode, NetworkRecord,
    PidMode, ProcessConfig, ResourceLimits, RestartPolicy, SandboxRecord, SeccompProfile, Status,
    StdinMode, StdioInodes, StopConfig, Ulimit, VolumeMount,
};
pub use events::{Event, EventKind};
pub use id::{ContainerId, ContainerName};
pub use layout::Layout;
pub use lock::FileLock;
pub use mac::MacAddress;
pub use message::{
    ExecSpec, FdRole, FromMonitor, HealthJob, LiveMounts, LiveUpdate, LogTarget, MonitorJob,
    OverlayRoot, RestoreSpec, RootFs, StartSpec, ToMonitor, Work,
};
pub use names::Names;
pub use network::{Lease, ResolverJob, ResolverRecord};
pub use ports::{PortMapping, PortRange, PortRequest, Protocol};
pub use process::{BootId, PidfsInode, ProcessRef};
pub use record::{Durability, Record};
pub use template::TemplateRecord;
pub use template_process::{FromTemplate, TemplateJob, ToClone, ToTemplate};
pub use time::Timestamp;
