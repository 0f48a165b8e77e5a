use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, statfs};
use state::CgroupManager;
use sys::{Context as _, Error, ErrorKind, Result};

/// Where control groups are mounted.
pub(super) const ROOT: &str = "/sys/fs/cgroup";
/// statfs(2) types.
const CGROUP_V1: u32 = 0x0027_e0eb;
const CGROUP_V2: u32 = 0x6367_7270;

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// Version 1 with its controllers; a named one has none.
    Legacy {
        mountpoint: PathBuf,
        controllers: Vec<String>,
    },
    Unified {
        mountpoint: PathBuf,
    },
}

impl Hierarchy {
    pub(crate) fn mountpoint(&self) -> &Path {
        match self {
            Self::Legacy { mountpoint, .. } | Self::Unified { mountpoint } => mountpoint,
        }
    }

    pub(crate) fn is_unified(&self) -> bool {
        matches!(self, Self::Unified { .. })
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        match self {
            Self::Legacy { controllers, .. } => controllers.iter().any(|name| name == controller),
            Self::Unified { .. } => false,
        }
    }
}

/// All that is mounted here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hierarchies {
    pub(crate) all: Vec<Hierarchy>,
}

/// Where a controller is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

impl Hierarchies {
    /// Those in which `manager` makes cgroups.
    pub(crate) fn of(manager: CgroupManager) -> Result<Self> {
        match manager {
            CgroupManager::Cgroupfs | CgroupManager::Systemd => Self::find(),
            CgroupManager::Disabled => Ok(Self::default()),
        }
    }

    /// Looks at `/sys/fs/cgroup`: either version 2 itself, or a directory with
    /// version 1 hierarchies and perhaps version 2 in it.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(ROOT);
        if kind_of(root) == Some(CGROUP_V2) {
            return Ok(Self {
                all: vec![Hierarchy::Unified {
                    mountpoint: root.to_owned(),
                }],
            });
        }
        let mut all = Vec::new();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(root, flags, Mode::empty());
        for entry in Dir::new(directory.context(|| format!("open {ROOT}"))?)? {
            let entry = entry.context(|| format!("read {ROOT}"))?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if name == "."
                || name == ".."
                || !matches!(entry.file_type(), FileType::Directory | FileType::Unknown)
            {
                continue;
            }
            let mountpoint = root.join(name);
            match kind_of(&mountpoint) {
                Some(CGROUP_V2) => all.push(Hierarchy::Unified { mountpoint }),
                Some(CGROUP_V1) => all.push(Hierarchy::Legacy {
                    mountpoint,
                    controllers: name.split(',').map(str::to_owned).collect(),
                }),
                _ => {}
            }
        }
        if all.is_empty() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("no control groups are mounted on {ROOT}"),
            ));
        }
        all.sort_by(|one, two| one.mountpoint().cmp(two.mountpoint()));
        Ok(Self { all })
    }

    /// Where `controller` is, and its hierarchy's mount point.
    pub(crate) fn locate(&self, controller: &str) -> Option<(Version, &Path)> {
        if let Some(legacy) = self.all.iter().find(|hierarchy| hierarchy.has(controller)) {
            return Some((Version::V1, legacy.mountpoint()));
        }
        self.unified().map(|mountpoint| (Version::V2, mountpoint))
    }

    pub(crate) fn unified(&self) -> Option<&Path> {
        self.all
            .iter()
            .find(|hierarchy| hierarchy.is_unified())
            .map(Hierarchy::mountpoint)
    }
}

fn kind_of(path: &Path) -> Option<u32> {
    // The magic numbers are 32 bits wide on every architecture.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    statfs(path).ok().map(|found| found.f_type as u32)
}
