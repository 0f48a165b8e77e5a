//! More containers than a bridge can serve: further bridges, each joined to
//! the first one by a pair of links.
//!
//! ```text
//!   wharf0 ─┬─ hundreds of containers
//!           └─ wht…-1a ══ wht…-1b ── whb…-1 ── hundreds more
//! ```
//!
//! A bridge has 1,023 ports, but it does not serve as many: what is for all of
//! them (a question by ARP) is queued once for each, and the kernel drops what
//! is more than `netdev_max_backlog`, 1,000. So containers are spread over
//! more bridges the more there are, by their addresses.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use sys::netlink::route::{self, Link, LinkName, VethPair};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::apply::Host;
use crate::attachment::Attachment;
use crate::drivers::bridge;
use crate::plan;
use crate::wire::{Step, is, perform};

/// Further bridges of one network.
const MOST: u32 = 15;
/// For each so many containers there is one bridge more to choose from.
const SHARE: usize = 250;
/// Others may take a port that was just made free.
const TRIES: usize = 20;

/// What the names of a network's further bridges begin with.
pub(crate) fn beginning(bridge: &str) -> String {
    format!("whb{:08x}", bridge::hash(bridge.as_bytes()))
}

/// Names of the `number`th further bridge and of the two ends of its joint,
/// at most 15 bytes.
fn names(bridge: &str, number: u32) -> [String; 3] {
    let hash = bridge::hash(bridge.as_bytes());
    [
        format!("{}-{number:x}", beginning(bridge)),
        format!("wht{hash:08x}-{number:x}a"),
        format!("wht{hash:08x}-{number:x}b"),
    ]
}

impl Host {
    /// The bridge that a container with this address belongs on: 0 for the
    /// first one, else the number of a further one.
    pub(crate) fn share_of(&self, address: Ipv4Addr) -> Result<u32> {
        let bridges = (self.leases.count()? / SHARE + 1).min(MOST as usize + 1);
        let mixed = address.to_bits().wrapping_mul(0x9e37_79b1) >> 16;
        // No more than there are bridges.
        Ok(mixed % u32::try_from(bridges).unwrap_or(1))
    }

    /// Makes a pair on a bridge beside the full one.
    pub(crate) fn make_pair_beside(
        &mut self,
        netns: BorrowedFd<'_>,
        attachment: &Attachment,
    ) -> Result<()> {
        for number in 1..=MOST {
            let master = self.beside(number)?;
            match self.make_pair_on(master, netns, attachment) {
                Err(error) if is(&error, Errno::XFULL) => {}
                made => return made,
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("network {} is full", self.network.name),
        ))
    }

