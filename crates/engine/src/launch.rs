//! Starting a monitor with a job: the picture is in [`state::message`]. Or
//! having a template start it: that one is in [`state::template`].

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use state::channel::FDS_MAX;
use state::message::{CONTROL_FD, FIRST_EXTRA_FD, JOB_FD};
use state::{Channel, Frame, FromMonitor, MonitorJob, ProcessRef, ToClone, ToMonitor};
use sys::spawn::Spawn;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::Engine;

/// A monitor that was started and waits for our word. Dropping it abandons
/// the container: the monitor sees the connection close and takes away what
/// it made.
#[derive(Debug)]
pub(crate) struct Launched {
    channel: Channel,
}

/// Starts `wharf-runtime monitor`. `fds` are what the job's roles say.
pub(crate) fn launch(
    engine: &Engine,
    job: &MonitorJob,
    fds: &[BorrowedFd<'_>],
) -> Result<Launched> {
    let job = sealed(job)?;
    let (ours, theirs) = Channel::pair()?;
    // The monitor outlives us: it must hold neither our terminal nor our pipes.
    let null = null()?;
    let mut spawn = Spawn::new(&engine.config().programs.runtime)
        .arg("monitor")
        .new_session()
        .fd(job.as_fd(), JOB_FD)
        .fd(theirs.as_fd(), CONTROL_FD);
    for place in 0..3 {
        spawn = spawn.fd(null.as_fd(), place);
    }
    for (place, fd) in (FIRST_EXTRA_FD..).zip(fds) {
        spawn = spawn.fd(*fd, place);
    }
    // Its process id is of no use: the channel tells all, also its death.
    spawn.start()?;
    Ok(Launched { channel: ours })
}

/// As [`launch`], but the monitor is a child of the template that listens at
/// `socket`, and its container shares the template's memory. The job is a
/// [`state::Work::Restore`] without the role [`state::FdRole::Memory`].
pub(crate) fn launch_from(
    socket: &Path,
    job: &MonitorJob,
    fds: &[BorrowedFd<'_>],
) -> Result<Launched> {
    let job = sealed(job)?;
    let (ours, theirs) = Channel::pair()?;
    let template = Channel::connect(socket)?;
    let all: Vec<BorrowedFd<'_>> = [job.as_fd(), theirs.as_fd()]
        .into_iter()
        .chain(fds.iter().copied())
        .collect();
    for part in all.chunks(FDS_MAX) {
        template.send_with_fds(&ToClone::Descriptors, part)?;
    }
    template.send(&ToClone::Go)?;
    Ok(Launched { channel: ours })
}

fn sealed(job: &MonitorJob) -> Result<OwnedFd> {
    let text = serde_json::to_vec(job)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    sys::memfd::sealed("wharf-job", &text)
}

impl Launched {
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Waits until everything but the program is there. The words of whoever
    /// failed come as the error.
    pub(crate) fn wait_ready(&self) -> Result<()> {
        match self.answer()? {
            FromMonitor::Ready => Ok(()),
            FromMonitor::Failed(error) => Err(error),
            other => Err(unexpected(&other)),
        }
    }

    /// Lets the program run; waits until it does.
    pub(crate) fn go(self) -> Result<(Channel, ProcessRef)> {
        self.go_after(&|_| Ok(()))
    }

    /// As [`Launched::go`]; `before` is called when all of it is there and
    /// nothing moves yet, if the job says so. If it fails, nothing ever does.
    pub(crate) fn go_after(
        self,
        before: &dyn Fn(ProcessRef) -> Result<()>,
    ) -> Result<(Channel, ProcessRef)> {
        self.channel.send(&ToMonitor::Go)?;
        loop {
            match self.answer()? {
                FromMonitor::Whole { init } => match before(init) {
                    Ok(()) => self.channel.send(&ToMonitor::Go)?,
                    Err(error) => {
                        self.channel.send(&ToMonitor::Release)?;
                        // Until it is gone; that it failed is known.
                        let _ = self.answer();
                        return Err(error);
                    }
                },
                FromMonitor::Started { init } => return Ok((self.channel, init)),
                FromMonitor::Failed(error) => return Err(error),
                other => return Err(unexpected(&other)),
            }
        }
    }

    fn answer(&self) -> Result<FromMonitor> {
        match self.channel.receive::<FromMonitor>()? {
            Some((Frame::Message(message), _fds)) => Ok(message),
            Some(_) => Err(Error::new(ErrorKind::Internal, "unexpected data")),
            None => Err(Error::new(
                ErrorKind::Internal,
                "the monitor died while it started the container",
            )),
        }
        .context(|| "wait for the monitor")
    }
}

fn unexpected(message: &FromMonitor) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("the monitor said {message:?} out of turn"),
    )
}

fn null() -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open("/dev/null", flags, Mode::empty()).context(|| "open /dev/null")
}
