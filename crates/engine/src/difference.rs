//! Starting a process that takes out of a memory image what others have.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use state::message::{CONTROL_FD, FIRST_EXTRA_FD, JOB_FD};
use state::{Channel, DifferenceJob, Frame, FromDifference};
use sys::spawn::Spawn;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::Engine;

/// Has the image in `memory` stand on the first of `bases`, which stands on
/// the next, if it does. Where that cannot be, it stays whole.
pub(crate) fn leave_out(engine: &Engine, memory: &Path, bases: &[PathBuf]) -> Result<()> {
    if bases.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_vec(&DifferenceJob { bases: bases.len() })
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    let job = sys::memfd::sealed("wharf-difference", &text)?;
    let (ours, theirs) = Channel::pair()?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .context(|| "open /dev/null")?;
    let directories = [memory]
        .into_iter()
        .chain(bases.iter().map(PathBuf::as_path))
        .map(|path| File::open(path).context(|| format!("open {}", path.display())))
        .collect::<Result<Vec<_>>>()?;
    let mut spawn = Spawn::new(&engine.config().programs.runtime)
        .arg("difference")
        .new_session()
        .fd(job.as_fd(), JOB_FD)
        .fd(theirs.as_fd(), CONTROL_FD);
    for (place, directory) in (FIRST_EXTRA_FD..).zip(&directories) {
        spawn = spawn.fd(directory.as_fd(), place);
    }
    for place in 0..3 {
        spawn = spawn.fd(null.as_fd(), place);
    }
    spawn.start()?;
    drop(theirs);
    match ours.receive::<FromDifference>()? {
        // It costs room, and nothing else.
        Some((Frame::Message(FromDifference::Made { .. } | FromDifference::Failed(_)), _)) => {
            Ok(())
        }
        Some(_) => Err(Error::new(ErrorKind::Internal, "unexpected data")),
        None => Err(Error::new(
            ErrorKind::Internal,
            "the process that compared its memory with its image's died",
        )),
    }
}
