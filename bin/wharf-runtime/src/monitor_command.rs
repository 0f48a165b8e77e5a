//! `wharf-runtime monitor`: takes over what the engine hands down, becomes
//! independent of it, and supervises. It has nobody to print to: errors go
//! over the channel.

use std::os::fd::{AsFd as _, OwnedFd};

use checkpoint::Template;
use rustix::fs::{Mode, OFlags};
use state::message::{CONTROL_FD, FIRST_EXTRA_FD, JOB_FD};
use state::{Channel, FromMonitor, MonitorJob};
use sys::{Context as _, Error, ErrorKind, Result, inherited};

use crate::exe_guard::Guard;

/// Larger than any job: one with a seccomp profile has about 100 KB.
const JOB_MAX: usize = 16 << 20;
/// Larger allocations go back to the kernel at once.
const LARGE: i32 = 16 << 10;
/// Signals that must not end the container silently: it is ended by its own
/// stop, or by the kill of everything.
const TOLERATED: [i32; 7] = [1, 2, 3, 10, 12, 13, 15];

/// Runs until the container is over.
pub(crate) fn run(guard: &Guard) -> Result<()> {
    let control = inherited::take(CONTROL_FD)?;
    let take = || -> Result<(MonitorJob, Vec<OwnedFd>)> {
        let job = read_job(inherited::take(JOB_FD)?)?;
        let fds = (FIRST_EXTRA_FD..)
            .zip(&job.fds)
            .map(|(number, _)| inherited::take(number))
            .collect::<Result<_>>()?;
        Ok((job, fds))
    };
    match take() {
        Ok((job, fds)) => supervise(guard, job, (control, fds), None),
        Err(error) => Channel::from_fd(control).send(&FromMonitor::Failed(error)),
    }
}

/// The same in a process that a template forked: job, control and the job's
/// descriptors came to it by a socket.
pub(crate) fn begin(
    guard: &Guard,
    (job, control, fds): (OwnedFd, OwnedFd, Vec<OwnedFd>),
    template: Template,
) -> Result<()> {
    match read_job(job) {
        Ok(job) => supervise(guard, job, (control, fds), Some(template)),
        Err(error) => Channel::from_fd(control).send(&FromMonitor::Failed(error)),
    }
}

fn supervise(
    guard: &Guard,
    job: MonitorJob,
    (control, fds): (OwnedFd, Vec<OwnedFd>),
    template: Option<Template>,
) -> Result<()> {
    sys::heap::map_allocations_from(LARGE);
    let keep: Vec<_> = [&control]
        .into_iter()
        .chain(guard.program())
        .chain(&fds)
        .chain(template.iter().flat_map(Template::descriptors))
        .map(OwnedFd::as_fd)
        .collect();
    let prepared = sys::process::close_all_except(&keep)
        .context(|| "close what was inherited by accident")
        .and_then(|()| become_independent());
    match prepared {
        Ok(()) => monitor::run(job, control, fds, template),
        Err(error) => Channel::from_fd(control).send(&FromMonitor::Failed(error)),
    }
}

fn read_job(job: OwnedFd) -> Result<MonitorJob> {
    let read = || -> Result<MonitorJob> {
        let text = sys::memfd::read_sealed(job, JOB_MAX)?;
        serde_json::from_slice(&text)
            .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
    };
    read().context(|| "read the monitor's job")
}

/// No terminal, no directory and no standard streams of whoever started us.
fn become_independent() -> Result<()> {
    sys::signalfd::tolerate(&TOLERATED)?;
    // Fails if we lead a session already.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::chdir("/").context(|| "change to /")?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .context(|| "open /dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    // What `ps` shows; the name would be that of a descriptor.
    let _ = rustix::thread::set_name(c"wharf-monitor");
    Ok(())
}
