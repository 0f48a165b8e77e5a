//! Sockets: made inside, where the container's names and its network are;
//! given options and content from outside, through a copy of the descriptor.

mod connection;
mod inet;
mod queue;
mod unix;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use sys::{Context as _, Error, ErrorKind, Result, socket};

use super::pool::{OPENED, put};
use super::{Puppet, Work};
use crate::image::hex;
use crate::image::options::SOL_SOCKET;
use crate::image::schema::{Kind, Process, Socket, SocketState, TcpLink, Unix, UnixLink};
use crate::inject::Program;

const SOCKET: u32 = 41;
const FCNTL: u32 = 72;
const F_SETFL: u32 = 4;
/// What fcntl(2) can set.
const SETTABLE: u32 = 0o66_000;
const SOCK_NONBLOCK: i32 = 0o4000;
const SO_SNDBUF: i32 = 7;
const SO_RCVBUF: i32 = 8;
const SO_SNDBUFFORCE: i32 = 32;
const SO_RCVBUFFORCE: i32 = 33;

/// Makes all sockets of the checkpoint, in the pool.
pub(super) struct Sockets<'a> {
    puppet: &'a Puppet,
    pidfd: BorrowedFd<'a>,
    work: &'a Work<'a>,
    /// Place among the descriptions, and what it is.
    all: Vec<(usize, &'a Socket)>,
}

impl<'a> Sockets<'a> {
    pub(super) fn new(puppet: &'a Puppet, pidfd: BorrowedFd<'a>, work: &'a Work<'a>) -> Self {
        let descriptions = work.checkpoint.descriptions.iter().enumerate();
        let all = descriptions.filter_map(|(place, description)| match &description.kind {
            Kind::Socket(socket) => Some((place, &**socket)),
            _ => None,
        });
        Self {
            puppet,
            pidfd,
            work,
            all: all.collect(),
        }
    }

    /// Everything else that is in the pool is there: it may travel in them.
    pub(super) fn make(&self) -> Result<()> {
        if self.all.is_empty() {
            return Ok(());
        }
        let unix = unix::make(self)?;
        self.open_all()?;
        for (place, socket) in &self.all {
            match &socket.state {
                SocketState::Unix(_) => {
                    let ours = self.ours(*place)?;
                    set_options(&ours, socket)?;
                }
                SocketState::Tcp(tcp) => {
                    inet::tcp(&self.ours(*place)?, socket, tcp)?;
                }
                SocketState::Datagram { own, peer } => {
                    inet::datagram(&self.ours(*place)?, socket, own, peer)?;
                }
                SocketState::Netlink { port, groups } => {
                    inet::netlink(&self.ours(*place)?, socket, *port, *groups)?;
                }
            }
        }
        self.reset()?;
        self.set_going()?;
        if self.work.checkpoint.connections() > 0 {
            self.let_packets_in()?;
        }
        queue::fill(self, &unix)?;
        unix.finish(self)?;
        self.set_flags()
    }

    /// Later than those that listen, whose addresses they have.
    fn reset(&self) -> Result<()> {
        for (place, socket) in &self.all {
            if let SocketState::Tcp(tcp) = &socket.state
                && let TcpLink::Closed(it) = &tcp.link
            {
                connection::reset(&self.ours(*place)?, socket, &tcp.own, it)?;
            }
        }
        Ok(())
    }

    /// Whoever made the network may have kept them away until now.
    fn let_packets_in(&self) -> Result<()> {
        let path = format!("/proc/{}/ns/net", self.puppet.thread.tid);
        let namespace = std::fs::File::open(&path).context(|| format!("open {path}"))?;
        sys::netlink::hold::open(namespace.as_fd())
    }

    /// Connections may be with each other: none says anything before all are
    /// there.
    fn set_going(&self) -> Result<()> {
        for (place, socket) in &self.all {
            if let SocketState::Tcp(tcp) = &socket.state
                && let TcpLink::Connected(connection) = &tcp.link
            {
                let ours = self.ours(*place)?;
                connection::set_going(&ours, socket, connection)?;
            }
        }
        Ok(())
    }

