//! Detaching a container, and repairing what dead processes left.

use std::collections::HashSet;

use state::ContainerId;
use sys::netlink::route::{self, Link};
use sys::{Context as _, Error, ErrorKind, Errors, Result};

use crate::apply::{Host, remove_bridge};
use crate::firewall::nftables::Change;
use crate::{DEFAULT_NETWORK, Networks, plan};

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
    /// Undoes [`Networks::attach`]: published ports, wire and address. Fine
    /// for a container that is not attached, or whose namespace is gone.
    ///
    /// The wire is dead on return; the kernel deletes it together with the
    /// namespace, which is the last to hold it. If that stays, the next
    /// container with this address or [`Networks::repair`] deletes it.
    pub fn detach(&self, container: &ContainerId) -> Result<()> {
        self.take_off(container, Wire::Cut).context(|| {
            let container = container.short();
            format!("detach container {container} from network {DEFAULT_NETWORK}")
        })
    }

    pub(crate) fn take_off(&self, container: &ContainerId, wire: Wire) -> Result<()> {
        let Some(mut host) = self.open_shared()? else {
            return Ok(());
        };
        let Some((address, lease)) = host.leases.find(container)? else {
            return Ok(());
        };
        let elements = host.elements(address, &lease);
        let change = host.firewall.remove(&elements)?;
        host.firewall.forget_flows(&lease.ports)?;
        let name = plan::link_name(address);
        match wire {
            Wire::Cut => host.cut_link(&name)?,
            Wire::Delete => host.delete_link(&name)?,
        }
        // Last: without it nobody would find the rest.
        host.leases.release(address)?;
        if change == Change::OutOfStep {
            drop(host);
            self.mend_firewall()?;
        }
        Ok(())
    }

    /// Brings the host in step with the containers that are alive: takes away
    /// links, addresses and published ports of others, and makes bridge and
    /// rules anew if somebody took them away. Does nothing if no container
    /// was ever attached.
    ///
    /// `is_alive` is asked while nobody can attach. It has to be true for a
    /// container that is being started, from before its attachment on.
    pub fn repair(&self, is_alive: impl Fn(&ContainerId) -> bool) -> Result<()> {
        self.repair_now(is_alive)
            .context(|| format!("repair network {DEFAULT_NETWORK}"))
    }

    fn repair_now(&self, is_alive: impl Fn(&ContainerId) -> bool) -> Result<()> {
        let Some(mut host) = self.open_exclusive()? else {
            return Ok(());
        };
        let mut errors = Errors::new();
        let mut links = HashSet::new();
        for (address, lease) in host.leases.list()? {
            match lease {
                Some(lease) if is_alive(&lease.container) => {
                    links.insert(plan::link_name(address));
                }
                Some(_) => {
                    let name = plan::link_name(address);
                    // The lease stays if its link does.
                    if errors.keep(host.delete_link(&name)).is_some() {
                        errors.keep(host.leases.release(address));
                    }
                }
                None => {
                    errors.keep(host.leases.release(address));
                }
            }
        }
        errors.keep(host.delete_strange_links(&links));
        if !links.is_empty() {
            errors.keep(host.make());
        }
        errors.keep(host.mend_firewall());
        errors.into_result()
    }

    /// Takes bridge, rules and definition of the default network off the
    /// host; `Conflict` while a container is attached. The next attachment
    /// makes them anew, perhaps with other addresses.
    pub fn dismantle(&self) -> Result<()> {
        let Some(mut host) = self.open_exclusive()? else {
            return Ok(());
        };
        let count = host.leases.list()?.len();
        if count > 0 {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("network {DEFAULT_NETWORK} is used by {count} containers"),
            ));
        }
        host.firewall.delete()?;
        remove_bridge(&mut host.route, &host.network)?;
        std::fs::remove_file(self.record_path())
            .context(|| format!("remove network {DEFAULT_NETWORK}"))
    }

    fn mend_firewall(&self) -> Result<()> {
        match self.open_exclusive()? {
            Some(mut host) => host.mend_firewall(),
            None => Ok(()),
        }
    }
}

impl Host {
    /// Makes the table anew if it is not what the leases ask for. A table
    /// nobody needs is not made.
    fn mend_firewall(&mut self) -> Result<()> {
        let wanted = self.wanted_elements()?;
        if self.firewall.is_whole()? && self.firewall.elements()? == wanted {
            return Ok(());
        }
        if wanted.is_empty() && self.leases.list()?.is_empty() {
            return self.firewall.delete();
        }
        self.rebuild_firewall()
    }

    /// Deletes ports of our bridge that belong to no container in `known`.
    fn delete_strange_links(&mut self, known: &HashSet<String>) -> Result<()> {
        let Some(master) = self.network.find(&mut self.route)? else {
            return Ok(());
        };
        let replies = self
            .route
            .dump(&route::list_links())
            .context(|| "list links")?;
        let mut errors = Errors::new();
        for reply in &replies {
            let link = Link::parse(reply)?;
            let ours = link.master == Some(master) && plan::is_link_name(&link.name);
            if ours && !known.contains(&link.name) {
                errors.keep(self.delete_link(&link.name));
            }
        }
        errors.into_result()
    }
}
