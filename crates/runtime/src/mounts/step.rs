//! Making the planned mounts. No path of the container is walked by the mount
//! itself: sources become detached mounts, targets are descriptors.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use state::OverlayRoot;
use sys::mount::at_once::{self, Target};
use sys::mount::{AttributeChange, Depth, FileSystem, Propagation, attach, change};
use sys::path::openat2;
use sys::spent::Spent;
use sys::{Context as _, Error, ErrorKind, Result};

use super::cgroups::{self, View};
use super::overlay::Owner;
use super::plan::{PlannedMount, What};
use super::root::{Root, Shape};
use super::{copy_up, overlay};
use crate::sandbox::invalid;

/// A mount whose source was opened, or that was made, while the host was still
/// in sight.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    plan: &'a PlannedMount,
    tree: Option<OwnedFd>,
}

/// Opens the sources of bind mounts, before the propagation of the host's
/// mounts is changed: a copy made now can still be shared with them.
/// Those in `opened` are open.
pub(crate) fn open_sources<'a>(
    mounts: &'a [PlannedMount],
    opened: &[(usize, OwnedFd)],
) -> Result<Vec<Opened<'a>>> {
    mounts
        .iter()
        .enumerate()
        .map(|(index, plan)| {
            let ready = opened.iter().find(|(place, _)| *place == index);
            let tree = match (&plan.what, ready) {
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
            Ok(Opened { plan, tree })
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
    /// Whether it is mounted on an entry of the directory `parent`.
    fn is_in(&self, parent: &Path) -> bool {
        self.plan.destination.parent() == Some(parent)
    }
}

/// Makes the mounts in `root`, in their order.
pub(crate) fn make(
    mounts: Vec<Opened<'_>>,
    root: &Root,
    view: &View<'_>,
    spent: &mut Spent,
) -> Result<()> {
    let mut making = Making {
        root,
        view,
        spent,
        fresh: None,
    };
    let mut mounts = mounts.into_iter().peekable();
    while let Some(mount) = mounts.next() {
        let destination = &mount.plan.destination;
        let is_filled = mounts.peek().is_some_and(|next| next.is_in(destination));
        making
            .one(mount, is_filled)
            .context(|| format!("mount {}", destination.display()))?;
    }
    making.spent.extend(making.fresh.map(|fresh| fresh.mount));
    Ok(())
}

struct Making<'a> {
    root: &'a Root,
    view: &'a View<'a>,
    spent: &'a mut Spent,
    /// Of the mounts before, while nothing can have covered it.
    fresh: Option<Fresh<'a>>,
}

/// A tmpfs that we made and that nobody else has seen: what is in it is ours,
/// and names in it can be trusted.
struct Fresh<'a> {
    destination: &'a Path,
    mount: OwnedFd,
}

impl<'a> Making<'a> {
    /// `is_filled`: the next one is mounted on an entry of this one.
    fn one(&mut self, mount: Opened<'a>, is_filled: bool) -> Result<()> {
        let plan = mount.plan;
        // A mount elsewhere may be one over the tmpfs, by way of a symlink.
        if let Some(old) = self.fresh.take_if(|fresh| !mount.is_in(fresh.destination)) {
            self.spent.add(old.mount);
        }
        match &plan.what {
            What::Bind { .. } => {
                let Some(tree) = mount.tree else {
                    return Err(Error::new(ErrorKind::Internal, "source was not opened"));
                };
                self.spent.add(bind(plan, &tree, self.root)?);
                self.spent.add(tree);
                Ok(())
            }
            What::FileSystem {
                kind,
                source,
                options,
            } => {
                if let Some(tree) = mount.tree {
                    return self.attach_made(plan, tree);
                }
                let of = FileSystemPlan {
                    kind,
                    source: source.as_deref(),
                    options,
                };
                self.file_system(plan, &of, is_filled)
            }
            What::Layers {
                lower,
                writable,
                subpath,
            } => {
                let mount = match writable {
                    Some((upper, work)) => {
                        let layers = OverlayRoot {
                            lower: lower.clone(),
                            upper: upper.clone(),
                            work: work.clone(),
                        };
                        overlay::mount(&layers, self.owner(), self.view.label)?
                    }
                    None => overlay::mount_lower(lower, self.view.label)?,
                };
                self.spent.add(layers(plan, &mount, subpath, self.root)?);
                self.spent.add(mount);
                Ok(())
            }
            What::Cgroups(version) => {
                cgroups::mount(plan, *version, (self.root, self.view), self.spent)
            }
            What::Remount => remount(plan, self.root),
        }
    }

