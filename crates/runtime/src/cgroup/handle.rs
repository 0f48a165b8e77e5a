use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use sys::{Context as _, Error, ErrorKind, Errors, Result};

use super::CgroupPath;
use super::hierarchy::{Hierarchies, Hierarchy, Version};

/// How often a removal is tried while the last processes go away.
const REMOVE_TRIES: u32 = 200;

/// A container's cgroup in every hierarchy.
#[derive(Clone, Debug)]
pub struct Cgroup {
    path: CgroupPath,
    hierarchies: Hierarchies,
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
    /// The cgroup at `path`; it need not exist.
    pub fn open(path: CgroupPath) -> Result<Self> {
        Ok(Self::with(path, Hierarchies::find()?))
    }

    pub(crate) fn with(path: CgroupPath, hierarchies: Hierarchies) -> Self {
        Self { path, hierarchies }
    }

    pub fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// Kills every process in it and below.
    pub fn kill_all(&self) -> Result<()> {
        if let Some(directory) = self.unified() {
            let kill = directory.join("cgroup.kill");
            if fs::write(&kill, "1").is_ok() {
                return Ok(());
            }
        }
        // Until no round finds anybody: a fork may escape one round.
        for _ in 0..100 {
            let pids = self.pids()?;
            if pids.is_empty() {
                return Ok(());
            }
            for pid in pids {
                // A process that went away meanwhile is what we want.
                let _ = sys::process::signal_pid(pid, 9);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("processes of cgroup {} do not die", self.path),
        ))
    }

    /// Removes it and what was made below it, killing what is left; fine if
    /// it is gone.
    pub fn remove(&self) -> Result<()> {
        let mut errors = Errors::new();
        for hierarchy in &self.hierarchies.all {
            let directory = self.in_hierarchy(hierarchy);
            errors.keep(
                self.remove_directory(&directory)
                    .context(|| format!("remove cgroup {}", directory.display())),
            );
        }
        errors.into_result()
    }

    fn remove_directory(&self, directory: &Path) -> Result<()> {
        for attempt in 0..REMOVE_TRIES {
            match rustix::fs::rmdir(directory) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::BUSY | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(errno.into()),
            }
            // Busy: groups below it, processes in it, or dead ones that the
            // kernel has not finished with.
            remove_below(directory);
            if attempt % 16 == 0 {
                self.kill_all()?;
            }
            std::thread::sleep(Duration::from_micros(if attempt < 10 { 200 } else { 5000 }));
        }
        Err(Error::new(ErrorKind::Unavailable, "it stays busy"))
    }

    /// How often the kernel killed a process of it for lack of memory.
    pub fn oom_kills(&self) -> u64 {
        let text = match self.hierarchies.locate("memory") {
            Some((Version::V1, root)) => self.read(root, "memory.oom_control"),
            Some((Version::V2, root)) => self.read(root, "memory.events"),
            None => None,
        };
        text.as_deref()
            .and_then(|text| value_of(text, "oom_kill"))
            .unwrap_or(0)
    }

    /// Stops every process in it, and waits until they stand.
    pub fn freeze(&self) -> Result<()> {
        self.set_frozen("FROZEN", "1")?;
        for _ in 0..2000 {
            if self.is_frozen()? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // Half frozen is no state to leave it in.
        self.thaw()?;
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("cgroup {} does not freeze", self.path),
        ))
    }

    pub fn thaw(&self) -> Result<()> {
        self.set_frozen("THAWED", "0")
    }

    pub fn is_frozen(&self) -> Result<bool> {
        match self.freezer()? {
            (Version::V1, directory) => {
                let text = fs::read_to_string(directory.join("freezer.state"))
                    .context(|| "read freezer.state")?;
                Ok(text.trim() == "FROZEN")
            }
            (Version::V2, directory) => {
                let text = fs::read_to_string(directory.join("cgroup.events"))
                    .context(|| "read cgroup.events")?;
                Ok(value_of(&text, "frozen") == Some(1))
            }
        }
    }

    fn set_frozen(&self, legacy: &str, unified: &str) -> Result<()> {
        let (file, value) = match self.freezer()? {
            (Version::V1, directory) => (directory.join("freezer.state"), legacy),
            (Version::V2, directory) => (directory.join("cgroup.freeze"), unified),
        };
        fs::write(&file, value).context(|| format!("write {value} to {}", file.display()))
    }

    fn freezer(&self) -> Result<(Version, PathBuf)> {
        self.hierarchies
            .locate("freezer")
            .map(|(version, root)| (version, root.join(self.path.relative())))
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "no freezer controller here"))
    }

    /// Processes in it and below.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        // Any hierarchy knows them all; the first in which it exists will do.
        for hierarchy in &self.hierarchies.all {
            let directory = self.in_hierarchy(hierarchy);
            if directory.is_dir() {
                gather_pids(&directory, &mut pids);
                if !pids.is_empty() {
                    break;
                }
            }
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    pub fn stats(&self) -> Result<CgroupStats> {
        let number = |controller: &str, v1: &str, v2: &str| -> Option<u64> {
            let (version, root) = self.hierarchies.locate(controller)?;
            let file = if version == Version::V1 { v1 } else { v2 };
            self.read(root, file)?.trim().parse().ok()
        };
        let cpu_nanos = match self.hierarchies.locate("cpuacct") {
            Some((Version::V1, root)) => self
                .read(root, "cpuacct.usage")
                .and_then(|text| text.trim().parse().ok()),
            Some((Version::V2, root)) => self
                .read(root, "cpu.stat")
                .and_then(|text| value_of(&text, "usage_usec"))
                .map(|micros| micros.saturating_mul(1000)),
            None => None,
        };
        Ok(CgroupStats {
            memory: number("memory", "memory.usage_in_bytes", "memory.current"),
            // Version 1 says "unlimited" with a huge number.
            memory_limit: number("memory", "memory.limit_in_bytes", "memory.max")
                .filter(|limit| *limit < 1 << 62),
            cpu_nanos,
            pids: number("pids", "pids.current", "pids.current"),
        })
    }

    fn read(&self, root: &Path, file: &str) -> Option<String> {
        fs::read_to_string(root.join(self.path.relative()).join(file)).ok()
    }

    fn unified(&self) -> Option<PathBuf> {
        self.hierarchies
            .unified()
            .map(|root| root.join(self.path.relative()))
    }

    fn in_hierarchy(&self, hierarchy: &Hierarchy) -> PathBuf {
        hierarchy.mountpoint().join(self.path.relative())
    }
}

/// The number after `key` in lines of `key number`.
fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
}

fn gather_pids(directory: &Path, pids: &mut Vec<i32>) {
    if let Ok(text) = fs::read_to_string(directory.join("cgroup.procs")) {
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    for child in children(directory) {
        gather_pids(&child, pids);
    }
}

fn remove_below(directory: &Path) {
    for child in children(directory) {
        remove_below(&child);
        let _ = rustix::fs::rmdir(&child);
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(std::result::Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
