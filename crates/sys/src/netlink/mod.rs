//! Netlink: how the kernel's network is asked and changed.
//!
//! [`message`] writes and reads the wire format, [`socket`] sends messages and
//! collects answers, [`route`] knows links, addresses and routes, and
//! [`nftables`] and [`conntrack`] know the packet filter. All of it is plain
//! encoding: a function returns a [`Message`], and the caller decides which
//! messages travel together in one system call.
//!
//! Not here: which links, addresses and rules a container gets.
//!
//! What comes back from the kernel is parsed as if it were hostile: every
//! length is checked and a reply that does not fit is an error of kind
//! `Corrupt`, never a panic.

pub mod conntrack;
pub mod hold;
pub mod message;
pub mod nftables;
pub mod route;
pub mod socket;
pub mod unix_diag;

pub use message::{Attributes, Message, Reply};
pub use socket::{Protocol, Socket};
