//! Hooks of the specification: programs run at fixed points, with the state
//! of the container on their standard input.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitId, WaitIdOptions};
use spec::runtime::{Hook, Hooks, State, StateStatus};
use sys::spawn::Spawn;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::sandbox::invalid;

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

/// Runs `hooks` one after the other; the first that fails ends it. `kind` is
/// their name in the specification.
pub fn run(kind: &str, hooks: &[Hook], state: &State) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, state)
            .context(|| format!("hooks.{kind}[{index}] ({})", hook.path.display()))?;
    }
    Ok(())
}

/// Runs all of `hooks`, whether the ones before failed or not: what the
/// specification wants of `poststop`. What went wrong comes back in words.
pub fn run_all(kind: &str, hooks: &[Hook], state: &State) -> Vec<String> {
    let each = |hook| run(kind, std::slice::from_ref(hook), state).err();
    let errors = hooks.iter().filter_map(each);
    errors.map(|error| error.to_string()).collect()
}

/// What can be known to be wrong before anything runs.
pub(crate) fn check(hooks: &Hooks) -> Result<()> {
    for (kind, hooks) in by_kind(hooks) {
        for (index, hook) in hooks.iter().enumerate() {
            let refuse = |why: &str| Err(invalid(format!("hooks.{kind}[{index}].{why}")));
            if !hook.path.is_absolute() {
                return refuse("path is not absolute");
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                return refuse("timeout is not above zero");
            }
        }
    }
    Ok(())
}

/// In the order in which they run.
pub(crate) const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

fn by_kind(hooks: &Hooks) -> impl Iterator<Item = (&'static str, &Vec<Hook>)> {
    let lists = [
        &hooks.prestart,
        &hooks.create_runtime,
        &hooks.create_container,
        &hooks.start_container,
        &hooks.poststart,
        &hooks.poststop,
    ];
    KINDS.into_iter().zip(lists)
}

fn run_one(hook: &Hook, state: &State) -> Result<()> {
    let text = serde_json::to_vec(state)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    // A file, not a pipe: a hook that reads nothing cannot break it.
    let input = sys::memfd::sealed("state", &text)?;
    let mut program = Spawn::new(&hook.path).fd(input.as_fd(), 0);
    let mut args = hook.args.iter();
    if let Some(name) = args.next() {
        program = program.name(name);
    }
    for arg in args {
        program = program.arg(arg);
    }
    for entry in &hook.env {
        program = program.env(entry);
    }
    let child = program.start()?;
    wait(&child.pidfd, hook.timeout)
}

fn wait(pidfd: &OwnedFd, timeout: Option<i64>) -> Result<()> {
    let limit = timeout.map(|seconds| Timespec {
        tv_sec: seconds,
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
        Some(code) => Err(invalid(format!("it exited with code {code}"))),
        None => Err(invalid("it was killed by a signal")),
    }
}
