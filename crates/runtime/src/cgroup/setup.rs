//! Making a container's cgroup and what its init needs to enter it.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, open};
use rustix::io::Errno;
use spec::runtime::Resources;
use sys::{Context as _, Error, Result};

use super::hierarchy::{Hierarchies, Hierarchy, Version};
use super::limits::{Necessity, Write, plan};
use super::{Cgroup, CgroupPath, devices};

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
    /// The way into a cgroup that exists. Hierarchies in which it does not
    /// are left out.
    pub(crate) fn open(path: &CgroupPath, hierarchies: &Hierarchies) -> Result<Self> {
        let mut entry = Self {
            tasks: Vec::new(),
            unified: None,
        };
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

/// Makes the cgroup in every hierarchy and writes its limits; the warnings
/// are limits that this kernel cannot hold.
pub(crate) fn prepare(
    path: &CgroupPath,
    resources: &Resources,
    hierarchies: &Hierarchies,
) -> Result<(Cgroup, Vec<String>)> {
    let writes = plan(resources, &|controller| serves(hierarchies, controller))?;
    let rules = devices::rules(&resources.devices)?;
    let cgroup = Cgroup::with(path.clone(), hierarchies.clone());
    let made = || -> Result<Vec<String>> {
        for hierarchy in &hierarchies.all {
            make(hierarchy, path, &writes)?;
        }
        limit_devices(path, &rules, hierarchies)?;
        write_all(path, &writes, hierarchies)
    };
    match made() {
        Ok(warnings) => Ok((cgroup, warnings)),
        Err(error) => {
            // The first failure is the one to tell.
            let _ = cgroup.remove();
            Err(error)
        }
    }
}

fn serves(hierarchies: &Hierarchies, controller: &str) -> Option<Version> {
    match hierarchies.locate(controller) {
        Some((Version::V1, _)) => Some(Version::V1),
        Some((Version::V2, root)) => {
            // What version 1 calls blkio is io there.
            let name = if controller == "blkio" {
                "io"
            } else {
                controller
            };
            let all = fs::read_to_string(root.join("cgroup.controllers")).ok()?;
            all.split_whitespace()
                .any(|known| known == name)
                .then_some(Version::V2)
        }
        None => None,
    }
}

fn make(hierarchy: &Hierarchy, path: &CgroupPath, writes: &[Write]) -> Result<()> {
    let root = hierarchy.mountpoint();
    let full = root.join(path.relative());
    match mkdirat(CWD, &full, Mode::from(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
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
        Hierarchy::Unified { .. } => enable(root, path, writes),
    }
}

/// A version 1 cpuset begins empty and takes no process until it names
/// processors and memory: each level gets its parent's. `clone_children` lets
/// the kernel do that for the next container.
fn fill_cpuset(root: &Path, path: &CgroupPath) -> Result<()> {
    let mut parent = root.to_owned();
    for name in path.relative().split('/') {
        let directory = parent.join(name);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let target = directory.join(file);
            let read = |path: &Path| {
                fs::read_to_string(path).context(|| format!("read {}", path.display()))
            };
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
fn enable(root: &Path, path: &CgroupPath, writes: &[Write]) -> Result<()> {
    let available = fs::read_to_string(root.join("cgroup.controllers"))
        .context(|| "read cgroup.controllers")?;
    let pure = root == Path::new("/sys/fs/cgroup");
    let wanted: Vec<&str> = available
        .split_whitespace()
        .filter(|name| pure || writes.iter().any(|write| write.controller == *name))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut level = root.to_owned();
    let names: Vec<&str> = path.relative().split('/').collect();
    for name in names {
        let file = level.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&file).context(|| format!("read {}", file.display()))?;
        for controller in &wanted {
            if !enabled.split_whitespace().any(|known| known == *controller) {
                let needed = writes.iter().any(|write| write.controller == **controller);
                match write(&file, &format!("+{controller}")) {
                    Err(error) if needed => return Err(error),
                    _ => {}
                }
            }
        }
        level.push(name);
    }
    Ok(())
}

fn limit_devices(
    path: &CgroupPath,
    rules: &[sys::bpf_device::Rule],
    hierarchies: &Hierarchies,
) -> Result<()> {
    match hierarchies.locate("devices") {
        Some((Version::V1, root)) => {
            let directory = root.join(path.relative());
            for (file, line) in devices::lines(rules) {
                write(&directory.join(file), &line)?;
            }
            Ok(())
        }
        Some((Version::V2, root)) => {
            let directory = root.join(path.relative());
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = open(&directory, flags, Mode::empty())
                .context(|| format!("open {}", directory.display()))?;
            sys::bpf_device::attach(&fd, rules).context(|| "limit devices")
        }
        None => Ok(()),
    }
}

fn write_all(
    path: &CgroupPath,
    writes: &[Write],
    hierarchies: &Hierarchies,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for limit in writes {
        let Some((_, root)) = hierarchies.locate(&limit.controller) else {
            continue;
        };
        let file: PathBuf = root.join(path.relative()).join(&limit.file);
        match write(&file, &limit.value) {
            Ok(()) => {}
            Err(error)
                if limit.necessity == Necessity::IfPresent
                    && error.errno() == Some(Errno::NOENT.raw_os_error()) =>
            {
                warnings.push(format!("this kernel has no {}; limit ignored", limit.file));
            }
            Err(error) => {
                return Err(error).context(|| format!("set {} to {}", limit.file, limit.value));
            }
        }
    }
    Ok(warnings)
}

fn write(file: &Path, value: &str) -> Result<()> {
    let failed = || format!("write {value} to {}", file.display());
    let fd = open(file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).context(failed)?;
    rustix::io::write(&fd, value.as_bytes()).context(failed)?;
    Ok(())
}
