//! Applies the rules of a network to the kernel's packet filter.

use std::collections::BTreeSet;

use rustix::io::Errno;
use state::PortMapping;
use sys::netlink::conntrack::{self, Flow, IpVersion};
use sys::netlink::nftables::{self, Element, Family, Table, TableState};
use sys::netlink::{Protocol, Socket};
use sys::{Context as _, Error, ErrorKind, Result};

use super::rules::MAPS;
use super::{guard, rules};
use crate::definition::Definition;
use crate::wire::is;

/// The packet filter of the namespace it is used in.
#[derive(Debug)]
pub(crate) struct Firewall {
    /// Opened when it is needed: closing it waits (ten milliseconds) for the
    /// kernel to free what anybody deleted from its tables just before.
    socket: Option<Socket>,
    /// For both IP versions, with the published ports.
    table: Table,
    /// For what passes the bridge, with the addresses of containers.
    guard: Table,
}

/// What changing elements came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// They are as wanted.
    Done,
    /// The table is not what the leases say: an element is missing, or one
    /// of a dead container is in the way. Nothing was changed.
    OutOfStep,
}

impl Firewall {
    pub(crate) fn of(network: &Definition) -> Self {
        Self {
            socket: None,
            table: rules::table(network),
            guard: guard::table(network),
        }
    }

    /// Whether the tables are there and of this version.
    pub(crate) fn is_current(&mut self) -> Result<bool> {
        let wanted = [self.table.comment.clone(), self.guard.comment.clone()];
        let states = self.states()?;
        Ok(wanted
            .iter()
            .zip(&states)
            .all(|(wanted, state)| state.as_ref().is_some_and(|state| state.comment == *wanted)))
    }

