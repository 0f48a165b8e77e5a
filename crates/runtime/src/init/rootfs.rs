//! The root file system of the container: built, filled, protected, entered.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, openat};
use rustix::mount::UnmountFlags;
use state::RootFs;
use sys::mount::{AttributeChange, Depth, Propagation, attach, change};
use sys::{Context as _, Error, ErrorKind, Result};

use super::Init;
use crate::mounts::devices::{self, Source};
use crate::mounts::masks::{self, MaskSources};
use crate::mounts::overlay::{self, Owner};
use crate::mounts::plan::What;
use crate::mounts::root::Root;
use crate::mounts::step::{self, Opened, View};

/// The root, with what had to be taken from the host.
#[derive(Debug)]
pub(super) struct Built<'a> {
    pub(super) root: Root,
    sources: Vec<Opened<'a>>,
    nodes: Source,
    masks: Option<MaskSources>,
}

/// Mounts the root in the new namespace, over its place on the host, and opens
/// everything of the host that the container will hold.
pub(super) fn build<'a>(init: &'a Init<'_>) -> Result<Built<'a>> {
    let sandbox = &init.sandbox;
    if !sandbox.has_mounts() {
        return enter_only(init);
    }
    // Before the propagation changes: a shared bind stays a peer.
    let sources = step::open_sources(&sandbox.mounts)?;
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
        let host = open(Path::new("/"))?;
        set_propagation(&host, propagation, Depth::Tree)
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
    set_propagation(&mount, propagation, Depth::Tree)
        .context(|| "separate the root from the host")?;
    let target = open(&place)?;
    attach(mount.as_fd(), target.as_fd())
        .context(|| format!("mount the root file system on {}", place.display()))?;
    Ok(Built {
        root: Root::new(mount),
        sources,
        nodes,
        masks,
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
pub(super) fn fill(init: &Init<'_>, built: &mut Built<'_>) -> Result<()> {
    let namespaces = &init.sandbox.namespaces;
    let view = View {
        path: init.cgroup,
        hierarchies: init.hierarchies,
        in_cgroup_namespace: !namespaces.cgroup.is_host(),
        is_host_user: namespaces.user.is_host(),
        label: init.sandbox.mount_label,
    };
    for source in std::mem::take(&mut built.sources) {
        source.make(&built.root, &view)?;
    }
    // A /dev bound from outside is used as it is.
    let bound_dev = init.sandbox.mounts.iter().any(|mount| {
        mount.destination == Path::new("/dev") && matches!(mount.what, What::Bind { .. })
    });
    if bound_dev {
        return Ok(());
    }
    devices::populate(&built.root, init.sandbox.devices, &built.nodes)
}

/// Masks, read-only paths, the read-only root.
pub(super) fn protect(init: &Init<'_>, built: &Built<'_>) -> Result<()> {
    let sandbox = &init.sandbox;
    // Read-only first: a mask below a read-only path stays on top of it.
    masks::protect(&built.root, &sandbox.read_only)?;
    if let Some(sources) = &built.masks {
        masks::mask(&built.root, &sandbox.masked, sources)?;
    }
    if sandbox.root_read_only {
        // Only now: mount points had to be made in it.
        change(built.root.as_fd(), Depth::One, masks::read_only())
            .context(|| "make the root read-only")?;
    }
    Ok(())
}

/// Makes the root the root of the namespace and lets go of the host's. A
/// namespace with other processes in it keeps its root: only ours changes.
pub(super) fn pivot(init: &Init<'_>, root: &Root) -> Result<()> {
    let is_ours_alone = init.sandbox.namespaces.mount.is_new();
    let pivot = || -> Result<()> {
        rustix::process::fchdir(root)?;
        if is_ours_alone {
            // The old root ends up on top of the new one, from where it is
            // taken away without a directory for it.
            rustix::process::pivot_root(".", ".")?;
            rustix::mount::unmount(".", UnmountFlags::DETACH)?;
        } else {
            rustix::process::chroot(".")?;
        }
        rustix::process::chdir("/")?;
        Ok(())
    };
    pivot().context(|| "enter the root file system")?;
    let (propagation, depth) = init.sandbox.propagation;
    if matches!(propagation, Propagation::Shared | Propagation::Unbindable) {
        set_propagation(root, propagation, depth).context(|| "linux.rootfsPropagation")?;
    }
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
