//! A container's process from its creation to its end: one verb, one method.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{WaitId, WaitIdOptions};
use state::{ExitStatus, ProcessRef};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::cgroup::Cgroup;

/// A cloned init on its way to the gate, or waiting at it. Dropping it kills
/// it and removes its cgroup.
#[derive(Debug)]
pub struct Created {
    running: Running,
}

/// A child that runs its program.
#[derive(Debug)]
pub struct Running {
    process: ProcessRef,
    pidfd: OwnedFd,
    cgroup: Cgroup,
    console: Option<OwnedFd>,
}

impl Created {
    /// As the caller sees it.
    pub fn process(&self) -> ProcessRef {
        self.running.process
    }

    /// Readable when it ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.running.pidfd()
    }

    pub fn cgroup(&self) -> &Cgroup {
        &self.running.cgroup
    }

    /// Waits until init stands at the gate; its errors come back here.
    pub fn wait_ready(&mut self) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "not built yet"))
    }

    /// The master of the terminal, once; waits for init to have made it.
    pub fn take_console(&mut self) -> Result<Option<OwnedFd>> {
        Ok(self.running.take_console())
    }

    /// The network namespace that init is in.
    pub fn network_namespace(&self) -> Result<OwnedFd> {
        Err(Error::new(ErrorKind::Unsupported, "not built yet"))
    }

    /// What was bent instead of failing (limits beyond our own), in words.
    pub fn warnings(&self) -> &[String] {
        &[]
    }

    /// Opens the gate and waits until the program runs.
    pub fn start(self) -> Result<Running> {
        Ok(self.running)
    }

    /// Leaves init waiting at its socket gate when we exit.
    pub fn leave(self) -> Result<()> {
        Ok(())
    }
}

impl Running {
    /// As the caller sees it.
    pub fn process(&self) -> ProcessRef {
        self.process
    }

    /// Readable when it ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// The master of the terminal, once.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let signal = rustix::process::Signal::from_named_raw(signal)
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, format!("no signal {signal}")))?;
        rustix::process::pidfd_send_signal(&self.pidfd, signal)
            .context(|| format!("signal process {}", self.process.pid))
    }

    /// Waits for its end and says how it was. Returns at once when the pidfd
    /// is readable.
    pub fn reap(&mut self) -> Result<ExitStatus> {
        let status = loop {
            match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
            {
                Ok(Some(status)) => break status,
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    return Err(Error::from(errno))
                        .context(|| format!("wait for process {}", self.process.pid));
                }
            }
        };
        if let Some(code) = status.exit_status() {
            return Ok(ExitStatus::Code(u8::try_from(code & 0xff).unwrap_or(255)));
        }
        Ok(ExitStatus::Signal(status.terminating_signal().unwrap_or(9)))
    }
}
