//! Making the planned mounts. Nothing is mounted by path: sources become
//! detached mounts, targets are descriptors.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mkdirat, symlinkat};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use sys::mount::{AttributeChange, Depth, FileSystem, Propagation, attach, change};
use sys::{Context as _, Error, ErrorKind, Result};

use super::plan::{PlannedMount, What, libc_attr};
use super::root::{Root, Shape};
use crate::cgroup::{CgroupPath, Hierarchies};

/// A mount whose source was opened while the host was still in sight.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    plan: &'a PlannedMount,
    bind: Option<OwnedFd>,
}

/// Opens the sources of bind mounts, before the propagation of the host's
/// mounts is changed: a copy made now can still be shared with them.
pub(crate) fn open_sources(mounts: &[PlannedMount]) -> Result<Vec<Opened<'_>>> {
    mounts
        .iter()
        .map(|plan| {
            let bind = match &plan.what {
                What::Bind { source, depth } => Some(copy_of(source, *depth)?),
                _ => None,
            };
            Ok(Opened { plan, bind })
        })
        .collect()
}

/// A detached copy of the host's mount at `source`.
pub(crate) fn copy_of(source: &Path, depth: Depth) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if depth == Depth::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, source, flags).context(|| format!("bind {}", source.display()))
}

impl Opened<'_> {
    /// Makes the mount in `root`.
    pub(crate) fn make(self, root: &Root, cgroup: &CgroupView<'_>) -> Result<()> {
        let destination = self.plan.destination.clone();
        self.try_make(root, cgroup)
            .context(|| format!("mount {}", destination.display()))
    }

    fn try_make(self, root: &Root, cgroup: &CgroupView<'_>) -> Result<()> {
        let plan = self.plan;
        match &plan.what {
            What::Bind { .. } => {
                let Some(tree) = self.bind else {
                    return Err(Error::new(ErrorKind::Internal, "source was not opened"));
                };
                bind(plan, &tree, root)
            }
            What::FileSystem {
                kind,
                source,
                options,
            } => {
                let file_system = FileSystem::open(kind)?;
                if let Some(source) = source {
                    file_system.set("source", source)?;
                }
                for (key, value) in options {
                    match value {
                        Some(value) => file_system.set(key, value)?,
                        None => file_system.set_flag(key)?,
                    }
                }
                // The target is opened first: /proc must not be a symlink
                // into something that the image prepared.
                let target = if matches!(kind.as_str(), "proc" | "sysfs") {
                    root.plain_mount_point(&plan.destination)?
                } else {
                    root.mount_point(&plan.destination, Shape::Directory)?
                };
                let flags = u32::try_from(plan.attributes.set).unwrap_or_default();
                let mount = file_system.mount(MountAttrFlags::from_bits_retain(flags))?;
                attach(mount.as_fd(), target.as_fd())?;
                finish(plan, &mount)
            }
            What::Cgroups => mount_cgroups(plan, root, cgroup),
        }
    }
}

fn bind(plan: &PlannedMount, tree: &OwnedFd, root: &Root) -> Result<()> {
    let stat = fstat(tree)?;
    let shape = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        Shape::Directory
    } else {
        Shape::File
    };
    let target = root.mount_point(&plan.destination, shape)?;
    // Without a word about it, mounts come in and none go out.
    let (propagation, depth) = plan
        .propagation
        .unwrap_or((Propagation::Slave, Depth::Tree));
    let mut attributes = plan.attributes;
    attributes.propagation = (depth == Depth::One).then_some(propagation);
    if attributes != AttributeChange::default() {
        change(tree.as_fd(), Depth::One, attributes).context(|| "set mount attributes")?;
    }
    let mut recursive = plan.recursive;
    recursive.propagation = (depth == Depth::Tree).then_some(propagation);
    if recursive != AttributeChange::default() {
        change(tree.as_fd(), Depth::Tree, recursive).context(|| "set mount attributes")?;
    }
    attach(tree.as_fd(), target.as_fd())?;
    Ok(())
}

fn finish(plan: &PlannedMount, mount: &OwnedFd) -> Result<()> {
    if plan.recursive != AttributeChange::default() {
        change(mount.as_fd(), Depth::Tree, plan.recursive)?;
    }
    if let Some((propagation, depth)) = plan.propagation {
        let attributes = AttributeChange {
            propagation: Some(propagation),
            ..AttributeChange::default()
        };
        change(mount.as_fd(), depth, attributes)?;
    }
    Ok(())
}

/// What the container sees of control groups.
#[derive(Debug)]
pub(crate) struct CgroupView<'a> {
    pub(crate) path: &'a CgroupPath,
    pub(crate) hierarchies: &'a Hierarchies,
}

/// The container's own group of each hierarchy: version 2 alone on the target
/// itself, or each below a tmpfs there, under the names of the host.
fn mount_cgroups(plan: &PlannedMount, root: &Root, cgroup: &CgroupView<'_>) -> Result<()> {
    let target = root.plain_mount_point(&plan.destination)?;
    let mut attributes = plan.attributes;
    attributes.set |= libc_attr::NOSUID | libc_attr::NODEV | libc_attr::NOEXEC;
    let own = |mountpoint: &Path| copy_of(&mountpoint.join(cgroup.path.relative()), Depth::One);
    if let [only] = cgroup.hierarchies.all.as_slice()
        && only.is_unified()
    {
        let tree = own(only.mountpoint())?;
        change(tree.as_fd(), Depth::One, attributes)?;
        return attach(tree.as_fd(), target.as_fd());
    }
    let tmpfs = FileSystem::open("tmpfs")?;
    tmpfs.set("mode", "755")?;
    tmpfs.set("source", "tmpfs")?;
    let tmpfs = tmpfs.mount(MountAttrFlags::empty())?;
    attach(tmpfs.as_fd(), target.as_fd())?;
    for hierarchy in &cgroup.hierarchies.all {
        let mountpoint = hierarchy.mountpoint();
        let Some(name) = mountpoint.file_name() else {
            continue;
        };
        mkdirat(&tmpfs, name, Mode::from(0o755))?;
        let place = rustix::fs::openat(
            &tmpfs,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        attach(own(mountpoint)?.as_fd(), place.as_fd())?;
        // `cpu,cpuacct` is reached by either name.
        let name = name.to_string_lossy();
        if name.contains(',') {
            for part in name.split(',') {
                symlinkat(&*name, &tmpfs, part)?;
            }
        }
    }
    change(tmpfs.as_fd(), Depth::Tree, attributes)
}
