//! Attaching a container: address, wire, routes, published ports.
//!
//! All attaching and detaching holds the network's lock shared, so any number
//! of processes do it at once; what changes the structure (the bridge, the
//! table as a whole) or compares it with the leases holds it exclusively.
//!
//! The order is lease, wire, firewall, and detaching goes the other way
//! round. Whoever dies in between leaves a lease, by which
//! [`Networks::repair`] finds the rest.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use state::{Durability, FileLock, Record};
use sys::netlink::route::{self, Link, LinkName, VethPair};
use sys::netlink::{Message, Protocol, Reply, Socket};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::address::{Lease, Leases, Taken};
use crate::attachment::{AttachRequest, Attachment};
use crate::drivers::bridge::{self, BridgeNetwork};
use crate::drivers::forwarding;
use crate::firewall::nftables::{Change, Firewall};
use crate::firewall::rules;
use crate::plan;
use crate::remove::Wire;
use crate::{DEFAULT_NETWORK, Ipv6, NetworkConfig, Networks};

/// Somebody outside may delete the bridge just after it was made; not more
/// often than this.
const STRUCTURE_TRIES: usize = 5;

/// A message, what it does in words, and which failure is none.
pub(crate) struct Step {
    act: &'static str,
    message: Message,
    tolerated: &'static [Errno],
}

impl Step {
    pub(crate) fn new(act: &'static str, message: Message) -> Self {
        Self {
            act,
            message,
            tolerated: &[],
        }
    }

    pub(crate) fn tolerating(mut self, errnos: &'static [Errno]) -> Self {
        self.tolerated = errnos;
        self
    }
}

/// Sends all steps in one system call; the first failure is the error.
pub(crate) fn perform(
    socket: &mut Socket,
    object: &str,
    steps: Vec<Step>,
) -> Result<Vec<Vec<Reply>>> {
    let mut words = Vec::with_capacity(steps.len());
    let mut messages = Vec::with_capacity(steps.len());
    for step in steps {
        words.push((step.act, step.tolerated));
        messages.push(step.message);
    }
    let outcomes = socket.exchange(messages)?;
    let mut answers = Vec::with_capacity(outcomes.len());
    for (outcome, (act, tolerated)) in outcomes.into_iter().zip(words) {
        match outcome {
            Ok(replies) => answers.push(replies),
            Err(error) if tolerated.iter().any(|errno| is(&error, *errno)) => {
                answers.push(Vec::new());
            }
            Err(error) => return Err(error.wrap(format!("{act} {object}"))),
        }
    }
    Ok(answers)
}

/// A network in use: its definition, its leases and sockets to change it by.
pub(crate) struct Host {
    pub(crate) network: BridgeNetwork,
    pub(crate) leases: Leases,
    pub(crate) route: Socket,
    pub(crate) firewall: Firewall,
    /// Last, so that it is given up last.
    _lock: FileLock,
}

impl Networks {
    /// Attaches the container whose network namespace this is to the default
    /// network: afterwards its link is up, has addresses and routes, and its
    /// published ports are reachable. On failure nothing is left behind.
    ///
    /// The network is made if this is its first use. `Unavailable` when it is
    /// full, `Denied` when the rights are lacking.
    pub fn attach(&self, netns: BorrowedFd<'_>, request: &AttachRequest) -> Result<Attachment> {
        self.attach_now(netns, request).context(|| {
            let container = request.container.short();
            format!("attach container {container} to network {DEFAULT_NETWORK}")
        })
    }

    fn attach_now(&self, netns: BorrowedFd<'_>, request: &AttachRequest) -> Result<Attachment> {
        let (mut host, master) = self.usable()?;
        let lease = Lease {
            container: request.container,
            ports: request.ports.clone(),
        };
        let address = match host.leases.take(&lease)? {
            Taken::Fresh(address) => address,
            Taken::Stale(_) => {
                drop(host);
                self.take_off(&request.container, Wire::Delete)?;
                let usable = self.usable()?;
                host = usable.0;
                match host.leases.take(&lease)? {
                    Taken::Fresh(address) => address,
                    Taken::Stale(_) => return Err(attached_twice()),
                }
            }
        };
        let mut attachment = plan::attachment(&host.network, address, request);
        let wired = host
            .wire(netns, master, &mut attachment)
            .and_then(|()| host.publish(request, &attachment));
        let outcome = match wired {
            Ok(Change::Done) => return Ok(attachment),
            Ok(Change::OutOfStep) => {
                drop(host);
                self.rebuild_for(&lease)
            }
            Err(error) => {
                drop(host);
                Err(error)
            }
        };
        match outcome {
            Ok(()) => Ok(attachment),
            Err(error) => Err(match self.take_off(&request.container, Wire::Delete) {
                Ok(()) => error,
                Err(failed) => error.wrap(format!("{failed}, after the failure to")),
            }),
        }
    }

