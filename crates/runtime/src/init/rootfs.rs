//! The root file system of the container: built, filled, protected, entered.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use state::RootFs;
use sys::mount::{AttributeChange, Depth, Propagation, attach, attach_over, change, change_at};
use sys::spent::Spent;
use sys::{Context as _, Error, ErrorKind, Result};

use super::Init;
use super::old_mounts::OldMounts;
use crate::create::RootSwitch;
use crate::mounts::cgroups::View;
use crate::mounts::devices::{self, Source};
use crate::mounts::masks::{self, MaskSources};
use crate::mounts::overlay::{self, Owner};
use crate::mounts::plan::What;
use crate::mounts::root::Root;
use crate::mounts::step::{self, Opened};

/// The root, with what had to be taken from the host.
#[derive(Debug)]
pub(super) struct Built<'a> {
    pub(super) root: Root,
    sources: Vec<Opened<'a>>,
    nodes: Source,
    masks: Option<MaskSources>,
    /// Of mounts that are made; closed before anything of the container is
    /// looked up, for /proc/self/fd leads to them.
    pub(super) spent: Spent,
}

/// Mounts the root in the new namespace, over its place on the host, and opens
/// everything of the host that the container will hold.
pub(super) fn build<'a>(init: &'a Init<'_>) -> Result<Built<'a>> {
    let sandbox = &init.sandbox;
    if !sandbox.has_mounts() {
        return enter_only(init);
    }
    // Before the propagation changes: a shared bind stays a peer.
    let sources = step::open_sources(&sandbox.mounts, &init.opened)?;
    let nodes = if sandbox.namespaces.user.is_host() {
        Source::Made
    } else {
        devices::open_host_nodes(sandbox.devices)?
    };
    let masks = if sandbox.masked.is_empty() {
        None
    } else {
        Some(MaskSources::open()?)
    };
    // Nothing that we mount may show on the host. Slave where the container
    // wants to see what the host mounts later.
    let propagation = match sandbox.propagation.0 {
        Propagation::Shared | Propagation::Slave => Propagation::Slave,
        // What cannot be bound could not become our root.
        Propagation::Private | Propagation::Unbindable => Propagation::Private,
    };
    // A namespace that is joined is as its makers want it.
    if sandbox.namespaces.mount.is_new() {
        let change = AttributeChange {
            propagation: Some(propagation),
            ..AttributeChange::default()
        };
        change_at(Path::new("/"), Depth::Tree, change)
            .context(|| "separate mounts from the host")?;
    }
    let (mount, place) = match init.rootfs {
        RootFs::Directory(path) => {
            let path = init.bundle.join(path);
            let mount = copy_root(&path)?;
            (mount, path)
        }
        RootFs::Overlay(overlay) => {
            let owner = if sandbox.namespaces.user.is_host() {
                Owner::Host
            } else {
                Owner::UserNamespace
            };
            let mount = overlay::mount(overlay, owner, sandbox.mount_label)?;
            (mount, init.mountpoint.to_owned())
        }
    };
    // In a namespace of our own it is a copy of what was separated above.
    if !sandbox.namespaces.mount.is_new() {
        set_propagation(&mount, propagation, Depth::Tree)
            .context(|| "separate the root from the host")?;
    }
    // From here on it is known by its descriptor: where it hangs is of no
    // importance, as long as it is in this namespace.
    attach_over(mount.as_fd(), &place)
        .context(|| format!("mount the root file system on {}", place.display()))?;
    Ok(Built {
        root: Root::new(mount),
        sources,
        nodes,
        masks,
        spent: Spent::default(),
    })
}

/// Without a mount namespace the root is a directory of the host and stays
/// one.
fn enter_only<'a>(init: &Init<'_>) -> Result<Built<'a>> {
    let RootFs::Directory(path) = init.rootfs else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "layers as a root need a mount namespace of the container's own",
        ));
    };
    Ok(Built {
        root: Root::new(open(&init.bundle.join(path)).context(|| "root.path")?),
        sources: Vec::new(),
        nodes: Source::Made,
        masks: None,
        spent: Spent::default(),
    })
}

fn copy_root(path: &Path) -> Result<OwnedFd> {
    let mount = step::copy_of(path, Depth::Tree).context(|| "root.path")?;
    let stat = rustix::fs::fstat(&mount).context(|| "look at root.path")?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("root.path: {} is not a directory", path.display()),
        ));
    }
    Ok(mount)
}

