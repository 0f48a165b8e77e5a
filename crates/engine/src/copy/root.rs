//! The root of a container's files: of a running one as it sees it itself; of
//! another one its layers, mounted in a mount namespace that only one thread
//! of ours is in, so that nothing of it is seen on the host or outlives us.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use image::OVERLAY_OPTIONS;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use state::{ContainerConfig, Layout, MountKind, OverlayRoot, ProcessRef, RootFs};
use sys::clone::CLONE_NEWNS;
use sys::mount::{AttributeChange, Depth, Propagation};
use sys::overlay::OverlayLayers;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::Engine;
use crate::volumes;

/// What is wanted of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Calls `act` with the root of the container. The caller holds its lock if
/// it does not run (`init` absent), so that it is not started meanwhile.
pub(crate) fn with_root<R: Send>(
    engine: &Engine,
    config: &ContainerConfig,
    init: Option<ProcessRef>,
    access: Access,
    act: impl FnOnce(&OwnedFd) -> Result<R> + Send,
) -> Result<R> {
    if let Some(init) = init {
        return act(&root_of(init)?);
    }
    let store = engine.images().store()?;
    store.snapshots().heal(&config.id, &config.image.chain)?;
    let rootfs = store.snapshots().rootfs(&config.id, &config.image.chain)?;
    let RootFs::Overlay(overlay) = rootfs else {
        return Err(Error::new(ErrorKind::Internal, "the root is no overlay"));
    };
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let root = mounted(engine.layout(), config, &overlay, access)?;
            act(&root)
        });
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// As the container's first process sees it.
fn root_of(init: ProcessRef) -> Result<OwnedFd> {
    let path = format!("/proc/{}/root", init.pid);
    let root = rustix::fs::openat(CWD, &path, DIRECTORY, Mode::empty())
        .context(|| format!("open {path}"))?;
    // The pid could have been taken by another process meanwhile.
    if init.is_alive() {
        return Ok(root);
    }
    Err(Error::new(ErrorKind::Conflict, "the container just ended"))
}

/// To be called in a thread of its own: it leaves the host's mounts for good.
fn mounted(
    layout: &Layout,
    config: &ContainerConfig,
    overlay: &OverlayRoot,
    access: Access,
) -> Result<OwnedFd> {
    part_from_host()?;
    let mount = mount(layout, config, overlay, access)
        .context(|| format!("mount the files of container {}", config.id.short()))?;
    let place = layout.rootfs_mountpoint();
    sys::mount::attach(mount.as_fd(), open(&place)?.as_fd())
        .context(|| format!("mount on {}", place.display()))?;
    let root = open(&place)?;
    add_mounts(layout, config, &root, access)?;
    Ok(root)
}

/// The thread gets mounts of its own.
fn part_from_host() -> Result<()> {
    sys::namespace::own_working_directory()?;
    sys::namespace::unshare(CLONE_NEWNS).context(|| "make a mount namespace")?;
    let host = open(Path::new("/"))?;
    let private = AttributeChange {
        propagation: Some(Propagation::Private),
        ..AttributeChange::default()
    };
    sys::mount::change(host.as_fd(), Depth::Tree, private).context(|| "part from the host's mounts")
}

/// Calls `act` with the root of some layers, topmost first, mounted read-only
/// where nobody else sees them.
pub(crate) fn with_layers<R: Send>(
    layout: &Layout,
    mut layers: Vec<PathBuf>,
    act: impl FnOnce(&OwnedFd) -> Result<R> + Send,
) -> Result<R> {
    // One directory alone is no overlay.
    layers.push(layout.snapshots().join("empty"));
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            part_from_host()?;
            let lower = layers
                .iter()
                .map(|path| open(path))
                .collect::<Result<Vec<_>>>()?;
            let layers = OverlayLayers {
                lower: &lower,
                writable: None,
            };
            let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_RDONLY;
            let mount = layers
                .mount(&|overlay: &sys::mount::FileSystem| {
                    for (key, value) in OVERLAY_OPTIONS {
                        overlay.set(key, value)?;
                    }
                    overlay.mount(attributes)
                })
                .context(|| "mount the layers")?;
            let place = layout.rootfs_mountpoint();
            sys::mount::attach(mount.as_fd(), open(&place)?.as_fd())
                .context(|| format!("mount on {}", place.display()))?;
            act(&open(&place)?)
        });
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn mount(
    layout: &Layout,
    config: &ContainerConfig,
    overlay: &OverlayRoot,
    access: Access,
) -> Result<OwnedFd> {
    // Not the container's own work directory, by which is seen that it ran.
    let work = layout.active_snapshot(&config.id).join("copy-work");
    mount_layers(overlay, &work, access)
}