    /// Puts a file system where it belongs that is mounted nowhere yet.
    fn attach_made(&mut self, plan: &PlannedMount, tree: OwnedFd) -> Result<()> {
        let target = self.root.mount_point(&plan.destination, Shape::Directory)?;
        attach(tree.as_fd(), target.as_fd())?;
        self.spent.add(target);
        finish(plan, &tree)?;
        self.spent.add(tree);
        Ok(())
    }

    fn owner(&self) -> Owner {
        if self.view.is_host_user {
            Owner::Host
        } else {
            Owner::UserNamespace
        }
    }

    fn file_system(
        &mut self,
        plan: &'a PlannedMount,
        of: &FileSystemPlan<'_>,
        is_filled: bool,
    ) -> Result<()> {
        let is_root = plan.destination.file_name().is_none();
        let is_tmpfs_to_fill = is_filled && of.kind == "tmpfs" && !is_root;
        // What is done to a mount later needs its descriptor.
        let is_plain = self.view.label.is_none()
            && !plan.copy_up
            && plan.recursive == AttributeChange::default()
            && plan.propagation.is_none();
        let at_once = self.view.at_once && is_plain && !is_tmpfs_to_fill;
        if at_once && self.in_fresh(plan, of) {
            return Ok(());
        }
        // The target is opened first: /proc must not be a symlink into
        // something that the image prepared.
        let target = if matches!(of.kind, "proc" | "sysfs") {
            self.root.plain_mount_point(&plan.destination)?
        } else {
            self.root.mount_point(&plan.destination, Shape::Directory)?
        };
        if at_once && of.mount_at_once(plan, Target::On(target.as_fd())) {
            self.spent.add(target);
            return Ok(());
        }
        let mount = of.mount(plan, self.view.label, self.spent)?;
        if plan.copy_up {
            copy_up::copy(self.root, &plan.destination, &mount)?;
        }
        attach(mount.as_fd(), target.as_fd())?;
        self.spent.add(target);
        finish(plan, &mount)?;
        let done = if is_tmpfs_to_fill && is_plain {
            let destination = &plan.destination;
            let fresh = Fresh { destination, mount };
            self.fresh.replace(fresh).map(|before| before.mount)
        } else {
            Some(mount)
        };
        self.spent.extend(done);
        Ok(())
    }

    /// Mounts it on a new directory of the tmpfs that was mounted before, if
    /// it belongs there.
    fn in_fresh(&self, plan: &PlannedMount, of: &FileSystemPlan<'_>) -> bool {
        let name = plan.destination.file_name();
        let (Some(fresh), Some(name)) = (&self.fresh, name) else {
            return false;
        };
        mkdirat(&fresh.mount, name, Mode::from(0o755)).is_ok()
            && of.mount_at_once(plan, Target::In(fresh.mount.as_fd(), name))
    }
}

/// A file system to make.
pub(crate) struct FileSystemPlan<'a> {
    pub(crate) kind: &'a str,
    pub(crate) source: Option<&'a str>,
    pub(crate) options: &'a [(String, Option<String>)],
}

impl FileSystemPlan<'_> {
    fn mount_at_once(&self, plan: &PlannedMount, target: Target<'_>) -> bool {
        let source = self.source.unwrap_or("none");
        at_once::file_system(
            (self.kind, source),
            self.options,
            plan.attributes.set,
            target,
        )
    }

    /// Makes a detached mount of it.
    pub(crate) fn mount(
        &self,
        plan: &PlannedMount,
        label: Option<&str>,
        spent: &mut Spent,
    ) -> Result<OwnedFd> {
        let file_system = FileSystem::open(self.kind)?;
        if let Some(label) = label.filter(|_| takes_label(self.kind)) {
            file_system.set("context", label)?;
        }
        if let Some(source) = self.source {
            file_system.set("source", source)?;
        }
        for (key, value) in self.options {
            match value {
                Some(value) => file_system.set(key, value)?,
                None => file_system.set_flag(key)?,
            }
        }
        let flags = u32::try_from(plan.attributes.set).unwrap_or_default();
        let mount = file_system.mount(MountAttrFlags::from_bits_retain(flags))?;
        spent.add(file_system);
        Ok(mount)
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
    prepare_bind(plan, tree)?;
    attach(tree.as_fd(), target.as_fd())?;
    Ok(target)
}

/// Gives the copy of a source its attributes.
pub(crate) fn prepare_bind(plan: &PlannedMount, tree: &OwnedFd) -> Result<()> {
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
    Ok(())
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

/// What is left to be done to a file system that was made.
pub(crate) fn finish(plan: &PlannedMount, mount: &OwnedFd) -> Result<()> {
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
