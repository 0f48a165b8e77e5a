//! The OCI runtime specification 1.3 (config.md, config-linux.md, runtime.md),
//! for Linux.

mod config;
mod hooks;
mod linux;
mod process;
mod resources;
mod seccomp;
mod state;

pub use config::{Elsewhere, IdMapping, Mount, Root, Spec};
pub use hooks::{Hook, Hooks};
pub use linux::{
    Device, IntelRdt, Linux, MemoryPolicy, Namespace, NamespaceKind, NetDevice, Personality,
    TimeOffset,
};
pub use process::{
    Capabilities, ConsoleSize, ExecCpuAffinity, IoPriority, Process, Rlimit, Scheduler, User,
};
pub use resources::{
    BlockIo, BlockIoWeightDevice, Cpu, DeviceRule, HugepageLimit, InterfacePriority, Memory,
    Network, Pids, Rdma, Resources, ThrottleDevice,
};
pub use seccomp::{Seccomp, SeccompArg, SyscallRule};
pub use state::{State, StateStatus};

/// The version of the specification that these types describe.
pub const VERSION: &str = "1.3.0";
