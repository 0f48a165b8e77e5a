//! Clients: whoever talks to us over the launch channel or the control
//! socket. What they are sent waits in a queue of their own, so that a slow
//! one never blocks the loop.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use state::channel::{Channel, Frame, Stream};
use state::{FromMonitor, ToMonitor};
use sys::{Error, ErrorKind, Result};

/// Output that waits for one client; beyond it the container has to wait.
const QUEUE_MAX: usize = 1 << 20;

/// When a question is sent again that found no room.
const RETRY: Duration = Duration::from_millis(10);

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    channel: Channel,
    pub(crate) role: Role,
    /// Gets output.
    pub(crate) is_attached: bool,
    /// May send input.
    pub(crate) sends_input: bool,
    /// It writes the container down.
    pub(crate) holds: bool,
    /// It will, as soon as all of the container's memory is there.
    pub(crate) waits_for_memory: bool,
    /// The connection is closed, or not worth keeping.
    pub(crate) is_gone: bool,
    queue: VecDeque<Packet>,
    /// Bytes of output in the queue.
    queued: usize,
}

/// How a client came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The engine that started us: it says go and holds the clean-up lease.
    Launcher,
    /// By the control socket.
    Visitor,
}

#[derive(Debug)]
enum Packet {
    Data(Stream, Vec<u8>),
    Message(FromMonitor),
}

impl Client {
    pub(crate) fn new(channel: Channel, role: Role) -> Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&channel)? | OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(&channel, flags)?;
        Ok(Self {
            channel,
            role,
            is_attached: false,
            sends_input: false,
            holds: false,
            waits_for_memory: false,
            is_gone: false,
            queue: VecDeque::new(),
            queued: 0,
        })
    }

    /// The next frame, if one is there, with the descriptors that came.
    pub(crate) fn receive(&mut self) -> Option<(Frame<ToMonitor>, Vec<OwnedFd>)> {
        match self.channel.try_receive() {
            Ok(Some(received)) => Some(received),
            Err(error) if would_block(&error) => None,
            // Closed, or it speaks another language.
            Ok(None) | Err(_) => {
                self.is_gone = true;
                None
            }
        }
    }

    /// Sends output, or keeps it until the client reads.
    pub(crate) fn send_output(&mut self, stream: Stream, data: &[u8]) {
        if self.queue.is_empty() {
            match self.channel.try_send_data(stream, data) {
                Ok(true) => return,
                Ok(false) => {}
                Err(_) => {
                    self.is_gone = true;
                    return;
                }
            }
        }
        self.queued += data.len();
        self.queue.push_back(Packet::Data(stream, data.to_vec()));
    }

    /// Sends a message after all output before it.
    pub(crate) fn send(&mut self, message: FromMonitor) {
        self.queue.push_back(Packet::Message(message));
        self.flush();
    }

    /// Sends a message now, with a descriptor. Only for the first one of a
    /// connection, which always has room.
    pub(crate) fn send_with_fd(&mut self, message: &FromMonitor, fd: BorrowedFd<'_>) {
        if self.channel.send_with_fds(message, &[fd]).is_err() {
            self.is_gone = true;
        }
    }

    /// Asks whether to go on, and waits for the answer: an error if it is
    /// anything but [`ToMonitor::Go`].
    pub(crate) fn ask(&mut self, question: FromMonitor) -> Result<()> {
        self.send(question);
        while !self.is_gone {
            self.flush();
            let patience = self.has_queue().then_some(RETRY);
            if !self.channel.wait_readable(patience)? {
                continue;
            }
            match self.receive() {
                Some((Frame::Message(ToMonitor::Go), _)) => return Ok(()),
                Some(_) => break,
                None => {}
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "whoever started it does not want it to go on",
        ))
    }

    /// Sends as much of the queue as the client is ready to take.
    pub(crate) fn flush(&mut self) {
        while let Some(packet) = self.queue.front() {
            let sent = match packet {
                Packet::Data(stream, data) => self.channel.try_send_data(*stream, data),
                Packet::Message(message) => match self.channel.send(message) {
                    Ok(()) => Ok(true),
                    Err(error) if would_block(&error) => Ok(false),
                    Err(error) => Err(error),
                },
            };
            match sent {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    self.is_gone = true;
                    return;
                }
            }
            if let Some(Packet::Data(_, data)) = self.queue.pop_front() {
                self.queued -= data.len();
            }
        }
        self.queue = VecDeque::new();
    }

    /// True while something waits to be sent.
    pub(crate) fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// True if it is so far behind that the container has to wait for it.
    pub(crate) fn is_behind(&self) -> bool {
        self.queued >= QUEUE_MAX
    }

    /// No more output to it; what it has not been sent yet is forgotten.
    pub(crate) fn detach(&mut self) {
        self.is_attached = false;
        self.sends_input = false;
        self.queue
            .retain(|packet| matches!(packet, Packet::Message(_)));
        self.queued = 0;
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// True if the user at the other end may command us: root, or who we are.
pub(crate) fn may_command(channel: &Channel) -> bool {
    channel
        .peer()
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}

fn would_block(error: &Error) -> bool {
    error.errno() == Some(Errno::AGAIN.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_client_gets_everything_in_order() {
        let (ours, theirs) = Channel::pair().unwrap();
        let mut client = Client::new(ours, Role::Visitor).unwrap();
        let mut sent = Vec::new();
        let mut number = 0u8;
        while !client.is_behind() {
            number = number.wrapping_add(1);
            let data = vec![number; 10_000];
            client.send_output(Stream::Stdout, &data);
            sent.extend(data);
        }
        client.send(FromMonitor::Ready);
        let mut received = Vec::new();
        loop {
            client.flush();
            match theirs.receive::<FromMonitor>().unwrap().unwrap().0 {
                Frame::Stdout(data) => received.extend(data),
                Frame::Message(message) => {
                    assert_eq!(message, FromMonitor::Ready);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(received == sent);
        assert!(!client.is_behind() && !client.has_queue());
    }

    #[test]
    fn a_dead_or_babbling_client_is_gone() {
        let (ours, theirs) = Channel::pair().unwrap();
        let mut client = Client::new(ours, Role::Visitor).unwrap();
        assert!(client.receive().is_none() && !client.is_gone);
        theirs.send(&"no such message").unwrap();
        assert!(client.receive().is_none() && client.is_gone);

        let (ours, theirs) = Channel::pair().unwrap();
        let mut client = Client::new(ours, Role::Visitor).unwrap();
        drop(theirs);
        client.send_output(Stream::Stderr, b"x");
        assert!(client.is_gone);
    }
}