/// The layers of `overlay`, with another directory for overlayfs' own.
fn mount_layers(overlay: &OverlayRoot, work: &Path, access: Access) -> Result<OwnedFd> {
    let mut lower = Vec::new();
    if access == Access::Read {
        lower.push(open(&overlay.upper)?);
    }
    for path in &overlay.lower {
        lower.push(open(path)?);
    }
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let finish = |attributes| {
        move |overlay: &sys::mount::FileSystem| {
            for (key, value) in OVERLAY_OPTIONS {
                overlay.set(key, value)?;
            }
            overlay.mount(attributes)
        }
    };
    if access == Access::Read {
        let layers = OverlayLayers {
            lower: &lower,
            writable: None,
        };
        return layers.mount(&finish(attributes | MountAttrFlags::MOUNT_ATTR_RDONLY));
    }
    match fs::create_dir(work) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).context(|| format!("make {}", work.display()));
        }
        _ => {}
    }
    let (upper, work) = (open(&overlay.upper)?, open(work)?);
    let layers = OverlayLayers {
        lower: &lower,
        writable: Some((&upper, &work)),
    };
    layers.mount(&finish(attributes))
}

/// What is mounted where.
enum Source<'a> {
    Directory(PathBuf, &'a Path),
    /// A clone's view of a volume, and a directory for overlayfs' own.
    View(OverlayRoot, PathBuf, &'a Path),
}

/// Volumes and directories of the host where the container will have them.
fn add_mounts(
    layout: &Layout,
    config: &ContainerConfig,
    root: &OwnedFd,
    access: Access,
) -> Result<()> {
    let mut mounts: Vec<(&Path, Source<'_>)> = config
        .mounts
        .iter()
        .filter_map(|mount| {
            let source = match &mount.kind {
                MountKind::Bind { source, .. } => Source::Directory(source.clone(), Path::new("")),
                MountKind::Volume(volume) => {
                    let directory = volumes::directory(layout, &volume.name)?;
                    Source::Directory(directory, &volume.subpath)
                }
                MountKind::Cloned(volume) => {
                    let own = layout.cloned_volume(&config.id, volume.number);
                    let mut lower = volumes::below_clone(layout, volume);
                    lower.reverse();
                    let layers = OverlayRoot {
                        lower,
                        upper: own.join("upper"),
                        work: own.join("work"),
                    };
                    Source::View(layers, own.join("copy-work"), &volume.subpath)
                }
                MountKind::Tmpfs { .. } | MountKind::Image(_) => return None,
            };
            Some((mount.target.as_path(), source))
        })
        .collect();
    // What is below comes after.
    mounts.sort_by_key(|(target, _)| target.components().count());
    for (target, source) in mounts {
        let add = || -> Result<()> {
            let (mount, part) = match &source {
                Source::Directory(path, subpath) => {
                    let Ok(held) = sys::mount::hold_below(path, subpath) else {
                        // The next start makes it or tells that it is gone.
                        return Ok(());
                    };
                    (
                        sys::mount::copy_tree(held.as_fd(), Depth::One)?,
                        Path::new(""),
                    )
                }
                Source::View(layers, work, subpath) => {
                    (mount_layers(layers, work, access)?, *subpath)
                }
            };
            let Some(place) = target_in(root, target, access)? else {
                return Ok(());
            };
            sys::mount::attach(mount.as_fd(), place.as_fd())?;
            if part.as_os_str().is_empty() {
                return Ok(());
            }
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let part = sys::path::openat2(&mount, part, flags, Mode::empty(), resolve)?;
            let part = sys::mount::copy_tree(part.as_fd(), Depth::One)?;
            if let Some(place) = target_in(root, target, access)? {
                sys::mount::attach(part.as_fd(), place.as_fd())?;
            }
            Ok(())
        };
        add().context(|| format!("mount what belongs on {}", target.display()))?;
    }
    Ok(())
}

/// Where to mount; made if it is missing and anything may be made.
fn target_in(root: &OwnedFd, target: &Path, access: Access) -> Result<Option<OwnedFd>> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let look = |path: &Path| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        sys::path::openat2(root, path, flags, Mode::empty(), resolve)
    };
    match look(target) {
        Ok(found) => return Ok(Some(found)),
        Err(Errno::NOENT) if access == Access::Write => {}
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    let mut at = PathBuf::from("/");
    for name in target.components().skip(1) {
        let parent = look(&at)?;
        match rustix::fs::mkdirat(&parent, name.as_os_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        at.push(name);
    }
    Ok(Some(look(target)?))
}

fn open(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())
        .context(|| format!("open {}", path.display()))
}
