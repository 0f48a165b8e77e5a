//! Changes to containers that run.

use std::os::fd::BorrowedFd;

use state::NetworkRecord;
use sys::Result;

use crate::Networks;
use crate::wire;

impl Networks {
    /// Takes the link of a network that a container was detached from out of
    /// its namespace, if it is there still.
    pub fn delete_link_inside(&self, netns: BorrowedFd<'_>, interface: &str) -> Result<()> {
        wire::delete_inside(netns, interface)
    }

    /// Lets what has no better way leave by this attachment from now on.
    pub fn route_by(&self, netns: BorrowedFd<'_>, place: &NetworkRecord) -> Result<()> {
        let gateways: Vec<_> = place
            .ipv4_gateway
            .into_iter()
            .chain(place.ipv6.and(place.ipv6_gateway))
            .collect();
        wire::route_by(netns, &place.interface, &gateways)
    }
}
