//! A small world to test in: a host, somebody outside of it, and containers,
//! each a network namespace that the test made. The machine's own network is
//! not touched.

#![allow(clippy::print_stderr, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread;
use std::time::Duration;

use network::{AttachRequest, Attachment, NetworkConfig, Networks, Reserved};
use state::{ContainerId, Layout, PortMapping};
use sys::netlink::nftables::{self, Element};
use sys::netlink::route::{self, Link, LinkName, VethPair};
use sys::netlink::{Protocol, Socket};

/// How long a connection that works may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing has to come back for a packet to count as dropped.
const SILENCE: Duration = Duration::from_millis(300);
const MAPS: [&str; 4] = [
    "published4",
    "published4_any",
    "published6",
    "published6_any",
];

/// The host's and the outsider's addresses on the wire between them.
pub const HOST4: &str = "192.0.2.1";
pub const OUTSIDE4: &str = "192.0.2.2";
pub const HOST6: &str = "2001:db8::1";

pub struct World {
    pub host: OwnedFd,
    pub outside: OwnedFd,
    pub layout: Layout,
    directory: tempfile::TempDir,
}

pub struct Container {
    pub id: ContainerId,
    pub netns: OwnedFd,
    pub place: Attachment,
    pub reserved: Vec<Reserved>,
}

/// False, with a word about it, where the tests cannot run.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: this test makes network namespaces and needs root");
    }
    root
}

impl World {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        let host = network::create_namespace().unwrap();
        let outside = network::create_namespace().unwrap();
        let world = Self {
            host,
            outside,
            layout,
            directory,
        };
        world.connect_outside();
        world
    }

    /// The host starts anew: all that is not on disk is gone.
    pub fn reboot(&mut self) {
        self.host = network::create_namespace().unwrap();
        self.outside = network::create_namespace().unwrap();
        self.connect_outside();
    }

    /// A wire from the host to outside, where the host is the way to
    /// everything.
    fn connect_outside(&self) {
        self.on_host(|| {
            let mut socket = Socket::open(Protocol::Route).unwrap();
            socket
                .request(route::new_bridge("lan", [2, 0, 0, 0, 0, 1], None))
                .unwrap();
            let lan = index(&mut socket, "lan");
            let pair = VethPair {
                name: "up0",
                master: lan,
                peer_name: "up1",
                peer_mac: [2, 0, 0, 0, 0, 2],
                peer_netns: self.outside.as_fd(),
                mtu: None,
            };
            let setup = vec![
                route::set_up(LinkName::Index(1)),
                route::new_veth(&pair),
                route::set_up(LinkName::Name("up0")),
                route::set_up(LinkName::Name("lan")),
                route::add_address(lan, HOST4.parse().unwrap(), 24),
                route::add_address(lan, HOST6.parse().unwrap(), 64),
            ];
            all_ok(&mut socket, setup);
        });
        within(&self.outside, || {
            let mut socket = Socket::open(Protocol::Route).unwrap();
            let up1 = index(&mut socket, "up1");
            let setup = vec![
                route::set_up(LinkName::Name("up1")),
                route::add_address(up1, OUTSIDE4.parse().unwrap(), 24),
                route::add_address(up1, "2001:db8::2".parse().unwrap(), 64),
                route::set_default_route(up1, HOST4.parse().unwrap()),
                route::set_default_route(up1, HOST6.parse().unwrap()),
            ];
            all_ok(&mut socket, setup);
            // Somebody who means harm: takes answers from 127.0.0.1.
            std::fs::write("/proc/sys/net/ipv4/conf/up1/route_localnet", "1").unwrap();
        });
    }

    pub fn networks(&self) -> Networks {
        Networks::open(&self.layout, NetworkConfig::default())
    }

    pub fn on_host<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        within(&self.host, act)
    }

    /// A container with these ports published (`-p`).
    pub fn start(&self, ports: &[&str]) -> Container {
        let id = ContainerId::random().unwrap();
        let netns = network::create_namespace().unwrap();
        self.on_host(|| {
            let requests: Vec<_> = ports.iter().map(|text| text.parse().unwrap()).collect();
            let reserved = network::reserve_ports(&requests).unwrap();
            let request = AttachRequest {
                ports: mappings(&reserved),
                ..AttachRequest::new(id)
            };
            let place = self.networks().attach(netns.as_fd(), &request).unwrap();
            Container {
                id,
                netns,
                place,
                reserved,
            }
        })
    }

    pub fn detach(&self, container: &Container) {
        self.on_host(|| self.networks().detach(&container.id))
            .unwrap();
    }

    pub fn repair(&self, alive: &[ContainerId]) {
        self.on_host(|| self.networks().repair(|id| alive.contains(id)))
            .unwrap();
    }

    /// The name of the bridge and the table.
    pub fn own_name(&self) -> String {
        let text = std::fs::read_to_string(self.layout.networks().join("bridge.json")).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(record["bridge"], record["table"]);
        record["bridge"].as_str().unwrap().to_owned()
    }

    /// The published ports in the firewall, each with its container.
    pub fn published(&self) -> BTreeSet<Element> {
        let table = self.own_name();
        self.on_host(|| {
            let mut socket = Socket::open(Protocol::Netfilter).unwrap();
            MAPS.into_iter()
                .flat_map(|map| {
                    let request = nftables::list_elements(nftables::Family::Inet, &table, map);
                    let replies = socket.dump(&request).unwrap_or_default();
                    replies
                        .iter()
                        .flat_map(|reply| nftables::parse_elements(reply, map).unwrap())
                        .collect::<Vec<_>>()
                })
                .collect()
        })
    }

    /// Waits until the kernel has deleted the links of namespaces that are
    /// gone, and returns those that remain.
    pub fn links_at_last(&self, count: usize) -> BTreeSet<String> {
        let mut links = self.container_links();
        for _ in 0..200 {
            if links.len() <= count {
                break;
            }
            thread::sleep(Duration::from_millis(50));
            links = self.container_links();
        }
        links
    }

    /// Links on the host that belong to containers.
    pub fn container_links(&self) -> BTreeSet<String> {
        self.on_host(|| {
            let mut socket = Socket::open(Protocol::Route).unwrap();
            let replies = socket.dump(&route::list_links()).unwrap();
            replies
                .iter()
                .map(|reply| Link::parse(reply).unwrap())
                .filter(|link| link.kind == "veth" && link.name != "up0")
                .map(|link| link.name)
                .collect()
        })
    }

    /// Addresses that are leased.
    pub fn leased(&self) -> BTreeSet<Ipv4Addr> {
        match std::fs::read_dir(self.layout.leases("bridge")) {
            Ok(entries) => entries
                .map(|entry| {
                    entry
                        .unwrap()
                        .file_name()
                        .to_str()
                        .unwrap()
                        .parse()
                        .unwrap()
                })
                .collect(),
            Err(_) => BTreeSet::new(),
        }
    }

    /// Whether packets that are merely bridged pass the packet filter
    /// (`br_netfilter`); Docker and Kubernetes turn it on. Does nothing on a
    /// kernel without it.
    pub fn set_bridge_filter(&self, value: &str) {
        self.on_host(|| {
            for setting in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
                let path = std::path::Path::new("/proc/sys/net/bridge").join(setting);
                if path.exists() {
                    std::fs::write(path, value).unwrap();
                }
            }
        });
    }

    /// A second store on the same host.
    pub fn other_store(&self) -> Networks {
        let layout = Layout::new(
            self.directory.path().join("other"),
            self.directory.path().join("other-run"),
        );
        Networks::open(&layout, NetworkConfig::default())
    }
}

