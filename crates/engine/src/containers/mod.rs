//! Containers: one file per verb.
//!
//! Every verb takes a name, an id or a unique prefix of an id as the user
//! wrote it, except where a [`state::ContainerId`] is asked for.
//!
//! Start reading at [`request`] (what can be asked), then `create.rs` and
//! `start.rs`. Who may change a container holds the lock of its directory
//! (`start::Locked`); who only looks takes none (`observe.rs`).

mod attach;
mod checkpoint;
mod clone;
mod commit;
mod connect;
pub mod copy;
mod create;
mod exec;
mod generate;
pub mod health;
mod hook;
pub mod inspect;
pub mod list;
pub mod logs;
mod networking;
pub(crate) mod observe;
mod pause;
mod prune;
mod publish;
mod random_name;
mod remount;
mod remove;
mod rename;
pub mod request;
mod resolve;
mod restart;
mod restore;
pub mod session;
pub mod snapshot;
mod start;
pub mod stats;
mod still;
mod stop;
mod suspend;
pub mod top;
pub mod update;
mod wait;
mod warm;
mod words;

use state::{ContainerId, Names};
use sys::{Error, ErrorKind, Result};

use crate::Engine;
use crate::images::PullEvent;
pub use checkpoint::CheckpointRequest;
pub(crate) use checkpoint::anonymous_volumes;
pub use clone::{CloneNames, CloneRequest};
pub use commit::{Change, ChangeKind};
pub(crate) use create::{ANONYMOUS_PREFIX, creation_lock};
pub use prune::{PruneFilter, PrunedContainers};
pub(crate) use resolve::merge_env;
pub use restore::RestoreRequest;
pub use start::Started;
pub use suspend::DumpProgress;

/// The containers of a store; one method is one verb.
#[derive(Clone, Debug)]
pub struct Containers<'a> {
    engine: &'a Engine,
}

/// What `create` made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    pub id: ContainerId,
    /// What was asked for and cannot be had, in words.
    pub warnings: Vec<String>,
}

/// What happens while a container is created.
// One at a time, on the stack.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum CreateEvent {
    /// The image is not here; it is pulled now.
    ImageMissing {
        name: String,
    },
    Pull(PullEvent),
}

impl<'a> Containers<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine }
    }

    /// Who is meant by a name, an id or a unique prefix of an id. `NotFound`:
    /// "no such container: x".
    pub fn resolve(&self, text: &str) -> Result<ContainerId> {
        let layout = self.engine.layout();
        let exists = |id: &ContainerId| {
            if layout.container_config(id).exists() {
                return true;
            }
            // Its removal was cut off; what fails here is said by `system check`.
            if self.engine.is_half_removed(id) {
                let _ = self.engine.cleanup_if_free(id);
            }
            false
        };
        if let Ok(id) = text.parse::<ContainerId>()
            && exists(&id)
        {
            return Ok(id);
        }
        if let Ok(name) = text.parse()
            && let Some(id) = Names::new(layout).find(&name)?
            && exists(&id)
        {
            return Ok(id);
        }
        let shown: String = text.chars().take(80).collect();
        let missing = || Error::new(ErrorKind::NotFound, format!("no such container: {shown}"));
        let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        if text.is_empty() || !text.bytes().all(is_hex) {
            return Err(missing());
        }
        let mut found = None;
        for entry in crate::entries(&layout.containers())? {
            if !entry.starts_with(text) {
                continue;
            }
            let Ok(id) = entry.parse::<ContainerId>() else {
                continue;
            };
            if !exists(&id) {
                continue;
            }
            if found.is_some() {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("several containers have ids that begin with {shown}"),
                ));
            }
            found = Some(id);
        }
        found.ok_or_else(missing)
    }
}

#[cfg(test)]
pub(crate) fn test_config() -> state::ContainerConfig {
    use spec::Digest;
    use state::{
        ContainerConfig, ImageUse, LogConfig, NetworkMode, ProcessConfig, StopConfig, Timestamp,
    };
    ContainerConfig {
        version: state::container::CONFIG_VERSION,
        id: ContainerId::from_bytes([1; 32]),
        name: "test".parse().unwrap(),
        created: Timestamp::from_nanos(0),
        image: ImageUse {
            name: "img".into(),
            id: Digest::sha256([0; 32]),
            manifest: Digest::sha256([0; 32]),
            chain: Vec::new(),
        },
        process: ProcessConfig {
            command: vec!["sh".into()],
            workdir: "/".into(),
            ..ProcessConfig::default()
        },
        hostname: "test".into(),
        domainname: String::new(),
        mounts: Vec::new(),
        devices: Vec::new(),
        network: NetworkMode::Bridge,
        endpoints: None,
        dns: state::DnsConfig::default(),
        namespaces: state::NamespaceModes::default(),
        ports: Vec::new(),
        exposed: Vec::new(),
        publish_all: false,
        extra_hosts: Vec::new(),
        links: Vec::new(),
        resources: state::ResourceLimits::default(),
        confinement: state::Confinement::default(),
        stop: StopConfig {
            signal: 15,
            timeout: std::time::Duration::from_secs(10),
        },
        restart: state::RestartPolicy::No,
        health: None,
        log: LogConfig::default(),
        labels: std::collections::BTreeMap::new(),
        annotations: std::collections::BTreeMap::new(),
        auto_remove: false,
        clone_of: None,
        warm: None,
    }
}
