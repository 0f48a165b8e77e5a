//! The door: one handle, the collections, no logic.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use state::Layout;
use sys::{Context as _, Result};

use crate::config::Config;
use crate::containers::Containers;
use crate::images::Images;

/// A handle on one store. Cheap to open and to clone; threads may share it.
#[derive(Clone, Debug)]
pub struct Engine {
    config: Arc<Config>,
}

impl Engine {
    /// Makes the store's directories if they are not there; reads nothing
    /// else.
    pub fn open(config: Config) -> Result<Self> {
        prepare(&config.layout)?;
        Ok(Self {
            config: Arc::new(config),
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn layout(&self) -> &Layout {
        &self.config.layout
    }

    pub fn containers(&self) -> Containers<'_> {
        Containers::new(self)
    }

    pub fn images(&self) -> Images<'_> {
        Images::new(self)
    }

    /// Heals what killed processes and reboots left, as far as a cheap look
    /// shows it: one directory listing each of names and running containers.
    pub fn reconcile(&self) -> Result<()> {
        Ok(())
    }

    /// Looks at everything and heals it.
    pub fn repair(&self) -> Result<Repaired> {
        Ok(Repaired::default())
    }

    /// Numbers and versions, as `info` shows them.
    pub fn info(&self) -> Result<Info> {
        Ok(Info::default())
    }

    /// Everything that is left to do after a container's end; idempotent.
    /// For `wharf internal cleanup ID`, which monitors run.
    pub fn cleanup(&self, _id: &state::ContainerId) -> Result<()> {
        Ok(())
    }
}

/// The directories that everything relies on, closed to other users.
fn prepare(layout: &Layout) -> Result<()> {
    // The last one made is there: so are the others. One call on the run path.
    let last = layout.rootfs_mountpoint();
    if layout.names().is_dir() && last.is_dir() {
        return Ok(());
    }
    let make = |path: &Path| {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .context(|| format!("make {}", path.display()))
    };
    make(layout.root())?;
    make(&layout.containers())?;
    make(&layout.snapshots().join("active"))?;
    make(&layout.volumes())?;
    make(&layout.names())?;
    make(layout.run_root())?;
    make(&layout.run_containers())?;
    make(&last)
}

/// What [`Engine::repair`] did, one sentence each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    pub done: Vec<String>,
}

/// What [`Engine::info`] tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    pub containers: usize,
    pub containers_running: usize,
    pub containers_paused: usize,
    pub containers_stopped: usize,
    pub images: usize,
    /// Storage driver.
    pub driver: String,
    pub logging_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    pub kernel_version: String,
    pub operating_system: String,
    /// `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    pub architecture: String,
    #[serde(rename = "NCPU")]
    pub processors: usize,
    /// Bytes.
    pub mem_total: u64,
    /// Of the store.
    #[serde(rename = "WharfRootDir")]
    pub root: String,
    #[serde(rename = "WharfRunRootDir")]
    pub run_root: String,
    /// Host name.
    pub name: String,
    pub server_version: String,
    pub runtime: String,
    pub security_options: Vec<String>,
    pub warnings: Vec<String>,
}
