//! TCP connections: put together in repair mode, in which nothing is sent,
//! and set going when all of them are there.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use sys::{Context as _, ErrorKind, Result, socket};

use super::queue::with_room;
use super::{inet, set_options};
use crate::image::options::SOL_SOCKET;
use crate::image::schema::{Socket, SocketOption, TcpConnection};
use crate::image::{address, hex};
use crate::tcp::{
    RECEIVE, REPAIR_OFF, SEND, SO_REUSEADDR, TCP, TCP_QUEUE_SEQ, TCP_REPAIR, TCP_REPAIR_QUEUE,
    TCP_REPAIR_WINDOW, TCP_TIMESTAMP,
};

const TCP_REPAIR_OPTIONS: i32 = 22;
const NO_QUEUE: i32 = 0;
/// `TCPOPT_*`.
const SEGMENT: u32 = 2;
const SCALES: u32 = 3;
const SELECTIVE: u32 = 4;
const TIMESTAMPS: u32 = 8;
/// Bytes that one call puts into a queue.
const PIECE: usize = 32 << 10;

/// Everything but the last step.
pub(super) fn repair(ours: &OwnedFd, own: &str, connection: &TcpConnection) -> Result<()> {
    let peer = hex::decode(&connection.peer)?;
    let fd = ours.as_fd();
    let make = || -> Result<()> {
        set(fd, TCP_REPAIR, 1)?;
        for (queue, sequence) in [(SEND, connection.send), (RECEIVE, connection.receive)] {
            set(fd, TCP_REPAIR_QUEUE, queue)?;
            set(fd, TCP_QUEUE_SEQ, sequence.cast_signed())?;
        }
        set(fd, TCP_REPAIR_QUEUE, NO_QUEUE)?;
        inet::bind(ours, &hex::decode(own)?)?;
        socket::connect(fd, &peer)?;
        agree(fd, connection)?;
        fill(fd, RECEIVE, &hex::decode(&connection.incoming)?)?;
        let outgoing = hex::decode(&connection.outgoing)?;
        let sent = outgoing.len().saturating_sub(connection.unsent as usize);
        fill(fd, SEND, &outgoing[..sent])?;
        set(fd, TCP_REPAIR_QUEUE, NO_QUEUE)?;
        let window = hex::decode(&connection.window)?;
        if !window.is_empty() {
            socket::set_option(fd, TCP, TCP_REPAIR_WINDOW, &window)?;
        }
        Ok(())
    };
    make().context(|| format!("make the connection to {} again", address(&peer)))
}

/// `struct tcp_repair_opt`: what, value.
fn agree(fd: BorrowedFd<'_>, connection: &TcpConnection) -> Result<()> {
    let mut agreed = vec![(SEGMENT, connection.segment)];
    if let Some((theirs, own)) = connection.scales {
        agreed.push((SCALES, u32::from(theirs) | u32::from(own) << 16));
    }
    if connection.selective {
        agreed.push((SELECTIVE, 0));
    }
    if connection.time.is_some() {
        agreed.push((TIMESTAMPS, 0));
    }
    if connection.segment != 0 {
        let words = agreed.iter().flat_map(|(what, value)| [*what, *value]);
        let bytes: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
        socket::set_option(fd, TCP, TCP_REPAIR_OPTIONS, &bytes)?;
    }
    if let Some(time) = connection.time {
        set(fd, TCP_TIMESTAMP, time.cast_signed())?;
    }
    Ok(())
}

fn fill(fd: BorrowedFd<'_>, queue: i32, content: &[u8]) -> Result<()> {
    if content.is_empty() {
        return Ok(());
    }
    set(fd, TCP_REPAIR_QUEUE, queue)?;
    with_room(fd, |fd| send(fd, content))
}

fn send(fd: BorrowedFd<'_>, content: &[u8]) -> Result<()> {
    let mut rest = content;
    while !rest.is_empty() {
        let sent = socket::send(fd, &rest[..rest.len().min(PIECE)], &[], &[])?;
        rest = &rest[sent..];
    }
    Ok(())
}

/// One that was closed may have the address of one that listens.
pub(super) fn bind(ours: &OwnedFd, what: &Socket, own: &[u8]) -> Result<()> {
    let fd = ours.as_fd();
    match inet::bind(ours, own) {
        Err(error) if error.kind() == ErrorKind::Conflict && set(fd, TCP_REPAIR, 1).is_ok() => {
            inet::bind(ours, own)?;
            set(fd, TCP_REPAIR, REPAIR_OFF)?;
            reuse(fd, what)
        }
        bound => bound,
    }
}

/// Repairing forgets it.
fn reuse(fd: BorrowedFd<'_>, what: &Socket) -> Result<()> {
    let reuses = |it: &SocketOption| (it.level, it.name) == (SOL_SOCKET, SO_REUSEADDR);
    if what.options.iter().any(reuses) {
        socket::set_number(fd, SOL_SOCKET, SO_REUSEADDR, 1)?;
    }
    Ok(())
}

/// The last step: it sends what it has to.
pub(super) fn set_going(ours: &OwnedFd, what: &Socket, connection: &TcpConnection) -> Result<()> {
    let fd = ours.as_fd();
    // Leaving repair asks the peer for its window, and so tells where we are.
    set(fd, TCP_REPAIR, 0)?;
    reuse(fd, what)?;
    let outgoing = hex::decode(&connection.outgoing)?;
    let sent = outgoing.len().saturating_sub(connection.unsent as usize);
    with_room(fd, |fd| send(fd, &outgoing[sent..])).context(|| "send what was not sent yet")?;
    if connection.is_half_closed {
        rustix::net::shutdown(fd, rustix::net::Shutdown::Write)?;
    }
    Ok(())
}

/// The peer hears that it was reset, and so does the program.
pub(super) fn reset(
    ours: &OwnedFd,
    what: &Socket,
    own: &str,
    connection: &TcpConnection,
) -> Result<()> {
    let nobody = [0_u8; 16];
    let fd = ours.as_fd();
    let tell = || -> Result<()> {
        repair(ours, own, connection)?;
        set(fd, TCP_REPAIR, REPAIR_OFF)?;
        socket::connect(fd, &nobody)
    };
    // Without its old address, or rights over the network, it is closed too;
    // only that the peer has to find out for itself.
    if tell().is_err() {
        let _ = set(fd, TCP_REPAIR, REPAIR_OFF);
    }
    set_options(ours, what)?;
    // It stays bound, which is not to be in anybody's way.
    socket::set_number(fd, SOL_SOCKET, SO_REUSEADDR, 1)
}

fn set(fd: BorrowedFd<'_>, name: i32, value: i32) -> Result<()> {
    socket::set_number(fd, TCP, name, value)
}
