//! Attaching a container: address, wire, routes, published ports.
//!
//! All attaching and detaching holds the network's lock shared, so any number
//! of processes do it at once; what changes the structure (the bridge, the
//! tables as a whole) or compares it with the leases holds it exclusively.
//!
//! The order is lease, wire, firewall, and detaching goes the other way
//! round. Whoever dies in between leaves a lease, by which
//! [`Networks::repair`] finds the rest.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use rustix::io::Errno;
use state::{ContainerId, FileLock, Lease, PortMapping, Record};
use sys::netlink::nftables::Element;
use sys::netlink::route::{self, LinkName};
use sys::netlink::{Protocol, Socket};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::address::{Leases, Taken, Wish};
use crate::attachment::{AttachRequest, Attachment};
use crate::definition::{Definition, Driver};
use crate::drivers::bridge;
use crate::firewall::nftables::{Change, Firewall};
use crate::firewall::{guard, rules};
use crate::plan;
use crate::remove::Wire;
use crate::wire::{Extras, is};
use crate::{DEFAULT_NETWORK, Networks};

/// Somebody outside may delete the bridge just after it was made; not more
/// often than this.
const STRUCTURE_TRIES: usize = 5;

/// A network in use: its definition, its leases and sockets to change it by.
pub(crate) struct Host {
    pub(crate) network: Definition,
    pub(crate) leases: Leases,
    pub(crate) route: Socket,
    pub(crate) firewall: Firewall,
    /// Index of the bridge, or of the parent; 0 until it is known.
    pub(crate) master: u32,
    /// Held by who makes something beside, the other lock being shared.
    pub(crate) side_lock: PathBuf,
    /// Last, so that it is given up last.
    _lock: FileLock,
}

/// A network whose lock was asked for without waiting.
pub(crate) enum Idle {
    Held(Box<Host>),
    /// Somebody else holds it.
    Not,
    /// There is no such network any more.
    Gone,
}

impl Networks {
    /// Attaches the container whose network namespace this is to a network:
    /// afterwards its link is up, has addresses and routes, and its published
    /// ports are reachable. On failure nothing is left behind.
    ///
    /// The network is made on the host if this is its first use.
    /// `Unavailable` when it is full or the address is taken, `NotFound` when
    /// there is no such network, `Denied` when the rights are lacking.
    pub fn attach(&self, netns: BorrowedFd<'_>, request: &AttachRequest) -> Result<Attachment> {
        self.attach_now(netns, request).context(|| {
            let (container, network) = (request.container.short(), &request.network);
            format!("attach container {container} to network {network}")
        })
    }

    fn attach_now(&self, netns: BorrowedFd<'_>, request: &AttachRequest) -> Result<Attachment> {
        let mut host = self.usable(&request.network)?;
        let address = match host.lease(request)? {
            Taken::Fresh(address) => address,
            Taken::Stale(_) => {
                drop(host);
                self.take_off(&request.network, &request.container, Wire::Delete)?;
                host = self.usable(&request.network)?;
                match host.lease(request)? {
                    Taken::Fresh(address) => address,
                    Taken::Stale(_) => return Err(attached_twice()),
                }
            }
        };
        let lease = plan::lease(&host.network, address, request);
        let mut attachment = plan::attachment(&host.network, address, lease.ipv6, request);
        let extras = Extras {
            is_default_route: request.is_default_route,
            rate: request.rate,
        };
        let wired = host
            .claim_ipv6(address, request, &lease)
            .and_then(|()| host.claim_mac(address, &lease))
            .and_then(|()| host.wire(netns, &mut attachment, extras))
            .and_then(|()| host.publish(address, &lease))
            .and_then(|change| self.ensure_resolver(&mut host).map(|()| change));
        let outcome = match wired {
            Ok(Change::Done) => return Ok(attachment),
            Ok(Change::OutOfStep) => {
                drop(host);
                self.rebuild_for(&request.network, &lease)
            }
            Err(error) => {
                drop(host);
                Err(error)
            }
        };
        match outcome {
            Ok(()) => Ok(attachment),
            Err(error) => {
                let undone = self.take_off(&request.network, &request.container, Wire::Delete);
                Err(match undone {
                    Ok(()) => error,
                    Err(failed) => error.wrap(format!("{failed}, after the failure to")),
                })
            }
        }
    }

