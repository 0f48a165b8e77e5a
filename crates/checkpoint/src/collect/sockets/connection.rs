//! TCP connections, in repair mode: what was sent and not acknowledged, what
//! was received and not read, and what both sides agreed on.
//!
//! From the moment that one is looked at the kernel drops what comes for it,
//! as if the network had lost it: nothing is acknowledged that the image does
//! not have. The peer sends it again.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use sys::{Context as _, Result, socket};

use super::super::descriptors::refuse;
use super::super::files::Seen;
use super::busy;
use crate::image::hex;
use crate::image::options::SOL_SOCKET;
use crate::image::schema::TcpConnection;
use crate::tcp::{
    RECEIVE, REPAIR_OFF, SEND, SO_REUSEADDR, TCP, TCP_QUEUE_SEQ, TCP_REPAIR, TCP_REPAIR_QUEUE,
    TCP_REPAIR_WINDOW, TCP_TIMESTAMP,
};

const SO_LINGER: i32 = 13;
const TCP_MAXSEG: i32 = 2;
const TCP_INFO: i32 = 11;
const SIOCINQ: u64 = 0x541b;
const SIOCOUTQ: u64 = 0x5411;
const SIOCOUTQNSD: u64 = 0x894b;
const MSG_PEEK: i32 = 2;
/// `tcpi_state`s in which it is carried: both send, or ours is done sending.
const ESTABLISHED: u8 = 1;
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
const CLOSE_WAIT: u8 = 8;
/// `tcpi_options`.
const TIMESTAMPS: u8 = 1;
const SELECTIVE: u8 = 2;
const SCALED: u8 = 4;

/// A connection that is held still, and what becomes of it. Dropping it lets
/// it go on.
#[derive(Debug)]
pub(crate) struct Stilled {
    /// None once it is given up.
    socket: Option<OwnedFd>,
    reuses: Vec<u8>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It goes on in the image: its peer hears nothing.
    Silent,
    /// Its peer hears that it was reset.
    Reset,
}

impl Stilled {
    fn new(one: &Seen, end: End) -> Result<Self> {
        let socket = one.ours.try_clone()?;
        let reuses = socket::option(socket.as_fd(), SOL_SOCKET, SO_REUSEADDR, 4)?;
        let held = Self {
            socket: Some(socket),
            reuses,
            end,
        };
        socket::be_deaf(one.ours.as_fd()).context(|| "hold a connection still")?;
        set(one.ours.as_fd(), TCP_REPAIR, 1).context(|| "repair a connection")?;
        Ok(held)
    }

    fn go_on(&self) -> Result<()> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        set(socket.as_fd(), TCP_REPAIR, REPAIR_OFF)?;
        // Repairing forgets it.
        socket::set_option(socket.as_fd(), SOL_SOCKET, SO_REUSEADDR, &self.reuses)?;
        socket::hear(socket.as_fd())
    }

    /// Its processes are about to be ended.
    pub(crate) fn prepare_end(&self) -> Result<()> {
        let Some(socket) = self.socket.as_ref().filter(|_| self.end == End::Reset) else {
            return Ok(());
        };
        self.go_on()?;
        let now = [1_i32.to_ne_bytes(), 0_i32.to_ne_bytes()].concat();
        socket::set_option(socket.as_fd(), SOL_SOCKET, SO_LINGER, &now)
    }

    /// They have ended.
    pub(crate) fn finish(mut self) {
        // The last descriptor: in repair mode its end says nothing to anybody.
        self.socket = None;
    }
}

impl Drop for Stilled {
    fn drop(&mut self) {
        // What brought us here is what is told.
        let _ = self.go_on();
    }
}

/// Whether it is a connection in a state in which [`keep`] can carry it.
pub(super) fn is_carried(ours: BorrowedFd<'_>) -> bool {
    let info = socket::option(ours, TCP, TCP_INFO, 1).unwrap_or_default();
    matches!(info.first(), Some(&(ESTABLISHED | FIN_WAIT1 | FIN_WAIT2)))
}

