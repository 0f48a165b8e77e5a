//! Filling the queues of unix sockets: sent again by whoever can be the
//! sender.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use sys::{Context as _, Error, ErrorKind, Result, socket};

use super::unix::Made;
use super::{SO_RCVBUF, SO_RCVBUFFORCE, SO_SNDBUF, SO_SNDBUFFORCE, SOL_SOCKET, Sockets};
use crate::image::hex;
use crate::image::schema::{Message, Socket, Unix, UnixLink};

const SOCK_STREAM: i32 = 1;
const SO_BUF_LOCK: i32 = 72;
/// Bytes that one call sends of a stream.
const PIECE: usize = 64 << 10;

pub(super) fn fill(sockets: &Sockets<'_>, made: &Made) -> Result<()> {
    for (place, socket, unix) in sockets.unix() {
        if unix.queue.is_empty() {
            continue;
        }
        fill_one(sockets, made, place, socket, unix)
            .context(|| "put back what a socket had in its queue")?;
    }
    Ok(())
}

fn fill_one(
    sockets: &Sockets<'_>,
    made: &Made,
    place: usize,
    what: &Socket,
    unix: &Unix,
) -> Result<()> {
    let peer = match unix.link {
        UnixLink::Connected { to } => Some(sockets.ours(to)?),
        UnixLink::Widowed => made.lost_end(place).map(OwnedFd::try_clone).transpose()?,
        _ => None,
    };
    for message in &unix.queue {
        if let Some(peer) = &peer {
            with_room(peer.as_fd(), |peer| {
                send(sockets, peer, &[], message, what.kind == SOCK_STREAM)
            })?;
        } else {
            let (sender, to) = made.route(sockets, place, &message.sender)?;
            with_room(sender.as_fd(), |sender| {
                send(sockets, sender, &to, message, false)
            })?;
        }
    }
    Ok(())
}

/// What was in flight may be more than would be let in now.
pub(super) fn with_room(
    socket: BorrowedFd<'_>,
    fill: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
) -> Result<()> {
    const ROOM: i32 = 256 << 20;
    let number = |name| {
        let value = socket::option(socket, SOL_SOCKET, name, 4).ok()?;
        Some(i32::from_ne_bytes(value.try_into().ok()?))
    };
    let sizes = [(SO_SNDBUF, SO_SNDBUFFORCE), (SO_RCVBUF, SO_RCVBUFFORCE)];
    let usual = sizes.map(|(name, _)| number(name).unwrap_or(0));
    let locks = number(SO_BUF_LOCK);
    let forced =
        sizes.map(|(_, force)| socket::set_number(socket, SOL_SOCKET, force, ROOM).is_ok());
    let filled = fill(socket);
    for (place, (_, force)) in sizes.into_iter().enumerate() {
        if forced[place] {
            socket::set_number(socket, SOL_SOCKET, force, usual[place] / 2)?;
        }
    }
    if let Some(locks) = locks {
        socket::set_number(socket, SOL_SOCKET, SO_BUF_LOCK, locks)?;
    }
    filled
}

fn send(
    sockets: &Sockets<'_>,
    sender: BorrowedFd<'_>,
    to: &[u8],
    message: &Message,
    is_stream: bool,
) -> Result<()> {
    let content = hex::decode(&message.content)?;
    let mut travelling = Vec::new();
    for place in &message.descriptions {
        travelling.push(sockets.ours(*place)?);
    }
    let mut descriptors: Vec<BorrowedFd<'_>> = travelling.iter().map(OwnedFd::as_fd).collect();
    let mut done = 0;
    loop {
        let rest = &content[done..];
        let piece = if is_stream {
            &rest[..rest.len().min(PIECE)]
        } else {
            rest
        };
        let sent = socket::send(sender, piece, to, &descriptors)?;
        descriptors.clear();
        done += sent;
        if done >= content.len() {
            return Ok(());
        }
        if sent == 0 {
            return Err(Error::new(ErrorKind::Internal, "nothing more can be sent"));
        }
    }
}
