use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use spec::runtime::Resources;
use sys::{Context as _, Error, ErrorKind, Errors, Result};

use super::hierarchy::{Hierarchies, Hierarchy, Version};
use super::setup::serves;
use super::{CgroupManager, CgroupPath, apply, devices, limits, systemd};

/// How often a removal is tried while the last processes go away.
const REMOVE_TRIES: u32 = 200;
/// How often a round of killing is repeated.
const KILL_ROUNDS: u32 = 500;

/// A container's cgroup in every hierarchy.
#[derive(Clone, Debug)]
pub struct Cgroup {
    /// None if the container has no cgroup of its own.
    path: Option<CgroupPath>,
    manager: CgroupManager,
    hierarchies: Hierarchies,
}

impl Cgroup {
    /// The cgroup at `path`; it need not exist.
    pub fn open(path: CgroupPath) -> Result<Self> {
        let manager = CgroupManager::Cgroupfs;
        Ok(Self::with(path, manager, Hierarchies::of(manager)?))
    }

    /// What a container has that stays in its creator's cgroup: what needs a
    /// cgroup fails and says so, and there is nothing to remove.
    pub fn none() -> Self {
        Self {
            path: None,
            manager: CgroupManager::Disabled,
            hierarchies: Hierarchies::default(),
        }
    }

    /// The one that a record names, and who made it; an empty name is
    /// [`Cgroup::none`].
    pub fn made_by(manager: CgroupManager, name: &str) -> Result<Self> {
        if name.is_empty() || manager == CgroupManager::Disabled {
            return Ok(Self::none());
        }
        let hierarchies = Hierarchies::of(manager)?;
        Ok(Self::with(CgroupPath::parse(name)?, manager, hierarchies))
    }

    pub(crate) fn with(path: CgroupPath, manager: CgroupManager, hierarchies: Hierarchies) -> Self {
        Self {
            path: (manager != CgroupManager::Disabled).then_some(path),
            manager,
            hierarchies,
        }
    }

    /// None if the container has no cgroup of its own.
    pub fn path(&self) -> Option<&CgroupPath> {
        self.path.as_ref()
    }

    pub(super) fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// For a record; [`Cgroup::made_by`] reads it.
    pub fn name(&self) -> &str {
        self.path.as_ref().map_or("", CgroupPath::as_str)
    }

    /// Its directory in the hierarchy that serves `controller`.
    pub(super) fn directory_of(&self, controller: &str) -> Option<(Version, PathBuf)> {
        let path = self.path.as_ref()?;
        let (version, root) = self.hierarchies.locate(controller)?;
        Some((version, root.join(path.relative())))
    }

    /// An error that says what to do if there is none.
    pub(super) fn must_exist(&self) -> Result<&CgroupPath> {
        self.path.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "the container has no cgroup of its own: they are disabled, or none was delegated \
                 to the user who made it",
            )
        })
    }

    /// Applies limits to it while it is in use: what `resources` says is
    /// changed, everything else stays. The warnings are limits that this
    /// kernel cannot hold. After an error the limits are as they were, except
    /// rates of devices that had none.
    pub fn update(&self, resources: &Resources) -> Result<Vec<String>> {
        let path = self.must_exist()?;
        let planned = limits::plan(resources, &|controller| {
            serves(&self.hierarchies, controller)
        })?;
        if !resources.devices.is_empty() {
            let rules = devices::rules(&resources.devices)?;
            devices::limit(path, &rules, &self.hierarchies, devices::Change::Replace)?;
        }
        if self.manager == CgroupManager::Systemd {
            systemd::update(path, &planned.properties)?;
        }
        let before = apply::remember(path, &planned, &self.hierarchies);
        apply::apply(path, &planned, &self.hierarchies)
            .inspect_err(|_| apply::restore(&before))
            .context(|| format!("update cgroup {path}"))
    }

    /// Kills every process in it and below.
    pub fn kill_all(&self) -> Result<()> {
        self.must_exist()?;
        if let Some(directory) = self.unified() {
            // Linux 5.14; refused in a threaded group.
            let kill = directory.join("cgroup.kill");
            if apply::write_file(&kill, "1").is_ok() {
                return Ok(());
            }
        }
        for round in 0..KILL_ROUNDS {
            // Who stands still makes no more processes. If they do not, rounds
            // find what one of them missed.
            let frozen = round % 8 == 0 && self.freeze_briefly();
            let pids = self.pids()?;
            for pid in &pids {
                // A process that went away meanwhile is what we want.
                let _ = sys::process::signal_pid(*pid, 9);
            }
            if frozen {
                // On version 1 who stands still does not die either.
                self.thaw()?;
            }
            if pids.is_empty() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("processes of cgroup {self} do not die; see what they wait for in /proc"),
        ))
    }

    /// Sends `signal` to every process in it and below; to kill them use
    /// [`Cgroup::kill_all`], which nobody escapes.
    pub fn signal_all(&self, signal: i32) -> Result<()> {
        for pid in self.pids()? {
            // As in `kill_all`.
            let _ = sys::process::signal_pid(pid, signal);
        }
        Ok(())
    }

    /// Removes it and what was made below it, killing what is left; fine if
    /// it is gone.
    pub fn remove(&self) -> Result<()> {
        let mut errors = Errors::new();
        if let (CgroupManager::Systemd, Some(path)) = (self.manager, &self.path)
            && self.exists()
        {
            errors.keep(self.kill_all().and_then(|()| systemd::stop(path)));
        }
        for hierarchy in &self.hierarchies.all {
            let Some(directory) = self.in_hierarchy(hierarchy) else {
                continue;
            };
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
        let Some((version, directory)) = self.directory_of("memory") else {
            return 0;
        };
        let file = match version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
        value_of(&text, "oom_kill").unwrap_or(0)
    }

    /// Bytes that it may use; none if unlimited, or unknown.
    pub fn memory_limit(&self) -> Option<u64> {
        let (version, directory) = self.directory_of("memory")?;
        let file = match version {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        };
        let text = fs::read_to_string(directory.join(file)).ok()?;
        // Version 1 says "unlimited" with a huge number.
        text.trim().parse().ok().filter(|limit| *limit < 1 << 62)
    }

    /// Processes in it and below.
    pub fn pids(&self) -> Result<Vec<i32>> {
        self.must_exist()?;
        let mut pids = Vec::new();
        // Any hierarchy knows them all; the first in which it exists will do.
        for hierarchy in &self.hierarchies.all {
            if let Some(directory) = self.in_hierarchy(hierarchy) {
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

    fn exists(&self) -> bool {
        let mut all = self.hierarchies.all.iter();
        all.any(|hierarchy| self.in_hierarchy(hierarchy).is_some_and(|at| at.exists()))
    }

    fn unified(&self) -> Option<PathBuf> {
        let path = self.path.as_ref()?;
        self.hierarchies
            .unified()
            .map(|root| root.join(path.relative()))
    }

    fn in_hierarchy(&self, hierarchy: &Hierarchy) -> Option<PathBuf> {
        let path = self.path.as_ref()?;
        Some(hierarchy.mountpoint().join(path.relative()))
    }
}

impl fmt::Display for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path.as_ref().map_or("none", CgroupPath::as_str))
    }
}

/// The number after `key` in lines of `key number`.
pub(super) fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
}

pub(super) fn gather_pids(directory: &Path, pids: &mut Vec<i32>) {
    let text = fs::read_to_string(directory.join("cgroup.procs"))
        // A threaded group names threads only.
        .or_else(|_| fs::read_to_string(directory.join("cgroup.threads")));
    if let Ok(text) = text {
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
