//! In which cgroups a process is, and moving there.

use std::fs;

use rustix::fs::{Mode, OFlags, open};
use spec::runtime::Resources;
use sys::{Context as _, Result};

use super::hierarchy::{Hierarchies, Hierarchy};
use super::{Cgroup, CgroupManager, CgroupPath, prepare};

/// A cgroup in each hierarchy, as a process is in.
#[derive(Clone, Debug)]
pub struct Membership {
    hierarchies: Hierarchies,
    /// `/proc/PID/cgroup`.
    text: String,
}

impl Membership {
    /// Of process `pid`.
    pub fn of(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/cgroup");
        Ok(Self {
            hierarchies: Hierarchies::find()?,
            text: fs::read_to_string(&path).context(|| format!("read {path}"))?,
        })
    }

    /// Moves this process there, which has to have one thread only.
    pub fn join(&self) -> Result<()> {
        // Moving to where one is makes the kernel wait as any move does.
        if fs::read_to_string("/proc/self/cgroup").is_ok_and(|own| own == self.text) {
            return Ok(());
        }
        for line in self.text.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
                continue;
            };
            // Above what is mounted here: nobody can name it.
            if path.split('/').any(|part| part == "..") {
                continue;
            }
            let serves = |hierarchy: &&Hierarchy| match controllers.split(',').next() {
                None | Some("") => hierarchy.is_unified(),
                Some(first) => hierarchy.has(first.trim_start_matches("name=")),
            };
            if let Some(hierarchy) = self.hierarchies.all.iter().find(serves) {
                enter(hierarchy, path)?;
            }
        }
        Ok(())
    }
}

/// Makes the cgroup `path` with limits and moves this process into it, which
/// has to have one thread only.
pub fn make_and_enter(path: &CgroupPath, resources: &Resources) -> Result<Cgroup> {
    let hierarchies = Hierarchies::find()?;
    let manager = CgroupManager::Cgroupfs;
    let (cgroup, _warnings) =
        prepare(path, manager, resources, &hierarchies).context(|| "set up the cgroup")?;
    for hierarchy in &hierarchies.all {
        if let Err(error) = enter(hierarchy, path.as_str()) {
            // Whoever asked for it may have us move back first.
            let _ = cgroup.remove();
            return Err(error);
        }
    }
    Ok(cgroup)
}

fn enter(hierarchy: &Hierarchy, path: &str) -> Result<()> {
    let directory = hierarchy.mountpoint().join(path.trim_start_matches('/'));
    // A single thread moves without waiting for the kernel where that is
    // possible.
    let file = directory.join(if hierarchy.is_unified() {
        "cgroup.procs"
    } else {
        "tasks"
    });
    let write = || -> Result<()> {
        let file = open(&file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, b"0")?;
        Ok(())
    };
    write().context(|| format!("enter cgroup {}", directory.display()))
}
