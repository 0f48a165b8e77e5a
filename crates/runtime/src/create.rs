//! The parent's side of a start: plan, cgroup, one clone, id maps, hooks.

use std::os::fd::OwnedFd;
use std::path::Path;

use spec::runtime::{ConsoleSize, Spec};
use state::{RootFs, SeccompProfile};
use sys::{Error, ErrorKind, Result};

use crate::cgroup::CgroupPath;
use crate::lifecycle::Created;

/// Everything that makes a container.
#[derive(Debug)]
pub struct CreateRequest<'a> {
    /// For messages, hooks and the state that they read.
    pub id: &'a str,
    pub spec: &'a Spec,
    /// Relative paths of the spec start here; hooks run here.
    pub bundle: &'a Path,
    pub rootfs: &'a RootFs,
    /// An empty directory on which an overlay root is mounted (inside the new
    /// mount namespace only). Not used for [`RootFs::Directory`].
    pub mountpoint: &'a Path,
    /// Used if the spec has no `linux.seccomp` of its own.
    pub seccomp: &'a SeccompProfile,
    pub cgroup: CgroupPath,
    /// `user[:group]` to look up in the container; empty: the spec says it.
    pub user: &'a str,
    /// More groups to look up in the container.
    pub groups: &'a [String],
    pub stdio: ProcessStdio,
    pub init: InitProcess,
    /// The network namespace to join; without one the spec decides.
    pub network: Option<OwnedFd>,
    pub gate: Gate,
}

/// What the container's pid 1 is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitProcess {
    /// The program itself.
    #[default]
    Program,
    /// A small process of ours that forwards signals and reaps (`--init`).
    Reaper,
}

/// Standard input, output and error of the program.
#[derive(Debug, Default)]
pub enum ProcessStdio {
    /// The caller's own.
    #[default]
    Inherit,
    Fds {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// A pty made inside the container; its master comes up, see
    /// [`Created::take_console`].
    Terminal { size: Option<ConsoleSize> },
}

/// Who opens the gate behind which the finished init waits.
#[derive(Debug, Default)]
pub enum Gate {
    /// The creating process, by [`Created::start`]. The container dies with it.
    #[default]
    Parent,
    /// Whoever connects to this listening SOCK_SEQPACKET socket, see
    /// [`crate::lifecycle::open_gate`]. The container outlives its creator.
    Socket(OwnedFd),
}

/// Clones the container's init. It sets itself up on its own from here on:
/// [`Created::wait_ready`], [`Created::start`] and [`Created::take_console`]
/// wait for that and return its errors word for word.
///
/// The calling process must have one thread only.
pub fn create(_request: CreateRequest<'_>) -> Result<Created> {
    Err(Error::new(ErrorKind::Unsupported, "not built yet"))
}
