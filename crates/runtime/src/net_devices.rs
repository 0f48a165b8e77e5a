//! `linux.netDevices`: links of the host that move into the container's
//! network namespace and keep their addresses.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};

use spec::runtime::NetDevice;
use sys::netlink::route::{self, Address, Link, LinkName};
use sys::netlink::{Protocol, Socket};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::sandbox::invalid;

/// The kernel's limit (`IFNAMSIZ` less its end).
const NAME_MAX: usize = 15;

/// Its name on the host and in the container.
type Move<'a> = (&'a str, &'a str);

/// Understands the field. Pure.
pub(crate) fn plan(devices: &BTreeMap<String, NetDevice>) -> Result<Vec<Move<'_>>> {
    let mut moves: Vec<Move<'_>> = Vec::with_capacity(devices.len());
    for (name, device) in devices {
        let inside = device.name.as_deref().filter(|name| !name.is_empty());
        let inside = inside.unwrap_or(name);
        for name in [name, inside] {
            let is_name = (1..=NAME_MAX).contains(&name.len())
                && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0')
                && !matches!(name, "." | "..");
            if !is_name {
                return Err(invalid(format!(
                    "linux.netDevices: {name:?} is not the name of a link"
                )));
            }
        }
        if !is_template(inside) && moves.iter().any(|(_, other)| *other == inside) {
            return Err(invalid(format!(
                "linux.netDevices: two links are to be {inside} in the container"
            )));
        }
        moves.push((name, inside));
    }
    Ok(moves)
}

/// Moves them into the namespace `netns`, and sets them up there. Whether they
/// are there and have room is known before the first one moves.
pub(crate) fn move_in(moves: &[Move<'_>], netns: BorrowedFd<'_>) -> Result<()> {
    if moves.is_empty() {
        return Ok(());
    }
    let mut here = Socket::open(Protocol::Route)?;
    let mut there = sys::netns::within(netns, || Socket::open(Protocol::Route))?;
    let taken = links(&mut there)?;
    let mut found = Vec::with_capacity(moves.len());
    for (name, inside) in moves {
        let link = find(&mut here, name)
            .context(|| format!("linux.netDevices: find link {name} on the host"))?;
        if taken.iter().any(|link| link.name == *inside) {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("linux.netDevices: the container has a link {inside} already"),
            ));
        }
        found.push(link);
    }
    for (link, (name, inside)) in found.iter().zip(moves) {
        move_one(&mut here, &mut there, link, inside, netns)
            .context(|| format!("linux.netDevices: move {name} into the container"))?;
    }
    Ok(())
}

fn move_one(
    here: &mut Socket,
    there: &mut Socket,
    link: &Link,
    inside: &str,
    netns: BorrowedFd<'_>,
) -> Result<()> {
    let addresses = permanent_addresses(here, link.index)?;
    let before = links(there)?;
    here.request(route::move_and_rename(link.index, inside, netns.as_fd()))?;
    // The index may be another one there, and of a template the name too.
    let after = links(there)?;
    let is_new = |link: &&Link| before.iter().all(|known| known.index != link.index);
    let moved = after
        .iter()
        .find(is_new)
        .ok_or_else(|| Error::new(ErrorKind::Internal, "it did not arrive in the container"))?;
    let index = moved.index;
    let mut messages: Vec<_> = addresses
        .iter()
        .map(|address| route::copy_address(address, index))
        .collect();
    messages.push(route::set_up(LinkName::Index(index)));
    for outcome in there.exchange(messages)? {
        outcome.context(|| format!("set up {} there", moved.name))?;
    }
    Ok(())
}

fn permanent_addresses(socket: &mut Socket, link: u32) -> Result<Vec<Address>> {
    let all = socket.dump(&route::list_addresses())?;
    let all = all.iter().map(Address::parse).collect::<Result<Vec<_>>>()?;
    let stays =
        |address: &Address| address.link == link && address.is_permanent && address.is_global;
    Ok(all.into_iter().filter(stays).collect())
}

fn links(socket: &mut Socket) -> Result<Vec<Link>> {
    let all = socket.dump(&route::list_links())?;
    all.iter().map(Link::parse).collect()
}

fn find(socket: &mut Socket, name: &str) -> Result<Link> {
    let replies = socket.request(route::get_link(LinkName::Name(name)))?;
    let reply = replies.first();
    let nothing = || Error::new(ErrorKind::NotFound, "there is no such link");
    Link::parse(reply.ok_or_else(nothing)?)
}

/// A name for which the kernel finds a number.
fn is_template(name: &str) -> bool {
    name.contains("%d")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(list: &[(&str, Option<&str>)]) -> BTreeMap<String, NetDevice> {
        let entry = |(name, inside): &(&str, Option<&str>)| {
            let name_inside = inside.map(str::to_owned);
            ((*name).to_owned(), NetDevice { name: name_inside })
        };
        list.iter().map(entry).collect()
    }

    #[test]
    fn names_are_checked() {
        let good = devices(&[
            ("eth1", None),
            ("eth2", Some("in%d")),
            ("eth3", Some("in%d")),
        ]);
        assert_eq!(
            plan(&good).unwrap(),
            [("eth1", "eth1"), ("eth2", "in%d"), ("eth3", "in%d")]
        );
        for bad in [
            devices(&[("", None)]),
            devices(&[("a/b", None)]),
            devices(&[("eth0", Some("0123456789abcdef"))]),
            devices(&[("eth0", Some("x")), ("eth1", Some("x"))]),
        ] {
            assert!(plan(&bad).is_err(), "{bad:?}");
        }
    }
}
