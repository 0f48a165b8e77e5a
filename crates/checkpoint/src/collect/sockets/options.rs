//! Options that differ from those of a new socket.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use sys::{Result, socket};

use crate::image::hex;
use crate::image::options::{self, SOL_SOCKET};
use crate::image::schema::{Socket, SocketOption};

const SO_SNDBUF: i32 = 7;
const SO_RCVBUF: i32 = 8;
const SO_BUF_LOCK: i32 = 72;

pub(super) fn collect(of: BorrowedFd<'_>, what: &Socket) -> Result<Vec<SocketOption>> {
    let kind = SocketType::from_raw(what.kind.cast_unsigned());
    let family = AddressFamily::from_raw(u16::try_from(what.domain).unwrap_or(0));
    let protocol = u32::try_from(what.protocol).ok();
    let protocol = protocol.and_then(std::num::NonZero::new);
    let protocol = protocol.map(rustix::net::Protocol::from_raw);
    let new = socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
    let mut all = Vec::new();
    for (level, name, room) in options::of(what) {
        // Older kernels do not have all of them, nor has every protocol.
        let Ok(value) = socket::option(of, level, name, room) else {
            continue;
        };
        if socket::option(new.as_fd(), level, name, room).is_ok_and(|usual| usual == value) {
            continue;
        }
        all.push(SocketOption {
            level,
            name,
            value: hex::encode(&value),
        });
    }
    all.extend(sizes(of));
    Ok(all)
}

/// Sizes of buffers that the program chose; others the kernel chooses. It
/// tells twice what it was told.
fn sizes(of: BorrowedFd<'_>) -> Vec<SocketOption> {
    let number = |name| {
        let value = socket::option(of, SOL_SOCKET, name, 4).ok()?;
        Some(u32::from_ne_bytes(value.try_into().ok()?))
    };
    let chosen = number(SO_BUF_LOCK).unwrap_or(0);
    let both = [(1, SO_SNDBUF), (2, SO_RCVBUF)];
    let both = both.into_iter().filter(|(bit, _)| chosen & bit != 0);
    both.filter_map(|(_, name)| {
        Some(SocketOption {
            level: SOL_SOCKET,
            name,
            value: hex::encode(&(number(name)? / 2).to_ne_bytes()),
        })
    })
    .collect()
}
