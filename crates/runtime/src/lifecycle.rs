//! A container's process from its creation to its end: one verb, one method.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{WaitId, WaitIdOptions};
use state::{ExitStatus, ProcessRef};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::cgroup::{Cgroup, size_in_words};
use crate::handshake::{FromInit, Link, ToInit};

/// A cloned init on its way to the gate, or waiting at it. Dropping it kills
/// it and removes its cgroup.
#[derive(Debug)]
pub struct Created {
    /// `None` once it was handed on.
    running: Option<Running>,
    link: Link,
    ready: bool,
    warnings: Vec<String>,
}

/// A child that runs its program.
#[derive(Debug)]
pub struct Running {
    process: ProcessRef,
    pidfd: OwnedFd,
    cgroup: Cgroup,
    console: Option<OwnedFd>,
    /// Holding them, the end of the child does not wait for the kernel to
    /// take them down; that happens when we let go.
    namespaces: Vec<OwnedFd>,
}

impl Created {
    pub(crate) fn new(running: Running, link: Link, warnings: Vec<String>) -> Self {
        Self {
            running: Some(running),
            link,
            ready: false,
            warnings,
        }
    }

    /// As the caller sees it.
    pub fn process(&self) -> ProcessRef {
        self.running().process
    }

    /// Readable when it ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.running().pidfd()
    }

    pub fn cgroup(&self) -> &Cgroup {
        &self.running().cgroup
    }

    /// Waits until init stands at the gate; its errors come back here.
    pub fn wait_ready(&mut self) -> Result<()> {
        if self.ready {
            return Ok(());
        }
        match self.link.hear_init()? {
            Some(FromInit::Ready { warnings, console }) => {
                self.warnings.extend(warnings);
                self.running_mut().console = console;
                self.ready = true;
                Ok(())
            }
            Some(FromInit::Failed(error)) => Err(error),
            _ => Err(self.running_mut().died_early()),
        }
    }

    /// Waits until init has made its mounts.
    pub(crate) fn wait_built(&mut self) -> Result<()> {
        match self.link.hear_init()? {
            Some(FromInit::Built) => Ok(()),
            Some(FromInit::Failed(error)) => Err(error),
            _ => Err(self.running_mut().died_early()),
        }
    }

    /// The master of the terminal, once; waits for init to have made it.
    pub fn take_console(&mut self) -> Result<Option<OwnedFd>> {
        self.wait_ready()?;
        Ok(self.running_mut().take_console())
    }

    /// The network namespace that init is in.
    pub fn network_namespace(&self) -> Result<OwnedFd> {
        self.running().namespace("net")
    }

    /// What was bent instead of failing (limits beyond our own), in words;
    /// complete once init is ready.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(crate) fn warn(&mut self, warnings: Vec<String>) {
        self.warnings.extend(warnings);
    }

    /// Opens the gate and waits until the program runs.
    pub fn start(mut self) -> Result<Running> {
        // Init may still be on its way: the message waits for it.
        if self.link.tell_init(ToInit::Start).is_err() {
            // It is gone; why, it said before.
            self.wait_ready()?;
            return Err(self.running_mut().died_early());
        }
        self.wait_ready()?;
        let started = wait_for_execution(&self.link, || self.running_mut_died());
        started?;
        let mut running = self
            .running
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "started twice"))?;
        running.hold_namespaces();
        Ok(running)
    }

    /// Of an init that was created blank, and filled by now.
    pub fn adopt(mut self) -> Result<Running> {
        let mut running = self
            .running
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "adopted twice"))?;
        running.hold_namespaces();
        Ok(running)
    }

    /// Leaves init waiting at its socket gate; it outlives us.
    pub fn leave(mut self) -> Result<()> {
        self.wait_ready()?;
        self.running = None;
        Ok(())
    }

    pub(crate) fn go_on(&self) {
        // If init is gone, `wait_ready` tells why.
        let _ = self.link.tell_init(ToInit::Continue);
    }

    fn running_mut_died(&self) -> Error {
        self.running().died_early()
    }

    fn running(&self) -> &Running {
        // Only `start` and `leave` take it, and they consume `self`.
        self.running.as_ref().unwrap_or_else(|| unreachable!())
    }

    fn running_mut(&mut self) -> &mut Running {
        // As in `running`.
        self.running.as_mut().unwrap_or_else(|| unreachable!())
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            // Whatever goes wrong here, what brought us here is worse.
            let _ = running.signal(9);
            let _ = running.reap();
            let _ = running.cgroup.remove();
        }
    }
}

/// Hears init out until its end of the connection closes.
pub(crate) fn wait_for_execution(link: &Link, died: impl FnOnce() -> Error) -> Result<()> {
    let mut executing = false;
    loop {
        match link.hear_init()? {
            Some(FromInit::Executing) => executing = true,
            Some(FromInit::Failed(error)) => return Err(error),
            Some(_) => {}
            None if executing => return Ok(()),
            None => return Err(died()),
        }
    }
}

/// Opens the gate of a container that was created with a listening socket at
/// `socket`; returns when its program runs.
pub fn open_gate(socket: &Path) -> Result<()> {
    let connect = || -> Result<Link> {
        let client = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::connect(&client, &SocketAddrUnix::new(socket)?)?;
        Ok(Link::from_fd(client))
    };
    let link = connect().context(|| format!("reach init at {}", socket.display()))?;
    link.tell_init(ToInit::Start)?;
    wait_for_execution(&link, || {
        Error::new(
            ErrorKind::Internal,
            "the container's init died before it ran the program",
        )
    })
}

impl Running {
    pub(crate) fn new(process: ProcessRef, pidfd: OwnedFd, cgroup: Cgroup) -> Self {
        Self {
            process,
            pidfd,
            cgroup,
            console: None,
            namespaces: Vec::new(),
        }
    }

    pub(crate) fn set_console(&mut self, console: Option<OwnedFd>) {
        self.console = console;
    }

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
        sys::process::signal_pidfd(self.pidfd.as_fd(), signal)
            .context(|| format!("send signal {signal} to process {}", self.process.pid))
    }

    /// Waits for its end and says how it was. Returns at once when the pidfd
    /// is readable.
    pub fn reap(&mut self) -> Result<ExitStatus> {
        let status = loop {
            let id = WaitId::PidFd(self.pidfd.as_fd());
            match rustix::process::waitid(id, WaitIdOptions::EXITED) {
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

    pub(crate) fn namespace(&self, kind: &str) -> Result<OwnedFd> {
        let path = format!("/proc/{}/ns/{kind}", self.process.pid);
        openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .context(|| format!("open {path}"))
    }

    /// The last process to leave a mount or network namespace waits for RCU;
    /// with our descriptors on them it is not the last.
    fn hold_namespaces(&mut self) {
        self.namespaces = ["mnt", "net"]
            .iter()
            // It may have ended already.
            .filter_map(|kind| self.namespace(kind).ok())
            .collect();
    }

    /// Why it ended before its program ran, without a word of its own.
    fn died_early(&self) -> Error {
        if self.cgroup.oom_kills() > 0 {
            let limit = self.cgroup.memory_limit();
            let limit = limit.map_or_else(
                || "of the group above".to_owned(),
                |limit| format!("of {}", size_in_words(limit)),
            );
            return Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "memory limit {limit} is too small to start the container: the kernel \
                     killed its init for lack of memory"
                ),
            );
        }
        Error::new(
            ErrorKind::Internal,
            "the container's init died before it ran the program",
        )
    }
}
