//! The network of containers: links, addresses, firewall, published ports.
//!
//! A container is attached to a network by giving its network namespace one
//! end of a wire whose other end is a port of a bridge on the host. The
//! crate applies to a namespace's descriptor and knows containers by their id
//! alone. All of it is done by own netlink messages; no program is started,
//! and no process stays behind to forward traffic. The packet's way is drawn
//! in `docs/network.md`.
//!
//! Not here: when a container is attached, what its namespace was made with,
//! and who writes the files of [`names`].
//!
//! Start reading at [`Networks`], then `apply.rs` and `remove.rs`. What is
//! decided is in pure files: `plan.rs`, `firewall/rules.rs`, [`names`].

#![forbid(unsafe_code)]

mod address;
mod apply;
mod attachment;
mod audit;
mod define;
mod definition;
mod drivers;
mod firewall;
mod live;
pub mod names;
mod netns;
mod overflow;
mod plan;
mod ports;
mod remove;
mod request;
mod resolver;
mod wire;

use std::path::PathBuf;

use state::Layout;

pub use address::Ipv4Subnet;
pub use attachment::{AttachRequest, Attachment};
pub use audit::foreign_filters;
pub use definition::{Definition, Driver, Ipv6Prefix};
pub use names::{HostsFile, hosts_file, resolv_conf};
pub use netns::create_namespace;
pub use ports::{Reserved, Standing, reserve_again, reserve_ports, standing};
pub use request::NetworkRequest;

/// The name of the network a container is on unless it asks otherwise.
pub const DEFAULT_NETWORK: &str = "bridge";

/// What an administrator may choose about the default network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Addresses of the bridge and the containers; a free one of `10.x.0.0/16`
    /// if not set. Takes effect when the network is made.
    pub subnet: Option<Ipv4Subnet>,
    /// Whether containers get IPv6 addresses.
    pub ipv6: Ipv6,
    /// Largest packet, in bytes; the kernel's default of 1500 if not set.
    pub mtu: Option<u32>,
    /// The program that resolves names (`wharf-runtime`); without it nobody
    /// does.
    pub resolver: Option<PathBuf>,
}

/// Whether containers get IPv6 addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipv6 {
    /// From a private range of this host (RFC 4193), if the kernel has IPv6.
    #[default]
    Private,
    /// They get none.
    Off,
}

/// The networks of one store. Cheap to make: nothing is read or opened until
/// it is used, and nothing on the host is changed until a container attaches.
#[derive(Clone, Debug)]
pub struct Networks {
    layout: Layout,
    config: NetworkConfig,
}

impl Networks {
    /// The networks of the store at `layout`.
    pub fn open(layout: &Layout, config: NetworkConfig) -> Self {
        Self {
            layout: layout.clone(),
            config,
        }
    }
}
