//! Running the probes of [`crate::health`]: one more child of ours inside the
//! container, as `exec` makes it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use runtime::{CgroupManager, CgroupPath, ExecRequest, Lifetime, ProcessStdio, Running};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use state::{HealthJob, HealthResult, ProcessRef, Timestamp};
use sys::{Context as _, Result};

use crate::health::{Health, Verdict};

/// More of what a probe prints is dropped.
const OUTPUT_MAX: usize = 4096;

/// A container's health and the probe that is under way.
#[derive(Debug)]
pub(crate) struct Checkup {
    job: Box<HealthJob>,
    pub(crate) health: Health,
    probe: Option<Probe>,
}

#[derive(Debug)]
struct Probe {
    running: Running,
    output: OwnedFd,
    text: Vec<u8>,
    start: Timestamp,
    began: Duration,
    deadline: Duration,
}

/// Where a probe runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) init: ProcessRef,
    pub(crate) cgroup: &'a str,
}

impl Checkup {
    pub(crate) fn new(job: Box<HealthJob>) -> Self {
        Self {
            health: Health::new(job.config.clone()),
            job,
            probe: None,
        }
    }

    pub(crate) fn job(&self) -> &HealthJob {
        &self.job
    }

    /// When something is to be done even if nothing happens.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        match &self.probe {
            Some(probe) => Some(probe.deadline),
            None => self.health.due(),
        }
    }

    /// Readable when the probe ended, and when it printed something.
    pub(crate) fn sources(&self) -> Option<(BorrowedFd<'_>, BorrowedFd<'_>)> {
        let probe = self.probe.as_ref()?;
        Some((probe.running.pidfd(), probe.output.as_fd()))
    }

    /// Starts the probe that is due, ends one that takes too long.
    pub(crate) fn tick(&mut self, place: Place<'_>, at: Duration) -> Verdict {
        match &self.probe {
            None if self.health.due().is_some_and(|due| at >= due) => self.begin(place, at),
            Some(probe) if at >= probe.deadline => {
                let _ = probe.running.signal(9);
                let limit = self.health.config().timeout;
                let text = format!("Health check exceeded timeout ({limit:?})");
                self.end(at, Some(text))
            }
            _ => Verdict::AsBefore,
        }
    }

    /// The container stands still, so its probe does: neither is to blame.
    pub(crate) fn put_off(&mut self, at: Duration) {
        self.abandon();
        self.health.put_off(at);
    }

    /// The run is over: whatever a probe would say means nothing.
    pub(crate) fn run_ended(&mut self) {
        self.abandon();
        self.health.run_ended();
    }

    /// Reads what the probe prints; false if there is no more.
    pub(crate) fn take_output(&mut self) -> bool {
        let Some(probe) = &mut self.probe else {
            return false;
        };
        let mut buffer = [0; OUTPUT_MAX];
        match rustix::io::read(&probe.output, &mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                let room = OUTPUT_MAX - probe.text.len();
                probe.text.extend_from_slice(&buffer[..length.min(room)]);
                true
            }
        }
    }

    /// The probe's process ended.
    pub(crate) fn probe_ended(&mut self, at: Duration) -> Verdict {
        // All that was printed fits into the pipe.
        for _ in 0..16 {
            if !self.take_output() {
                break;
            }
        }
        self.end(at, None)
    }

    fn begin(&mut self, place: Place<'_>, at: Duration) -> Verdict {
        self.health.probe_began();
        let start = Timestamp::now();
        match self.launch(place) {
            Ok((running, output)) => {
                let timeout = self.health.config().timeout;
                self.probe = Some(Probe {
                    running,
                    output,
                    text: Vec::new(),
                    start,
                    began: at,
                    deadline: at.saturating_add(timeout),
                });
                Verdict::AsBefore
            }
            Err(error) => self.health.probe_ended(
                HealthResult {
                    start,
                    end: Timestamp::now(),
                    exit_code: -1,
                    output: error.to_string(),
                },
                at,
                at,
            ),
        }
    }

    fn launch(&self, place: Place<'_>) -> Result<(Running, OwnedFd)> {
        let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .context(|| "make a pipe for the health check")?;
        // Programs do not expect an output that refuses to wait.
        let flags = rustix::fs::fcntl_getfl(&theirs)? - OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(&theirs, flags)?;
        let stdin = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let stderr = rustix::io::fcntl_dupfd_cloexec(&theirs, 3)?;
        let running = runtime::exec(ExecRequest {
            target: place.init,
            container: None,
            process: &self.job.process,
            seccomp: &self.job.seccomp,
            cgroup: CgroupPath::parse(place.cgroup)?,
            cgroup_manager: CgroupManager::Cgroupfs,
            sub_cgroups: &[],
            user: &self.job.user,
            groups: &self.job.groups,
            stdio: ProcessStdio::Fds {
                stdin,
                stdout: theirs,
                stderr,
            },
            preserve_fds: 0,
            // As in an exec session.
            keyring: place.cgroup.rsplit('/').next(),
            lifetime: Lifetime::WithParent,
        })?;
        Ok((running, ours))
    }

    fn end(&mut self, at: Duration, failure: Option<String>) -> Verdict {
        let Some(mut probe) = self.probe.take() else {
            return Verdict::AsBefore;
        };
        let status = probe.running.reap();
        let output = String::from_utf8_lossy(&probe.text).into_owned();
        let (exit_code, output) = match failure {
            Some(failure) => (-1, failure),
            None => (status.map_or(-1, |status| i32::from(status.code())), output),
        };
        let result = HealthResult {
            start: probe.start,
            end: Timestamp::now(),
            exit_code,
            output,
        };
        self.health.probe_ended(result, probe.began, at)
    }

    fn abandon(&mut self) {
        if let Some(mut probe) = self.probe.take() {
            let _ = probe.running.signal(9);
            let _ = probe.running.reap();
        }
    }
}
