//! What has to be done among the mounts of another container: a process of
//! ours goes there, does it, says how it went, and ends.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::UnmountFlags;
use rustix::process::{DumpableBehavior, WaitId, WaitIdOptions};
use sys::clone::CLONE_NEWNS;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::handshake::{FromInit, Link};
use crate::mounts::plan::What;
use crate::mounts::root::Root;
use crate::sandbox::{Sandbox, invalid};

/// Where the process is that we sent.
pub(crate) struct Place {
    pub(crate) root: Root,
    /// Its /proc/self/fd, of the host.
    descriptors: OwnedFd,
}

impl Place {
    /// Takes the mount away that `mount` is open on, with all below; what is
    /// in use of it lives on there.
    pub(crate) fn unmount(&self, mount: &OwnedFd) -> Result<()> {
        // The kernel takes no descriptor for this, and a path of the container
        // could lead elsewhere by now.
        rustix::process::fchdir(&self.descriptors)?;
        let name = mount.as_raw_fd().to_string();
        Ok(rustix::mount::unmount(&*name, UnmountFlags::DETACH)?)
    }
}

/// Runs `act` where the mounts are those of `namespace` and its root is the
/// root, and gives what it opened. The calling process must have one thread
/// only.
pub(crate) fn among_mounts_of(
    namespace: BorrowedFd<'_>,
    act: impl FnOnce(&Place) -> Result<Option<OwnedFd>>,
) -> Result<Option<OwnedFd>> {
    let (ours, theirs) = Link::pair()?;
    let there = || -> Result<Option<OwnedFd>> {
        // It has our rights; processes of the container that could see it
        // must not have them.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptors =
            openat(CWD, "/proc/self/fd", flags, Mode::empty()).context(|| "open /proc/self/fd")?;
        sys::namespace::join(namespace, CLONE_NEWNS)
            .context(|| "join the container's mount namespace")?;
        let root = Root::new(openat(CWD, "/", flags, Mode::empty())?);
        act(&Place { root, descriptors })
    };
    let child = sys::clone::clone_child(0, None, || {
        let told = match there() {
            Ok(opened) => theirs.tell_parent(&FromInit::Done { opened }),
            Err(error) => theirs.tell_parent(&FromInit::Failed(error)),
        };
        i32::from(told.is_err())
    })?;
    drop(theirs);
    let heard = ours.hear_init();
    let wait =
        || rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
    rustix::io::retry_on_intr(wait).context(|| "wait for the process that we sent")?;
    match heard? {
        Some(FromInit::Done { opened }) => Ok(opened),
        Some(FromInit::Failed(error)) => Err(error),
        _ => Err(Error::new(
            ErrorKind::Internal,
            "the process that we sent among the container's mounts died",
        )),
    }
}

/// Opens the sources of mounts that are other containers' mounts.
pub(crate) fn open_sources(sandbox: &Sandbox<'_>) -> Result<Vec<(usize, OwnedFd)>> {
    let mut opened = Vec::new();
    for (index, plan) in sandbox.mounts.iter().enumerate() {
        let (Some(namespace), What::Bind { source, depth, .. }) = (&plan.namespace, &plan.what)
        else {
            continue;
        };
        let copy = || -> Result<Option<OwnedFd>> {
            let namespace = open_namespace(namespace)?;
            among_mounts_of(namespace.as_fd(), |there| {
                // What it has there may be a link since.
                let place = there
                    .root
                    .open_without_symlinks(source, OFlags::PATH | OFlags::DIRECTORY)
                    .context(|| format!("open {} of the other container", source.display()))?;
                Ok(Some(sys::mount::copy_tree(place.as_fd(), *depth)?))
            })
        };
        let tree = copy().context(|| format!("mounts[{index}]"))?;
        opened.extend(tree.map(|tree| (index, tree)));
    }
    Ok(opened)
}

pub(crate) fn open_namespace(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd =
        openat(CWD, path, flags, Mode::empty()).context(|| format!("open {}", path.display()))?;
    match sys::namespace::kind(fd.as_fd()) {
        Ok(CLONE_NEWNS) => Ok(fd),
        _ => Err(invalid(format!("{} is no mount namespace", path.display()))),
    }
}
