//! What else decides about packets to published ports.

use sys::Result;
use sys::netlink::nftables::{ForeignChain, list_chains};
use sys::netlink::{Protocol, Socket};

/// The chains of others that forwarded packets pass, as
/// `inet firewalld filter_FORWARD`: each of them may drop what we let pass.
/// Without nftables in the kernel there are none.
pub fn foreign_filters() -> Result<Vec<String>> {
    /// `NF_INET_FORWARD`.
    const FORWARD: u32 = 2;
    let Ok(mut socket) = Socket::open(Protocol::Netfilter) else {
        return Ok(Vec::new());
    };
    let Ok(replies) = socket.dump(&list_chains()) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for reply in &replies {
        let Some(chain) = ForeignChain::parse(reply)? else {
            continue;
        };
        let decides = chain.drops || chain.rules > 0;
        let is_ours = chain.table == "wharf" || chain.table.starts_with("wharf-");
        if chain.hook == FORWARD && decides && !is_ours {
            found.push(format!("{} {} {}", chain.family, chain.table, chain.chain));
        }
    }
    Ok(found)
}
