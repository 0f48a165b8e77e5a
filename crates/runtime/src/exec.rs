//! One more process in a running container.

use spec::runtime::Process;
use state::{ProcessRef, SeccompProfile};
use sys::{Error, ErrorKind, Result};

use crate::cgroup::CgroupPath;
use crate::create::ProcessStdio;
use crate::lifecycle::Running;

/// Everything that makes the process.
#[derive(Debug)]
pub struct ExecRequest<'a> {
    /// The container's init.
    pub target: ProcessRef,
    pub process: &'a Process,
    pub seccomp: &'a SeccompProfile,
    pub cgroup: CgroupPath,
    /// `user[:group]` to look up in the container; empty: `process` says it.
    pub user: &'a str,
    /// More groups to look up in the container.
    pub groups: &'a [String],
    pub stdio: ProcessStdio,
}

/// Runs a process in the namespaces and the cgroup of `target`, as a child of
/// the caller; returns once the program runs, or with the words of what went
/// wrong. [`Running::take_console`] has the terminal.
///
/// The calling process must have one thread only.
pub fn exec(_request: ExecRequest<'_>) -> Result<Running> {
    Err(Error::new(ErrorKind::Unsupported, "not built yet"))
}
