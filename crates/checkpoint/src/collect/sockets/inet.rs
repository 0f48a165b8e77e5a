//! TCP, UDP, ICMP and raw sockets of both versions of IP.

use std::os::fd::AsFd as _;

use sys::{Error, Result, socket};

use super::super::Collection;
use super::super::descriptors::refuse;
use super::super::files::Seen;
use super::inner::Inner;
use super::{busy, connection};
use crate::dump::TcpPolicy;
use crate::image::hex;
use crate::image::schema::{Socket, SocketState, Tcp, TcpLink};
use crate::tcp::TCP;

const SOCK_STREAM: i32 = 1;
const SOCK_DGRAM: i32 = 2;
const SOCK_RAW: i32 = 3;
const TCP_INFO: i32 = 11;
const TCP_ULP: i32 = 31;
/// `TCP_SYN_SENT`, `TCP_SYN_RECV`, `TCP_CLOSE`, `TCP_LISTEN`.
const SYN_SENT: u8 = 2;
const SYN_RECEIVED: u8 = 3;
const CLOSED: u8 = 7;
const LISTENING: u8 = 10;
/// Of the backlog, in `struct tcp_info`.
const BACKLOG: usize = 28;
const ENOTCONN: i32 = 107;

pub(super) fn collect(
    one: &Seen,
    what: &Socket,
    inner: &Inner,
    all: &mut Collection,
) -> Result<SocketState> {
    match what.kind {
        SOCK_STREAM if what.protocol == TCP => tcp(one, inner, all).map(SocketState::Tcp),
        SOCK_DGRAM | SOCK_RAW => {
            let peer = match socket::peer_address(one.ours.as_fd()) {
                Err(error) if error.errno() == Some(ENOTCONN) => Vec::new(),
                peer => peer?,
            };
            Ok(SocketState::Datagram {
                own: own(one)?,
                peer: hex::encode(&peer),
            })
        }
        _ => Err(refuse(&format!(
            "is a socket of protocol {}, which is not carried; close it first",
            what.protocol
        ))),
    }
}

fn tcp(one: &Seen, inner: &Inner, all: &mut Collection) -> Result<Tcp> {
    let ours = one.ours.as_fd();
    let info = socket::option(ours, TCP, TCP_INFO, 64)?;
    let state = info.first().copied().unwrap_or(0);
    // ENOPROTOOPT and ENOTCONN mean none.
    if socket::option(ours, TCP, TCP_ULP, 16).is_ok_and(|ulp| ulp.iter().any(|byte| *byte != 0)) {
        return Err(refuse(
            "is a connection whose encryption is the kernel's (kTLS), which cannot be carried; \
             turn that off in the program",
        ));
    }
    let link = match state {
        CLOSED => TcpLink::None,
        LISTENING => {
            let bytes = info.get(BACKLOG..BACKLOG + 4);
            let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
            let backlog = u32::from_ne_bytes(bytes.unwrap_or_default());
            TcpLink::Listening { backlog }
        }
        SYN_SENT | SYN_RECEIVED => {
            return Err(busy("is a connection that is being made; try again"));
        }
        _ => established(one, inner, all)?,
    };
    Ok(Tcp {
        own: own(one)?,
        link,
    })
}

fn established(one: &Seen, inner: &Inner, all: &mut Collection) -> Result<TcpLink> {
    let keep = || connection::keep(one).map(|(it, held)| (TcpLink::Connected(Box::new(it)), held));
    let close = || connection::close(one).map(|(it, held)| (TcpLink::Closed(Box::new(it)), held));
    let (link, held) = match all.options.tcp {
        TcpPolicy::Refuse => return Err(connected(one)),
        TcpPolicy::Keep => keep()?,
        // One that just ends is no reason to fail.
        TcpPolicy::KeepInner if inner.has(one) => keep().or_else(|_| close())?,
        TcpPolicy::KeepInner | TcpPolicy::Close => close()?,
    };
    all.held.push(held);
    Ok(link)
}

fn connected(one: &Seen) -> Error {
    let peer = socket::peer_address(one.ours.as_fd()).unwrap_or_default();
    refuse(&format!(
        "is a TCP connection to {}; use --tcp-established to carry it, or --tcp-close to \
         have it reset",
        crate::image::address(&peer)
    ))
}

/// Where it is bound; empty if it is not.
fn own(one: &Seen) -> Result<String> {
    let own = socket::own_address(one.ours.as_fd())?;
    let is_bound = own
        .get(2..)
        .is_some_and(|rest| rest.iter().any(|byte| *byte != 0));
    Ok(if is_bound {
        hex::encode(&own)
    } else {
        String::new()
    })
}
