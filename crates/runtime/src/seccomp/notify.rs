//! `SCMP_ACT_NOTIFY`: whoever listens on `listenerPath` gets the descriptor on
//! which the kernel asks about system calls, and the state of the process
//! (config-linux.md, "The Container Process State").

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use serde::Serialize;
use spec::runtime::State;
use sys::{Context as _, Error, ErrorKind, Result};

/// Whom a profile asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agent {
    pub(crate) path: PathBuf,
    pub(crate) metadata: String,
}

/// A connection to them, made while the host's files are in sight.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    message: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: &'a State,
}

impl Agent {
    /// `state` is the container's; the process is ourselves.
    pub(crate) fn connect(&self, mut state: State) -> Result<Connection> {
        let pid = pid_outside()?;
        // Init is the container's process, and not known outside before now.
        state.pid = state.pid.or(Some(pid));
        let message = serde_json::to_vec(&ContainerProcessState {
            oci_version: spec::runtime::VERSION,
            fds: ["seccompFd"],
            pid,
            metadata: &self.metadata,
            state: &state,
        })
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let connect = || -> Result<OwnedFd> {
            let socket = rustix::net::socket_with(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(&self.path)?)?;
            Ok(socket)
        };
        let path = self.path.display();
        let socket =
            connect().context(|| format!("linux.seccomp.listenerPath: connect to {path}"))?;
        Ok(Connection { socket, message })
    }
}

impl Connection {
    /// For a thread of its own.
    pub(crate) fn duplicate(&self) -> Result<Self> {
        Ok(Self {
            socket: rustix::io::fcntl_dupfd_cloexec(&self.socket, 3)?,
            message: self.message.clone(),
        })
    }

    /// Sends the one message that there is.
    pub(crate) fn send(&self, listener: &OwnedFd) -> Result<()> {
        let fds = [listener.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let mut sent = 0;
        while sent < self.message.len() {
            let part = [IoSlice::new(&self.message[sent..])];
            sent += rustix::io::retry_on_intr(|| {
                rustix::net::sendmsg(&self.socket, &part, &mut control, SendFlags::NOSIGNAL)
            })?;
            // With the first byte they are across.
            control.clear();
        }
        Ok(())
    }
}

/// Our pid as the host's procfs, which is still in sight, has it.
fn pid_outside() -> Result<i32> {
    let link = std::fs::read_link(Path::new("/proc/self")).context(|| "read /proc/self")?;
    link.to_str()
        .and_then(|pid| pid.parse().ok())
        .ok_or_else(|| Error::new(ErrorKind::Internal, "/proc/self is not a pid"))
}
