//! The door: one handle, the collections, no logic.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use network::NetworkConfig;
use state::{BootId, ContainerId, Layout};
use sys::{Context as _, Result};

use crate::checkpoints::Checkpoints;
use crate::config::Config;
use crate::containers::Containers;
use crate::images::Images;
use crate::networks::Networks;
use crate::templates::Templates;
use crate::volumes::Volumes;

/// A handle on one store. Cheap to open and to clone; threads may share it.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    boot: OnceLock<BootId>,
}

impl Engine {
    /// Makes the store's directories if they are not there. Reads nothing
    /// else, except after a boot: then everything is looked at once.
    pub fn open(config: Config) -> Result<Self> {
        let prepared = prepare(&config.layout)?;
        let engine = Self {
            inner: Arc::new(Inner {
                config,
                boot: OnceLock::new(),
            }),
        };
        if prepared == Prepared::FirstOfBoot {
            engine.repair().context(|| "repair after a boot")?;
        }
        Ok(engine)
    }

    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    pub fn layout(&self) -> &Layout {
        &self.inner.config.layout
    }

    pub fn containers(&self) -> Containers<'_> {
        Containers::new(self)
    }

    pub fn volumes(&self) -> Volumes<'_> {
        Volumes::new(self)
    }

    pub fn images(&self) -> Images<'_> {
        Images::new(self)
    }

    pub fn checkpoints(&self) -> Checkpoints<'_> {
        Checkpoints::new(self)
    }

    pub fn templates(&self) -> Templates<'_> {
        Templates::new(self)
    }

    pub fn networks(&self) -> Networks<'_> {
        Networks::new(self)
    }

    /// What the networks are made by.
    pub(crate) fn network_host(&self) -> network::Networks {
        let config = NetworkConfig {
            resolver: Some(self.config().programs.runtime.clone()),
            ..NetworkConfig::from(&self.config().settings.network)
        };
        network::Networks::open(self.layout(), config)
    }

    /// Which boot of the machine this is.
    pub(crate) fn boot(&self) -> Result<&BootId> {
        if let Some(boot) = self.inner.boot.get() {
            return Ok(boot);
        }
        let boot = BootId::current()?;
        Ok(self.inner.boot.get_or_init(|| boot))
    }

    /// What a monitor runs when its container is over and nobody else cleans
    /// up.
    pub(crate) fn cleanup_command(&self, id: &ContainerId) -> Vec<String> {
        let mut command = self.internal_command("cleanup");
        command.push(id.to_string());
        command
    }

    /// `wharf internal VERB` on this store, for what monitors start.
    pub(crate) fn internal_command(&self, verb: &str) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![
            text(&self.config().programs.wharf),
            "--root".to_owned(),
            text(self.layout().root()),
            "--runroot".to_owned(),
            text(self.layout().run_root()),
            "internal".to_owned(),
            verb.to_owned(),
        ]
    }
}

/// What [`prepare`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prepared {
    WasThere,
    New,
    /// The store has containers, the run root is new.
    FirstOfBoot,
}

/// The directories that everything relies on, closed to other users.
fn prepare(layout: &Layout) -> Result<Prepared> {
    // These are made last: so the others are there.
    let (names, mountpoint) = (layout.names(), layout.rootfs_mountpoint());
    let (has_root, has_run_root) = (names.is_dir(), mountpoint.is_dir());
    if has_root && has_run_root {
        return Ok(Prepared::WasThere);
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
    make(&names)?;
    make(layout.run_root())?;
    make(&layout.run_containers())?;
    make(&layout.resolvers())?;
    make(&mountpoint)?;
    Ok(if has_root {
        Prepared::FirstOfBoot
    } else {
        Prepared::New
    })
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
