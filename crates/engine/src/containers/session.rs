//! A client's connection to a container or to an exec session.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

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
    /// Its processes are on the disk, and what they left is cleaned up;
    /// nothing follows.
    Suspended,
    /// The connection ended without word of an exit: the monitor was killed,
    /// or closed the session. Nothing follows.
    Closed,
}

/// An attached client. Sending and receiving may happen in two threads.
/// Dropping it detaches: the container goes on.
#[derive(Debug)]
pub struct Session {
    engine: Engine,
    id: ContainerId,
    channel: Channel,
    role: Role,
    cleanup_error: Mutex<Option<Error>>,
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
    pub(crate) fn new(engine: &Engine, id: ContainerId, channel: Channel, role: Role) -> Self {
        Self {
            engine: engine.clone(),
            id,
            channel,
            role,
            cleanup_error: Mutex::new(None),
        }
    }

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
                if self.role != Role::Exec {
                    self.clean_up();
                }
                return Ok(SessionEvent::Closed);
            };
            match frame {
                Frame::Stdout(data) => return Ok(SessionEvent::Stdout(data)),
                Frame::Stderr(data) => return Ok(SessionEvent::Stderr(data)),
                Frame::Message(FromMonitor::Exited(record)) => {
                    if self.role == Role::Launcher {
                        self.clean_up();
                    }
                    return Ok(SessionEvent::Exited(record));
                }
                Frame::Message(FromMonitor::Suspended) => {
                    if self.role == Role::Launcher {
                        self.clean_up();
                    }
                    return Ok(SessionEvent::Suspended);
                }
                Frame::Message(FromMonitor::Failed(error)) => return Err(error),
                // Answers are for who asked, on a connection of its own.
                Frame::Message(
                    FromMonitor::Ready
                    | FromMonitor::Whole { .. }
                    | FromMonitor::Started { .. }
                    | FromMonitor::Done
                    | FromMonitor::Refused(_),
                ) => {}
                Frame::Stdin(_) | Frame::StdinEnd => {
                    return Err(Error::new(ErrorKind::Corrupt, "unexpected input frame"));
                }
            }
        }
    }

    /// Why the clean-up after the exit failed, if it did: the next command
    /// tries again.
    pub fn take_cleanup_error(&self) -> Option<Error> {
        self.cleanup_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Leaves; the container goes on.
    pub fn detach(self) -> Result<()> {
        self.channel.send(&ToMonitor::Detach)
    }

    fn clean_up(&self) {
        if let Err(error) = self.engine.cleanup(&self.id) {
            let mut kept = self
                .cleanup_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *kept = Some(error);
        }
    }
}

/// Readable when [`Session::next_event`] will not wait.
impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
