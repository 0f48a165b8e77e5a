//! Detaching a container, and repairing what dead processes left.

use std::collections::HashSet;
use std::time::Duration;

use state::ContainerId;
use sys::netlink::route::{self, Link};
use sys::{Context as _, Error, ErrorKind, Errors, Result};

use crate::address::Leases;
use crate::apply::{Host, Idle, elements};
use crate::definition::Driver;
use crate::firewall::guard;
use crate::firewall::nftables::Change;
use crate::{DEFAULT_NETWORK, Networks, plan};

/// The last one out waits for the network's lock as often and as long.
const LEAVING_TRIES: u32 = 2000;
const LEAVING_PAUSE: Duration = Duration::from_millis(1);

/// What becomes of the wire of a container that is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// It carries nothing any more and goes when the namespace goes.
    Cut,
    /// It is gone on return, which takes ten milliseconds and more: the kernel
    /// waits until no processor can still be using it.
    Delete,
}

impl Networks {
    /// Undoes every [`Networks::attach`] of a container: published ports,
    /// wires and addresses. Fine for a container that is not attached, or
    /// whose namespace is gone.
    ///
    /// The wires are dead on return; the kernel deletes them together with
    /// the namespace, which is the last to hold them. If that stays, the next
    /// container with this address or [`Networks::repair`] deletes them.
    pub fn detach(&self, container: &ContainerId) -> Result<()> {
        let mut errors = Errors::new();
        for network in self.names()? {
            errors.keep(self.detach_by(&network, container, Wire::Cut));
        }
        errors.into_result()
    }

    /// As [`Networks::detach`], from one network that the namespace outlives.
    pub fn detach_from(&self, network: &str, container: &ContainerId) -> Result<()> {
        self.detach_by(network, container, Wire::Delete)
    }

    fn detach_by(&self, network: &str, container: &ContainerId, wire: Wire) -> Result<()> {
        self.take_off(network, container, wire).context(|| {
            let container = container.short();
            format!("detach container {container} from network {network}")
        })
    }

    pub(crate) fn take_off(
        &self,
        network: &str,
        container: &ContainerId,
        wire: Wire,
    ) -> Result<()> {
        let Some(mut host) = self.open_shared(network)? else {
            return Ok(());
        };
        let Some((address, lease)) = host.leases.find(container)? else {
            return Ok(());
        };
        let mut change = Change::Done;
        if host.network.driver == Driver::Bridge {
            let addresses = guard::elements_of_mac(address, &lease);
            change = host
                .firewall
                .remove(&elements(address, &lease), &addresses)?;
            host.firewall.forget_flows(&lease.ports)?;
            let name = plan::link_name(address);
            match wire {
                Wire::Cut => host.cut_link(&name)?,
                Wire::Delete => host.delete_link(&name)?,
            }
        }
        if lease.ipv6 != host.network.ipv6_of(address) || lease.mac.is_some() {
            host.leases.release_claims(container)?;
        }
        // Last: without it nobody would find the rest.
        host.leases.release(address)?;
        let leases = host.give_up();
        if change == Change::OutOfStep {
            self.mend_firewall(network)?;
        }
        self.last_one_out(network, &leases)
    }

    /// Ends what a network has only while somebody is on it. Whoever holds the
    /// lock may be about to leave, to come, or only looking: so this tries
    /// until it has the lock or somebody else has a lease, and is the last one
    /// later. If the lock is held for very long, the next repair does it.
    fn last_one_out(&self, network: &str, leases: &Leases) -> Result<()> {
        for _ in 0..LEAVING_TRIES {
            if !leases.is_empty()? {
                return Ok(());
            }
            match self.open_if_idle(network)? {
                Idle::Not => std::thread::sleep(LEAVING_PAUSE),
                Idle::Gone => return Ok(()),
                Idle::Held(host) if !host.leases.is_empty()? => return Ok(()),
                Idle::Held(mut host) => {
                    self.stop_resolver(network)?;
                    return host.remove_beside();
                }
            }
        }
        Ok(())
    }

    /// Brings the host in step with the containers that are alive: takes away
    /// links, addresses and published ports of others, and makes bridges and
    /// rules anew if somebody took them away. Does nothing if no container
    /// was ever attached.
    ///
    /// `is_alive` is asked while nobody can attach. It has to be true for a
    /// container that is being started, from before its attachment on.
    pub fn repair(&self, is_alive: impl Fn(&ContainerId) -> bool) -> Result<()> {
        let mut errors = Errors::new();
        errors.keep(self.forget_unfinished());
        for network in self.names()? {
            let repaired = self.repair_now(&network, &is_alive);
            errors.keep(repaired.context(|| format!("repair network {network}")));
        }
        errors.into_result()
    }

