//! Making a container's cgroup and what its init needs to enter it.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, open};
use rustix::io::Errno;
use spec::runtime::Resources;
use sys::spent::Spent;
use sys::{Context as _, Error, ErrorKind, Result};

use super::apply::write_named as write;
use super::handle::gather_pids;
use super::hierarchy::{Hierarchies, Hierarchy, Version};
use super::limits::{Planned, plan};
use super::{Cgroup, CgroupManager, CgroupPath, apply, devices, systemd};

/// How a new process gets into the cgroup.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Version 1: the process itself writes `0` to each. Written by a process
    /// with one thread, a `tasks` file costs no RCU grace period, which
    /// `cgroup.procs` does.
    pub(crate) tasks: Vec<OwnedFd>,
    /// Version 2: it is born there.
    pub(crate) unified: Option<OwnedFd>,
}

impl Entry {
    /// For a process that stays where its parent is.
    pub(crate) fn none() -> Self {
        Self {
            tasks: Vec::new(),
            unified: None,
        }
    }

    /// The way into a cgroup that exists. Hierarchies in which it does not
    /// are left out.
    pub(crate) fn open(path: &CgroupPath, hierarchies: &Hierarchies) -> Result<Self> {
        let mut entry = Self::none();
        for hierarchy in &hierarchies.all {
            let directory = hierarchy.mountpoint().join(path.relative());
            let (file, flags) = if hierarchy.is_unified() {
                (directory, OFlags::PATH | OFlags::DIRECTORY)
            } else {
                (directory.join("tasks"), OFlags::WRONLY)
            };
            match open(&file, flags | OFlags::CLOEXEC, Mode::empty()) {
                Ok(fd) if hierarchy.is_unified() => entry.unified = Some(fd),
                Ok(fd) => entry.tasks.push(fd),
                Err(Errno::NOENT) => {}
                Err(errno) => {
                    return Err(Error::from(errno)).context(|| format!("open {}", file.display()));
                }
            }
        }
        Ok(entry)
    }

    /// By the process itself: moves it into each version 1 hierarchy.
    pub(crate) fn enter(&self) -> Result<()> {
        for tasks in &self.tasks {
            rustix::io::write(tasks, b"0").context(|| "enter a cgroup")?;
        }
        Ok(())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut spent = Spent::default();
        let all = self.tasks.drain(..).chain(self.unified.take());
        all.for_each(|fd| spent.add(fd));
    }
}

/// Makes the cgroup in every hierarchy and writes its limits; the warnings
/// are limits that this kernel cannot hold. What systemd makes is made later,
/// around a process, by [`adopt`].
pub(crate) fn prepare(
    path: &CgroupPath,
    manager: CgroupManager,
    resources: &Resources,
    hierarchies: &Hierarchies,
) -> Result<(Cgroup, Vec<String>)> {
    let cgroup = Cgroup::with(path.clone(), manager, hierarchies.clone());
    match manager {
        CgroupManager::Cgroupfs => {}
        CgroupManager::Disabled => {
            refuse_limits(resources)?;
            return Ok((cgroup, Vec::new()));
        }
        CgroupManager::Systemd => {
            for hierarchy in &hierarchies.all {
                refuse_in_use(&hierarchy.mountpoint().join(path.relative()))?;
            }
            return Ok((cgroup, Vec::new()));
        }
    }
    let planned = plan(resources, &|controller| serves(hierarchies, controller))?;
    let rules = devices::rules(&resources.devices)?;
    let mut taken = false;
    let mut made = || -> Result<Vec<String>> {
        for hierarchy in &hierarchies.all {
            make(hierarchy, path, &planned).inspect_err(|error| {
                taken |= error.kind() == ErrorKind::Conflict;
            })?;
        }
        devices::limit(path, &rules, hierarchies, devices::Change::First)?;
        apply::apply(path, &planned, hierarchies)
    };
    match made() {
        Ok(warnings) => Ok((cgroup, warnings)),
        Err(error) => {
            if !taken {
                // The first failure is the one to tell.
                let _ = cgroup.remove();
            }
            Err(error)
        }
    }
}

