//! Links between containers and the host: what is said to the kernel to make
//! them, cut them and delete them.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use sys::netlink::route::{self, Link, LinkName, MacvlanMode, VethPair};
use sys::netlink::{Message, Protocol, Reply, Socket};
use sys::{Error, ErrorKind, Result};

use crate::apply::Host;
use crate::attachment::Attachment;
use crate::definition::Driver;
use crate::plan;

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

/// Whether the kernel gave this reason.
pub(crate) fn is(error: &Error, errno: Errno) -> bool {
    error.errno() == Some(errno.raw_os_error())
}

/// What a container's link gets beside its addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras {
    /// What has no better way leaves by it.
    pub(crate) is_default_route: bool,
    /// Most bits per second in either direction.
    pub(crate) rate: Option<u64>,
}

impl Host {
    /// Gives the namespace its link, up and with addresses.
    pub(crate) fn wire(
        &mut self,
        netns: BorrowedFd<'_>,
        attachment: &mut Attachment,
        extras: Extras,
    ) -> Result<()> {
        let has_ipv6 = attachment.ipv6.is_some();
        let mut inside = sys::netns::within(netns, move || {
            // Before the link is there, or it would ask for routers.
            if has_ipv6 {
                crate::netns::quiet_links()?;
            }
            Socket::open(Protocol::Route)
        })?;
        match &self.network.driver {
            Driver::Bridge => self.make_pair(netns, attachment)?,
            Driver::Macvlan { mode, .. } => {
                let mode = macvlan_mode(mode)?;
                self.make_macvlan(netns, mode, attachment)?;
            }
        }
        let name = attachment.interface.clone();
        let inner = LinkName::Name(&name);
        let steps = vec![
            Step::new("look for link", route::get_link(inner)),
            Step::new("start link", route::set_up(inner)),
            Step::new("start loopback beside", route::set_up(LinkName::Index(1))),
        ];
        let answers = perform(&mut inside, &name, steps)?;
        let answer = answers.first().and_then(|replies| replies.first());
        let index = answer
            .map(Link::parse)
            .transpose()?
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the kernel forgot a link"))?
            .index;
        perform(&mut inside, &name, inner_steps(index, attachment, extras))?;
        self.settle(attachment)?;
        if let Some(rate) = extras.rate {
            self.limit(&mut inside, (index, attachment), rate)?;
        }
        match perform(
            &mut inside,
            &name,
            inner_steps_ipv6(index, attachment, extras),
        ) {
            // The container turned IPv6 off for itself, which is its right.
            Err(error) if error.kind() == ErrorKind::Denied => attachment.ipv6 = None,
            outcome => {
                outcome?;
            }
        }
        Ok(())
    }

    /// Lets the host's end notice that the other one is up.
    fn settle(&mut self, attachment: &Attachment) -> Result<()> {
        if attachment.host_interface.is_empty() {
            return Ok(());
        }
        let link = LinkName::Name(&attachment.host_interface);
        let steps = [link, LinkName::Index(self.master)]
            .map(|link| Step::new("look at link", route::get_link(link)));
        perform(&mut self.route, &attachment.host_interface, steps.into())?;
        Ok(())
    }

    fn make_pair(&mut self, netns: BorrowedFd<'_>, attachment: &Attachment) -> Result<()> {
        let name = attachment.host_interface.clone();
        let master = match self.share_of(attachment.ipv4)? {
            0 => self.master,
            number => self.beside(number)?,
        };
        let mut made = self.make_pair_on(master, netns, attachment);
        // Left over from a crash; the name follows from the address.
        if let Err(error) = &made
            && is(error, Errno::EXIST)
        {
            self.delete_link(&name)?;
            made = self.make_pair_on(master, netns, attachment);
        }
        match made {
            Err(error) if is(&error, Errno::XFULL) => self.make_pair_beside(netns, attachment),
            made => made,
        }
    }

    /// A pair whose end on the host is a port of the bridge `master`.
    pub(crate) fn make_pair_on(
        &mut self,
        master: u32,
        netns: BorrowedFd<'_>,
        attachment: &Attachment,
    ) -> Result<()> {
        let name = &*attachment.host_interface;
        let pair = VethPair {
            name,
            master,
            peer_name: &attachment.interface,
            peer_mac: attachment.mac.bytes(),
            peer_netns: netns,
            mtu: self.network.mtu,
        };
        let steps = vec![
            Step::new("make link", route::new_veth(&pair)),
            Step::new("set up link", route::prepare_port(name)).tolerating(&[Errno::AFNOSUPPORT]),
            Step::new("start link", route::set_up(LinkName::Name(name))),
        ];
        perform(&mut self.route, name, steps).map(drop)
    }

    fn make_macvlan(
        &mut self,
        netns: BorrowedFd<'_>,
        mode: MacvlanMode,
        attachment: &Attachment,
    ) -> Result<()> {
        let link = (attachment.mac.bytes(), self.network.mtu);
        let message = route::new_macvlan(&attachment.interface, self.master, mode, link, netns);
        let steps = vec![Step::new("make macvlan link", message)];
        perform(&mut self.route, &attachment.interface, steps)
            .map(drop)
            .map_err(|error| match error.errno() {
                Some(errno) if errno == Errno::OPNOTSUPP.raw_os_error() => {
                    error.with_kind(ErrorKind::Unsupported).wrap(
                        "the kernel has no macvlan, or the parent's kind of link cannot carry it",
                    )
                }
                _ => error,
            })
    }

