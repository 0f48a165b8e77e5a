//! `checkpoint`: what a container's processes are goes to disk.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use checkpoint::{Base, Difference, DumpOptions, Dumped, Parents, TcpPolicy};
use rustix::fs::{CWD, Mode, OFlags, openat};
use spec::runtime::StateStatus;
use state::StdioInodes;
use sys::pagemap::PAGE;
use sys::{Context as _, Error, ErrorKind, Result};

use super::args::{Checkpoint, Global};
use super::container::Container;
use super::log;

pub(super) fn checkpoint(global: &Global, asked: &Checkpoint) -> Result<()> {
    let container = Container::load(global, &asked.id)?;
    if container.status() != StateStatus::Running {
        return Err(container.conflict("is not running"));
    }
    let existed = asked.image.exists();
    fs::create_dir_all(&asked.image).context(|| format!("make {}", asked.image.display()))?;
    let clear = || {
        if !existed {
            // Unfinished, it is of no use to anybody.
            let _ = fs::remove_dir_all(&asked.image);
        }
    };
    let directory = open_directory(&asked.image)?;
    let base = open_base(asked, &directory).inspect_err(|_| clear())?;
    let options = options(asked, container.facts.sandbox.stdio);
    let cgroup = container.cgroup()?;
    let dumped = checkpoint::dump(container.facts.sandbox.init, &cgroup, &directory, options)
        .inspect_err(|_| clear())
        .context(|| format!("checkpoint container {}", asked.id))?;
    let mut difference = Difference {
        shared: 0,
        own: dumped.pages / PAGE,
    };
    if let Some(base) = &base {
        // The image is whole until this is done: what fails costs room only.
        match stand_on(asked, &directory, base) {
            Ok(found) => difference = found,
            Err(error) => log::warn(
                global,
                &[format!("the image has all pages itself: {error}")],
            ),
        }
    }
    mark(&asked.image)?;
    asked
        .work
        .as_deref()
        .map_or(Ok(()), |work| tell(work, &dumped, difference))
}

fn options(asked: &Checkpoint, stdio: StdioInodes) -> DumpOptions {
    let plain = DumpOptions {
        leave_running: asked.leave_running,
        tcp: asked.tcp,
        external_sockets: asked.external_sockets,
        stdio,
        ..DumpOptions::default()
    };
    if !asked.is_before {
        return plain;
    }
    // It is about memory: what becomes of connections is asked when it counts.
    DumpOptions {
        leave_running: true,
        tcp: match asked.tcp {
            TcpPolicy::Refuse => TcpPolicy::Close,
            chosen => chosen,
        },
        external_sockets: true,
        ..plain
    }
}

/// The checkpoint that the new one is to stand on.
fn open_base(asked: &Checkpoint, directory: &OwnedFd) -> Result<Option<Base>> {
    let Some(relative) = &asked.parent else {
        return Ok(None);
    };
    let open = || -> Result<Base> {
        let invalid = |why: &str| Err(Error::new(ErrorKind::InvalidInput, why));
        if relative.is_absolute() {
            return invalid("it has to be relative to --image-path");
        }
        let parent = open_directory(&asked.image.join(relative))?;
        let base = Base::open(&parent, &Parents::Linked)?;
        if base.is_in(directory)? {
            return invalid("the new image would be written over it; give another --image-path");
        }
        Ok(base)
    };
    open()
        .map(Some)
        .context(|| format!("--parent-path {}", relative.display()))
}

/// Leaves out what the parent has, with the link to it that CRIU makes.
fn stand_on(asked: &Checkpoint, directory: &OwnedFd, base: &Base) -> Result<Difference> {
    if let Some(relative) = &asked.parent {
        rustix::fs::symlinkat(relative, directory, "parent").context(|| "link its parent")?;
    }
    checkpoint::stand_on(directory, base)
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
fn tell(work: &Path, dumped: &Dumped, difference: Difference) -> Result<()> {
    let text = serde_json::json!({
        "processes": dumped.processes,
        "bytes": difference.own * PAGE,
        "pages_of_parent": difference.shared,
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
