use sys::{Error, ErrorKind, Result};

use super::CgroupPath;

/// A container's cgroup in every hierarchy.
#[derive(Clone, Debug)]
pub struct Cgroup {
    path: CgroupPath,
}

/// What the cgroup uses now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupStats {
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes; none if unlimited.
    pub memory_limit: Option<u64>,
    /// Nanoseconds of processor time used.
    pub cpu_nanos: Option<u64>,
    pub pids: Option<u64>,
}

impl Cgroup {
    /// The cgroup at `path`; nothing is made or checked.
    pub fn open(path: CgroupPath) -> Self {
        Self { path }
    }

    pub fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// Kills every process in it.
    pub fn kill_all(&self) -> Result<()> {
        Err(not_yet())
    }

    /// Removes it (kill what is left first); fine if it is gone.
    pub fn remove(&self) -> Result<()> {
        Err(not_yet())
    }

    /// How often the kernel killed a process of it for lack of memory.
    pub fn oom_kills(&self) -> u64 {
        0
    }

    pub fn freeze(&self) -> Result<()> {
        Err(not_yet())
    }

    pub fn thaw(&self) -> Result<()> {
        Err(not_yet())
    }

    pub fn is_frozen(&self) -> Result<bool> {
        Err(not_yet())
    }

    /// Processes in it and below.
    pub fn pids(&self) -> Result<Vec<i32>> {
        Err(not_yet())
    }

    pub fn stats(&self) -> Result<CgroupStats> {
        Err(not_yet())
    }
}

fn not_yet() -> Error {
    Error::new(ErrorKind::Unsupported, "not built yet")
}
