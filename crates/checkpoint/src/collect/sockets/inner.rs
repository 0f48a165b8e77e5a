//! TCP connections of the container with itself: they go on wherever both of
//! their ends do, whatever its addresses are there.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;

use sys::socket;

use super::super::files::Seen;
use super::connection;
use crate::image::parse_address;

/// Ends over the loopback that can be carried: where they are and where the
/// other one is.
#[derive(Debug, Default)]
pub(super) struct Inner(HashSet<(SocketAddr, SocketAddr)>);

impl Inner {
    pub(super) fn find(seen: &[Seen]) -> Self {
        let carried = seen.iter().filter(|one| super::inode(one).is_some());
        let carried = carried.filter(|one| connection::is_carried(one.ours.as_fd()));
        Self(carried.filter_map(ends).collect())
    }

    /// Whether the other end is one of them, too: not if nobody has accepted
    /// it, or if it is of another container in the same network.
    pub(super) fn has(&self, one: &Seen) -> bool {
        ends(one).is_some_and(|(own, peer)| {
            self.0.contains(&(own, peer)) && self.0.contains(&(peer, own))
        })
    }
}

fn ends(one: &Seen) -> Option<(SocketAddr, SocketAddr)> {
    let ours = one.ours.as_fd();
    let own = loopback(&socket::own_address(ours).ok()?)?;
    let peer = loopback(&socket::peer_address(ours).ok()?)?;
    Some((own, peer))
}

/// An end of version 6 may be one of version 4 to the other one.
fn loopback(bytes: &[u8]) -> Option<SocketAddr> {
    let address = parse_address(bytes)?;
    let ip = address.ip().to_canonical();
    ip.is_loopback()
        .then(|| SocketAddr::new(ip, address.port()))
}
