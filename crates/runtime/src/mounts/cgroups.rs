//! The container's control groups, as it sees them.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, mkdirat, symlinkat};
use rustix::mount::MountAttrFlags;
use sys::mount::at_once::{self, Target};
use sys::mount::{Depth, FileSystem, Propagation, attach, attach_at, change};
use sys::spent::Spent;
use sys::{Error, ErrorKind, Result};

use super::plan::{CgroupVersion, PlannedMount, libc_attr};
use super::root::Root;
use super::step::copy_of;
use crate::cgroup::{CgroupPath, Hierarchies, Hierarchy};

/// What the container sees of the host.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) path: &'a CgroupPath,
    pub(crate) hierarchies: &'a Hierarchies,
    /// Whether it has a cgroup namespace of its own or joined one.
    pub(crate) in_cgroup_namespace: bool,
    /// Whether it is in the host's user namespace.
    pub(crate) is_host_user: bool,
    pub(crate) label: Option<&'a str>,
    /// Whether the host's /proc is in sight, with all that is open to us.
    pub(crate) at_once: bool,
}

/// The container's own group of each hierarchy: version 2 alone on the target
/// itself, or each below a tmpfs there, under the names of the host.
pub(crate) fn mount(
    plan: &PlannedMount,
    version: CgroupVersion,
    (root, view): (&Root, &View<'_>),
    spent: &mut Spent,
) -> Result<()> {
    let target = root.plain_mount_point(&plan.destination)?;
    let mut attributes = plan.attributes;
    attributes.set |= libc_attr::NOSUID | libc_attr::NODEV | libc_attr::NOEXEC;
    let mut recursive = plan.recursive;
    recursive.propagation = Some(plan.propagation.map_or(Propagation::Private, |(p, _)| p));
    let own = |mountpoint: &Path| copy_of(&mountpoint.join(view.path.relative()), Depth::One);
    let unified = view.hierarchies.unified();
    let is_pure = view.hierarchies.all.iter().all(Hierarchy::is_unified);
    let tree = match (unified, version) {
        // Without a namespace /proc/self/cgroup has the path from the host's
        // root, and only the whole tree fits it.
        (Some(mountpoint), _) if is_pure && !view.in_cgroup_namespace && view.is_host_user => {
            copy_of(mountpoint, Depth::One)?
        }
        (Some(mountpoint), CgroupVersion::Two) => own(mountpoint)?,
        (Some(mountpoint), CgroupVersion::Any) if is_pure => own(mountpoint)?,
        (None, CgroupVersion::Two) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "type cgroup2: this host has no control groups of version 2; use type cgroup",
            ));
        }
        (_, CgroupVersion::Any) => {
            let tmpfs = FileSystem::open("tmpfs")?;
            tmpfs.set("mode", "755")?;
            if let Some(label) = view.label {
                tmpfs.set("context", label)?;
            }
            let mount = tmpfs.mount(MountAttrFlags::empty())?;
            spent.add(tmpfs);
            attach(mount.as_fd(), target.as_fd())?;
            for hierarchy in &view.hierarchies.all {
                spent.extend(mount_beside_others(&mount, hierarchy.mountpoint(), view)?);
            }
            attributes.propagation = recursive.propagation.take();
            change(mount.as_fd(), Depth::Tree, attributes)?;
            change(mount.as_fd(), Depth::Tree, recursive)?;
            spent.add(mount);
            spent.add(target);
            return Ok(());
        }
    };
    change(tree.as_fd(), Depth::One, attributes)?;
    change(tree.as_fd(), Depth::Tree, recursive)?;
    attach(tree.as_fd(), target.as_fd())
}

/// The descriptor of the mount, if one was needed.
fn mount_beside_others(
    tmpfs: &OwnedFd,
    mountpoint: &Path,
    view: &View<'_>,
) -> Result<Option<OwnedFd>> {
    let Some(name) = mountpoint.file_name() else {
        return Ok(None);
    };
    mkdirat(tmpfs, name, Mode::from(0o755))?;
    // The tmpfs is new, and nobody but us has seen it.
    let target = Target::In(tmpfs.as_fd(), name);
    let group = mountpoint.join(view.path.relative());
    let tree = if view.at_once && at_once::bind(&group, target) {
        None
    } else {
        let tree = copy_of(&group, Depth::One)?;
        attach_at(tree.as_fd(), tmpfs.as_fd(), name)?;
        Some(tree)
    };
    // `cpu,cpuacct` is reached by either name.
    let name = name.to_string_lossy();
    if name.contains(',') {
        for part in name.split(',') {
            symlinkat(&*name, tmpfs, part)?;
        }
    }
    Ok(tree)
}
