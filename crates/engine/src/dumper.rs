//! Starting a process that takes a container's processes to the disk and
//! holds them there. If it or we die, the kernel lets them go on.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use state::message::{CONTROL_FD, FIRST_EXTRA_FD, JOB_FD};
use state::{Channel, DumpJob, Frame, FromDumper, MemoryImage, ToDumper};
use sys::spawn::Spawn;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::Engine;

/// How often progress is told.
const LOOK: Duration = Duration::from_millis(100);

/// A dump under way, or done and held.
#[derive(Debug)]
pub(crate) struct Dumper {
    channel: Channel,
}

impl Dumper {
    /// Starts `wharf-runtime dump` into `directory`.
    pub(crate) fn start(
        engine: &Engine,
        job: &DumpJob,
        directory: Option<BorrowedFd<'_>>,
    ) -> Result<Self> {
        let text = serde_json::to_vec(job)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let job = sys::memfd::sealed("wharf-dump", &text)?;
        let (ours, theirs) = Channel::pair()?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .context(|| "open /dev/null")?;
        let mut spawn = Spawn::new(&engine.config().programs.runtime)
            .arg("dump")
            .new_session()
            .fd(job.as_fd(), JOB_FD)
            .fd(theirs.as_fd(), CONTROL_FD);
        if let Some(directory) = directory {
            spawn = spawn.fd(directory, FIRST_EXTRA_FD);
        }
        for place in 0..3 {
            spawn = spawn.fd(null.as_fd(), place);
        }
        spawn.start()?;
        Ok(Self { channel: ours })
    }

    /// Waits until everything is written down and stands. `tell` hears how
    /// many bytes of `memory` are, again and again; `meanwhile` is called when
    /// they stand, the last time while they do so for good.
    pub(crate) fn wait(
        &self,
        memory: &Path,
        tell: &dyn Fn(u64),
        meanwhile: &mut dyn FnMut(),
    ) -> Result<MemoryImage> {
        loop {
            while !self.channel.wait_readable(Some(LOOK))? {
                if let Ok(pages) = std::fs::metadata(memory.join("pages")) {
                    tell(pages.len());
                }
            }
            match self.answer()? {
                FromDumper::Stand => meanwhile(),
                FromDumper::Dumped(image) => return Ok(image),
                FromDumper::Failed(error) => return Err(error),
                FromDumper::Done | FromDumper::Checked(_) => {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        "the dumping process said done out of turn",
                    ));
                }
            }
        }
    }

    /// Kills them; they are gone only when [`Dumper::finish`] returns.
    pub(crate) fn end(&self) -> Result<()> {
        self.channel.send(&ToDumper::End)
    }

    /// Lets them go on.
    pub(crate) fn let_go(self) -> Result<()> {
        self.channel.send(&ToDumper::LetGo)?;
        self.finish()
    }

    /// Waits until what was asked for is done.
    pub(crate) fn finish(self) -> Result<()> {
        match self.answer()? {
            FromDumper::Failed(error) => Err(error),
            _ => Ok(()),
        }
    }

    /// What would be in the way.
    pub(crate) fn checked(self) -> Result<Vec<String>> {
        match self.answer()? {
            FromDumper::Checked(found) => Ok(found),
            FromDumper::Failed(error) => Err(error),
            _ => Err(Error::new(
                ErrorKind::Internal,
                "the dumping process said something else than was asked",
            )),
        }
    }

    fn answer(&self) -> Result<FromDumper> {
        match self.channel.receive::<FromDumper>()? {
            Some((Frame::Message(message), _)) => Ok(message),
            Some(_) => Err(Error::new(ErrorKind::Internal, "unexpected data")),
            None => Err(Error::new(
                ErrorKind::Internal,
                "the process that wrote the container down died; the container goes on",
            )),
        }
    }
}