    /// Limits both directions: each end of the wire sends at most so much.
    fn limit(
        &mut self,
        inside: &mut Socket,
        (index, attachment): (u32, &Attachment),
        rate: u64,
    ) -> Result<()> {
        let bytes = (rate / 8).max(1);
        // A hundredth of a second, but room for what the kernel sends at once.
        let burst = u32::try_from(bytes / 100)
            .unwrap_or(u32::MAX / 4)
            .clamp(64 << 10, u32::MAX / 4);
        // Twenty times as much waits.
        let waits = u32::try_from(bytes / 5)
            .unwrap_or(u32::MAX / 2)
            .max(256 << 10);
        let step = |link| {
            Step::new(
                "limit what is sent by",
                route::limit_rate(link, bytes, burst, waits),
            )
        };
        perform(inside, &attachment.interface, vec![step(index)])?;
        if attachment.host_interface.is_empty() {
            return Ok(());
        }
        let name = &*attachment.host_interface;
        let look = Step::new("look for link", route::get_link(LinkName::Name(name)));
        let looked = perform(&mut self.route, name, vec![look])?;
        if let Some(reply) = looked.first().and_then(|replies| replies.first()) {
            let steps = vec![step(Link::parse(reply)?.index)];
            perform(&mut self.route, name, steps)?;
        }
        Ok(())
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

    /// Puts wires whose bridge was deleted back on it, and what joins others
    /// to it.
    pub(crate) fn enslave(&mut self, addresses: &[Ipv4Addr]) -> Result<()> {
        let mut loose = Vec::new();
        for address in addresses {
            loose.push(plan::link_name(*address));
        }
        loose.extend(self.joints());
        let replies = self.route.dump(&route::list_links())?;
        let mut steps = Vec::new();
        for reply in &replies {
            let link = Link::parse(reply)?;
            if link.master.is_some() || !loose.contains(&link.name) {
                continue;
            }
            for message in [
                route::set_master(LinkName::Name(&link.name), self.master),
                route::prepare_port(&link.name),
            ] {
                let step = Step::new("put links back on bridge", message);
                steps.push(step.tolerating(&[Errno::NODEV, Errno::AFNOSUPPORT]));
            }
        }
        perform(&mut self.route, &self.network.bridge, steps)?;
        Ok(())
    }
}

/// Deletes a link of a namespace, if it is there.
pub(crate) fn delete_inside(netns: BorrowedFd<'_>, name: &str) -> Result<()> {
    let mut inside = sys::netns::within(netns, || Socket::open(Protocol::Route))?;
    let step = Step::new("delete link", route::delete_link(LinkName::Name(name)));
    perform(&mut inside, name, vec![step.tolerating(&[Errno::NODEV])])?;
    Ok(())
}

/// Lets what has no better way leave by a link of a namespace.
pub(crate) fn route_by(netns: BorrowedFd<'_>, interface: &str, gateways: &[IpAddr]) -> Result<()> {
    let mut inside = sys::netns::within(netns, || Socket::open(Protocol::Route))?;
    let look = Step::new("look for link", route::get_link(LinkName::Name(interface)));
    let looked = perform(&mut inside, interface, vec![look])?;
    let Some(reply) = looked.first().and_then(|replies| replies.first()) else {
        return Ok(());
    };
    let index = Link::parse(reply)?.index;
    let steps = gateways
        .iter()
        .map(|gateway| {
            let message = route::set_default_route(index, *gateway);
            Step::new("give a route to", message)
        })
        .collect();
    perform(&mut inside, interface, steps).map(drop)
}

fn inner_steps(index: u32, attachment: &Attachment, extras: Extras) -> Vec<Step> {
    let address = IpAddr::V4(attachment.ipv4);
    let mut steps = vec![Step::new(
        "give an address to",
        route::add_address(index, address, attachment.ipv4_prefix),
    )];
    if let Some(gateway) = attachment.ipv4_gateway.filter(|_| extras.is_default_route) {
        let message = route::set_default_route(index, gateway.into());
        steps.push(Step::new("give a route to", message));
    }
    steps
}

fn inner_steps_ipv6(index: u32, attachment: &Attachment, extras: Extras) -> Vec<Step> {
    let Some(ipv6) = attachment.ipv6 else {
        return Vec::new();
    };
    let mut steps = vec![Step::new(
        "give an IPv6 address to",
        route::add_address(index, IpAddr::V6(ipv6.address), ipv6.prefix),
    )];
    if let Some(gateway) = ipv6.gateway.filter(|_| extras.is_default_route) {
        let message = route::set_default_route(index, gateway.into());
        steps.push(Step::new("give an IPv6 route to", message));
    }
    steps
}

pub(crate) fn macvlan_mode(mode: &str) -> Result<MacvlanMode> {
    Ok(match mode {
        "" | "bridge" => MacvlanMode::Bridge,
        "private" => MacvlanMode::Private,
        "vepa" => MacvlanMode::Vepa,
        "passthru" => MacvlanMode::Passthru,
        other => {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "there is no macvlan mode {other:?}: use bridge, private, vepa or passthru"
                ),
            ));
        }
    })
}