/// Everything about it; none of it changes until the second is dropped.
pub(super) fn keep(one: &Seen) -> Result<(TcpConnection, Stilled)> {
    let held = Stilled::new(one, End::Silent)?;
    let ours = one.ours.as_fd();
    let info = socket::option(ours, TCP, TCP_INFO, 128)?;
    let byte = |at: usize| info.get(at).copied().unwrap_or(0);
    let (state, options, scales) = (byte(0), byte(5), byte(6));
    let has_finished = match state {
        ESTABLISHED => false,
        FIN_WAIT1 | FIN_WAIT2 => true,
        CLOSE_WAIT => {
            return Err(refuse(
                "is a TCP connection whose peer is done sending, which is not carried yet; use \
                 --tcp-close to have it reset",
            ));
        }
        _ => return Err(busy("is a TCP connection that is being closed; try again")),
    };
    let mut unacknowledged = socket::queued(ours, SIOCOUTQ)?;
    let mut unsent = socket::queued(ours, SIOCOUTQNSD)?;
    if state == FIN_WAIT1 {
        // The end counts as a byte.
        unacknowledged = unacknowledged.saturating_sub(1);
        unsent = unsent.saturating_sub(1);
    }
    let unread = socket::queued(ours, SIOCINQ)?;
    let (received, incoming) = queue(ours, RECEIVE, unread)?;
    let (sent, outgoing) = queue(ours, SEND, unacknowledged)?;
    let finished = u32::from(has_finished);
    let connection = TcpConnection {
        peer: hex::encode(&socket::peer_address(ours)?),
        is_half_closed: has_finished,
        send: sent
            .wrapping_sub(finished)
            .wrapping_sub(u32::try_from(outgoing.len()).unwrap_or(0)),
        receive: received.wrapping_sub(u32::try_from(incoming.len()).unwrap_or(0)),
        outgoing: hex::encode(&outgoing),
        unsent: u32::try_from(unsent.min(outgoing.len())).unwrap_or(0),
        incoming: hex::encode(&incoming),
        segment: number(ours, TCP_MAXSEG)?,
        scales: (options & SCALED != 0).then_some((scales & 15, scales >> 4)),
        selective: options & SELECTIVE != 0,
        time: match options & TIMESTAMPS {
            0 => None,
            _ => Some(number(ours, TCP_TIMESTAMP)?),
        },
        window: hex::encode(&socket::option(ours, TCP, TCP_REPAIR_WINDOW, 20)?),
    };
    Ok((connection, held))
}

/// Enough to have its peer hear of its end, now or at the restore.
pub(super) fn close(one: &Seen) -> Result<(TcpConnection, Stilled)> {
    let held = Stilled::new(one, End::Reset)?;
    let ours = one.ours.as_fd();
    let connection = TcpConnection {
        peer: hex::encode(&socket::peer_address(ours).unwrap_or_default()),
        send: queue(ours, SEND, 0)?.0,
        receive: queue(ours, RECEIVE, 0)?.0,
        ..TcpConnection::default()
    };
    Ok((connection, held))
}

/// Where the queue ends, and the first `length` bytes of it.
fn queue(ours: BorrowedFd<'_>, which: i32, length: usize) -> Result<(u32, Vec<u8>)> {
    set(ours, TCP_REPAIR_QUEUE, which)?;
    let sequence = number(ours, TCP_QUEUE_SEQ)?;
    let mut content = vec![0; length];
    if length > 0 {
        let got = socket::receive(ours, &mut content, MSG_PEEK)?;
        if got.is_none_or(|got| got.length != length) {
            return Err(busy("is a TCP connection with urgent data; try again"));
        }
    }
    Ok((sequence, content))
}

fn set(ours: BorrowedFd<'_>, name: i32, value: i32) -> Result<()> {
    socket::set_number(ours, TCP, name, value)
}

fn number(ours: BorrowedFd<'_>, name: i32) -> Result<u32> {
    let value = socket::option(ours, TCP, name, 4)?;
    Ok(value.try_into().map_or(0, u32::from_ne_bytes))
}
