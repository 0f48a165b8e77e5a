//! Namespaces, names and kernel settings of the container.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Uid, openat};
use rustix::mount::MountAttrFlags;
use sys::clone::CLONE_NEWTIME;
use sys::mount::{FileSystem, attach};
use sys::path::openat2;
use sys::spent::Spent;
use sys::{Context as _, Result};

use crate::sandbox::{Sandbox, invalid};

/// Makes the time namespace and goes into it. The offsets are written in
/// between: they are fixed from the moment that a process is in it.
pub(super) fn time_namespace(sandbox: &Sandbox<'_>) -> Result<()> {
    if !sandbox.namespaces.time.is_new() {
        return Ok(());
    }
    let make = || -> Result<()> {
        sys::namespace::unshare(CLONE_NEWTIME)?;
        if !sandbox.time_offsets.is_empty() {
            let lines = sandbox.time_offsets.join("\n");
            std::fs::write("/proc/self/timens_offsets", lines)
                .context(|| format!("set {}", sandbox.time_offsets.join(", ")))?;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let ours = "/proc/self/ns/time_for_children";
        let namespace = openat(CWD, ours, flags, Mode::empty())?;
        sys::namespace::join(namespace.as_fd(), CLONE_NEWTIME)
    };
    make().context(|| "make a time namespace (linux.timeOffsets)")
}

/// Maps that go with a user namespace that is joined describe it.
pub(super) fn check_joined_maps(sandbox: &Sandbox<'_>) -> Result<()> {
    if sandbox.namespaces.user.joined().is_none() {
        return Ok(());
    }
    let all = [
        ("linux.uidMappings", "uid_map", sandbox.uid_mappings),
        ("linux.gidMappings", "gid_map", sandbox.gid_mappings),
    ];
    for (field, file, asked) in all {
        if asked.is_empty() {
            continue;
        }
        let path = format!("/proc/self/{file}");
        let there = std::fs::read_to_string(&path).context(|| format!("read {path}"))?;
        let mut there = parse_map(&there);
        let mut asked: Vec<[u32; 3]> = asked
            .iter()
            .map(|map| [map.container_id, map.host_id, map.size])
            .collect();
        there.sort_unstable();
        asked.sort_unstable();
        if there != asked {
            return Err(invalid(format!(
                "{field} is not the map of the user namespace that linux.namespaces names; leave \
                 it out or make it the same"
            )));
        }
    }
    Ok(())
}

fn parse_map(text: &str) -> Vec<[u32; 3]> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().map(|word| word.parse().ok());
        Some([words.next()??, words.next()??, words.next()??])
    };
    text.lines().filter_map(line).collect()
}

/// Root of the user namespace that we are in.
pub(crate) fn become_root() -> Result<()> {
    let become_root = || -> Result<()> {
        drop_groups()?;
        rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
        rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
        // A change of ids makes us dumpable as the host's default says.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
        Ok(())
    };
    become_root().context(|| "become root of the user namespace")
}

/// A user namespace made without the right over groups (`setgroups` says
/// `deny`) keeps those of its maker, which nobody inside can use or shed.
fn drop_groups() -> Result<()> {
    let Err(errno) = rustix::thread::set_thread_groups(&[]) else {
        return Ok(());
    };
    let setting = std::fs::read_to_string("/proc/self/setgroups").unwrap_or_default();
    if errno == rustix::io::Errno::PERM && setting.trim() == "deny" {
        return Ok(());
    }
    Err(errno.into())
}

/// Host name, domain name, sysctls.
pub(super) fn names_and_sysctls(sandbox: &Sandbox<'_>, spent: &mut Spent) -> Result<()> {
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
        spent.add(sys::loopback::up().context(|| "bring up the loopback link")?);
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
                format!("sys/{path}").as_str(),
                OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS,
            )?;
            rustix::io::write(&file, value.as_bytes())?;
            Ok(())
        };
        write().context(|| format!("set sysctl {path} to {value:?}"))?;
    }
    if sandbox.namespaces.mount.is_new() {
        leave_with_the_old_root(&proc);
    }
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