    fn repair_now(&self, network: &str, is_alive: &dyn Fn(&ContainerId) -> bool) -> Result<()> {
        let Some(mut host) = self.open_exclusive(network)? else {
            return Ok(());
        };
        let mut errors = Errors::new();
        let mut links = HashSet::new();
        for (address, lease) in host.leases.list()? {
            match lease {
                Some(lease) if is_alive(&lease.container) => {
                    links.insert(plan::link_name(address));
                }
                Some(lease) => {
                    let name = plan::link_name(address);
                    // The lease stays if its link does.
                    if errors.keep(host.delete_link(&name)).is_some() {
                        // Rules that are not there any more need no removal.
                        let addresses = guard::elements_of_mac(address, &lease);
                        errors.keep(host.firewall.remove(&[], &addresses));
                        errors.keep(host.leases.release_claims(&lease.container));
                        errors.keep(host.leases.release(address));
                    }
                }
                None => {
                    errors.keep(host.leases.release(address));
                }
            }
        }
        let is_used = !links.is_empty();
        if is_used {
            links.extend(host.network.resolver.map(plan::link_name));
        } else {
            errors.keep(self.stop_resolver(network));
            errors.keep(host.remove_beside());
        }
        errors.keep(host.delete_strange_links(&links));
        if is_used {
            errors.keep(host.make());
        }
        errors.keep(host.mend_firewall());
        if is_used && errors.keep(host.find_master()).is_some() {
            errors.keep(self.ensure_resolver(&mut host));
        }
        errors.into_result()
    }

    /// Takes bridge, rules and definition of the default network off the
    /// host; `Conflict` while a container is attached. The next attachment
    /// makes them anew, perhaps with other addresses.
    pub fn dismantle(&self) -> Result<()> {
        let Some(mut host) = self.open_exclusive(DEFAULT_NETWORK)? else {
            return Ok(());
        };
        let count = host.leases.list()?.len();
        if count > 0 {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("network {DEFAULT_NETWORK} is used by {count} containers"),
            ));
        }
        self.stop_resolver(DEFAULT_NETWORK)?;
        host.take_down()?;
        std::fs::remove_file(self.record_path(DEFAULT_NETWORK))
            .context(|| format!("remove network {DEFAULT_NETWORK}"))
    }

    fn mend_firewall(&self, network: &str) -> Result<()> {
        match self.open_exclusive(network)? {
            Some(mut host) => host.mend_firewall(),
            None => Ok(()),
        }
    }
}

impl Host {
    /// Gives the lock up; the leases can still be looked at.
    fn give_up(self) -> Leases {
        self.leases
    }

    /// Takes bridges and tables off the host.
    pub(crate) fn take_down(&mut self) -> Result<()> {
        if self.network.driver != Driver::Bridge {
            return Ok(());
        }
        self.firewall.delete()?;
        self.remove_beside()?;
        let bridge = self.network.bridge.clone();
        self.delete_link(&bridge)
    }

    /// Makes the tables anew if they are not what the leases ask for. Tables
    /// nobody needs are not made.
    fn mend_firewall(&mut self) -> Result<()> {
        if self.network.driver != Driver::Bridge {
            return Ok(());
        }
        let wanted = self.wanted_elements()?;
        if self.firewall.is_whole()? && self.firewall.elements()? == wanted {
            return Ok(());
        }
        if wanted.is_empty() && self.leases.list()?.is_empty() {
            return self.firewall.delete();
        }
        self.rebuild_firewall()
    }

    /// Deletes ports of our bridges that belong to no container in `known`.
    fn delete_strange_links(&mut self, known: &HashSet<String>) -> Result<()> {
        if self.network.driver != Driver::Bridge || self.find_master()?.is_none() {
            return Ok(());
        }
        let masters = self.masters()?;
        let replies = self
            .route
            .dump(&route::list_links())
            .context(|| "list links")?;
        let mut errors = Errors::new();
        for reply in &replies {
            let link = Link::parse(reply)?;
            let is_port = link.master.is_some_and(|master| masters.contains(&master));
            if is_port && plan::is_link_name(&link.name) && !known.contains(&link.name) {
                errors.keep(self.delete_link(&link.name));
            }
        }
        errors.into_result()
    }
}
