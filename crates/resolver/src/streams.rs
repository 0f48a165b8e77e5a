//! Questions by TCP: a length, then the message. A connection whose question
//! goes elsewhere becomes a pipe for the one answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::answer::Verdict;
use crate::message::{Code, Query, Transport};
use crate::server::Server;

/// Connections at a time, of all clients and of one.
const STREAMS_MAX: usize = 64;
const STREAMS_MAX_EACH: usize = 8;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Length and message.
const MESSAGE_MAX: usize = 2 + 65_535;

/// All connections.
#[derive(Debug)]
pub(crate) struct Streams {
    listener: TcpListener,
    streams: Vec<Stream>,
}

/// One client's connection.
#[derive(Debug)]
struct Stream {
    client: SocketAddr,
    socket: TcpStream,
    deadline: Instant,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Somebody else, who answers.
    other: Option<Other>,
    /// It ends when everything is said.
    closing: bool,
}

#[derive(Debug)]
struct Other {
    socket: TcpStream,
    /// Not sent yet.
    question: Vec<u8>,
    query: Query,
}

impl Streams {
    pub(crate) fn new(listener: OwnedFd) -> Self {
        Self {
            listener: TcpListener::from(listener),
            streams: Vec::new(),
        }
    }

    /// When the first one has taken too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.streams.iter().map(|stream| stream.deadline).min()
    }

    /// What to wait for: the listener, then two entries per connection.
    pub(crate) fn poll_fds<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.push(PollFd::new(&self.listener, PollFlags::IN));
        for stream in &self.streams {
            let mut flags = PollFlags::empty();
            if stream.other.is_none() && !stream.closing {
                flags |= PollFlags::IN;
            }
            if !stream.outgoing.is_empty() {
                flags |= PollFlags::OUT;
            }
            fds.push(PollFd::new(&stream.socket, flags));
            match &stream.other {
                Some(other) if other.question.is_empty() => {
                    fds.push(PollFd::new(&other.socket, PollFlags::IN));
                }
                Some(other) => fds.push(PollFd::new(&other.socket, PollFlags::OUT)),
                None => fds.push(PollFd::new(&stream.socket, PollFlags::empty())),
            }
        }
    }

    /// Goes on with whatever is ready.
    pub(crate) fn work(&mut self, server: &mut Server, ready: &[PollFlags]) {
        let now = Instant::now();
        let mut place = 1;
        self.streams.retain_mut(|stream| {
            let flags = ready.get(place..place + 2);
            place += 2;
            let is_ready = flags.is_some_and(|flags| flags.iter().any(|flags| !flags.is_empty()));
            stream.deadline > now && (!is_ready || stream.work(server).is_ok())
        });
        if ready.first().is_some_and(|flags| !flags.is_empty()) {
            self.accept(now);
        }
    }

    fn accept(&mut self, now: Instant) {
        while let Ok((socket, client)) = self.listener.accept() {
            let of_client = |stream: &&Stream| stream.client.ip() == client.ip();
            let is_too_many = self.streams.len() >= STREAMS_MAX
                || self.streams.iter().filter(of_client).count() >= STREAMS_MAX_EACH;
            if is_too_many || socket.set_nonblocking(true).is_err() {
                continue;
            }
            self.streams.push(Stream {
                client,
                socket,
                deadline: now + PATIENCE,
                incoming: Vec::new(),
                outgoing: Vec::new(),
                other: None,
                closing: false,
            });
        }
    }
}

impl Stream {
    /// An error ends the connection.
    fn work(&mut self, server: &mut Server) -> std::io::Result<()> {
        if self.other.is_none() && !self.closing {
            read(&mut self.socket, &mut self.incoming)?;
            self.questions(server)?;
        }
        if let Some(other) = &mut self.other {
            if other.question.is_empty() {
                let mut answer = Vec::new();
                let ended = read(&mut other.socket, &mut answer);
                self.outgoing.append(&mut answer);
                if ended.is_err() || has_whole_message(&self.outgoing) {
                    self.other = None;
                    self.closing = true;
                }
            } else if write(&mut other.socket, &mut other.question).is_err() {
                let failure = other.query.answer(Code::ServerFailure, &[], Transport::Tcp);
                self.other = None;
                self.say(&failure);
            }
        }
        write(&mut self.socket, &mut self.outgoing)?;
        if self.closing && self.outgoing.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn questions(&mut self, server: &mut Server) -> std::io::Result<()> {
        while let [high, low, rest @ ..] = &self.incoming[..] {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some(message) = rest.get(..length).map(<[u8]>::to_vec) else {
                break;
            };
            self.incoming.drain(..2 + length);
            match server.decide(&message, self.client, Transport::Tcp) {
                Verdict::Ignore => return Err(ErrorKind::InvalidData.into()),
                Verdict::Answer(answer) => self.say(&answer),
                Verdict::Forward(query, own) => {
                    let asked = server
                        .servers(&own)
                        .into_iter()
                        .find_map(|place| begin(place).ok());
                    let Some(socket) = asked else {
                        let failure = query.answer(Code::ServerFailure, &[], Transport::Tcp);
                        self.say(&failure);
                        continue;
                    };
                    self.other = Some(Other {
                        socket,
                        question: with_length(&message),
                        query,
                    });
                    // The answer ends the conversation.
                    self.incoming.clear();
                }
            }
        }
        Ok(())
    }

    fn say(&mut self, answer: &[u8]) {
        self.outgoing.extend(with_length(answer));
    }
}

fn has_whole_message(bytes: &[u8]) -> bool {
    matches!(bytes, [high, low, rest @ ..]
        if rest.len() >= usize::from(u16::from_be_bytes([*high, *low])))
}

fn with_length(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), message].concat()
}

/// Begins a connection without waiting for it.
fn begin(place: SocketAddr) -> std::io::Result<TcpStream> {
    let family = if place.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &place) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads what there is; an error at the end, or when it is more than a
/// message can be.
fn read(socket: &mut TcpStream, into: &mut Vec<u8>) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    let before = into.len();
    loop {
        match socket.read(&mut buffer) {
            // What came before the end is worked on first.
            Ok(0) if into.len() > before => return Ok(()),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => into.extend(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if into.len() >= MESSAGE_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
    }
}

/// Writes what can be written.
fn write(socket: &mut TcpStream, from: &mut Vec<u8>) -> std::io::Result<()> {
    while !from.is_empty() {
        match socket.write(from) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => drop(from.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