    /// The index of a further bridge, which is made if it is not there.
    pub(crate) fn beside(&mut self, number: u32) -> Result<u32> {
        let [bridge, end, peer] = names(&self.network.bridge, number);
        if let Some(link) = self.link(&end)?
            && link.is_up
            && let Some(bridge) = self.link(&bridge)?
        {
            return Ok(bridge.index);
        }
        let _lock = self.lock_side()?;
        std::fs::write(self.mark(), "").context(|| format!("note bridge {bridge}"))?;
        // Neither takes part in the traffic: any hardware address will do.
        let [.., a, b, c] = self.network.gateway().octets();
        let hardware = |kind| [kind, 0x42, a, b, c, number.to_le_bytes()[0]];
        let make = vec![
            Step::new(
                "make bridge",
                route::new_bridge(&bridge, hardware(0x06), self.network.mtu),
            )
            .tolerating(&[Errno::EXIST]),
            Step::new(
                "keep generated addresses off bridge",
                route::set_no_generated_address(LinkName::Name(&bridge)),
            )
            .tolerating(&[Errno::AFNOSUPPORT]),
            // The host is on the first bridge, and would be here with another
            // hardware address.
            Step::new(
                "keep the host off bridge",
                route::set_no_arp(LinkName::Name(&bridge)),
            ),
            Step::new("start bridge", route::set_up(LinkName::Name(&bridge))),
        ];
        perform(&mut self.route, &bridge, make)?;
        let missing = || Error::new(ErrorKind::Corrupt, "the kernel forgot a bridge");
        let index = self.link(&bridge)?.ok_or_else(missing)?.index;
        for _ in 0..TRIES {
            if self.link(&end)?.is_none() {
                let here = sys::netns::current()?;
                let pair = VethPair {
                    name: &end,
                    master: self.master,
                    peer_name: &peer,
                    peer_mac: hardware(0x0a),
                    peer_netns: here.as_fd(),
                    mtu: self.network.mtu,
                };
                let joint = vec![Step::new("join bridge", route::new_veth(&pair))];
                match perform(&mut self.route, &bridge, joint) {
                    Err(error) if is(&error, Errno::XFULL) => {
                        // One of the containers moves over and makes room.
                        self.move_one(index)?;
                        continue;
                    }
                    made => made?,
                };
            }
            // The kernel listens to no master of the far end when it makes a pair.
            let join = route::set_master(LinkName::Name(&peer), index);
            let mut joined = vec![Step::new("join bridge", join)];
            for name in [&peer, &end] {
                let quiet = route::set_no_generated_address(LinkName::Name(name));
                joined.push(Step::new("set up link", quiet).tolerating(&[Errno::AFNOSUPPORT]));
            }
            perform(&mut self.route, &peer, joined)?;
            let up = [&peer, &end]
                .map(|name| Step::new("start link", route::set_up(LinkName::Name(name))));
            perform(&mut self.route, &end, up.into())?;
            // Both have to notice that the other one is up, or their bridges
            // would drop what comes before the kernel gets round to it.
            let noticed = [&peer, &end, &bridge]
                .map(|name| Step::new("look at link", route::get_link(LinkName::Name(name))));
            perform(&mut self.route, &end, noticed.into())?;
            return Ok(index);
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "others take every port of the bridge",
        ))
    }

    fn move_one(&mut self, to: u32) -> Result<()> {
        let replies = self
            .route
            .dump(&route::list_links())
            .context(|| "list links")?;
        for reply in &replies {
            let link = Link::parse(reply)?;
            if link.master == Some(self.master) && plan::is_link_name(&link.name) {
                let name = &*link.name;
                let steps = vec![
                    Step::new("move link", route::set_master(LinkName::Name(name), to)),
                    Step::new("set up link", route::prepare_port(name))
                        .tolerating(&[Errno::AFNOSUPPORT]),
                ];
                return perform(&mut self.route, name, steps).map(drop);
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the bridge is full of links that are not ours",
        ))
    }

    /// Indexes of all bridges of the network.
    pub(crate) fn masters(&mut self) -> Result<Vec<u32>> {
        let mut masters = vec![self.master];
        for number in 1..=MOST {
            let [bridge, ..] = names(&self.network.bridge, number);
            masters.extend(self.link(&bridge)?.map(|link| link.index));
        }
        Ok(masters)
    }

    /// Deletes the further bridges; nobody is on them.
    pub(crate) fn remove_beside(&mut self) -> Result<()> {
        let mark = self.mark();
        if !mark.exists() {
            return Ok(());
        }
        for number in 1..=MOST {
            let [bridge, end, _] = names(&self.network.bridge, number);
            self.delete_link(&end)?;
            self.delete_link(&bridge)?;
        }
        std::fs::remove_file(&mark).context(|| format!("remove {}", mark.display()))
    }

    /// Links that join further bridges to the first one, whether they are
    /// there or not.
    pub(crate) fn joints(&self) -> Vec<String> {
        let joint = |number| {
            let [_, end, _] = names(&self.network.bridge, number);
            end
        };
        (1..=MOST).map(joint).collect()
    }

    /// There while there are further bridges.
    fn mark(&self) -> PathBuf {
        self.side_lock.with_extension("beside")
    }

    /// A link of the host by its name.
    pub(crate) fn link(&mut self, name: &str) -> Result<Option<Link>> {
        match self.route.request(route::get_link(LinkName::Name(name))) {
            Ok(replies) => replies.first().map(Link::parse).transpose(),
            Err(error) if is(&error, Errno::NODEV) => Ok(None),
            Err(error) => Err(error.wrap(format!("look for link {name}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        for number in [1, 15] {
            for name in names("wharf-12345678", number) {
                assert!(name.len() <= 15, "{name}");
                assert!(!plan::is_link_name(&name), "{name}");
            }
        }
        assert_ne!(names("wharf0", 1), names("wharf1", 1));
    }
}