/// Has systemd make the cgroup around process `pid`, which is not yet in any of
/// its own, and does the rest: what systemd does not make, and all limits.
pub(crate) fn adopt(cgroup: &Cgroup, pid: i32, resources: &Resources) -> Result<Vec<String>> {
    let path = cgroup.must_exist()?;
    let hierarchies = cgroup.hierarchies();
    let planned = plan(resources, &|controller| serves(hierarchies, controller))?;
    let rules = devices::rules(&resources.devices)?;
    systemd::start(path, pid, &planned.properties)?;
    for hierarchy in &hierarchies.all {
        let directory = hierarchy.mountpoint().join(path.relative());
        let known = directory.is_dir();
        if !known {
            make(hierarchy, path, &planned)?;
        }
        // systemd moves it where it has made a group itself.
        if !known || !hierarchy.is_unified() {
            write(&directory.join("cgroup.procs"), &pid.to_string())?;
        }
    }
    devices::limit(path, &rules, hierarchies, devices::Change::First)?;
    apply::apply(path, &planned, hierarchies)
}

/// Device rules do not count: every specification has them, and who has no
/// rights over cgroups cannot make devices either.
fn refuse_limits(resources: &Resources) -> Result<()> {
    let planned = plan(resources, &|_| Some(Version::V1))?;
    let Some(first) = planned.writes.first() else {
        return Ok(());
    };
    let who = if rustix::process::geteuid().is_root() {
        "cgroups are disabled"
    } else {
        "no cgroup was delegated to this user"
    };
    Err(Error::new(
        ErrorKind::Denied,
        format!(
            "linux.resources.{} cannot be held: {who}; leave limits out, or use the systemd \
             cgroup manager (--systemd-cgroup) as a user who is logged in, or run under \
             systemd-run --user --scope -p Delegate=yes",
            first.field
        ),
    ))
}

pub(super) fn serves(hierarchies: &Hierarchies, controller: &str) -> Option<Version> {
    match hierarchies.locate(controller) {
        Some((Version::V1, _)) => Some(Version::V1),
        // What is not a controller is there with the hierarchy.
        Some((Version::V2, _)) if controller == "cgroup" => Some(Version::V2),
        Some((Version::V2, root)) => {
            let name = unified_name(controller);
            let all = fs::read_to_string(root.join("cgroup.controllers")).ok()?;
            all.split_whitespace()
                .any(|known| known == name)
                .then_some(Version::V2)
        }
        None => None,
    }
}

/// What version 1 calls blkio is io there.
fn unified_name(controller: &str) -> &str {
    match controller {
        "blkio" => "io",
        same => same,
    }
}

fn make(hierarchy: &Hierarchy, path: &CgroupPath, planned: &Planned) -> Result<()> {
    let root = hierarchy.mountpoint();
    let full = root.join(path.relative());
    match mkdirat(CWD, &full, Mode::from(0o755)) {
        Ok(()) => {}
        Err(Errno::EXIST) => refuse_in_use(&full)?,
        Err(Errno::NOENT) => {
            fs::create_dir_all(&full).context(|| format!("make cgroup {}", full.display()))?;
        }
        Err(errno) => {
            return Err(Error::from(errno)).context(|| format!("make cgroup {}", full.display()));
        }
    }
    match hierarchy {
        Hierarchy::Legacy { controllers, .. } if controllers.iter().any(|it| it == "cpuset") => {
            fill_cpuset(root, path)
        }
        Hierarchy::Legacy { .. } => Ok(()),
        Hierarchy::Unified { .. } => enable(root, path, planned),
    }
}

