//! Sockets. Addresses and values of options are hex of what the kernel has.

use serde::{Deserialize, Serialize};

/// What every socket has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    /// `AF_*`, `SOCK_*`, `IPPROTO_*`.
    pub domain: i32,
    #[serde(rename = "type")]
    pub kind: i32,
    pub protocol: i32,
    /// Those that are not as in a new socket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<SocketOption>,
    pub state: SocketState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketOption {
    /// `SOL_*` or `IPPROTO_*`.
    pub level: i32,
    pub name: i32,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SocketState {
    Unix(Unix),
    Tcp(Tcp),
    /// UDP, raw and ICMP: where it is bound and connected, if it is.
    Datagram {
        own: String,
        peer: String,
    },
    Netlink {
        /// Its number; 0 if it is not bound.
        port: u32,
        /// Bits of the groups, the first 32 of them.
        groups: u32,
    },
}

impl Default for SocketState {
    fn default() -> Self {
        Self::Unix(Unix::default())
    }
}

/// A socket of the family `AF_UNIX`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unix {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<UnixName>,
    pub link: UnixLink,
    /// 1: nothing is received any more, 2: nothing sent.
    pub shutdown: u8,
    /// What was sent to it and not received.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<Message>,
    /// Whom those that connect to it see (`SO_PEERCRED`): who made it listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnixName {
    /// `sun_path` without padding; an abstract one begins with a zero byte.
    pub bytes: String,
    /// The directory that a relative path began in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Mode, user and group of its file; none if that was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<(u32, u32, u32)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum UnixLink {
    #[default]
    None,
    Listening {
        backlog: u32,
    },
    /// With that description.
    Connected {
        to: usize,
    },
    /// Waits to be accepted by that description.
    Waiting {
        at: usize,
    },
    /// The other end was closed, or is outside and given up.
    Widowed,
    /// To a socket outside of the container.
    External {
        address: String,
    },
}

/// What was sent at once, or for streams: a piece.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    pub content: String,
    /// Address of the sender, if it has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sender: String,
    /// What travels with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub descriptions: Vec<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    pub own: String,
    pub link: TcpLink,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TcpLink {
    #[default]
    None,
    Listening {
        backlog: u32,
    },
    /// Restored as one whose peer reset it; only what that takes is there.
    Closed(Box<TcpConnection>),
    Connected(Box<TcpConnection>),
}

/// What both sides of a connection know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpConnection {
    pub peer: String,
    /// Ours is done sending.
    pub is_half_closed: bool,
    /// Sequence numbers of the first byte of each queue.
    pub send: u32,
    pub receive: u32,
    /// Written by the program and not acknowledged by the peer.
    pub outgoing: String,
    /// How many bytes at the end of that were never sent.
    pub unsent: u32,
    /// Acknowledged and not read.
    pub incoming: String,
    /// Bytes of the largest segment that the peer takes.
    pub segment: u32,
    /// Of the peer's windows and of ours, as exponents.
    pub scales: Option<(u8, u8)>,
    /// Selective acknowledgments.
    pub selective: bool,
    /// What the clock of our timestamps says.
    pub time: Option<u32>,
    /// `struct tcp_repair_window`.
    pub window: String,
}
