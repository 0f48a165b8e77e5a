//! A bundle becomes a process: the OCI runtime.
//!
//! [`create`] makes the namespaces, the cgroup and the mounts and leaves the
//! container's init waiting at a gate; [`Created::start`] lets it run the
//! program; [`exec`] adds a process to a running container. The parent waits
//! on [`Running`].
//!
//! Not here: restart policies, logs, clients (the monitor), and anything that
//! knows of images or networks (the engine). What a container gets is in the
//! specification it was created from; this crate honours it or refuses it.
//!
//! Start reading at [`mod@create`], the parent's side, then at `init`, the
//! ordered list of steps up to execve. `docs/security.md` says why the order
//! is what it is.

#![forbid(unsafe_code)]

mod birth;
mod bounds;
pub mod cgroup;
mod config;
pub mod create;
mod elsewhere;
mod exec;
pub mod facts;
mod handshake;
pub mod hooks;
mod id_maps;
mod init;
pub mod lifecycle;
mod live_mounts;
mod mapped_mounts;
mod mounts;
mod net_devices;
mod network_mounts;
mod sandbox;
mod seccomp;

pub use bounds::Bounds;
pub use cgroup::{Cgroup, CgroupManager, CgroupPath};
pub use config::{read_process, read_spec, validate};
pub use create::{CreateRequest, Gate, InitProcess, Keyring, ProcessStdio, RootSwitch, create};
pub use exec::{Container, ExecRequest, Lifetime, exec};
pub use lifecycle::{Created, Running, open_gate};