    /// Whether nobody has taken rules out of the tables or put some in.
    pub(crate) fn is_whole(&mut self) -> Result<bool> {
        if !self.is_current()? {
            return Ok(false);
        }
        for table in [self.table.clone(), self.guard.clone()] {
            for chain in &table.chains {
                let request = nftables::get_chain(table.family, &table.name, chain.name);
                let count = match self.socket()?.request(request) {
                    Ok(replies) => replies
                        .first()
                        .map(nftables::parse_rule_count)
                        .transpose()?,
                    Err(error) if is(&error, Errno::NOENT) => None,
                    Err(error) => return Err(error.wrap("look at the firewall")),
                };
                if count != Some(chain.rules.len()) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Makes the tables anew with these elements, in one transaction: no
    /// packet meets a table that is half made.
    pub(crate) fn rebuild(&mut self, ports: &[Element], addresses: &[Element]) -> Result<()> {
        let mut messages = Vec::new();
        let states = self.states()?;
        for (table, state) in [&self.table, &self.guard].into_iter().zip(states) {
            if state.is_some() {
                messages.push(nftables::delete_table(table.family, &table.name));
            }
        }
        for (table, elements) in [(&self.table, ports), (&self.guard, addresses)] {
            messages.extend(table.create());
            let elements = nftables::add_elements(table.family, &table.name, elements);
            messages.extend(elements);
        }
        self.socket()
            .map_err(|error| (None, error))
            .and_then(|socket| socket.transaction(messages))
            .map_err(|(_, error)| refused(error))
            .context(|| format!("make firewall table {}", self.table.name))
    }

    /// Publishes ports and allows addresses, all or nothing.
    pub(crate) fn add(&mut self, ports: &[Element], addresses: &[Element]) -> Result<Change> {
        let mut messages = Vec::new();
        for (table, elements) in [(&self.table, ports), (&self.guard, addresses)] {
            let elements = nftables::add_elements(table.family, &table.name, elements);
            messages.extend(elements);
        }
        self.change(messages)
            .context(|| "publish ports in the firewall")
    }

    /// Takes published ports and allowed addresses away, all or none.
    pub(crate) fn remove(&mut self, ports: &[Element], addresses: &[Element]) -> Result<Change> {
        let mut messages = Vec::new();
        for (table, elements) in [(&self.table, ports), (&self.guard, addresses)] {
            let elements = nftables::delete_elements(table.family, &table.name, elements);
            messages.extend(elements);
        }
        self.change(messages)
            .context(|| "take ports out of the firewall")
    }

    /// Lets flows of UDP to these ports begin anew, so that they follow the
    /// elements as they are now. Without connection tracking by netlink in
    /// the kernel they do so half a minute after their last packet.
    pub(crate) fn forget_flows(&mut self, ports: &[PortMapping]) -> Result<()> {
        let udp: Vec<&PortMapping> = ports
            .iter()
            .filter(|port| port.protocol == state::Protocol::Udp)
            .collect();
        for (version, is_v4) in [(IpVersion::V4, true), (IpVersion::V6, false)] {
            let published: Vec<_> = udp
                .iter()
                .filter(|port| port.host.is_ipv4() == is_v4)
                .collect();
            if published.is_empty() {
                continue;
            }
            let Ok(replies) = self.socket()?.dump(&conntrack::list_udp(version)) else {
                continue;
            };
            let mut messages = Vec::new();
            for reply in &replies {
                let Some(flow) = Flow::parse(reply)? else {
                    continue;
                };
                let is_ours = published.iter().any(|port| {
                    let ip = port.host.ip();
                    port.host.port() == flow.port && (ip.is_unspecified() || ip == flow.destination)
                });
                if is_ours {
                    messages.push(flow.forget());
                }
            }
            // One that is gone already needs no forgetting.
            self.socket()?.exchange(messages)?;
        }
        Ok(())
    }

    /// Deletes the tables, if they are there. A transaction that fails takes
    /// fifteen milliseconds, so it is asked first what there is.
    pub(crate) fn delete(&mut self) -> Result<()> {
        loop {
            let states = self.states()?;
            let messages: Vec<_> = [&self.table, &self.guard]
                .into_iter()
                .zip(states)
                .filter(|(_, state)| state.is_some())
                .map(|(table, _)| nftables::delete_table(table.family, &table.name))
                .collect();
            if messages.is_empty() {
                return Ok(());
            }
            match self.socket()?.transaction(messages) {
                Ok(()) => return Ok(()),
                // Somebody else deleted one of them meanwhile.
                Err((_, error)) if is(&error, Errno::NOENT) => {}
                Err((_, error)) => {
                    let name = &self.table.name;
                    return Err(refused(error).wrap(format!("delete firewall table {name}")));
                }
            }
        }
    }

    /// All published ports.
    pub(crate) fn elements(&mut self) -> Result<BTreeSet<Element>> {
        let mut elements = BTreeSet::new();
        for map in MAPS {
            let request = nftables::list_elements(Family::Inet, &self.table.name, map);
            let replies = match self.socket()?.dump(&request) {
                Ok(replies) => replies,
                Err(error) if is(&error, Errno::NOENT) => continue,
                Err(error) => return Err(error.wrap("list published ports")),
            };
            for reply in &replies {
                elements.extend(nftables::parse_elements(reply, map)?);
            }
        }
        Ok(elements)
    }

    fn change(&mut self, messages: Vec<sys::netlink::Message>) -> Result<Change> {
        if messages.is_empty() {
            return Ok(Change::Done);
        }
        match self.socket()?.transaction(messages) {
            Ok(()) => Ok(Change::Done),
            Err((_, error))
                if [Errno::NOENT, Errno::BUSY, Errno::EXIST]
                    .iter()
                    .any(|errno| is(&error, *errno)) =>
            {
                Ok(Change::OutOfStep)
            }
            Err((_, error)) => Err(refused(error)),
        }
    }

    fn socket(&mut self) -> Result<&mut Socket> {
        let opened = match self.socket.take() {
            Some(socket) => socket,
            None => Socket::open(Protocol::Netfilter)?,
        };
        Ok(self.socket.insert(opened))
    }

    fn states(&mut self) -> Result<Vec<Option<TableState>>> {
        let requests = [&self.table, &self.guard]
            .map(|table| nftables::get_table(table.family, &table.name))
            .into();
        let outcomes = self.socket()?.exchange(requests)?;
        outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Ok(replies) => replies.first().map(TableState::parse).transpose(),
                Err(error) if is(&error, Errno::NOENT) => Ok(None),
                Err(error) => Err(refused(error).wrap("look at the firewall")),
            })
            .collect()
    }
}

/// A kernel without nftables answers that there is nothing of the kind.
fn refused(error: Error) -> Error {
    if is(&error, Errno::OPNOTSUPP) || is(&error, Errno::PROTONOSUPPORT) {
        return error.with_kind(ErrorKind::Unsupported).wrap(
            "the kernel has no nftables (nf_tables, nft_nat, nft_masq, nft_fib_inet, nft_ct)",
        );
    }
    error
}
