//! Who is on a network: written by the engine, read by the network's resolver.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ContainerId, MacAddress, PortMapping, ProcessRef};

/// Who holds an IPv4 address of a network, and all that is needed to undo the
/// attachment. The file is named after the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub container: ContainerId,
    pub ports: Vec<PortMapping>,
    /// The IPv6 address that goes with it.
    #[serde(default)]
    pub ipv6: Option<Ipv6Addr>,
    /// The hardware address, if it is not the one that goes with the address.
    #[serde(default)]
    pub mac: Option<MacAddress>,
    /// The link inside of the container.
    #[serde(default)]
    pub interface: String,
    /// Under which it is found, the first one first.
    #[serde(default)]
    pub names: Vec<String>,
    /// Whom the resolver asks for this container instead of the host's servers.
    #[serde(default)]
    pub servers: Vec<IpAddr>,
    /// Other networks that the container is on.
    #[serde(default)]
    pub also: Vec<String>,
    /// What the container calls others, and a name that they have.
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// The container does not have this address, only the IPv6 address that
    /// would go with it.
    #[serde(default)]
    pub ipv6_only: bool,
}

/// What a resolver is told when it is started, on a sealed memfd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverJob {
    pub network: String,
    /// Where the directories with leases are, one per network.
    pub leases: PathBuf,
    /// Whether it may ask others about what it does not know.
    pub forwards: bool,
    /// Where to read whom to ask, the first that is of use.
    pub resolv_conf: Vec<PathBuf>,
}

/// Where a resolver finds its job, and the sockets that it listens on.
pub const RESOLVER_JOB_FD: i32 = 3;
pub const RESOLVER_UDP_FD: i32 = 4;
pub const RESOLVER_TCP_FD: i32 = 5;

/// A resolver that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverRecord {
    pub process: ProcessRef,
    pub address: Ipv4Addr,
}
