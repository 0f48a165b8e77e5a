//! Messages, data and descriptors over one SOCK_SEQPACKET unix socket.
//!
//! Each packet is one tag byte and a payload. Messages are JSON; stdio data is
//! raw. One connection carries both, so output that came before an exit
//! arrives before it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::{Serialize, de::DeserializeOwned};
use sys::{Context as _, Error, ErrorKind, Result};

/// The most payload that one packet carries: below the default send buffer
/// (212,992 bytes), so that several packets fit into it.
pub const PAYLOAD_MAX: usize = 64 << 10;
/// The most descriptors that one packet carries.
pub const FDS_MAX: usize = 8;

/// What came in.
#[derive(Debug)]
pub enum Frame<T> {
    Message(T),
    /// Input for the process.
    Stdin(Vec<u8>),
    /// No more input will come.
    StdinEnd,
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
}

/// Which stream a data packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

const TAG_MESSAGE: u8 = b'm';
const TAG_STDIN: u8 = b'i';
const TAG_STDIN_END: u8 = b'.';
const TAG_STDOUT: u8 = b'o';
const TAG_STDERR: u8 = b'e';

/// One end of a connection.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// Two connected ends, close-on-exec.
    pub fn pair() -> Result<(Self, Self)> {
        let (one, two) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .context(|| "make a socket pair")?;
        Ok((Self { socket: one }, Self { socket: two }))
    }

    /// To the listener at `path`. `NotFound` or `Unavailable` if nobody
    /// listens.
    pub fn connect(path: &Path) -> Result<Self> {
        let connect = || -> Result<Self> {
            let socket = socket()?;
            let (address, _directory) = address_of(path)?;
            rustix::net::connect(&socket, &address)?;
            Ok(Self { socket })
        };
        connect().context(|| format!("connect to {}", path.display()))
    }

    /// An end that was handed to us.
    pub fn from_fd(socket: OwnedFd) -> Self {
        Self { socket }
    }

    pub fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Sends a message; waits while the other end is slow.
    pub fn send<T: Serialize>(&self, message: &T) -> Result<()> {
        self.send_with_fds(message, &[])
    }

    /// Sends a message that will be answered. An end that is gone is no error
    /// here: [`Channel::receive`] tells what it said last, and then `None`.
    pub fn ask<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
        match self.send_with_fds(message, fds) {
            Err(error) if is_hang_up(&error) => Ok(()),
            result => result,
        }
    }

    /// Sends a message with descriptors (at most 8).
    pub fn send_with_fds<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let text = serde_json::to_vec(message)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        self.send_packet(TAG_MESSAGE, &text, fds, SendFlags::NOSIGNAL)
            .context(|| "send a message")
    }

    /// Sends stdio data of at most [`PAYLOAD_MAX`] bytes; waits while the
    /// other end is slow.
    pub fn send_data(&self, stream: Stream, data: &[u8]) -> Result<()> {
        self.send_packet(tag_of(stream), data, &[], SendFlags::NOSIGNAL)
            .context(|| "send data")
    }

    /// As [`Channel::send_data`] without waiting; false if the other end is
    /// slow and nothing was sent.
    pub fn try_send_data(&self, stream: Stream, data: &[u8]) -> Result<bool> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match self.send_packet(tag_of(stream), data, &[], flags) {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(Errno::AGAIN.raw_os_error()) => Ok(false),
            Err(error) => Err(error).context(|| "send data"),
        }
    }

    /// Says that no more input will come.
    pub fn send_stdin_end(&self) -> Result<()> {
        self.send_packet(TAG_STDIN_END, &[], &[], SendFlags::NOSIGNAL)
            .context(|| "send end of input")
    }

    /// The next frame with its descriptors; `None` if the other end is gone.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Option<(Frame<T>, Vec<OwnedFd>)>> {
        self.receive_packet(RecvFlags::CMSG_CLOEXEC)
    }

    /// As [`Channel::receive`]; `Err` of kind `Unavailable` if nothing is there.
    pub fn try_receive<T: DeserializeOwned>(&self) -> Result<Option<(Frame<T>, Vec<OwnedFd>)>> {
        self.receive_packet(RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)
    }

    /// Waits for a frame for at most `timeout` (`None`: for ever); false if
    /// the time ran out.
    pub fn wait_readable(&self, timeout: Option<std::time::Duration>) -> Result<bool> {
        let timeout = timeout.map(|timeout| rustix::event::Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(Error::from(errno)).context(|| "wait for a message"),
        }
    }

    /// The process at the other end (its pid and user at connect time).
    pub fn peer(&self) -> Result<rustix::net::UCred> {
        Ok(rustix::net::sockopt::socket_peercred(&self.socket)?)
    }

    fn send_packet(
        &self,
        tag: u8,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
        flags: SendFlags,
    ) -> Result<()> {
        if payload.len() > PAYLOAD_MAX || fds.len() > FDS_MAX {
            return Err(Error::new(ErrorKind::Internal, "packet too large"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Error::new(ErrorKind::Internal, "too many descriptors"));
        }
        let parts = [
            IoSlice::new(std::slice::from_ref(&tag)),
            IoSlice::new(payload),
        ];
        loop {
            match rustix::net::sendmsg(&self.socket, &parts, &mut control, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn receive_packet<T: DeserializeOwned>(
        &self,
        flags: RecvFlags,
    ) -> Result<Option<(Frame<T>, Vec<OwnedFd>)>> {
        let mut packet = vec![0; PAYLOAD_MAX + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut was_reset = false;
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut packet)];
            match rustix::net::recvmsg(&self.socket, &mut parts, &mut control, flags) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                // The other end closed with data of ours unread. The kernel
                // says so once, before what the other end said last.
                Err(Errno::CONNRESET) if !was_reset => was_reset = true,
                Err(Errno::CONNRESET) => return Ok(None),
                Err(errno) => return Err(Error::from(errno)).context(|| "receive a message"),
            }
        };
        let fds: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "received packet is too large",
            ));
        }
        packet.truncate(received.bytes);
        let tag = packet.remove(0);
        let frame = match tag {
            TAG_MESSAGE => Frame::Message(
                serde_json::from_slice(&packet)
                    .map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))
                    .context(|| "understand a message")?,
            ),
            TAG_STDIN => Frame::Stdin(packet),
            TAG_STDIN_END => Frame::StdinEnd,
            TAG_STDOUT => Frame::Stdout(packet),
            TAG_STDERR => Frame::Stderr(packet),
            _ => {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    "received packet has an unknown tag",
                ));
            }
        };
        Ok(Some((frame, fds)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket that clients connect to.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
}

impl Listener {
    /// Listens at `path`, which must not exist; only our user can connect,
    /// since its directory is closed to others.
    pub fn bind(path: &Path) -> Result<Self> {
        let bind = || -> Result<Self> {
            let socket = socket()?;
            let (address, _directory) = address_of(path)?;
            rustix::net::bind(&socket, &address)?;
            rustix::net::listen(&socket, 64)?;
            Ok(Self { socket })
        };
        bind().context(|| format!("listen on {}", path.display()))
    }

    /// The next client; waits for one.
    pub fn accept(&self) -> Result<Channel> {
        loop {
            match rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok(socket) => return Ok(Channel { socket }),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::from(errno)).context(|| "accept a client"),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a send failed since the other end is gone: it closed, or it never
/// took what we sent, or even the connection, before it closed.
pub fn is_hang_up(error: &Error) -> bool {
    [Errno::PIPE, Errno::CONNRESET]
        .iter()
        .any(|errno| error.errno() == Some(errno.raw_os_error()))
}

fn tag_of(stream: Stream) -> u8 {
    match stream {
        Stream::Stdin => TAG_STDIN,
        Stream::Stdout => TAG_STDOUT,
        Stream::Stderr => TAG_STDERR,
    }
}

fn socket() -> Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// A socket's address holds 107 bytes; a longer path goes by way of its
/// directory's descriptor, which has to live until the address was used.
fn address_of(path: &Path) -> Result<(SocketAddrUnix, Option<OwnedFd>)> {
    use std::os::fd::AsRawFd as _;
    if path.as_os_str().len() <= 107 {
        return Ok((SocketAddrUnix::new(path)?, None));
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(ErrorKind::InvalidInput, "not a socket's path"));
    };
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, rustix::fs::Mode::empty())?;
    let mut short = std::path::PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    short.push(name);
    Ok((SocketAddrUnix::new(&short)?, Some(directory)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{FromMonitor, ToMonitor};

    #[test]
    fn carries_messages_data_and_descriptors_in_order() {
        let (one, two) = Channel::pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        one.send_with_fds(&ToMonitor::Go, &[writer.as_fd()])
            .unwrap();
        one.send_data(Stream::Stdin, b"hello").unwrap();
        one.send_stdin_end().unwrap();
        drop(one);
        drop(writer);
        let (frame, fds) = two.receive::<ToMonitor>().unwrap().unwrap();
        assert!(matches!(frame, Frame::Message(ToMonitor::Go)));
        rustix::io::write(&fds[0], b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0; 4]).unwrap(), 1);
        let (frame, _) = two.receive::<ToMonitor>().unwrap().unwrap();
        assert!(matches!(frame, Frame::Stdin(data) if data == b"hello"));
        let (frame, _) = two.receive::<ToMonitor>().unwrap().unwrap();
        assert!(matches!(frame, Frame::StdinEnd));
        assert!(two.receive::<ToMonitor>().unwrap().is_none());
    }

    #[test]
    fn last_words_arrive_from_an_end_that_did_not_listen() {
        let (one, two) = Channel::pair().unwrap();
        one.send(&ToMonitor::Go).unwrap();
        two.send(&FromMonitor::Ready).unwrap();
        drop(two);
        let (frame, _) = one.receive::<FromMonitor>().unwrap().unwrap();
        assert!(matches!(frame, Frame::Message(FromMonitor::Ready)));
        assert!(one.receive::<FromMonitor>().unwrap().is_none());
    }

    #[test]
    fn who_asks_an_end_that_went_away_hears_that_it_did() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let listener = Listener::bind(&path).unwrap();
        let never_accepted = Channel::connect(&path).unwrap();
        drop(listener);
        let error = never_accepted.send(&ToMonitor::Wait).unwrap_err();
        assert!(is_hang_up(&error), "{error}");
        let (one, two) = Channel::pair().unwrap();
        one.send(&ToMonitor::Wait).unwrap();
        drop(two);
        for channel in [never_accepted, one] {
            channel.ask(&ToMonitor::Wait, &[]).unwrap();
            channel.ask(&ToMonitor::Wait, &[]).unwrap();
            assert!(channel.receive::<FromMonitor>().unwrap().is_none());
        }
    }

    #[test]
    fn a_slow_reader_does_not_block_a_careful_writer() {
        let (one, _two) = Channel::pair().unwrap();
        let data = vec![7; PAYLOAD_MAX];
        let mut sent = 0;
        while one.try_send_data(Stream::Stdout, &data).unwrap() {
            sent += 1;
        }
        assert!(sent >= 1);
    }

    #[test]
    fn listens_at_long_paths() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("control.sock");
        let listener = Listener::bind(&path).unwrap();
        let client = Channel::connect(&path).unwrap();
        let server = listener.accept().unwrap();
        server.send(&FromMonitor::Ready).unwrap();
        let (frame, _) = client.receive::<FromMonitor>().unwrap().unwrap();
        assert!(matches!(frame, Frame::Message(FromMonitor::Ready)));
    }
}
