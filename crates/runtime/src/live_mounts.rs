//! Mounts that come and go while a container runs.
//!
//! Sources are opened here, among the host's mounts, as for a start; a process
//! that we send among the container's puts them in their places. No part of
//! such a place may be a link: the container runs, and could have it lead to
//! what it was not asked to cover.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, OFlags, StatxAttributes, StatxFlags, fstat, statx};
use rustix::io::Errno;
use spec::runtime::Mount;
use sys::mount::{Depth, attach, copy_tree};
use sys::spent::Spent;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::elsewhere::{Place, among_mounts_of};
use crate::lifecycle::Running;
use crate::mapped_mounts;
use crate::mounts::plan::{PlannedMount, What, plan};
use crate::mounts::root::Shape;
use crate::mounts::step::{FileSystemPlan, copy_below, finish, prepare_bind};

impl Running {
    /// Takes away what is mounted at `remove` and mounts `add`, all of it or
    /// nothing. `Unsupported` for what can only be done at a start.
    ///
    /// The calling process must have one thread only.
    pub fn change_mounts(&self, remove: &[PathBuf], add: &[Mount]) -> Result<()> {
        let plans = plan(add, Path::new("/"))?;
        let mut new = Vec::with_capacity(plans.len());
        for plan in &plans {
            let mount = made(plan).context(|| format!("mount {}", plan.destination.display()))?;
            new.push((plan, mount));
        }
        let namespace = self.namespace("mnt")?;
        among_mounts_of(namespace.as_fd(), |place| {
            let mut done = Done::default();
            match change(place, remove, &new, &mut done) {
                Ok(()) => Ok(None),
                Err(error) => Err(match done.undo(place) {
                    Ok(()) => error,
                    Err(second) => error.wrap(format!("{second}, after the failure to")),
                }),
            }
        })?;
        Ok(())
    }
}

/// A detached mount that is as planned.
fn made(plan: &PlannedMount) -> Result<OwnedFd> {
    let later = |why: &str| Err(Error::new(ErrorKind::Unsupported, why));
    match &plan.what {
        _ if plan.copy_up => later("a tmpfs begins with files of the image at a start only"),
        What::Bind {
            source,
            subpath,
            depth,
        } if plan.namespace.is_none() => {
            let tree = copy_below(source, subpath, *depth)?;
            if let Some(map) = &plan.id_map {
                mapped_mounts::apply(&tree, map, (&[], &[]))
                    .context(|| format!("map the ids of {}", source.display()))?;
            }
            prepare_bind(plan, &tree)?;
            Ok(tree)
        }
        What::FileSystem {
            kind,
            source,
            options,
        } if !matches!(kind.as_str(), "proc" | "sysfs") => {
            let of = FileSystemPlan {
                kind,
                source: source.as_deref(),
                options,
            };
            let mount = of.mount(plan, None, &mut Spent::default())?;
            finish(plan, &mount)?;
            Ok(mount)
        }
        _ => later("it is mounted at a start only"),
    }
}

/// What was done, to be undone.
#[derive(Default)]
struct Done<'a> {
    /// Copies of what was taken away.
    taken: Vec<(&'a Path, OwnedFd)>,
    put: Vec<&'a Path>,
}

fn change<'a>(
    place: &Place,
    remove: &'a [PathBuf],
    new: &'a [(&'a PlannedMount, OwnedFd)],
    done: &mut Done<'a>,
) -> Result<()> {
    for path in remove {
        let Some(mount) = mounted_at(place, path)? else {
            continue;
        };
        let away = || -> Result<OwnedFd> {
            let copy = copy_tree(mount.as_fd(), Depth::Tree)?;
            place.unmount(&mount)?;
            Ok(copy)
        };
        let copy = away().context(|| format!("unmount {}", path.display()))?;
        done.taken.push((path, copy));
    }
    for (plan, mount) in new {
        let path = &plan.destination;
        put(place, path, mount).context(|| format!("mount {}", path.display()))?;
        done.put.push(path);
    }
    Ok(())
}

fn put(place: &Place, path: &Path, mount: &OwnedFd) -> Result<()> {
    let stat = fstat(mount)?;
    let shape = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        Shape::Directory
    } else {
        Shape::File
    };
    let target = place
        .root
        .plain_mount_point_of(path, shape)
        .map_err(|error| {
            if error.errno() == Some(Errno::ROFS.raw_os_error()) {
                return error.with_kind(ErrorKind::Unsupported);
            }
            error
        })?;
    attach(mount.as_fd(), target.as_fd())
}

/// What is mounted at just this place; `None` if nothing is.
fn mounted_at(place: &Place, path: &Path) -> Result<Option<OwnedFd>> {
    let opened = place.root.open_without_symlinks(path, OFlags::PATH);
    let fd = match opened {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(errno) => {
            return Err(Error::from(errno))
                .context(|| format!("open {} in the container", path.display()));
        }
    };
    let stat = statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
    let is_mount = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok(is_mount.then_some(fd))
}

impl Done<'_> {
    fn undo(&self, place: &Place) -> Result<()> {
        for path in self.put.iter().rev() {
            if let Some(mount) = mounted_at(place, path)? {
                place.unmount(&mount)?;
            }
        }
        for (path, copy) in self.taken.iter().rev() {
            put(place, path, copy).context(|| format!("mount {} again", path.display()))?;
        }
        Ok(())
    }
}
