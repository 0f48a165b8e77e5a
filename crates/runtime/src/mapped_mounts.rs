//! Mounts that show their files under other ids.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use spec::runtime::IdMapping;
use sys::clone::{CLONE_NEWUSER, Child};
use sys::mount::map_ids;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::id_maps::Writer;
use crate::mounts::plan::{IdMap, What};
use crate::mounts::step::copy_below;
use crate::sandbox::Sandbox;

/// Opens the sources of the mounts that are to be mapped, and maps them: in a
/// user namespace of its own init would not have the right to.
pub(crate) fn open_mapped(sandbox: &Sandbox<'_>) -> Result<Vec<(usize, OwnedFd)>> {
    let mut mapped = Vec::new();
    for (index, mount) in sandbox.mounts.iter().enumerate() {
        let What::Bind {
            source,
            subpath,
            depth,
        } = &mount.what
        else {
            continue;
        };
        let Some(map) = &mount.id_map else {
            continue;
        };
        let field = || format!("mounts[{index}]");
        let tree = copy_below(source, subpath, *depth).context(field)?;
        apply(&tree, map, (sandbox.uid_mappings, sandbox.gid_mappings))
            .context(|| format!("map the ids of {}", source.display()))
            .context(field)?;
        mapped.push((index, tree));
    }
    Ok(mapped)
}

/// Maps the ids of a detached mount; as the `container` has them if `map` does
/// not say.
pub(crate) fn apply(
    tree: &OwnedFd,
    map: &IdMap,
    container: (&[IdMapping], &[IdMapping]),
) -> Result<()> {
    let (uids, gids) = if map.uids.is_empty() {
        container
    } else {
        (map.uids.as_slice(), map.gids.as_slice())
    };
    let users = namespace_with(uids, gids)?;
    map_ids(tree.as_fd(), map.depth, users.as_fd()).map_err(|error| match error.errno() {
        Some(22) => Error::new(
            ErrorKind::Unsupported,
            "the kernel cannot do this for its file system, or it is mapped already",
        ),
        _ => error,
    })
}

/// A user namespace with these maps and nobody in it.
fn namespace_with(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd> {
    let parent = rustix::process::getpid();
    let holder = sys::clone::clone_child(CLONE_NEWUSER, None, || wait_for_the_end(parent));
    let holder = Holder(holder.context(|| "make a user namespace")?);
    Writer::find()?.write(holder.0.pid, uids, gids)?;
    let path = format!("/proc/{}/ns/user", holder.0.pid);
    Ok(File::open(&path).context(|| format!("open {path}"))?.into())
}

fn wait_for_the_end(parent: Pid) -> i32 {
    // Nobody of ours lives longer than its parent; one that is gone already
    // sends no signal.
    let asked = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    while asked.is_ok() && rustix::process::getppid() == Some(parent) {
        std::thread::sleep(Duration::from_secs(1));
    }
    1
}

/// A process that only keeps its namespace.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        // It waits for nothing else.
        let _ = sys::process::signal_pidfd(self.0.pidfd.as_fd(), 9);
        let _ = rustix::process::waitid(WaitId::PidFd(self.0.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}
