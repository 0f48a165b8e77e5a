//! An overlay root, mounted by the container's init in its own namespace.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::MountAttrFlags;
use state::OverlayRoot;
use sys::mount::{Depth, FileSystem};
use sys::overlay::OverlayLayers;
use sys::{Context as _, Error, ErrorKind, Result};

/// Whose user namespace mounts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Host,
    /// Marks of deletion go to `user.overlay.*`.
    UserNamespace,
}

/// A detached mount of the layers in `root`.
pub(crate) fn mount(root: &OverlayRoot, owner: Owner, label: Option<&str>) -> Result<OwnedFd> {
    if root.lower.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "an overlay root needs a layer below it",
        ));
    }
    let lower = root
        .lower
        .iter()
        .map(|path| open_directory(path))
        .collect::<Result<Vec<_>>>()?;
    let upper = open_directory(&root.upper)?;
    let work = open_directory(&root.work)?;
    let layers = OverlayLayers {
        lower: &lower,
        writable: Some((&upper, &work)),
    };
    layers
        .mount(&|overlay| finish(overlay, owner, label))
        .context(|| format!("mount the root file system over {}", root.upper.display()))
}

/// A detached read-only mount of directories, the topmost first.
pub(crate) fn mount_lower(lower: &[PathBuf], label: Option<&str>) -> Result<OwnedFd> {
    let lower = lower
        .iter()
        .map(|path| open_directory(path))
        .collect::<Result<Vec<_>>>()?;
    // The kernel wants two layers if none is writable.
    if let [only] = lower.as_slice() {
        return sys::mount::copy_tree(only.as_fd(), Depth::One);
    }
    let layers = OverlayLayers {
        lower: &lower,
        writable: None,
    };
    layers
        .mount(&|overlay| {
            if let Some(label) = label {
                overlay.set("context", label)?;
            }
            overlay.set("source", "overlay")?;
            overlay.mount(MountAttrFlags::MOUNT_ATTR_RDONLY)
        })
        .context(|| "mount layers")
}

fn finish(overlay: &FileSystem, owner: Owner, label: Option<&str>) -> Result<OwnedFd> {
    if let Some(label) = label {
        overlay.set("context", label)?;
    }
    // What a host's defaults may switch on would make the upper directory
    // unfit to be a layer of an image.
    overlay.set("redirect_dir", "off")?;
    overlay.set("metacopy", "off")?;
    overlay.set("index", "off")?;
    if owner == Owner::UserNamespace {
        overlay.set_flag("userxattr")?;
    }
    overlay.set("source", "overlay")?;
    overlay.mount(MountAttrFlags::empty())
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    openat(
        CWD,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context(|| format!("open {}", path.display()))
}