/// Mounts, in the order of the specification, and devices.
pub(super) fn fill(init: &Init<'_>, built: &mut Built<'_>) -> Result<Vec<String>> {
    let namespaces = &init.sandbox.namespaces;
    let view = View {
        path: init.cgroup,
        hierarchies: init.hierarchies,
        in_cgroup_namespace: !namespaces.cgroup.is_host(),
        is_host_user: namespaces.user.is_host(),
        label: init.sandbox.mount_label,
        at_once: namespaces.mount.is_new(),
    };
    let mounts = std::mem::take(&mut built.sources);
    step::make(mounts, &built.root, &view, &mut built.spent)?;
    // A /dev bound from outside is used as it is.
    let bound_dev = init.sandbox.mounts.iter().any(|mount| {
        mount.destination == Path::new("/dev") && matches!(mount.what, What::Bind { .. })
    });
    if bound_dev {
        return Ok(devices::missing(&built.root, init.sandbox.devices));
    }
    let dev = devices::populate(&built.root, init.sandbox.devices, &built.nodes)?;
    built.spent.add(dev);
    Ok(devices::warnings(init.sandbox.devices, &built.nodes))
}

/// Masks, read-only paths, the read-only root.
pub(super) fn protect(init: &Init<'_>, built: &mut Built<'_>) -> Result<()> {
    let sandbox = &init.sandbox;
    // Read-only first: a mask below a read-only path stays on top of it.
    masks::protect(&built.root, &sandbox.read_only, &mut built.spent)?;
    if let Some(sources) = built.masks.take() {
        let at_once = sandbox.namespaces.mount.is_new();
        let masks = (sandbox.masked.as_slice(), &sources, at_once);
        masks::mask(&built.root, masks, &mut built.spent)?;
        built.spent.add(sources);
    }
    if sandbox.root_read_only {
        // Only now: mount points had to be made in it.
        change(built.root.as_fd(), Depth::One, masks::read_only())
            .context(|| "make the root read-only")?;
    }
    built.spent.close();
    Ok(())
}

/// Makes the root the root of the namespace and lets go of the host's. A
/// namespace with other processes in it keeps its root: only ours changes.
pub(super) fn enter(init: &Init<'_>, root: &Root) -> Result<()> {
    let is_ours_alone = init.sandbox.namespaces.mount.is_new();
    let entered = match init.root_switch {
        RootSwitch::Pivot if is_ours_alone => pivot(root).map_err(explain_pivot),
        RootSwitch::Move if is_ours_alone => cover_old_root(root),
        _ => change_root(root),
    };
    entered.context(|| "enter the root file system")?;
    let (propagation, depth) = init.sandbox.propagation;
    if matches!(propagation, Propagation::Shared | Propagation::Unbindable) {
        set_propagation(root, propagation, depth).context(|| "linux.rootfsPropagation")?;
    }
    Ok(())
}

fn pivot(root: &Root) -> Result<()> {
    rustix::process::fchdir(root)?;
    // The old root ends up on top of the new one, from where it is taken
    // away without a directory for it. We stay in the new one, where we are.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    Ok(())
}

fn explain_pivot(error: Error) -> Error {
    if error.errno() == Some(Errno::INVAL.raw_os_error()) {
        return error.wrap("pivot_root (a host that runs from its initramfs needs --no-pivot)");
    }
    error
}

/// Without pivot_root: the root is moved on top of the old one and all else
/// that is mounted on that goes, so that below the container nothing is left
/// but the bare old root. That cannot be reached by `..` either: on the way
/// up, the topmost mount on a directory is what counts.
fn cover_old_root(root: &Root) -> Result<()> {
    let mounts = OldMounts::look(root)?;
    let old = open(Path::new("/"))?;
    attach(root.as_fd(), old.as_fd())?;
    // Absolute paths start at the old root still, below what covers it.
    for place in mounts.others_last_first() {
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(place, flags) {
            // Gone with the one that it was mounted on, or locked in place by
            // the kernel, which keeps it as unreachable as the old root.
            Ok(()) | Err(Errno::NOENT | Errno::INVAL | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    change_root(root)
}

fn change_root(root: &Root) -> Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    Ok(())
}

fn set_propagation(mount: &impl AsFd, propagation: Propagation, depth: Depth) -> Result<()> {
    let attributes = AttributeChange {
        propagation: Some(propagation),
        ..AttributeChange::default()
    };
    change(mount.as_fd(), depth, attributes)
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).context(|| format!("open {}", path.display()))
}
