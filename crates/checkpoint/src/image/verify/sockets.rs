//! Sockets of a checkpoint: families, addresses, names, other ends.

use sys::Result;

use super::ensure;
use crate::image::hex;
use crate::image::options::{self, NETLINK_CARRIED};
use crate::image::schema::{
    Checkpoint, Kind, Message, Socket, SocketState, TcpConnection, TcpLink, Unix, UnixLink,
    UnixName,
};
use crate::tcp::TCP;

const AF_UNIX: i32 = 1;
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
const AF_NETLINK: i32 = 16;
const STREAM: i32 = 1;
const DATAGRAM: i32 = 2;
const RAW: i32 = 3;
const SEQPACKET: i32 = 5;
/// Of windows (RFC 7323).
const SCALE_MAX: u8 = 14;
/// `struct tcp_repair_window`.
const WINDOW: usize = 20;
/// `sun_path`.
const NAME_MAX: usize = 108;
const DESCRIPTORS_MAX: usize = 253;

pub(super) fn verify(place: usize, socket: &Socket, checkpoint: &Checkpoint) -> Result<()> {
    let is_inet = socket.domain == AF_INET || socket.domain == AF_INET6;
    let fits = match socket.state {
        SocketState::Unix(_) => {
            socket.domain == AF_UNIX && matches!(socket.kind, STREAM | DATAGRAM | SEQPACKET)
        }
        SocketState::Tcp(_) => is_inet && socket.kind == STREAM && socket.protocol == TCP,
        SocketState::Datagram { .. } => is_inet && matches!(socket.kind, DATAGRAM | RAW),
        SocketState::Netlink { .. } => {
            socket.domain == AF_NETLINK
                && matches!(socket.kind, DATAGRAM | RAW)
                && NETLINK_CARRIED.contains(&socket.protocol)
        }
    };
    ensure(fits, "a socket is of an impossible kind")?;
    for option in &socket.options {
        let known = options::is_known(socket, option.level, option.name, &option.value);
        ensure(known, "a socket has an unknown option")?;
    }
    match &socket.state {
        SocketState::Unix(it) => unix(place, socket, it, checkpoint),
        SocketState::Tcp(tcp) => {
            ensure(
                address(&tcp.own, socket.domain)
                    && (tcp.link == TcpLink::None || !tcp.own.is_empty()),
                "a socket has an impossible address",
            )?;
            match &tcp.link {
                TcpLink::Connected(it) => connection(it, socket.domain, true),
                TcpLink::Closed(it) => connection(it, socket.domain, false),
                TcpLink::None | TcpLink::Listening { .. } => Ok(()),
            }
        }
        SocketState::Datagram { own, peer } => ensure(
            address(own, socket.domain) && address(peer, socket.domain),
            "a socket has an impossible address",
        ),
        SocketState::Netlink { .. } => Ok(()),
    }
}

fn connection(it: &TcpConnection, domain: i32, is_whole: bool) -> Result<()> {
    ensure(
        address(&it.peer, domain) && !(is_whole && it.peer.is_empty()),
        "a connection has an impossible address",
    )?;
    let scale = |scale: u8| scale <= SCALE_MAX;
    let good = it
        .scales
        .is_none_or(|(one, other)| scale(one) && scale(other))
        && u16::try_from(it.segment).is_ok()
        && it.unsent as usize * 2 <= it.outgoing.len()
        && (it.window.is_empty() && !is_whole || it.window.len() == WINDOW * 2);
    ensure(good, "a connection is in an impossible state")
}

/// None, or one of that family.
fn address(text: &str, domain: i32) -> bool {
    let length = if domain == AF_INET { 16 } else { 28 };
    let family = u16::try_from(domain).unwrap_or(0).to_ne_bytes();
    text.is_empty()
        || text.len() == length * 2
            && hex::decode(text).is_ok_and(|bytes| bytes.starts_with(&family))
}

fn unix(place: usize, socket: &Socket, unix: &Unix, checkpoint: &Checkpoint) -> Result<()> {
    if let Some(name) = &unix.name {
        ensure(is_name(name), "a unix socket has an impossible name")?;
    }
    let other = |place: usize| {
        let description = checkpoint.descriptions.get(place)?;
        match &description.kind {
            Kind::Socket(other) if other.kind == socket.kind => match &other.state {
                SocketState::Unix(unix) => Some(unix),
                _ => None,
            },
            _ => None,
        }
    };
    let good = match &unix.link {
        UnixLink::None => true,
        UnixLink::Widowed => socket.kind != DATAGRAM,
        UnixLink::Listening { .. } => unix.name.is_some() && socket.kind != DATAGRAM,
        UnixLink::Connected { to } => other(*to).is_some_and(|peer| {
            let mutual = peer.link == UnixLink::Connected { to: place };
            *to != place && (mutual || socket.kind == DATAGRAM && peer.name.is_some())
        }),
        UnixLink::Waiting { at } => {
            other(*at).is_some_and(|it| matches!(it.link, UnixLink::Listening { .. }))
        }
        UnixLink::External { address } => {
            socket.kind == DATAGRAM
                && address.len() <= (NAME_MAX + 2) * 2
                && hex::decode(address).is_ok_and(|bytes| bytes.starts_with(&[1, 0]))
        }
    };
    ensure(good, "a unix socket is connected to nothing")?;
    ensure(
        unix.shutdown <= 3,
        "a unix socket is in an impossible state",
    )?;
    unix.queue
        .iter()
        .try_for_each(|message| in_flight(message, checkpoint))
}

fn is_name(name: &UnixName) -> bool {
    let Ok(bytes) = hex::decode(&name.bytes) else {
        return false;
    };
    let is_abstract = bytes.first() == Some(&0);
    let directory = name.directory.as_deref();
    (1..=NAME_MAX).contains(&bytes.len())
        && (is_abstract || !bytes.contains(&0))
        && directory.is_none_or(|it| it.starts_with('/') && !it.contains('\0'))
}

fn in_flight(message: &Message, checkpoint: &Checkpoint) -> Result<()> {
    ensure(
        message.sender.len() <= (NAME_MAX + 2) * 2,
        "a message is from an impossible sender",
    )?;
    let known = message.descriptions.iter().all(|place| {
        let description = checkpoint.descriptions.get(*place);
        description.is_some_and(|it| !it.kind.is_late())
    });
    ensure(
        known && message.descriptions.len() <= DESCRIPTORS_MAX,
        "a message carries nothing",
    )
}
