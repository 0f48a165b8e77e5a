//! The product: containers, images, volumes.
//!
//! [`Engine::open`] gives a handle on a store; the collections hang off it
//! ([`Engine::containers`], [`Engine::images`], [`Engine::volumes`]) and one
//! method is one verb. Requests are typed and come from [`parse`] or are
//! built by hand; nothing is kept in memory between two calls: the files
//! under [`state::Layout`] are the truth, so any number of processes may use
//! one store at once.
//!
//! Not here: anything that the kernel does to a process. The engine writes a
//! [`state::MonitorJob`] and starts `wharf-runtime monitor` with it. And
//! nothing is printed here, no environment variable is read.
//!
//! Start reading at [`engine`], then [`containers`], then
//! `containers/start.rs`. `docs/lifecycle.md` tells what is written when and
//! what a crash leaves.

#![forbid(unsafe_code)]

mod apparmor;
mod boot;
mod cgroup;
pub mod check;
pub mod checkpoints;
mod cleanup;
pub mod config;
pub mod containers;
mod copy;
mod crash;
mod difference;
pub mod disk;
mod dumper;
pub mod engine;
pub mod events;
pub mod images;
mod info;
mod launch;
pub mod networks;
pub mod parse;
mod reconcile;
mod reset;
mod runtime_spec;
mod template_process;
pub mod templates;
mod undo;
pub mod volumes;

pub use boot::Booted;
pub use cgroup::Usage;
pub use config::{Config, Settings};
pub use containers::copy::CopyRequest;
pub use containers::request::{
    Access, AttachRequest, CommitCompression, CommitRequest, ConfinementRequest, ExecRequest,
    HealthRequest, IpcRequest, LogsRequest, NamespacesRequest, NetworkRequest, PidRequest,
    ProcessRequest, PullPolicy, RemoveRequest, RunRequest, SeccompRequest, StopRequest, Streams,
};
pub use containers::request::{endpoint, endpoint_option};
pub use containers::update::{UpdateRequest, Waits};
pub use containers::{Containers, CreateEvent, Created};
pub use engine::{Engine, Info, Repaired};
pub use network::NetworkRequest as NewNetwork;
pub use networks::Networks;
pub use reset::Reset;
pub use volumes::{VolumeRequest, Volumes};

use std::path::Path;

use sys::{Context as _, Result};

/// The names in a directory; none if it is not there.
pub(crate) fn entries(directory: &Path) -> Result<Vec<String>> {
    let read = || format!("read {}", directory.display());
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(read),
    };
    entries
        .map(|entry| {
            let entry = entry.context(read)?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        })
        .collect()
}
