//! Sockets: what they are bound and connected to, and what waits in them.

mod connection;
mod inet;
mod inner;
mod netlink;
mod options;
mod queue;
mod unix;

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;

pub(crate) use connection::Stilled;
use sys::netlink::unix_diag::{self, UnixSocket};
use sys::netlink::{Protocol, Socket as Netlink};
use sys::{Context as _, Error, ErrorKind, Result};

use self::inner::Inner;
use super::Collection;
use super::descriptors::refuse;
use super::files::Seen;
use crate::dump::TcpPolicy;
use crate::freeze::Stopped;
use crate::image::options::SOL_SOCKET;
use crate::image::schema::{Description, Kind, Message, Socket, SocketState};

const SO_TYPE: i32 = 3;
const SO_PROTOCOL: i32 = 38;
const SO_DOMAIN: i32 = 39;
const SO_NETNS_COOKIE: i32 = 71;
const AF_UNIX: i32 = 1;
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
const AF_NETLINK: i32 = 16;

/// What is asked once for all of them.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Those of the container's network namespace, by inode.
    unix: HashMap<u32, UnixSocket>,
    /// Places among the descriptions by inode.
    places: HashMap<u32, usize>,
    /// What was sent and not received, by place.
    queues: HashMap<usize, Vec<Message>>,
    /// Of the network namespace; none before Linux 5.14.
    cookie: Option<Vec<u8>>,
    /// TCP connections that go on, though others do not.
    inner: Inner,
}

impl Sockets {
    /// Asks. Descriptors that are in flight join those that were seen.
    pub(super) fn learn(stopped: &Stopped, all: &mut Collection) -> Result<Self> {
        let mut sockets = Self::default();
        let Some(init) = stopped.processes.first() else {
            return Ok(sockets);
        };
        if !all.files.seen.iter().any(|one| inode(one).is_some()) {
            return Ok(sockets);
        }
        sockets.list(init.pid).context(|| "list the sockets")?;
        let mut place = 0;
        while let Some(one) = all.files.seen.get(place) {
            if let Some(inode) = inode(one) {
                sockets.places.insert(inode, place);
                if sockets.unix.contains_key(&inode) {
                    let queue = queue::read(place, &sockets, all)
                        .context(|| format!("read the queue of socket {inode}"))?;
                    sockets.queues.insert(place, queue);
                }
            }
            place += 1;
        }
        if all.options.tcp == TcpPolicy::KeepInner {
            sockets.inner = Inner::find(&all.files.seen);
        }
        Ok(sockets)
    }

    fn list(&mut self, init: i32) -> Result<()> {
        let path = format!("/proc/{init}/ns/net");
        let netns = File::open(&path).context(|| format!("open {path}"))?;
        let mut asker = sys::netns::within(netns.as_fd(), || Netlink::open(Protocol::Diagnosis))?;
        self.cookie = cookie(asker.as_fd());
        for reply in asker.dump(&unix_diag::list())? {
            let socket = UnixSocket::parse(&reply)?;
            self.unix.insert(socket.inode, socket);
        }
        Ok(())
    }

    /// Whether its other end, or the namespace that it is of, is not the
    /// container's.
    pub(super) fn is_outside(&self, one: &Seen, all: &Collection) -> Result<bool> {
        let Some(number) = inode(one) else {
            return Ok(false);
        };
        if let Some(known) = self.unix.get(&number) {
            let seen = |peer| all.files.seen.iter().any(|one| inode(one) == Some(peer));
            let is_taken = self.unix.values().any(|it| it.waiting.contains(&number));
            return Ok(match known.peer {
                Some(0) => !is_taken,
                Some(peer) => !seen(peer),
                None => known.is_connected,
            });
        }
        let domain = number_of(one, SO_DOMAIN)?;
        Ok(domain == AF_UNIX || self.is_foreign(one))
    }

    fn is_foreign(&self, one: &Seen) -> bool {
        match (&self.cookie, cookie(one.ours.as_fd())) {
            (Some(own), Some(its)) => *own != its,
            _ => false,
        }
    }

    pub(super) fn understand(
        &mut self,
        place: usize,
        one: &Seen,
        stopped: &Stopped,
        all: &mut Collection,
    ) -> Result<Kind> {
        if self.is_foreign(one) {
            return Err(refuse(
                "is a socket of another network namespace than the container's; close it first",
            ));
        }
        let mut socket = Socket {
            domain: number_of(one, SO_DOMAIN)?,
            kind: number_of(one, SO_TYPE)?,
            protocol: number_of(one, SO_PROTOCOL)?,
            ..Socket::default()
        };
        if sys::socket::has_filter(one.ours.as_fd()).unwrap_or(false) {
            return Err(refuse(
                "is a socket with a packet filter of its own, which is not carried yet; close it \
                 first",
            ));
        }
        socket.options = options::collect(one.ours.as_fd(), &socket)?;
        socket.state = match socket.domain {
            AF_UNIX => SocketState::Unix(unix::collect(place, one, self, stopped, all)?),
            AF_INET | AF_INET6 => inet::collect(one, &socket, &self.inner, all)?,
            AF_NETLINK => netlink::collect(one, &socket)?,
            domain => {
                return Err(refuse(&format!(
                    "is a socket of address family {domain}, which is not carried; close it first"
                )));
            }
        };
        Ok(Kind::Socket(Box::new(socket)))
    }
}

/// What is opened by each process for itself cannot be in nobody's hands.
pub(super) fn refuse_late(descriptions: &[Description]) -> Result<()> {
    for description in descriptions {
        let Kind::Socket(socket) = &description.kind else {
            continue;
        };
        let SocketState::Unix(unix) = &socket.state else {
            continue;
        };
        let mut travelling = unix.queue.iter().flat_map(|it| &it.descriptions);
        let late =
            travelling.any(|place| descriptions.get(*place).is_some_and(|it| it.kind.is_late()));
        if late {
            return Err(refuse(
                "a descriptor of a process is in flight in a socket, which is not carried; \
                 try again when it has arrived",
            ));
        }
    }
    Ok(())
}

/// The number of a socket; none if it is none.
pub(super) fn inode(one: &Seen) -> Option<u32> {
    let number = one.link.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok()
}

fn cookie(socket: std::os::fd::BorrowedFd<'_>) -> Option<Vec<u8>> {
    sys::socket::option(socket, SOL_SOCKET, SO_NETNS_COOKIE, 8).ok()
}

fn number_of(one: &Seen, option: i32) -> Result<i32> {
    let value = sys::socket::option(one.ours.as_fd(), SOL_SOCKET, option, 4)?;
    Ok(value.try_into().map_or(0, i32::from_ne_bytes))
}

/// It will be another way in a moment.
fn busy(why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, why)
}