impl Container {
    pub fn ipv4(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.place.ipv4), port)
    }

    pub fn ipv6(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(self.place.ipv6.unwrap().address), port)
    }
}

pub fn mappings(reserved: &[Reserved]) -> Vec<PortMapping> {
    reserved.iter().map(|one| one.mapping).collect()
}

pub fn within<T: Send>(netns: &OwnedFd, act: impl FnOnce() -> T + Send) -> T {
    sys::netns::within(netns.as_fd(), || Ok(act())).unwrap()
}

/// Serves TCP connections until the test ends: says who it is and whom it
/// sees.
pub fn serve_tcp(netns: &OwnedFd, port: u16, name: &'static str) {
    let listener = within(netns, || TcpListener::bind(("::", port)).unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let peer = stream.peer_addr().map(|peer| peer.ip().to_canonical());
            let _ = write!(stream, "{name} sees {}", peer.unwrap());
        }
    });
}

/// Serves UDP in the same way.
pub fn serve_udp(netns: &OwnedFd, port: u16, name: &'static str) {
    let socket = within(netns, || UdpSocket::bind(("::", port)).unwrap());
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let text = format!("{name} sees {}", peer.ip().to_canonical());
            let _ = socket.send_to(text.as_bytes(), peer);
        }
    });
}

/// What the server says, or `None` if there is no way to it.
pub fn ask_tcp(netns: &OwnedFd, to: SocketAddr) -> Option<String> {
    ask_tcp_for(netns, to, PATIENCE)
}

pub fn ask_udp(netns: &OwnedFd, to: SocketAddr) -> Option<String> {
    within(netns, || {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(to).unwrap();
        ask_from(&socket)
    })
}

/// Asks a server of UDP until it answers: packets may be lost.
pub fn ask_from(socket: &UdpSocket) -> Option<String> {
    // A late answer to what was asked twice is none to what is asked now.
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut [0; 64]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(PATIENCE / 10)).unwrap();
    for _ in 0..10 {
        let mut buffer = [0; 64];
        // A refusal of the packet before is told now.
        let sent = socket.send(b"?");
        if let (Ok(_), Ok(length)) = (sent, socket.recv(&mut buffer)) {
            return Some(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
    }
    None
}

/// Whether a connection comes about, however busy the machine is.
pub fn answers(netns: &OwnedFd, to: SocketAddr) -> bool {
    ask_tcp(netns, to).is_some()
}

/// Whether no connection comes about within a moment.
pub fn is_silent(netns: &OwnedFd, to: SocketAddr) -> bool {
    ask_tcp_for(netns, to, SILENCE).is_none()
}

pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

fn ask_tcp_for(netns: &OwnedFd, to: SocketAddr, patience: Duration) -> Option<String> {
    within(netns, || {
        let mut stream = TcpStream::connect_timeout(&to, patience).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    })
}

fn index(socket: &mut Socket, name: &str) -> u32 {
    let replies = socket
        .request(route::get_link(LinkName::Name(name)))
        .unwrap();
    Link::parse(&replies[0]).unwrap().index
}

fn all_ok(socket: &mut Socket, messages: Vec<sys::netlink::Message>) {
    for (turn, outcome) in socket.exchange(messages).unwrap().into_iter().enumerate() {
        outcome.unwrap_or_else(|error| panic!("message {turn}: {error}"));
    }
}
