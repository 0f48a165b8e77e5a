//! Namespaces, names and kernel settings of the container.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Uid, openat, openat2};
use rustix::mount::MountAttrFlags;
use sys::clone::{CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWUTS};
use sys::mount::{FileSystem, attach};
use sys::{Context as _, Result};

use crate::sandbox::{NamespaceUse, Namespaces, Sandbox};

/// Joins those that have to be; the pid namespace was joined by birth.
pub(super) fn join_namespaces(namespaces: &Namespaces) -> Result<()> {
    let all = [
        (&namespaces.network, CLONE_NEWNET, "network"),
        (&namespaces.ipc, CLONE_NEWIPC, "ipc"),
        (&namespaces.uts, CLONE_NEWUTS, "uts"),
        (&namespaces.cgroup, CLONE_NEWCGROUP, "cgroup"),
    ];
    for (usage, flag, name) in all {
        if let NamespaceUse::Join(fd) = usage {
            sys::namespace::join(fd.as_fd(), flag)
                .context(|| format!("join the {name} namespace"))?;
        }
    }
    Ok(())
}

/// In a new user namespace we have no ids yet; only now, since the host's
/// directories were opened as who we were.
pub(super) fn become_root_of(namespaces: &Namespaces) -> Result<()> {
    if !namespaces.user.is_new() {
        return Ok(());
    }
    become_root()
}

/// Root of the user namespace that we are in.
pub(crate) fn become_root() -> Result<()> {
    let become_root = || -> Result<()> {
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
        rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
        // A change of ids makes us dumpable as the host's default says.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
        Ok(())
    };
    become_root().context(|| "become root of the user namespace")
}

/// Host name, domain name, sysctls.
pub(super) fn names_and_sysctls(sandbox: &Sandbox<'_>) -> Result<()> {
    if let Some(name) = sandbox.hostname {
        rustix::system::sethostname(name.as_bytes())
            .context(|| format!("set the host name to {name:?}"))?;
    }
    if let Some(name) = sandbox.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .context(|| format!("set the domain name to {name:?}"))?;
    }
    // A new network namespace has its loopback link down.
    if sandbox.namespaces.network.is_new() {
        sys::loopback::up().context(|| "bring up the loopback link")?;
    }
    if sandbox.sysctls.is_empty() {
        return Ok(());
    }
    // Nobody can have put anything over a procfs that is mounted nowhere.
    let proc = FileSystem::open("proc")?.mount(MountAttrFlags::empty())?;
    for (path, value) in &sandbox.sysctls {
        let write = || -> Result<()> {
            let file = openat2(
                &proc,
                format!("sys/{path}"),
                OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS,
            )?;
            rustix::io::write(&file, value.as_bytes())?;
            Ok(())
        };
        write().context(|| format!("set sysctl {path} to {value:?}"))?;
    }
    leave_with_the_old_root(&proc);
    Ok(())
}

/// Closing a mount that is attached nowhere waits for every processor (1 to
/// 2 ms). On the host's side of the tree, which the pivot is about to take
/// away as a whole, it costs nothing. What fails here is closed the slow way.
fn leave_with_the_old_root(mount: &OwnedFd) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(place) = openat(CWD, "/proc", flags, Mode::empty()) {
        let _ = attach(mount.as_fd(), place.as_fd());
    }
}
