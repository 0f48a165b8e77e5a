//! Every path that wharf uses, in one place.
//!
//! ```text
//! <root>  (default /var/lib/wharf)              durable
//!   containers/<id>/{config.json,exit.json,lock,log}
//!   containers/<id>/{suspended.json,memory/}    while it is suspended
//!   checkpoints/<name>/{checkpoint.json,memory/,layer/,volumes/…}
//!   templates/<id>/{template.json,memory/,below/,layer/,volumes/…,users/<id>}
//!   names/<name>                                holds the id
//!   events  events.1                            what happened, one line each
//!   content/{oci-layout,index.json,blobs/…,ingest/…}
//!   snapshots/<chain-id>/fs    snapshots/active/<id>/{upper,work}
//!   volumes/<name>/{volume.json,_data}  networks/<name>.json    leases/<network>/<address>
//! <runroot>  (default /run/wharf)               gone at reboot
//!   containers/<id>/{facts.json,control.sock,hosts,hostname,resolv.conf}
//!   templates/<id>/{process.json,socket}        a template whose memory is at hand
//!   rootfs                                      where each container's root is put, in its own mount namespace
//! ```

use std::path::{Path, PathBuf};

use crate::{ContainerId, ContainerName};

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    run_root: PathBuf,
}

impl Layout {
    pub const DEFAULT_ROOT: &str = "/var/lib/wharf";
    pub const DEFAULT_RUN_ROOT: &str = "/run/wharf";

    /// Both absolute.
    pub fn new(root: impl Into<PathBuf>, run_root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            run_root: run_root.into(),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn run_root(&self) -> &Path {
        &self.run_root
    }

    /// True if neither path was changed: then names on the host (bridge,
    /// table) are the plain ones.
    pub fn is_default(&self) -> bool {
        self.root == Path::new(Self::DEFAULT_ROOT)
            && self.run_root == Path::new(Self::DEFAULT_RUN_ROOT)
    }

    // Containers.

    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.to_string())
    }

    pub fn container_config(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("config.json")
    }

    pub fn container_exit(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("exit.json")
    }

    pub fn container_log(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("log")
    }

    /// Exists while the container is suspended.
    pub fn container_suspended(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("suspended.json")
    }

    /// The memory of a suspended container.
    pub fn container_memory(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("memory")
    }

    /// The record of events.
    pub fn events(&self) -> PathBuf {
        self.root.join("events")
    }

    pub fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    pub fn name(&self, name: &ContainerName) -> PathBuf {
        self.names().join(name.as_str())
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    pub fn templates(&self) -> PathBuf {
        self.root.join("templates")
    }

    pub fn template(&self, id: &ContainerId) -> PathBuf {
        self.templates().join(id.to_string())
    }

    // Images.

    pub fn content(&self) -> PathBuf {
        self.root.join("content")
    }

    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub fn active_snapshot(&self, id: &ContainerId) -> PathBuf {
        self.snapshots().join("active").join(id.to_string())
    }

    /// What a clone wrote to its view of a volume: `upper` and `work`.
    pub fn cloned_volume(&self, id: &ContainerId, number: u32) -> PathBuf {
        let volumes = self.active_snapshot(id).join("volumes");
        volumes.join(number.to_string())
    }

    // Volumes and networks.

    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// Holds a directory per network.
    pub fn all_leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    pub fn leases(&self, network: &str) -> PathBuf {
        self.all_leases().join(network)
    }

    // Gone at reboot.

    pub fn run_containers(&self) -> PathBuf {
        self.run_root.join("containers")
    }

    pub fn run_container(&self, id: &ContainerId) -> PathBuf {
        self.run_containers().join(id.to_string())
    }

    /// Where the process is reached that holds a template's memory.
    pub fn run_template(&self, id: &ContainerId) -> PathBuf {
        self.run_root.join("templates").join(id.to_string())
    }

    /// Whose processes answer for the names of networks.
    pub fn resolvers(&self) -> PathBuf {
        self.run_root.join("resolvers")
    }

    pub fn facts(&self, id: &ContainerId) -> PathBuf {
        self.run_container(id).join("facts.json")
    }

    /// What the probes of a container's health found.
    pub fn health(&self, id: &ContainerId) -> PathBuf {
        self.run_container(id).join("health.json")
    }

    pub fn control_socket(&self, id: &ContainerId) -> PathBuf {
        self.run_container(id).join("control.sock")
    }

    /// One empty directory where every container's root is mounted, each in
    /// its own mount namespace.
    pub fn rootfs_mountpoint(&self) -> PathBuf {
        self.run_root.join("rootfs")
    }
}
