//! Hooks of the specification: programs run at fixed points, with the state
//! of the container on their standard input.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitId, WaitIdOptions};
use spec::runtime::{Hook, State, StateStatus};
use sys::spawn::Spawn;
use sys::{Context as _, Error, ErrorKind, Result};

/// What hooks read.
pub fn state(
    id: &str,
    status: StateStatus,
    pid: Option<i32>,
    bundle: &Path,
    annotations: &std::collections::BTreeMap<String, String>,
) -> State {
    State {
        oci_version: spec::runtime::VERSION.to_owned(),
        id: id.to_owned(),
        status,
        pid,
        bundle: bundle.to_owned(),
        annotations: annotations.clone(),
    }
}

/// Runs `hooks` one after the other; the first that fails ends it.
pub fn run(hooks: &[Hook], state: &State) -> Result<()> {
    for hook in hooks {
        run_one(hook, state).context(|| format!("hook {}", hook.path.display()))?;
    }
    Ok(())
}

fn run_one(hook: &Hook, state: &State) -> Result<()> {
    if !hook.path.is_absolute() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "its path is not absolute",
        ));
    }
    let text = serde_json::to_vec(state)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    // A file, not a pipe: a hook that reads nothing cannot break it.
    let input = sys::memfd::sealed("state", &text)?;
    let mut program = Spawn::new(&hook.path).fd(input.as_fd(), 0);
    for arg in hook.args.iter().skip(1) {
        program = program.arg(arg);
    }
    for entry in &hook.env {
        program = program.env(entry);
    }
    let child = program.start()?;
    wait(&child.pidfd, hook.timeout)
}

fn wait(pidfd: &OwnedFd, timeout: Option<u32>) -> Result<()> {
    let limit = timeout.map(|seconds| Timespec {
        tv_sec: i64::from(seconds),
        tv_nsec: 0,
    });
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let ended = rustix::io::retry_on_intr(|| poll(&mut fds, limit.as_ref()))?;
    if ended == 0 {
        sys::process::signal_pidfd(pidfd.as_fd(), 9)?;
    }
    let status = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
    })?;
    if ended == 0 {
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!("it took longer than {} s", timeout.unwrap_or_default()),
        ));
    }
    match status.and_then(|status| status.exit_status()) {
        Some(0) => Ok(()),
        Some(code) => Err(Error::new(
            ErrorKind::Internal,
            format!("it exited with code {code}"),
        )),
        None => Err(Error::new(ErrorKind::Internal, "it was killed by a signal")),
    }
}
