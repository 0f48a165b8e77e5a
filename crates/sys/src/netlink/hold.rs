//! A network namespace that nothing comes into from outside: while
//! connections are put together again, a packet for one that is not there yet
//! would end it.

use std::os::fd::BorrowedFd;

use super::nftables::{Chain, ChainKind, Expression, Family, Hook, Meta, Table, delete_table};
use super::{Protocol, Socket};
use crate::{Context as _, ErrorKind, Result, netns};

const TABLE: &str = "wharf-hold";
/// Before whatever the container itself has there.
const PRIORITY: i32 = -1000;

/// Drops what comes in by any link but the loopback. Peers take it for a loss
/// and send it again.
pub fn shut(namespace: BorrowedFd<'_>) -> Result<()> {
    let mut loopback = b"lo".to_vec();
    loopback.resize(16, 0);
    let rule = vec![
        Expression::Meta(Meta::InputName, 0),
        Expression::NotEqual(0, loopback),
        Expression::Drop,
    ];
    let table = Table {
        family: Family::Inet,
        name: TABLE.to_owned(),
        comment: String::new(),
        maps: Vec::new(),
        chains: vec![Chain {
            name: "input",
            kind: ChainKind::Filter,
            hook: Hook::Input,
            priority: PRIORITY,
            rules: vec![rule],
        }],
    };
    netns::within(namespace, || {
        let mut socket = Socket::open(Protocol::Netfilter)?;
        socket
            .transaction(table.create())
            .map_err(|(_, error)| error)
    })
    .context(|| "keep packets away until connections are there")
}

/// Lets packets in again, if they were kept out.
pub fn open(namespace: BorrowedFd<'_>) -> Result<()> {
    let opened = netns::within(namespace, || {
        let mut socket = Socket::open(Protocol::Netfilter)?;
        let delete = vec![delete_table(Family::Inet, TABLE)];
        socket.transaction(delete).map_err(|(_, error)| error)
    });
    match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        opened => opened.context(|| "let packets in again"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    #[test]
    fn what_was_not_shut_is_open() {
        let Ok(namespace) = crate::netns::create(|| Ok(())) else {
            return; // needs root
        };
        super::open(namespace.as_fd()).unwrap();
        super::shut(namespace.as_fd()).unwrap();
        super::open(namespace.as_fd()).unwrap();
        super::open(namespace.as_fd()).unwrap();
    }
}
