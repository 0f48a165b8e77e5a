//! Sockets of the family `AF_UNIX` in a network namespace (`UNIX_DIAG`,
//! Linux 3.3): which is connected to which.

use super::message::{Message, Reply, malformed, read_u32};
use crate::Result;

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `UDIAG_SHOW_VFS`, `_PEER`, `_ICONS`, `_RQLEN`.
const SHOW: u32 = 2 | 4 | 8 | 16;
/// `UNIX_DIAG_VFS`, `_PEER`, `_ICONS`, `_RQLEN`, `_SHUTDOWN`.
const VFS: u16 = 1;
const PEER: u16 = 2;
const ICONS: u16 = 3;
const QUEUE: u16 = 4;
const SHUTDOWN: u16 = 6;
const FIXED: usize = 16;
const LISTENING: u8 = 10;
const ESTABLISHED: u8 = 1;

/// One socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixSocket {
    pub inode: u32,
    pub is_listening: bool,
    pub is_connected: bool,
    /// Inode of the other end; 0 where that has none (any more, or yet).
    pub peer: Option<u32>,
    /// Inode and device (in the kernel's own form) of its file.
    pub file: Option<(u32, u32)>,
    /// Inodes of those who wait to be accepted.
    pub waiting: Vec<u32>,
    /// Of a listening one: how many may wait.
    pub backlog: u32,
    /// 1: nothing is received any more, 2: nothing sent.
    pub shutdown: u8,
}

/// Asks for all of them (to be sent with [`super::Socket::dump`]).
pub fn list() -> Message {
    // struct unix_diag_req: family, protocol, padding, states, inode, what
    // to show, cookie.
    let mut fixed = vec![1, 0, 0, 0];
    fixed.extend_from_slice(&u32::MAX.to_ne_bytes());
    fixed.extend_from_slice(&0u32.to_ne_bytes());
    fixed.extend_from_slice(&SHOW.to_ne_bytes());
    fixed.extend_from_slice(&[0xff; 8]);
    Message::new(BY_FAMILY, 0, &fixed)
}

impl UnixSocket {
    /// Reads one of the answers.
    pub fn parse(reply: &Reply) -> Result<Self> {
        // struct unix_diag_msg: family, type, state, padding, inode, cookie.
        let state = *reply.payload.get(2).ok_or_else(malformed)?;
        let attributes = reply.attributes(FIXED)?;
        let numbers = |kind| -> Result<Vec<u32>> {
            let bytes: &[u8] = attributes.get(kind).unwrap_or_default();
            (0..bytes.len() / 4)
                .map(|index| read_u32(bytes, index * 4))
                .collect()
        };
        let is_listening = state == LISTENING;
        let queue = numbers(QUEUE)?;
        Ok(Self {
            inode: read_u32(&reply.payload, 4)?,
            is_listening,
            is_connected: state == ESTABLISHED,
            peer: attributes.u32(PEER)?,
            file: match numbers(VFS)?[..] {
                [inode, device] => Some((inode, device)),
                _ => None,
            },
            waiting: numbers(ICONS)?,
            backlog: match queue[..] {
                [_, backlog] if is_listening => backlog,
                _ => 0,
            },
            shutdown: attributes
                .get(SHUTDOWN)
                .and_then(<[u8]>::first)
                .copied()
                .unwrap_or(0),
        })
    }
}
