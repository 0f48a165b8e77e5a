//! Which namespaces the container makes, joins or shares with the host.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fstat, openat, stat};
use spec::runtime::{Linux, NamespaceKind};
use sys::clone::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWTIME,
    CLONE_NEWUSER, CLONE_NEWUTS,
};
use sys::{Context as _, Result};

use super::invalid;

/// Names of the specification, of /proc/PID/ns, and kernel flags.
pub(crate) const KINDS: [(NamespaceKind, &str, &str, i32); 8] = [
    (NamespaceKind::Cgroup, "cgroup", "cgroup", CLONE_NEWCGROUP),
    (NamespaceKind::Ipc, "ipc", "ipc", CLONE_NEWIPC),
    (NamespaceKind::Mount, "mount", "mnt", CLONE_NEWNS),
    (NamespaceKind::Network, "network", "net", CLONE_NEWNET),
    (NamespaceKind::Pid, "pid", "pid", CLONE_NEWPID),
    (NamespaceKind::Time, "time", "time", CLONE_NEWTIME),
    (NamespaceKind::User, "user", "user", CLONE_NEWUSER),
    (NamespaceKind::Uts, "uts", "uts", CLONE_NEWUTS),
];

/// How a kind of namespace is had.
#[derive(Debug, Default)]
pub(crate) enum NamespaceUse<'a> {
    /// The caller's.
    #[default]
    Host,
    New,
    /// To be opened and joined.
    At(&'a Path),
    Join(OwnedFd),
}

impl NamespaceUse<'_> {
    pub(crate) fn is_new(&self) -> bool {
        matches!(self, Self::New)
    }

    pub(crate) fn is_host(&self) -> bool {
        matches!(self, Self::Host)
    }

    pub(crate) fn joined(&self) -> Option<&OwnedFd> {
        match self {
            Self::Join(fd) => Some(fd),
            _ => None,
        }
    }
}

/// Per kind.
#[derive(Debug, Default)]
pub(crate) struct Namespaces<'a> {
    pub(crate) mount: NamespaceUse<'a>,
    pub(crate) pid: NamespaceUse<'a>,
    pub(crate) network: NamespaceUse<'a>,
    pub(crate) ipc: NamespaceUse<'a>,
    pub(crate) uts: NamespaceUse<'a>,
    pub(crate) user: NamespaceUse<'a>,
    pub(crate) cgroup: NamespaceUse<'a>,
    pub(crate) time: NamespaceUse<'a>,
}

impl<'a> Namespaces<'a> {
    /// Pure; paths are opened by [`Namespaces::open`].
    pub(crate) fn plan(linux: &'a Linux) -> Result<Self> {
        let mut all = Self::default();
        for namespace in &linux.namespaces {
            let field = || format!("linux.namespaces ({})", name_of(namespace.kind));
            let usage = match &namespace.path {
                None => NamespaceUse::New,
                // What an encoder without optional strings writes for "new".
                Some(path) if path.as_os_str().is_empty() => NamespaceUse::New,
                Some(path) if path.is_absolute() => NamespaceUse::At(path),
                Some(path) => {
                    let path = path.display();
                    return Err(invalid(format!("{}: path {path} is not absolute", field())));
                }
            };
            let place = all.of_kind(namespace.kind);
            if !place.is_host() {
                return Err(invalid(format!("{} is there twice", field())));
            }
            *place = usage;
        }
        Ok(all)
    }

    /// Opens what is to be joined.
    pub(crate) fn open(&mut self) -> Result<()> {
        for (kind, name, file, flag) in KINDS {
            let place = self.of_kind(kind);
            let NamespaceUse::At(path) = place else {
                continue;
            };
            let fd = open(path, flag).context(|| format!("linux.namespaces ({name})"))?;
            // The kernel refuses to join the user namespace that one is in.
            *place = if kind == NamespaceKind::User && is_our_own(&fd, file)? {
                NamespaceUse::Host
            } else {
                NamespaceUse::Join(fd)
            };
        }
        Ok(())
    }

    fn of_kind(&mut self, kind: NamespaceKind) -> &mut NamespaceUse<'a> {
        match kind {
            NamespaceKind::Mount => &mut self.mount,
            NamespaceKind::Time => &mut self.time,
            NamespaceKind::Pid => &mut self.pid,
            NamespaceKind::Network => &mut self.network,
            NamespaceKind::Ipc => &mut self.ipc,
            NamespaceKind::Uts => &mut self.uts,
            NamespaceKind::User => &mut self.user,
            NamespaceKind::Cgroup => &mut self.cgroup,
        }
    }
}

fn name_of(kind: NamespaceKind) -> &'static str {
    let row = KINDS.iter().find(|(known, ..)| *known == kind);
    row.map_or("unknown", |(_, name, ..)| name)
}

fn open(path: &Path, flag: i32) -> Result<OwnedFd> {
    // A FIFO must not hold us up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd =
        openat(CWD, path, flags, Mode::empty()).context(|| format!("open {}", path.display()))?;
    match sys::namespace::kind(fd.as_fd()) {
        Ok(kind) if kind == flag => Ok(fd),
        Ok(_) => Err(invalid(format!(
            "{} is a namespace of another kind",
            path.display()
        ))),
        Err(_) => Err(invalid(format!("{} is no namespace", path.display()))),
    }
}

fn is_our_own(fd: &OwnedFd, name: &str) -> Result<bool> {
    let path = format!("/proc/self/ns/{name}");
    let ours = stat(&path).context(|| format!("look at {path}"))?;
    let theirs = fstat(fd).context(|| "look at the namespace")?;
    Ok((ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino))
}
