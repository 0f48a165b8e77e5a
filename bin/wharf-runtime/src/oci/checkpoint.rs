//! `checkpoint`: what a container's processes are goes to disk.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use checkpoint::{DumpOptions, Dumped};
use rustix::fs::{CWD, Mode, OFlags, openat};
use spec::runtime::StateStatus;
use sys::{Context as _, Result};

use super::args::{Checkpoint, Global};
use super::container::Container;

pub(super) fn checkpoint(global: &Global, asked: &Checkpoint) -> Result<()> {
    let container = Container::load(global, &asked.id)?;
    if container.status() != StateStatus::Running {
        return Err(container.conflict("is not running"));
    }
    let existed = asked.image.exists();
    fs::create_dir_all(&asked.image).context(|| format!("make {}", asked.image.display()))?;
    let directory = open_directory(&asked.image)?;
    let options = DumpOptions {
        leave_running: asked.leave_running,
        tcp: asked.tcp,
        external_sockets: asked.external_sockets,
        stdio: container.facts.sandbox.stdio,
    };
    let cgroup = container.cgroup()?;
    let dumped = checkpoint::dump(container.facts.sandbox.init, &cgroup, &directory, options);
    if dumped.is_err() && !existed {
        // Unfinished, it is of no use to anybody.
        let _ = fs::remove_dir_all(&asked.image);
    }
    let dumped = dumped.context(|| format!("checkpoint container {}", asked.id))?;
    mark(&asked.image)?;
    asked
        .work
        .as_deref()
        .map_or(Ok(()), |work| tell(work, &dumped))
}

/// Podman takes a directory for a checkpoint if it has a file of this name,
/// and reads nothing of it.
fn mark(image: &Path) -> Result<()> {
    let mark = image.join("inventory.img");
    let text =
        "A checkpoint of wharf-runtime, not of CRIU: podman looks for a file of this name.\n";
    fs::write(&mark, text).context(|| format!("write {}", mark.display()))
}

/// What it came to, for people and tests: `dump.json`.
fn tell(work: &Path, dumped: &Dumped) -> Result<()> {
    let text = serde_json::json!({
        "processes": dumped.processes,
        "bytes": dumped.pages,
        "pages_running": dumped.rounds,
        "pages_standing": dumped.standing,
        "microseconds_standing": u64::try_from(dumped.stood.as_micros()).unwrap_or(u64::MAX),
    });
    let path = work.join("dump.json");
    fs::write(&path, text.to_string()).context(|| format!("write {}", path.display()))
}

pub(super) fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).context(|| format!("open {}", path.display()))
}