    /// All but those of the family Unix, which are made in the order of their
    /// connections.
    fn open_all(&self) -> Result<()> {
        let mut program = Program::default();
        for (place, socket) in &self.all {
            if !matches!(socket.state, SocketState::Unix(_)) {
                self.add_opening(&mut program, *place, socket);
            }
        }
        self.puppet.run(&program).map(drop)
    }

    fn open(&self, place: usize, socket: &Socket) -> Result<()> {
        let mut program = Program::default();
        self.add_opening(&mut program, place, socket);
        self.puppet.run(&program).map(drop)
    }

    fn add_opening(&self, program: &mut Program, place: usize, socket: &Socket) {
        let arguments = [
            socket.domain.into(),
            (socket.kind | SOCK_NONBLOCK).into(),
            socket.protocol.into(),
        ];
        program.call("make a socket", SOCKET, &arguments);
        put(program, OPENED, self.work.pool.description(place));
    }

    /// A copy of the descriptor for us.
    fn ours(&self, place: usize) -> Result<OwnedFd> {
        self.take(self.work.pool.description(place))
    }

    fn take(&self, fd: i32) -> Result<OwnedFd> {
        pidfd_getfd(self.pidfd, fd, PidfdGetfdFlags::empty()).context(|| "take hold of a socket")
    }

    fn unix(&self) -> impl Iterator<Item = (usize, &'a Socket, &'a Unix)> + '_ {
        let all = self.all.iter();
        all.filter_map(|(place, socket)| match &socket.state {
            SocketState::Unix(unix) => Some((*place, *socket, unix)),
            _ => None,
        })
    }

    fn unix_at(&self, place: usize) -> Result<(&'a Socket, &'a Unix)> {
        self.unix()
            .find(|(known, ..)| *known == place)
            .map(|(_, socket, unix)| (socket, unix))
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "a socket is connected to nothing"))
    }

    /// While they were made none of them was to wait.
    fn set_flags(&self) -> Result<()> {
        let mut program = Program::default();
        for (place, _) in &self.all {
            let flags = self.work.checkpoint.descriptions[*place].flags & SETTABLE;
            let place = self.work.pool.description(*place);
            let arguments = [place.into(), F_SETFL.into(), flags.into()];
            program.call("set the flags of a socket", FCNTL, &arguments);
        }
        self.puppet.run(&program).map(drop)
    }
}

/// Those that connect from now on see the process that made it listen, as it
/// is now.
pub(super) fn listen_again(program: &mut Program, what: &Process, work: &Work<'_>) {
    const LISTEN: u32 = 50;
    for descriptor in &what.descriptors {
        let description = work.checkpoint.descriptions.get(descriptor.description);
        let Some(Kind::Socket(socket)) = description.map(|it| &it.kind) else {
            continue;
        };
        if let SocketState::Unix(Unix {
            link: UnixLink::Listening { backlog },
            listener: Some(pid),
            ..
        }) = &socket.state
            && *pid == what.pid
        {
            program.attempt(LISTEN, &[descriptor.fd.into(), (*backlog).into()]);
        }
    }
}

/// As they were. What needs rights that the restorer lacks stays as usual.
fn set_options(ours: &OwnedFd, what: &Socket) -> Result<()> {
    const DENIED: [i32; 2] = [1, 13];
    for option in &what.options {
        let value = hex::decode(&option.value)?;
        let set = |name| socket::set_option(ours.as_fd(), option.level, name, &value);
        let forced = match (option.level, option.name) {
            (SOL_SOCKET, SO_SNDBUF) => set(SO_SNDBUFFORCE),
            (SOL_SOCKET, SO_RCVBUF) => set(SO_RCVBUFFORCE),
            (_, name) => set(name),
        };
        match forced {
            Err(error) if error.errno().is_some_and(|errno| DENIED.contains(&errno)) => {
                // As far as the limits of the system let it.
                let _ = set(option.name);
            }
            done => done.context(|| {
                format!(
                    "set option {} of level {} of a socket",
                    option.name, option.level
                )
            })?,
        }
    }
    Ok(())
}
