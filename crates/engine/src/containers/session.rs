//! A client's connection to a container or to an exec session.

use std::os::fd::{AsFd, BorrowedFd};

use spec::runtime::ConsoleSize;
use state::channel::{PAYLOAD_MAX, Stream};
use state::{Channel, ContainerId, ExitRecord, Frame, FromMonitor, ToMonitor};
use sys::{Error, ErrorKind, Result};

use crate::Engine;

/// What comes out of a session.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEvent {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// It is over and cleaned up; nothing follows.
    Exited(ExitRecord),
    /// The connection ended without word of an exit: the monitor was killed,
    /// or closed the session. Nothing follows.
    Closed,
}

/// An attached client. Sending and receiving may happen in two threads.
/// Dropping it detaches: the container goes on.
#[derive(Debug)]
pub struct Session {
    pub(crate) engine: Engine,
    pub(crate) id: ContainerId,
    pub(crate) channel: Channel,
    pub(crate) role: Role,
}

/// What a session owes when the process is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It launched the container and cleans up.
    Launcher,
    /// It only looks on.
    Guest,
    /// It launched an exec session.
    Exec,
}

impl Session {
    /// The container.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Sends input; waits while the container does not read it.
    pub fn send_stdin(&self, data: &[u8]) -> Result<()> {
        data.chunks(PAYLOAD_MAX)
            .try_for_each(|chunk| self.channel.send_data(Stream::Stdin, chunk))
    }

    /// Says that no more input will come.
    pub fn close_stdin(&self) -> Result<()> {
        self.channel.send_stdin_end()
    }

    /// Tells the new size of the client's terminal.
    pub fn resize(&self, size: ConsoleSize) -> Result<()> {
        self.channel.send(&ToMonitor::Resize(size))
    }

    /// Sends a signal to the process.
    pub fn signal(&self, number: i32) -> Result<()> {
        self.channel.send(&ToMonitor::Signal(number))
    }

    /// The next event; waits for one. After `Exited` of a container that
    /// this session launched, everything it left is cleaned up already.
    pub fn next_event(&self) -> Result<SessionEvent> {
        loop {
            let Some((frame, _fds)) = self.channel.receive::<FromMonitor>()? else {
                return Ok(SessionEvent::Closed);
            };
            match frame {
                Frame::Stdout(data) => return Ok(SessionEvent::Stdout(data)),
                Frame::Stderr(data) => return Ok(SessionEvent::Stderr(data)),
                Frame::Message(FromMonitor::Exited(record)) => {
                    return Ok(SessionEvent::Exited(record));
                }
                Frame::Message(FromMonitor::Failed(error)) => return Err(error),
                Frame::Message(FromMonitor::Ready | FromMonitor::Started { .. }) => {}
                Frame::Stdin(_) | Frame::StdinEnd => {
                    return Err(Error::new(ErrorKind::Corrupt, "unexpected input frame"));
                }
            }
        }
    }

    /// Leaves; the container goes on.
    pub fn detach(self) -> Result<()> {
        self.channel.send(&ToMonitor::Detach)
    }
}

/// Readable when [`Session::next_event`] will not wait.
impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
