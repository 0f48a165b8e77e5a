//! Netlink sockets, without what waits in them.

use std::os::fd::AsFd as _;

use sys::{Result, socket};

use super::super::descriptors::refuse;
use super::super::files::Seen;
use super::busy;
use crate::image::options::NETLINK_CARRIED;
use crate::image::schema::{Socket, SocketState};
use crate::inject::number;

const MSG_PEEK: i32 = 2;

pub(super) fn collect(one: &Seen, what: &Socket) -> Result<SocketState> {
    let ours = one.ours.as_fd();
    if !NETLINK_CARRIED.contains(&what.protocol) {
        return Err(refuse(&format!(
            "is a netlink socket of protocol {}, which is not carried; close it first",
            what.protocol
        )));
    }
    // struct sockaddr_nl: family, padding, port, groups
    let address = socket::own_address(ours)?;
    let word = |at| u32::try_from(number(&address, at) & 0xffff_ffff).unwrap_or(0);
    let mut bytes = address.clone();
    bytes.resize(16, 0);
    let groups = u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    if groups == 0 && socket::receive(ours, &mut [0; 16], MSG_PEEK)?.is_some() {
        return Err(busy(
            "is a netlink socket with an answer that was not read yet; try again",
        ));
    }
    Ok(SocketState::Netlink {
        port: word(4),
        groups,
    })
}
