//! Making the planned mounts. Nothing is mounted by path: sources become
//! detached mounts, targets are descriptors.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use sys::mount::{AttributeChange, Depth, FileSystem, Propagation, attach, attach_at, change};
use sys::spent::Spent;
use sys::{Context as _, Error, ErrorKind, Result};

use super::plan::{CgroupVersion, PlannedMount, What, libc_attr};
use super::root::{Root, Shape};
use super::{copy_up, overlay};
use crate::cgroup::{CgroupPath, Hierarchies, Hierarchy};
use crate::sandbox::invalid;

/// A mount whose source was opened while the host was still in sight.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    plan: &'a PlannedMount,
    bind: Option<OwnedFd>,
}

/// Opens the sources of bind mounts, before the propagation of the host's
/// mounts is changed: a copy made now can still be shared with them.
/// Those in `mapped` are open.
pub(crate) fn open_sources<'a>(
    mounts: &'a [PlannedMount],
    mapped: &[(usize, OwnedFd)],
) -> Result<Vec<Opened<'a>>> {
    mounts
        .iter()
        .enumerate()
        .map(|(index, plan)| {
            let ready = mapped.iter().find(|(place, _)| *place == index);
            let bind = match (&plan.what, ready) {
                (_, Some((_, mount))) => Some(rustix::io::fcntl_dupfd_cloexec(mount, 3)?),
                (
                    What::Bind {
                        source,
                        subpath,
                        depth,
                    },
                    None,
                ) => Some(
                    copy_below(source, subpath, *depth).context(|| format!("mounts[{index}]"))?,
                ),
                _ => None,
            };
            Ok(Opened { plan, bind })
        })
        .collect()
}

/// A detached copy of the host's mount at what `subpath` names below `source`.
pub(crate) fn copy_below(source: &Path, subpath: &Path, depth: Depth) -> Result<OwnedFd> {
    if subpath.as_os_str().is_empty() {
        return copy_of(source, depth);
    }
    sys::mount::hold_below(source, subpath)
        .map_err(|error| match error.errno() {
            Some(errno) if errno == Errno::NOENT.raw_os_error() => Error::new(
                ErrorKind::NotFound,
                "there is no such file or directory; make it first",
            ),
            Some(errno) if errno == Errno::XDEV.raw_os_error() => invalid("a link leads out of it"),
            _ => error,
        })
        .and_then(|held| sys::mount::copy_tree(held.as_fd(), depth))
        .context(|| format!("bind {} of {}", subpath.display(), source.display()))
}

/// A detached copy of the host's mount at `source`.
pub(crate) fn copy_of(source: &Path, depth: Depth) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if depth == Depth::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, source, flags)
        .map_err(|errno| match errno {
            Errno::NOENT => Error::new(
                ErrorKind::NotFound,
                "there is no such file or directory on the host; make it first",
            ),
            Errno::INVAL => invalid("its mount is unbindable, or has such mounts below it"),
            errno => errno.into(),
        })
        .context(|| format!("bind {}", source.display()))
}

impl Opened<'_> {
    /// Makes the mount in `root`.
    pub(crate) fn make(self, root: &Root, view: &View<'_>, spent: &mut Spent) -> Result<()> {
        let destination = self.plan.destination.clone();
        self.try_make(root, view, spent)
            .context(|| format!("mount {}", destination.display()))
    }

    fn try_make(self, root: &Root, view: &View<'_>, spent: &mut Spent) -> Result<()> {
        let plan = self.plan;
        match &plan.what {
            What::Bind { .. } => {
                let Some(tree) = self.bind else {
                    return Err(Error::new(ErrorKind::Internal, "source was not opened"));
                };
                spent.add(bind(plan, &tree, root)?);
                spent.add(tree);
                Ok(())
            }
            What::FileSystem {
                kind,
                source,
                options,
            } => {
                let file_system = FileSystem::open(kind)?;
                if let Some(label) = view.label.filter(|_| takes_label(kind)) {
                    file_system.set("context", label)?;
                }
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
                spent.add(file_system);
                if plan.copy_up {
                    copy_up::copy(root, &plan.destination, &mount)?;
                }
                attach(mount.as_fd(), target.as_fd())?;
                spent.add(target);
                finish(plan, &mount)?;
                spent.add(mount);
                Ok(())
            }
            What::Layers { lower, subpath } => {
                let mount = overlay::mount_lower(lower, view.label)?;
                spent.add(layers(plan, &mount, subpath, root)?);
                spent.add(mount);
                Ok(())
            }
            What::Cgroups(version) => mount_cgroups(plan, *version, (root, view), spent),
            What::Remount => remount(plan, root),
        }
    }
}