/// A group that is left over from an earlier run is as good as a new one. One
/// with processes is somebody else's, and would be killed with the container.
fn refuse_in_use(directory: &Path) -> Result<()> {
    let mut pids = Vec::new();
    gather_pids(directory, &mut pids);
    let Some(first) = pids.first() else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Conflict,
        format!(
            "cgroup {} has processes already, {first} among them; a container needs one of its \
             own: choose another linux.cgroupsPath",
            directory.display()
        ),
    ))
}

/// A version 1 cpuset begins empty and takes no process until it names
/// processors and memory: each level gets its parent's. `clone_children` lets
/// the kernel do that for the next container.
fn fill_cpuset(root: &Path, path: &CgroupPath) -> Result<()> {
    const FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];
    let own = root.join(path.relative());
    // What the kernel fills it fills together.
    if apply::read_file(&own.join(FILES[1])).is_ok_and(|value| !value.trim().is_empty()) {
        return Ok(());
    }
    let mut parent = root.to_owned();
    for name in path.relative().split('/') {
        let directory = parent.join(name);
        for file in FILES {
            let target = directory.join(file);
            let read =
                |path: &Path| apply::read_file(path).context(|| format!("read {}", path.display()));
            if read(&target)?.trim().is_empty() {
                let value = read(&parent.join(file))?;
                write(&target, value.trim())?;
                write(&directory.join("cgroup.clone_children"), "1")?;
            }
        }
        parent = directory;
    }
    Ok(())
}

/// Version 2: a controller has to be enabled in each parent before its files
/// exist. All that are there are enabled on the pure version 2 host, so that
/// statistics exist too; beside version 1 only what is needed.
fn enable(root: &Path, path: &CgroupPath, planned: &Planned) -> Result<()> {
    let pure = root == Path::new("/sys/fs/cgroup");
    if !pure && planned.writes.is_empty() {
        return Ok(());
    }
    let available =
        apply::read_file(&root.join("cgroup.controllers")).context(|| "read cgroup.controllers")?;
    let needed = |name: &str| {
        let mut writes = planned.writes.iter();
        writes.any(|write| unified_name(&write.controller) == name)
    };
    let wanted: Vec<&str> = available
        .split_whitespace()
        .filter(|name| pure || needed(name))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut level = root.to_owned();
    for name in path.relative().split('/') {
        let file = level.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&file).context(|| format!("read {}", file.display()))?;
        let missing: Vec<&str> = wanted
            .iter()
            .copied()
            .filter(|name| !enabled.split_whitespace().any(|known| known == *name))
            .collect();
        enable_here(&file, &missing, &needed)?;
        level.push(name);
    }
    Ok(())
}

/// All at once; if that is refused, one by one those that a limit needs, and
/// the others as far as it goes.
fn enable_here(file: &Path, missing: &[&str], needed: &dyn Fn(&str) -> bool) -> Result<()> {
    let all: Vec<String> = missing.iter().map(|name| format!("+{name}")).collect();
    if missing.is_empty() || apply::write_file(file, &all.join(" ")).is_ok() {
        return Ok(());
    }
    for name in missing {
        match apply::write_file(file, &format!("+{name}")) {
            Err(errno) if needed(name) => return Err(not_enabled(file, name, errno)),
            _ => {}
        }
    }
    Ok(())
}

fn not_enabled(file: &Path, controller: &str, errno: Errno) -> Error {
    let group = file.parent().unwrap_or(file).display();
    let why = match errno {
        Errno::BUSY => format!(
            "cgroup {group} has processes of its own, so it cannot hand the {controller} \
             controller down: choose a linux.cgroupsPath below a group without any"
        ),
        Errno::NOENT => format!(
            "the {controller} controller was not handed down to cgroup {group}: enable it in \
             the cgroup.subtree_control of the groups above"
        ),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => format!(
            "we may not enable the {controller} controller in cgroup {group}: it was not \
             delegated to this user"
        ),
        _ => format!("enable the {controller} controller in cgroup {group}"),
    };
    Error::from(errno).wrap(why)
}