    /// The network, ready for use, its lock held shared, and the bridge's
    /// index. Makes or mends what is missing.
    fn usable(&self) -> Result<(Host, u32)> {
        for _ in 0..STRUCTURE_TRIES {
            if let Some(mut host) = self.open_shared()?
                && !host.network.differs_from(&self.config)
                && let Some(master) = host.network.find(&mut host.route)?
                && host.firewall.is_current()?
            {
                return Ok((host, master));
            }
            self.make_structure()?;
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "its bridge or firewall table is deleted again and again",
        ))
    }

    /// The network with its lock held shared; `None` if it was never used.
    pub(crate) fn open_shared(&self) -> Result<Option<Host>> {
        match FileLock::shared(&self.lock_path()) {
            Ok(lock) => self.open_locked(lock),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The network with its lock held exclusively; `None` if it was never
    /// used.
    pub(crate) fn open_exclusive(&self) -> Result<Option<Host>> {
        match FileLock::exclusive(&self.lock_path()) {
            Ok(lock) => self.open_locked(lock),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_locked(&self, lock: FileLock) -> Result<Option<Host>> {
        let Some(network) = Record::read_if_exists::<BridgeNetwork>(&self.record_path())? else {
            return Ok(None);
        };
        Ok(Some(Host {
            leases: Leases::new(self.layout.leases(&network.name), network.subnet),
            route: Socket::open(Protocol::Route)?,
            firewall: Firewall::new(rules::table(&network)),
            network,
            _lock: lock,
        }))
    }

    /// Makes the network, or what is missing of it.
    fn make_structure(&self) -> Result<()> {
        create_private_directory(&self.layout.networks())?;
        let lock = FileLock::exclusive(&self.lock_path())?;
        let existing = Record::read_if_exists::<BridgeNetwork>(&self.record_path())?;
        if existing
            .as_ref()
            .is_none_or(|network| network.differs_from(&self.config))
        {
            self.define(existing.as_ref())?;
        }
        let mut host = self
            .open_locked(lock)?
            .ok_or_else(|| Error::new(ErrorKind::Internal, "its definition vanished"))?;
        host.make()
    }

    /// Decides and writes down what the network is; the lock is held.
    fn define(&self, existing: Option<&BridgeNetwork>) -> Result<()> {
        let mut route = Socket::open(Protocol::Route)?;
        if let Some(network) = existing {
            let leases = Leases::new(self.layout.leases(&network.name), network.subnet);
            let count = leases.list()?.len();
            if count > 0 {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "its subnet {}, IPv6 or MTU was changed in the configuration while \
                         {count} containers use it; stop them first",
                        network.subnet
                    ),
                ));
            }
            remove_bridge(&mut route, network)?;
        }
        let config = NetworkConfig {
            ipv6: if forwarding::has_ipv6() {
                self.config.ipv6
            } else {
                Ipv6::Off
            },
            ..self.config.clone()
        };
        let routes = bridge::host_routes(&mut route)?;
        let mut random = [0; 5];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let network =
            BridgeNetwork::choose(DEFAULT_NETWORK, &self.layout, &config, &routes, random)?;
        Record::write(&self.record_path(), &network, Durability::Synced)
    }

    /// Makes the firewall anew from the leases, where `winner` has the better
    /// right to its ports: it holds their sockets, so whoever is in its way
    /// is dead.
    pub(crate) fn rebuild_for(&self, winner: &Lease) -> Result<()> {
        let Some(mut host) = self.open_exclusive()? else {
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

    pub(crate) fn lock_path(&self) -> PathBuf {
        self.layout
            .networks()
            .join(format!("{DEFAULT_NETWORK}.lock"))
    }

    pub(crate) fn record_path(&self) -> PathBuf {
        self.layout
            .networks()
            .join(format!("{DEFAULT_NETWORK}.json"))
    }
}

impl Host {
    /// Makes or completes bridge and firewall; the lock is held exclusively.
    pub(crate) fn make(&mut self) -> Result<()> {
        let bridge = self.network.find(&mut self.route)?;
        let has_firewall = self.firewall.is_current()?;
        if bridge.is_some() && has_firewall {
            return Ok(());
        }
        // The host may have started anew since.
        self.release_unwired()?;
        if bridge.is_none() {
            let master = self.network.make(&mut self.route)?;
            self.enslave(master)?;
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
        for ((address, _), outcome) in leases.into_iter().zip(outcomes) {
            match outcome {
                Ok(_) => {}
                Err(error) if is(&error, Errno::NODEV) => self.leases.release(address)?,
                Err(error) => return Err(error.wrap("look for links of containers")),
            }
        }
        Ok(())
    }

    pub(crate) fn rebuild_firewall(&mut self) -> Result<()> {
        let elements: Vec<_> = self.wanted_elements()?.into_iter().collect();
        self.firewall.rebuild(&elements)
    }

    /// The elements that all leases together ask for.
    pub(crate) fn wanted_elements(
        &self,
    ) -> Result<std::collections::BTreeSet<sys::netlink::nftables::Element>> {
        let leases = self.leases.list()?;
        Ok(leases
            .into_iter()
            .filter_map(|(address, lease)| Some((address, lease?)))
            .flat_map(|(address, lease)| self.elements(address, &lease))
            .collect())
    }

    pub(crate) fn elements(
        &self,
        address: Ipv4Addr,
        lease: &Lease,
    ) -> Vec<sys::netlink::nftables::Element> {
        let host_number = self.network.subnet.host_number(address);
        let ipv6 = self.network.ipv6.map(|prefix| prefix.address(host_number));
        rules::elements(&lease.container, (address, ipv6), &lease.ports)
    }

    /// Puts wires whose bridge was deleted back on it.
    fn enslave(&mut self, master: u32) -> Result<()> {
        let mut steps = Vec::new();
        for (address, _) in self.leases.list()? {
            let name = plan::link_name(address);
            for message in [
                route::set_master(LinkName::Name(&name), master),
                route::prepare_port(&name),
            ] {
                let step = Step::new("put links back on bridge", message);
                steps.push(step.tolerating(&[Errno::NODEV, Errno::AFNOSUPPORT]));
            }
        }
        perform(&mut self.route, &self.network.bridge, steps)?;
        Ok(())
    }

    /// Gives the namespace its end of a wire, up and with addresses.
    fn wire(
        &mut self,
        netns: BorrowedFd<'_>,
        master: u32,
        attachment: &mut Attachment,
    ) -> Result<()> {
        let has_ipv6 = attachment.ipv6.is_some();
        let mut inside = sys::netns::within(netns, move || {
            // Before the link is there, or it would ask for routers.
            if has_ipv6 {
                crate::netns::quiet_links()?;
            }
            Socket::open(Protocol::Route)
        })?;
        self.make_pair(netns, master, attachment)?;

        let inner = LinkName::Name(plan::INNER_LINK);
        let steps = vec![
            Step::new("look for link", route::get_link(inner)),
            Step::new("start link", route::set_up(inner)),
            Step::new("start loopback beside", route::set_up(LinkName::Index(1))),
        ];
        let answers = perform(&mut inside, plan::INNER_LINK, steps)?;
        let answer = answers.first().and_then(|replies| replies.first());
        let index = answer
            .map(Link::parse)
            .transpose()?
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the kernel forgot a link"))?
            .index;

        perform(
            &mut inside,
            plan::INNER_LINK,
            inner_steps(index, attachment),
        )?;
        let link = LinkName::Name(&attachment.host_interface);
        let steps = [link, LinkName::Index(master)]
            .map(|link| Step::new("look at link", route::get_link(link)));
        perform(&mut self.route, &attachment.host_interface, steps.into())?;
        if let Some(ipv6) = attachment.ipv6 {
            let steps = vec![
                Step::new(
                    "give an IPv6 address to",
                    route::add_address(index, IpAddr::V6(ipv6.address), ipv6.prefix),
                ),
                Step::new(
                    "give an IPv6 route to",
                    route::add_default_route(index, IpAddr::V6(ipv6.gateway)),
                ),
            ];
            match perform(&mut inside, plan::INNER_LINK, steps) {
                // The container turned IPv6 off for itself, which is its right.
                Err(error) if error.kind() == ErrorKind::Denied => attachment.ipv6 = None,
                outcome => {
                    outcome?;
                }
            }
        }
        Ok(())
    }

    fn make_pair(
        &mut self,
        netns: BorrowedFd<'_>,
        master: u32,
        attachment: &Attachment,
    ) -> Result<()> {
        let name = &*attachment.host_interface;
        let pair = VethPair {
            name,
            master,
            peer_name: &attachment.interface,
            peer_mac: attachment.mac,
            peer_netns: netns.as_fd(),
            mtu: self.network.mtu,
        };
        let link = LinkName::Name(name);
        let steps = || {
            vec![
                Step::new("make link", route::new_veth(&pair)),
                Step::new("set up link", route::prepare_port(name))
                    .tolerating(&[Errno::AFNOSUPPORT]),
                Step::new("start link", route::set_up(link)),
            ]
        };
        let made = match perform(&mut self.route, name, steps()) {
            // Left over from a crash; the name follows from the container.
            Err(error) if is(&error, Errno::EXIST) => {
                self.delete_link(name)?;
                perform(&mut self.route, name, steps())
            }
            made => made,
        };
        match made {
            Err(error) if is(&error, Errno::XFULL) => Err(Error::new(
                ErrorKind::Unavailable,
                "network bridge is full (1023 containers)",
            )),
            made => made.map(|_| ()),
        }
    }

    fn publish(&mut self, request: &AttachRequest, attachment: &Attachment) -> Result<Change> {
        let ipv6 = attachment.ipv6.map(|place| place.address);
        let addresses = (attachment.ipv4, ipv6);
        let elements = rules::elements(&request.container, addresses, &request.ports);
        let change = self.firewall.add(&elements)?;
        self.firewall.forget_flows(&request.ports)?;
        Ok(change)
    }

    /// Lets a link on the host carry nothing any more, if it is there.
    pub(crate) fn cut_link(&mut self, name: &str) -> Result<()> {
        let look = Step::new("look for link", route::get_link(LinkName::Name(name)));
        let looked = perform(
            &mut self.route,
            name,
            vec![look.tolerating(&[Errno::NODEV])],
        )?;
        let Some(reply) = looked.first().and_then(|replies| replies.first()) else {
            return Ok(());
        };
        let cut = Step::new("cut link", route::disable_port(Link::parse(reply)?.index));
        // It may be there and be no port, if somebody deleted the bridge; and
        // it may go this very moment.
        let steps = vec![cut.tolerating(&[Errno::NODEV, Errno::OPNOTSUPP, Errno::NETDOWN])];
        perform(&mut self.route, name, steps)?;
        Ok(())
    }

    /// Deletes a link on the host, if it is there.
    pub(crate) fn delete_link(&mut self, name: &str) -> Result<()> {
        let step = Step::new("delete link", route::delete_link(LinkName::Name(name)));
        perform(
            &mut self.route,
            name,
            vec![step.tolerating(&[Errno::NODEV])],
        )?;
        Ok(())
    }
}

/// Whether the kernel gave this reason.
pub(crate) fn is(error: &Error, errno: Errno) -> bool {
    error.errno() == Some(errno.raw_os_error())
}

/// Deletes a network's bridge, if it is there.
pub(crate) fn remove_bridge(socket: &mut Socket, network: &BridgeNetwork) -> Result<()> {
    let link = LinkName::Name(&network.bridge);
    let step = Step::new("delete bridge", route::delete_link(link)).tolerating(&[Errno::NODEV]);
    perform(socket, &network.bridge, vec![step])?;
    Ok(())
}

fn inner_steps(index: u32, attachment: &Attachment) -> Vec<Step> {
    let address = IpAddr::V4(attachment.ipv4);
    let gateway = IpAddr::V4(attachment.ipv4_gateway);
    vec![
        Step::new(
            "give an address to",
            route::add_address(index, address, attachment.ipv4_prefix),
        ),
        Step::new("give a route to", route::add_default_route(index, gateway)),
    ]
}

fn attached_twice() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "another process is attaching the same container",
    )
}

fn create_private_directory(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .context(|| format!("make {}", path.display()))
}
