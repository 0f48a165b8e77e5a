//! The root file system of the container: built, filled, protected, entered.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::UnmountFlags;
use state::RootFs;
use sys::mount::{AttributeChange, Depth, Propagation, attach, change};
use sys::{Context as _, Result};

use super::Init;
use crate::mounts::devices::{self, Source};
use crate::mounts::masks::{self, MaskSources};
use crate::mounts::overlay::{self, Owner};
use crate::mounts::plan::What;
use crate::mounts::root::Root;
use crate::mounts::step::{self, CgroupView, Opened};

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
    // Before the propagation changes: a shared bind stays a peer.
    let sources = step::open_sources(&sandbox.mounts)?;
    let nodes = if sandbox.namespaces.user.is_new() {
        devices::open_host_nodes(sandbox.devices)?
    } else {
        Source::Made
    };
    let masks = if sandbox.masked.is_empty() {
        None
    } else {
        Some(MaskSources::open()?)
    };
    let host = open(std::path::Path::new("/"))?;
    // Nothing that we mount may show on the host. Slave where the container
    // wants to see what the host mounts later.
    let propagation = match sandbox.propagation {
        Propagation::Shared | Propagation::Slave => Propagation::Slave,
        other => other,
    };
    set_propagation(&host, propagation).context(|| "separate mounts from the host")?;
    let (mount, place) = match init.rootfs {
        RootFs::Directory(path) => {
            let path = init.bundle.join(path);
            let mount = step::copy_of(&path, Depth::Tree)?;
            (mount, path)
        }
        RootFs::Overlay(overlay) => {
            let owner = if sandbox.namespaces.user.is_new() {
                Owner::UserNamespace
            } else {
                Owner::Host
            };
            (overlay::mount(overlay, owner)?, init.mountpoint.to_owned())
        }
    };
    set_propagation(&mount, propagation).context(|| "separate the root from the host")?;
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

/// Mounts, in the order of the specification, and devices.
pub(super) fn fill(init: &Init<'_>, built: &mut Built<'_>) -> Result<()> {
    let cgroup = CgroupView {
        path: init.cgroup,
        hierarchies: init.hierarchies,
    };
    for source in std::mem::take(&mut built.sources) {
        source.make(&built.root, &cgroup)?;
    }
    // A /dev bound from outside is used as it is.
    let bound_dev = init.sandbox.mounts.iter().any(|mount| {
        mount.destination == std::path::Path::new("/dev") && matches!(mount.what, What::Bind { .. })
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

/// Makes the root the root of the namespace and lets go of the host's.
pub(super) fn pivot(init: &Init<'_>, root: &Root) -> Result<()> {
    let pivot = || -> Result<()> {
        rustix::process::fchdir(root)?;
        // The old root ends up on top of the new one, from where it is taken
        // away without a directory for it.
        rustix::process::pivot_root(".", ".")?;
        rustix::mount::unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")?;
        Ok(())
    };
    pivot().context(|| "enter the root file system")?;
    if init.sandbox.propagation == Propagation::Shared {
        set_propagation(root, Propagation::Shared)?;
    }
    Ok(())
}

fn set_propagation(mount: &impl std::os::fd::AsFd, propagation: Propagation) -> Result<()> {
    let attributes = AttributeChange {
        propagation: Some(propagation),
        ..AttributeChange::default()
    };
    change(mount.as_fd(), Depth::Tree, attributes)
}

fn open(path: &std::path::Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).context(|| format!("open {}", path.display()))
}
