//! TCP, UDP, ICMP and raw sockets, and netlink.

use std::os::fd::{AsFd as _, OwnedFd};

use sys::{Context as _, Error, ErrorKind, Result, socket};

use super::{connection, set_options};
use crate::image::schema::{Socket, Tcp, TcpLink};
use crate::image::{address, hex};

const SOL_NETLINK: i32 = 270;
const NETLINK_ADD_MEMBERSHIP: i32 = 1;
const EADDRINUSE: i32 = 98;
const EADDRNOTAVAIL: i32 = 99;
const AF_NETLINK: u16 = 16;

pub(super) fn tcp(ours: &OwnedFd, what: &Socket, tcp: &Tcp) -> Result<()> {
    set_options(ours, what)?;
    match &tcp.link {
        TcpLink::None => connection::bind(ours, what, &hex::decode(&tcp.own)?),
        TcpLink::Listening { backlog } => {
            bind(ours, &hex::decode(&tcp.own)?)?;
            let backlog = i32::try_from(*backlog).unwrap_or(i32::MAX);
            rustix::net::listen(ours, backlog).context(|| "listen")
        }
        TcpLink::Connected(it) => connection::repair(ours, &tcp.own, it),
        TcpLink::Closed(_) => Ok(()),
    }
}

pub(super) fn datagram(ours: &OwnedFd, what: &Socket, own: &str, peer: &str) -> Result<()> {
    set_options(ours, what)?;
    let (own, peer) = (hex::decode(own)?, hex::decode(peer)?);
    match bind(ours, &own) {
        // The address was chosen by the kernel, for the peer.
        Err(error) if error.errno() == Some(EADDRNOTAVAIL) && !peer.is_empty() => {
            bind(ours, &anywhere(&own))?;
        }
        bound => bound?,
    }
    if peer.is_empty() {
        return Ok(());
    }
    socket::connect(ours.as_fd(), &peer).context(|| format!("connect to {}", address(&peer)))
}

pub(super) fn netlink(ours: &OwnedFd, what: &Socket, port: u32, groups: u32) -> Result<()> {
    set_options(ours, what)?;
    if port == 0 {
        return Ok(());
    }
    let mut own = AF_NETLINK.to_ne_bytes().to_vec();
    own.extend_from_slice(&[0; 2]);
    own.extend_from_slice(&port.to_ne_bytes());
    own.extend_from_slice(&0u32.to_ne_bytes());
    socket::bind(ours.as_fd(), &own).context(|| format!("bind netlink port {port}"))?;
    for group in (0..32).filter(|bit| groups & 1 << bit != 0) {
        let group: i32 = group + 1;
        socket::set_number(ours.as_fd(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
            .context(|| format!("join netlink group {group}"))?;
    }
    Ok(())
}

pub(super) fn bind(ours: &OwnedFd, own: &[u8]) -> Result<()> {
    if own.is_empty() {
        return Ok(());
    }
    let error = match socket::bind(ours.as_fd(), own) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let name = address(own);
    match error.errno() {
        Some(EADDRINUSE) => Err(Error::new(
            ErrorKind::Conflict,
            format!("{name} is in use; stop what uses it, or restore into another network"),
        )),
        Some(EADDRNOTAVAIL) => Err(Error::from_errno(EADDRNOTAVAIL).wrap(format!(
            "bind {name} (restore with the address that the container had)"
        ))),
        _ => Err(error.wrap(format!("bind {name}"))),
    }
}

/// The same port of no address in particular.
fn anywhere(own: &[u8]) -> Vec<u8> {
    let mut own = own.to_vec();
    let address = if own.len() > 16 { 8..24 } else { 4..8 };
    if let Some(address) = own.get_mut(address) {
        address.fill(0);
    }
    own
}
