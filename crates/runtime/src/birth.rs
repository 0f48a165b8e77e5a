//! How a container's init comes into the world: by one clone, or, where
//! namespaces have to be joined first that one cannot leave again, through a
//! process in between that joins them and makes init its sibling.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{DumpableBehavior, WaitId, WaitIdOptions};
use sys::clone::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWTIME,
    CLONE_NEWUSER, CLONE_NEWUTS, Child,
};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::cgroup::Entry;
use crate::handshake::{FromInit, Link};
use crate::sandbox::Namespaces;

/// Whether init joins what it has to by itself.
pub(crate) fn needs_go_between(namespaces: &Namespaces<'_>) -> bool {
    let joins_any = joins(namespaces).iter().any(|(fd, ..)| fd.is_some());
    // Joining a user namespace comes before making those that it shall own;
    // in a new one there is no right any more to join those of the host.
    namespaces.user.joined().is_some() || (namespaces.user.is_new() && joins_any)
}

/// Clones init, which runs `init`.
pub(crate) fn clone_init(
    namespaces: &Namespaces<'_>,
    entry: &Entry,
    init: impl FnOnce() -> i32,
) -> Result<Child> {
    let flags = new_namespaces(namespaces);
    let birth_group = entry.unified.as_ref().map(OwnedFd::as_fd);
    in_pid_namespace(namespaces.pid.joined(), || {
        if needs_go_between(namespaces) {
            through_go_between(namespaces, flags, entry, birth_group, init)
        } else {
            sys::clone::clone_child(flags, birth_group, init)
        }
    })
}

fn new_namespaces(namespaces: &Namespaces<'_>) -> i32 {
    // The cgroup namespace is made by init: its root is the group that init is
    // in then. So is the time namespace: its offsets are set before anybody
    // enters it.
    [
        (&namespaces.mount, CLONE_NEWNS),
        (&namespaces.pid, CLONE_NEWPID),
        (&namespaces.network, CLONE_NEWNET),
        (&namespaces.ipc, CLONE_NEWIPC),
        (&namespaces.uts, CLONE_NEWUTS),
        (&namespaces.user, CLONE_NEWUSER),
    ]
    .iter()
    .filter(|(usage, _)| usage.is_new())
    .fold(0, |flags, (_, flag)| flags | flag)
}

/// What is joined, but for the user namespace, and the pid namespace, which is
/// joined by birth. The mount namespace is the last: with it goes the host.
fn joins<'a>(namespaces: &'a Namespaces<'_>) -> [(Option<&'a OwnedFd>, i32, &'static str); 6] {
    [
        (namespaces.network.joined(), CLONE_NEWNET, "network"),
        (namespaces.ipc.joined(), CLONE_NEWIPC, "ipc"),
        (namespaces.uts.joined(), CLONE_NEWUTS, "uts"),
        (namespaces.cgroup.joined(), CLONE_NEWCGROUP, "cgroup"),
        (namespaces.time.joined(), CLONE_NEWTIME, "time"),
        (namespaces.mount.joined(), CLONE_NEWNS, "mount"),
    ]
}

/// Joins what has to be joined, all but the user and the pid namespace.
pub(crate) fn join_namespaces(namespaces: &Namespaces<'_>) -> Result<()> {
    for (fd, flag, name) in joins(namespaces) {
        join_one(fd, flag, name)?;
    }
    Ok(())
}

fn join_one(fd: Option<&OwnedFd>, flag: i32, name: &str) -> Result<()> {
    let Some(fd) = fd else {
        return Ok(());
    };
    sys::namespace::join(fd.as_fd(), flag)
        .context(|| format!("linux.namespaces ({name}): join the namespace"))
}

/// The user namespace in the middle: some namespaces belong to its parent and
/// can be joined only before, others to itself and can be only after.
fn join_with_user(namespaces: &Namespaces<'_>) -> Result<()> {
    let mut later = Vec::new();
    for (fd, flag, name) in joins(namespaces) {
        match join_one(fd, flag, name) {
            Err(error) if error.errno() == Some(1) => later.push((fd, flag, name)),
            joined => joined?,
        }
    }
    join_one(namespaces.user.joined(), CLONE_NEWUSER, "user")?;
    for (fd, flag, name) in later {
        join_one(fd, flag, name)?;
    }
    Ok(())
}

fn through_go_between(
    namespaces: &Namespaces<'_>,
    flags: i32,
    entry: &Entry,
    birth_group: Option<BorrowedFd<'_>>,
    init: impl FnOnce() -> i32,
) -> Result<Child> {
    by_go_between(birth_group, || {
        // Init inherits the cgroups; the right to enter them ends here.
        entry.enter()?;
        join_with_user(namespaces)?;
        Ok(sys::clone::clone_sibling(flags, init)?.pidfd)
    })
}

/// A process born in `birth_group` does `bring`, which makes a sibling of it.
pub(crate) fn by_go_between(
    birth_group: Option<BorrowedFd<'_>>,
    bring: impl FnOnce() -> Result<OwnedFd>,
) -> Result<Child> {
    let (ours, theirs) = Link::pair()?;
    let between = sys::clone::clone_child(0, birth_group, || {
        // The processes of what it joins may see it.
        let hidden = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
        let told = match hidden.map_err(Error::from).and_then(|()| bring()) {
            Ok(pidfd) => theirs.tell_parent(&FromInit::Born { pidfd }),
            Err(error) => theirs.tell_parent(&FromInit::Failed(error)),
        };
        i32::from(told.is_err())
    })?;
    drop(theirs);
    let heard = ours.hear_init();
    let wait =
        || rustix::process::waitid(WaitId::PidFd(between.pidfd.as_fd()), WaitIdOptions::EXITED);
    rustix::io::retry_on_intr(wait).context(|| "wait for the process in between")?;
    match heard? {
        Some(FromInit::Born { pidfd }) => {
            let pid = sys::process::pid_of(pidfd.as_fd()).context(|| "find init's pid")?;
            let gone = || Error::new(ErrorKind::Internal, "init has no pid that we can see");
            let pid = pid.ok_or_else(gone)?;
            Ok(Child { pid, pidfd })
        }
        Some(FromInit::Failed(error)) => Err(error),
        _ => Err(Error::new(
            ErrorKind::Internal,
            "the process between us and the container's init died",
        )),
    }
}

/// Runs `act` so that children are born into `namespace`: no second fork is
/// needed to get there.
pub(crate) fn in_pid_namespace<T>(
    namespace: Option<&OwnedFd>,
    act: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let Some(namespace) = namespace else {
        return act();
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let ours = openat(CWD, "/proc/self/ns/pid", flags, Mode::empty())
        .context(|| "open our own pid namespace")?;
    sys::namespace::join(namespace.as_fd(), CLONE_NEWPID).context(|| "join the pid namespace")?;
    let done = act();
    sys::namespace::join(ours.as_fd(), CLONE_NEWPID)
        .context(|| "return to our own pid namespace")?;
    done
}