/// Gives the target, which is covered now.
fn bind(plan: &PlannedMount, tree: &OwnedFd, root: &Root) -> Result<OwnedFd> {
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
    Ok(target)
}

/// Gives the target, which is covered now.
fn layers(plan: &PlannedMount, mount: &OwnedFd, subpath: &Path, root: &Root) -> Result<OwnedFd> {
    if subpath.as_os_str().is_empty() {
        return bind(plan, mount, root);
    }
    // What is mounted nowhere cannot be mounted a second time: it gets a
    // place, where its part covers it.
    let target = root.mount_point(&plan.destination, Shape::Directory)?;
    attach(mount.as_fd(), target.as_fd())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let part = openat2(mount, subpath, flags, Mode::empty(), resolve)
        .context(|| format!("open {} of the image", subpath.display()))?;
    let part = sys::mount::copy_tree(part.as_fd(), Depth::One)?;
    bind(plan, &part, root)
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

fn remount(plan: &PlannedMount, root: &Root) -> Result<()> {
    let target = root.open(&plan.destination, OFlags::PATH)?;
    let mut attributes = plan.attributes;
    let propagation = plan.propagation;
    attributes.propagation =
        propagation.and_then(|(propagation, depth)| (depth == Depth::One).then_some(propagation));
    change(target.as_fd(), Depth::One, attributes).map_err(|error| match error.errno() {
        Some(22) => invalid("option remount: nothing is mounted there"),
        _ => error,
    })?;
    finish(plan, &target)
}

/// What takes the label of the container (`linux.mountLabel`). The kernel's
/// own file systems have labels of their own.
fn takes_label(kind: &str) -> bool {
    !matches!(kind, "proc" | "sysfs" | "mqueue")
}

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
}

/// The container's own group of each hierarchy: version 2 alone on the target
/// itself, or each below a tmpfs there, under the names of the host.
fn mount_cgroups(
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
            tmpfs.set("source", "tmpfs")?;
            if let Some(label) = view.label {
                tmpfs.set("context", label)?;
            }
            let mount = tmpfs.mount(MountAttrFlags::empty())?;
            spent.add(tmpfs);
            attach(mount.as_fd(), target.as_fd())?;
            for hierarchy in &view.hierarchies.all {
                spent.add(mount_beside_others(&mount, hierarchy.mountpoint(), &own)?);
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

fn mount_beside_others(
    tmpfs: &OwnedFd,
    mountpoint: &Path,
    own: &dyn Fn(&Path) -> Result<OwnedFd>,
) -> Result<OwnedFd> {
    let tree = own(mountpoint)?;
    let Some(name) = mountpoint.file_name() else {
        return Ok(tree);
    };
    mkdirat(tmpfs, name, Mode::from(0o755))?;
    // The tmpfs is new, and nobody but us has seen it.
    attach_at(tree.as_fd(), tmpfs.as_fd(), name)?;
    // `cpu,cpuacct` is reached by either name.
    let name = name.to_string_lossy();
    if name.contains(',') {
        for part in name.split(',') {
            symlinkat(&*name, tmpfs, part)?;
        }
    }
    Ok(tree)
}
