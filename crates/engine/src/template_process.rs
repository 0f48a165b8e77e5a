//! Starting and ending the process from which clones are made. The picture is
//! in [`state::template`]; a clone of it is launched by
//! [`crate::launch::launch_from`].

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use state::message::{CONTROL_FD, FIRST_EXTRA_FD, JOB_FD};
use state::{Channel, Frame, FromTemplate, ProcessRef, TemplateJob, ToTemplate};
use sys::spawn::Spawn;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::Engine;

/// How long it may take to give everything back.
const FAREWELL: Duration = Duration::from_secs(10);

/// A template that was started by us. Dropping it ends it; its clones live on.
#[derive(Debug)]
pub(crate) struct TemplateProcess {
    channel: Channel,
}

/// What it says of itself when it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TemplateFacts {
    pub(crate) process: ProcessRef,
    /// Bytes of memory that it holds for its clones.
    pub(crate) size: u64,
}

impl TemplateProcess {
    /// Starts `wharf-runtime template` on the memory image in `directory`.
    pub(crate) fn start(
        engine: &Engine,
        job: &TemplateJob,
        directory: BorrowedFd<'_>,
    ) -> Result<Self> {
        let text = serde_json::to_vec(job)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let memfd = sys::memfd::sealed("wharf-template", &text)?;
        let (ours, theirs) = Channel::pair()?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .context(|| "open /dev/null")?;
        let mut spawn = Spawn::new(&engine.config().programs.runtime)
            .arg("template")
            .new_session()
            .fd(memfd.as_fd(), JOB_FD)
            .fd(theirs.as_fd(), CONTROL_FD)
            .fd(directory, FIRST_EXTRA_FD);
        for place in 0..3 {
            spawn = spawn.fd(null.as_fd(), place);
        }
        spawn.start()?;
        Ok(Self { channel: ours })
    }

    /// Waits until it has read the image and listens.
    pub(crate) fn wait_ready(&self) -> Result<TemplateFacts> {
        match self.channel.receive::<FromTemplate>()? {
            Some((Frame::Message(FromTemplate::Ready { process, size }), _)) => {
                Ok(TemplateFacts { process, size })
            }
            Some((Frame::Message(FromTemplate::Failed(error)), _)) => Err(error),
            Some(_) => Err(Error::new(ErrorKind::Internal, "unexpected data")),
            None => Err(Error::new(
                ErrorKind::Unavailable,
                "the template died while it read its memory; it may be larger than its limit",
            )),
        }
    }

    /// Lets it stay when we go, until [`end_template`].
    pub(crate) fn keep(self) -> Result<()> {
        self.channel.send(&ToTemplate::Keep)
    }
}

/// Ends a template that was kept, and waits for its end. Fine if it is gone.
pub(crate) fn end_template(process: ProcessRef) -> Result<()> {
    const SIGTERM: i32 = 15;
    const SIGKILL: i32 = 9;
    let Some(pidfd) = process.open()? else {
        return Ok(());
    };
    for signal in [SIGTERM, SIGKILL] {
        // Gone meanwhile is what we want.
        let _ = sys::process::signal_pidfd(pidfd.as_fd(), signal);
        let patience = Timespec {
            tv_sec: i64::try_from(FAREWELL.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        if rustix::event::poll(&mut fds, Some(&patience)).is_ok_and(|ready| ready > 0) {
            return Ok(());
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        format!("template process {} does not end", process.pid),
    ))
}
