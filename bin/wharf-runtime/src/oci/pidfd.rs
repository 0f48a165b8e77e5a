//! Sending a descriptor over a unix socket that somebody listens on.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sys::{Context as _, Result};

/// Hands a pidfd to whoever listens on `socket`; `kind` of process is
/// `standard` for init and `setns` for one that joined, as runc says it.
pub(super) fn send(socket: &Path, pidfd: BorrowedFd<'_>, kind: &str) -> Result<()> {
    send_fd(socket, pidfd, kind).context(|| format!("send the pidfd to {}", socket.display()))
}

/// One message: `name`, and the descriptor.
pub(super) fn send_fd(socket: &Path, fd: BorrowedFd<'_>, name: &str) -> Result<()> {
    let stream = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds));
    let name = [std::io::IoSlice::new(name.as_bytes())];
    let flags = rustix::net::SendFlags::NOSIGNAL;
    rustix::net::sendmsg(&stream, &name, &mut control, flags)?;
    Ok(())
}