    /// Has a container publish these ports on a network that it is on, instead
    /// of those that it publishes there. The caller has the right to them: it
    /// knows who holds their sockets.
    pub fn republish(
        &self,
        network: &str,
        container: &ContainerId,
        ports: &[PortMapping],
    ) -> Result<()> {
        self.republish_now(network, container, ports).context(|| {
            let container = container.short();
            format!("publish ports of container {container} on network {network}")
        })
    }

    fn republish_now(
        &self,
        network: &str,
        container: &ContainerId,
        ports: &[PortMapping],
    ) -> Result<()> {
        let mut host = self.usable(network)?;
        let (address, before) = host.leases.find(container)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "the container is not on the network")
        })?;
        let lease = Lease {
            ports: ports.to_vec(),
            ..before.clone()
        };
        // The lease says all the time what may be there.
        host.leases.replace(
            address,
            &Lease {
                ports: before.ports.iter().chain(ports).copied().collect(),
                ..before.clone()
            },
        )?;
        // What stays is there all the time, and so are flows through it.
        let gone = Lease {
            ports: without(&before.ports, ports),
            ..before.clone()
        };
        let change = host.firewall.remove(&elements(address, &gone), &[])?;
        host.firewall.forget_flows(&gone.ports)?;
        host.leases.replace(address, &lease)?;
        let change = match change {
            Change::Done => {
                let change = host.firewall.add(&elements(address, &lease), &[])?;
                host.firewall.forget_flows(&without(ports, &before.ports))?;
                change
            }
            Change::OutOfStep => Change::OutOfStep,
        };
        drop(host);
        match change {
            Change::Done => Ok(()),
            Change::OutOfStep => self.rebuild_for(network, &lease),
        }
    }

    /// The network, ready for use, its lock held shared. Makes or mends what
    /// is missing.
    fn usable(&self, name: &str) -> Result<Host> {
        for _ in 0..STRUCTURE_TRIES {
            if let Some(mut host) = self.open_shared(name)? {
                if let Driver::Macvlan { parent, .. } = &host.network.driver {
                    let parent = parent.clone();
                    let link = host.link(&parent)?.ok_or_else(|| {
                        Error::new(
                            ErrorKind::NotFound,
                            format!("there is no link {parent}, its parent, on this host"),
                        )
                    })?;
                    host.master = link.index;
                    return Ok(host);
                }
                let is_as_asked =
                    name != DEFAULT_NETWORK || !bridge::differs_from(&host.network, &self.config);
                if is_as_asked
                    && let Some(master) = bridge::find(&host.network, &mut host.route)?
                    && host.firewall.is_current()?
                {
                    host.master = master;
                    return Ok(host);
                }
            } else if name != DEFAULT_NETWORK {
                return Err(no_such(name));
            }
            self.make_structure(name)?;
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "its bridge or firewall table is deleted again and again",
        ))
    }

    /// The network with its lock held shared; `None` if it was never used, or
    /// there is none.
    pub(crate) fn open_shared(&self, name: &str) -> Result<Option<Host>> {
        self.opened(name, FileLock::shared_existing(&self.lock_path(name)))
    }

    /// As [`Networks::open_shared`], with its lock held exclusively.
    pub(crate) fn open_exclusive(&self, name: &str) -> Result<Option<Host>> {
        self.opened(name, FileLock::exclusive_existing(&self.lock_path(name)))
    }

    /// As [`Networks::open_exclusive`], if nobody holds the lock.
    pub(crate) fn open_if_idle(&self, name: &str) -> Result<Idle> {
        let opened = match FileLock::try_exclusive_existing(&self.lock_path(name)) {
            Ok(None) => return Ok(Idle::Not),
            Ok(Some(lock)) => self.open_locked(name, lock),
            Err(error) => self.opened(name, Err(error)),
        };
        Ok(opened?.map_or(Idle::Gone, |host| Idle::Held(Box::new(host))))
    }

    fn opened(&self, name: &str, lock: Result<FileLock>) -> Result<Option<Host>> {
        match lock {
            Ok(lock) => self.open_locked(name, lock),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn open_locked(&self, name: &str, lock: FileLock) -> Result<Option<Host>> {
        let Some(network) = self.read(name)? else {
            return Ok(None);
        };
        Ok(Some(Host {
            leases: Leases::new(self.layout.leases(&network.name), network.pool()),
            route: Socket::open(Protocol::Route)?,
            firewall: Firewall::of(&network),
            master: 0,
            side_lock: self.side_lock(name),
            network,
            _lock: lock,
        }))
    }

    pub(crate) fn read(&self, name: &str) -> Result<Option<Definition>> {
        Record::read_if_exists(&self.record_path(name))
    }

    /// Makes the network on the host, or what is missing of it.
    fn make_structure(&self, name: &str) -> Result<()> {
        let lock = if name == DEFAULT_NETWORK {
            create_private_directory(&self.layout.networks())?;
            let lock = FileLock::exclusive(&self.lock_path(name))?;
            self.define_default()?;
            lock
        } else {
            FileLock::exclusive_existing(&self.lock_path(name))?
        };
        let mut host = self.open_locked(name, lock)?.ok_or_else(|| no_such(name))?;
        host.make()
    }

    /// Makes the firewall anew from the leases, where `winner` has the better
    /// right to its ports: it holds their sockets, so whoever is in its way
    /// is dead.
    pub(crate) fn rebuild_for(&self, name: &str, winner: &Lease) -> Result<()> {
        let Some(mut host) = self.open_exclusive(name)? else {
            return Ok(());
        };
        for (address, lease) in host.leases.list()? {
            let Some(mut lease) = lease else { continue };
            if lease.container == winner.container {
                continue;
            }
            let before = lease.ports.len();
            lease.ports.retain(|port| {
                !winner
                    .ports
                    .iter()
                    .any(|won| won.host == port.host && won.protocol == port.protocol)
            });
            if lease.ports.len() != before {
                host.leases.replace(address, &lease)?;
            }
        }
        host.rebuild_firewall()?;
        host.firewall.forget_flows(&winner.ports)
    }

    pub(crate) fn lock_path(&self, name: &str) -> PathBuf {
        self.layout.networks().join(format!("{name}.lock"))
    }

    pub(crate) fn record_path(&self, name: &str) -> PathBuf {
        self.layout.networks().join(format!("{name}.json"))
    }
}

impl Host {
    /// Takes an address as asked.
    fn lease(&self, request: &AttachRequest) -> Result<Taken> {
        let wish = request.ipv4.map_or(Wish::Any, Wish::This);
        self.leases.take(&request.container, wish, &|address| {
            plan::lease(&self.network, address, request)
        })
    }

    /// Makes sure that nobody else has an IPv6 address that was asked for: by
    /// a file of its own, and by taking the IPv4 address that it would go
    /// with.
    fn claim_ipv6(&self, ipv4: Ipv4Addr, request: &AttachRequest, lease: &Lease) -> Result<()> {
        let Some(wanted) = request.ipv6 else {
            return Ok(());
        };
        let invalid = |why: String| Error::new(ErrorKind::InvalidInput, why);
        let prefix = self
            .network
            .ipv6
            .ok_or_else(|| invalid(format!("address {wanted}: the network has no IPv6")))?;
        let number = prefix.host_number(wanted);
        if !prefix.contains(wanted) || number == 0 {
            return Err(invalid(format!(
                "address {wanted} is not in the subnet {prefix}"
            )));
        }
        let in_use = || {
            Error::new(
                ErrorKind::Unavailable,
                format!("address {wanted} is in use"),
            )
        };
        let is_reserved = self
            .network
            .reserved
            .values()
            .any(|address| *address == IpAddr::V6(wanted));
        if self.network.ipv6_gateway() == Some(wanted) || is_reserved {
            return Err(in_use());
        }
        if !self.leases.claim(&wanted.to_string(), lease)? {
            return Err(in_use());
        }
        let beside = u32::try_from(number)
            .ok()
            .and_then(|number| self.network.subnet.numbered(number))
            .filter(|beside| *beside != ipv4);
        if let Some(beside) = beside {
            let lease = Lease {
                ipv6_only: true,
                ports: Vec::new(),
                names: Vec::new(),
                ..lease.clone()
            };
            if !self.leases.take_ipv6(beside, &lease)? {
                return Err(in_use());
            }
        }
        Ok(())
    }

    /// Makes sure that nobody else has a hardware address that was asked for.
    fn claim_mac(&self, ipv4: Ipv4Addr, lease: &Lease) -> Result<()> {
        let Some(mac) = lease.mac else {
            return Ok(());
        };
        let others = plan::goes_with(mac)
            .filter(|address| *address != ipv4 && self.network.subnet.contains(*address));
        if let Some(address) = others {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "hardware address {mac} goes with {address} on this network: ask for that \
                     address as well, or for another hardware address"
                ),
            ));
        }
        if self.leases.claim(&mac.to_string(), lease)? {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("hardware address {mac} is in use"),
        ))
    }

    /// Makes or completes bridge and firewall; the lock is held exclusively.
    pub(crate) fn make(&mut self) -> Result<()> {
        if self.network.driver != Driver::Bridge {
            return Ok(());
        }
        let found = bridge::find(&self.network, &mut self.route)?;
        let has_firewall = self.firewall.is_current()?;
        if let Some(master) = found
            && has_firewall
        {
            self.master = master;
            return Ok(());
        }
        // The host may have started anew since.
        self.release_unwired()?;
        if let Some(master) = found {
            self.master = master;
        } else {
            self.master = bridge::make(&self.network, &mut self.route)?;
            let leases = self.leases.list()?;
            let addresses: Vec<Ipv4Addr> = leases.iter().map(|(address, _)| *address).collect();
            self.enslave(&addresses)?;
        }
        if !has_firewall {
            self.rebuild_firewall()?;
        }
        Ok(())
    }

    /// Gives up leases without a link: with the lock held exclusively nobody
    /// is between taking one and making the other, so their containers are
    /// gone. They must not get their published ports back.
    fn release_unwired(&mut self) -> Result<()> {
        let leases = self.leases.list()?;
        let looks = leases
            .iter()
            .map(|(address, _)| route::get_link(LinkName::Name(&plan::link_name(*address))))
            .collect();
        let outcomes = self.route.exchange(looks)?;
        for ((address, lease), outcome) in leases.into_iter().zip(outcomes) {
            match outcome {
                Ok(_) => {}
                Err(_) if lease.as_ref().is_some_and(|lease| lease.ipv6_only) => {}
                Err(error) if is(&error, Errno::NODEV) => {
                    if let Some(lease) = lease {
                        self.leases.release_claims(&lease.container)?;
                    }
                    self.leases.release(address)?;
                }
                Err(error) => return Err(error.wrap("look for links of containers")),
            }
        }
        Ok(())
    }

    pub(crate) fn rebuild_firewall(&mut self) -> Result<()> {
        let ports: Vec<_> = self.wanted_elements()?.into_iter().collect();
        let mut addresses = Vec::new();
        for (address, lease) in self.leases.list()? {
            let (ipv6, mac) = lease.map_or((None, None), |lease| (lease.ipv6, lease.mac));
            addresses.extend(guard::elements(address, ipv6, mac));
        }
        if let Some(resolver) = self.network.resolver {
            addresses.extend(guard::elements(resolver, None, None));
        }
        // Elements of one set travel together.
        addresses.sort();
        self.firewall.rebuild(&ports, &addresses)
    }

    /// The published ports that all leases together ask for.
    pub(crate) fn wanted_elements(&self) -> Result<std::collections::BTreeSet<Element>> {
        let leases = self.leases.list()?;
        Ok(leases
            .into_iter()
            .filter_map(|(address, lease)| Some((address, lease?)))
            .flat_map(|(address, lease)| elements(address, &lease))
            .collect())
    }

    fn publish(&mut self, address: Ipv4Addr, lease: &Lease) -> Result<Change> {
        if self.network.driver != Driver::Bridge {
            return Ok(Change::Done);
        }
        let addresses = guard::elements(address, lease.ipv6, lease.mac);
        let change = self.firewall.add(&elements(address, lease), &addresses)?;
        self.firewall.forget_flows(&lease.ports)?;
        Ok(change)
    }
}

fn without(all: &[PortMapping], some: &[PortMapping]) -> Vec<PortMapping> {
    let is_left = |port: &&PortMapping| !some.contains(port);
    all.iter().filter(is_left).copied().collect()
}

/// The published ports of a lease.
pub(crate) fn elements(address: Ipv4Addr, lease: &Lease) -> Vec<Element> {
    rules::elements(&lease.container, (address, lease.ipv6), &lease.ports)
}

pub(crate) fn no_such(name: &str) -> Error {
    let shown: String = name.chars().take(80).collect();
    Error::new(ErrorKind::NotFound, format!("no such network: {shown}"))
}

fn attached_twice() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "another process is attaching the same container",
    )
}

pub(crate) fn create_private_directory(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .context(|| format!("make {}", path.display()))
}
