//! Sockets as bytes: addresses, options and queues of any family, as a
//! checkpoint carries them without understanding each.

use std::mem;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use crate::{Error, Result};

/// Bytes of the longest address (`struct sockaddr_storage`).
pub const ADDRESS_MAX: usize = 128;
/// Descriptors that one message carries at most (`SCM_MAX_FD`).
pub const DESCRIPTORS_MAX: usize = 253;

/// A message of a queue.
#[derive(Debug, Default)]
pub struct Received {
    /// Bytes that were written to the buffer.
    pub length: usize,
    /// The buffer was too short for it.
    pub is_cut: bool,
    /// Who sent it; empty if that has no address.
    pub sender: Vec<u8>,
    /// What came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// `TCP_ZEROCOPY_RECEIVE`
const ZEROCOPY_RECEIVE: i32 = 35;

/// Reads an option of at most `room` bytes.
pub fn option(socket: BorrowedFd<'_>, level: i32, name: i32, room: usize) -> Result<Vec<u8>> {
    // The one counts in other units, the other maps memory.
    let unusual = [
        (libc::SOL_SOCKET, libc::SO_GET_FILTER),
        (libc::IPPROTO_TCP, ZEROCOPY_RECEIVE),
    ];
    if unusual.contains(&(level, name)) {
        return Err(Error::from_errno(libc::EINVAL));
    }
    let mut value = vec![0; room];
    let mut length = libc::socklen_t::try_from(room).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes to `value`, which has
    // that many, and the length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    check(result.into())?;
    value.truncate(length as usize);
    Ok(value)
}

/// Sets an option.
pub fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> Result<()> {
    let length = libc::socklen_t::try_from(value.len()).unwrap_or(0);
    // SAFETY: the kernel reads `length` bytes of `value`. Where an option has
    // pointers in its value (filters), the kernel reads there too, and writes
    // nothing.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            length,
        )
    };
    check(result.into()).map(drop)
}

/// As [`set_option`], for an option that is a number.
pub fn set_number(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> Result<()> {
    set_option(socket, level, name, &value.to_ne_bytes())
}

/// Whether a packet filter is attached to it.
pub fn has_filter(socket: BorrowedFd<'_>) -> Result<bool> {
    let mut length: libc::socklen_t = 0;
    // SAFETY: with a length of 0 the kernel writes nothing but the length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_GET_FILTER,
            std::ptr::null_mut(),
            &raw mut length,
        )
    };
    check(result.into()).map(|_| length != 0)
}

/// Loads a number that nobody else would, and drops the packet.
const DEAF: [libc::sock_filter; 2] = [
    libc::sock_filter {
        code: 0x00,
        jt: 0,
        jf: 0,
        k: 0x7768_6172,
    },
    libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: 0,
    },
];

/// From now on every packet for it is dropped unseen, as if the network had
/// lost it; [`hear`] ends that.
pub fn be_deaf(socket: BorrowedFd<'_>) -> Result<()> {
    let mut drop_all = DEAF;
    let program = libc::sock_fprog {
        len: 2,
        filter: drop_all.as_mut_ptr(),
    };
    // SAFETY: the kernel reads the program, which is alive, and two
    // instructions where that points.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            libc::socklen_t::try_from(mem::size_of_val(&program)).unwrap_or(0),
        )
    };
    check(result.into()).map(drop)
}

/// Whether [`be_deaf`] was done to it, by whomever.
pub fn is_deaf(socket: BorrowedFd<'_>) -> Result<bool> {
    let none = libc::sock_filter {
        code: 0,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let mut filter = [none; DEAF.len()];
    // In instructions, not in bytes.
    let mut length: libc::socklen_t = 2;
    // SAFETY: the kernel writes at most as many instructions as `length`
    // says, which is how many `filter` has, and their number.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_GET_FILTER,
            filter.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    // A longer one is an error, and not ours.
    let is_ours = |(one, ours): (&libc::sock_filter, &libc::sock_filter)| {
        (one.code, one.k) == (ours.code, ours.k)
    };
    Ok(result == 0 && length == 2 && filter.iter().zip(&DEAF).all(is_ours))
}

/// Takes the packet filter away.
pub fn hear(socket: BorrowedFd<'_>) -> Result<()> {
    set_number(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0)
}

/// The socket's own address; empty if it has none.
pub fn own_address(socket: BorrowedFd<'_>) -> Result<Vec<u8>> {
    address(socket, libc::getsockname)
}

/// The address that it is connected to.
pub fn peer_address(socket: BorrowedFd<'_>) -> Result<Vec<u8>> {
    address(socket, libc::getpeername)
}

type AskAddress =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn address(socket: BorrowedFd<'_>, ask: AskAddress) -> Result<Vec<u8>> {
    let mut bytes = [0_u8; ADDRESS_MAX];
    let mut length = 128;
    // SAFETY: the kernel writes at most `length` bytes, all of `bytes`, and
    // the length.
    let result = unsafe {
        ask(
            socket.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    check(result.into())?;
    Ok(bytes[..(length as usize).min(ADDRESS_MAX)].to_vec())
}

/// bind(2) with an address as the kernel has it.
pub fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> Result<()> {
    let length = libc::socklen_t::try_from(address.len()).unwrap_or(0);
    // SAFETY: the kernel copies `length` bytes of `address`, whatever they are.
    let result = unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), length) };
    check(result.into()).map(drop)
}

/// connect(2) with an address as the kernel has it.
pub fn connect(socket: BorrowedFd<'_>, address: &[u8]) -> Result<()> {
    let length = libc::socklen_t::try_from(address.len()).unwrap_or(0);
    // SAFETY: the kernel copies `length` bytes of `address`, whatever they are.
    let result = unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), length) };
    check(result.into()).map(drop)
}

/// Room for control messages: enough descriptors, credentials, times.
#[repr(C, align(8))]
struct Control([u8; 2048]);

/// Takes the next message, or with `MSG_PEEK` in `flags` looks at it; none if
/// there is none. It never waits.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: i32) -> Result<Option<Received>> {
    let mut sender = [0_u8; ADDRESS_MAX];
    let mut control = Control([0; 2048]);
    let mut vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all zero is a message header with nothing in it.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = sender.as_mut_ptr().cast();
    header.msg_namelen = 128;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len();
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: every pointer of the header leads to memory of ours that is as
    // long as it says.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let length = match check(i64::try_from(result).unwrap_or(-1)) {
        Ok(length) => usize::try_from(length).unwrap_or(0),
        Err(error) if error.errno() == Some(libc::EAGAIN) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(Received {
        length: length.min(buffer.len()),
        is_cut: header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
        sender: sender[..(header.msg_namelen as usize).min(ADDRESS_MAX)].to_vec(),
        descriptors: descriptors(&header),
    }))
}

fn descriptors(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut all = Vec::new();
    // SAFETY: the header is one that the kernel filled in.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !at.is_null() {
        // SAFETY: the macros of cmsg(3) stay within the control buffer, whose
        // contents the kernel wrote; it is aligned for the header.
        let (level, kind, data, length) = unsafe {
            let message = &*at;
            let data = libc::CMSG_DATA(at);
            let head = data.offset_from(at.cast::<u8>()).unsigned_abs();
            let length = message.cmsg_len.saturating_sub(head);
            (message.cmsg_level, message.cmsg_type, data, length)
        };
        if (level, kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            for index in 0..length / 4 {
                // SAFETY: within the message, as its length says; the kernel
                // just made the descriptor and nobody else knows of it.
                let fd = unsafe {
                    let number = data.add(index * 4).cast::<[u8; 4]>().read();
                    OwnedFd::from_raw_fd(libc::c_int::from_ne_bytes(number))
                };
                all.push(fd);
            }
        }
        // SAFETY: as above.
        at = unsafe { libc::CMSG_NXTHDR(header, at) };
    }
    all
}

/// Sends a message, to `address` unless that is empty, with `descriptors`.
/// It never waits and raises no signal; how much was sent.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    address: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<usize> {
    let mut control = Control([0; 2048]);
    let mut vector = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: all zero is a message header with nothing in it.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    if !address.is_empty() {
        header.msg_name = address.as_ptr().cast_mut().cast();
        header.msg_namelen = libc::socklen_t::try_from(address.len()).unwrap_or(0);
    }
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    if !descriptors.is_empty() {
        if descriptors.len() > DESCRIPTORS_MAX {
            return Err(Error::from_errno(libc::EINVAL));
        }
        let size = u32::try_from(descriptors.len() * 4).unwrap_or(0);
        header.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: these compute lengths only.
        let (space, length) = unsafe { (libc::CMSG_SPACE(size), libc::CMSG_LEN(size)) };
        header.msg_controllen = space as usize;
        // SAFETY: the control buffer is aligned, and has room for a header
        // and 253 descriptors.
        unsafe {
            let message = libc::CMSG_FIRSTHDR(&raw const header);
            (*message).cmsg_level = libc::SOL_SOCKET;
            (*message).cmsg_type = libc::SCM_RIGHTS;
            (*message).cmsg_len = length as usize;
            let data = libc::CMSG_DATA(message);
            for (index, fd) in descriptors.iter().enumerate() {
                let number = fd.as_raw_fd().to_ne_bytes();
                data.add(index * 4).cast::<[u8; 4]>().write(number);
            }
        }
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: every pointer of the header leads to memory of ours that is as
    // long as it says; the kernel only reads it.
    let result = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags) };
    check(i64::try_from(result).unwrap_or(-1)).map(|sent| usize::try_from(sent).unwrap_or(0))
}

/// The number that ioctl(2) answers `request` with: `SIOCINQ`, `SIOCOUTQ`,
/// `SIOCOUTQNSD`.
pub fn queued(socket: BorrowedFd<'_>, request: u64) -> Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: these requests write one number.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut count) };
    check(result.into())?;
    Ok(usize::try_from(count).unwrap_or(0))
}

fn check(result: i64) -> Result<i64> {
    if result < 0 {
        return Err(Error::from(std::io::Error::last_os_error()));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn messages_keep_their_descriptors() {
        let (one, other) = UnixDatagram::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let sent = send(one.as_fd(), b"hello", &[], &[file.as_fd(), file.as_fd()]);
        assert_eq!(sent.unwrap(), 5);
        let mut buffer = [0; 16];
        for flags in [libc::MSG_PEEK, 0] {
            let got = receive(other.as_fd(), &mut buffer, flags).unwrap().unwrap();
            assert_eq!((got.length, got.descriptors.len()), (5, 2));
            assert_eq!(&buffer[..5], b"hello");
        }
        assert!(receive(other.as_fd(), &mut buffer, 0).unwrap().is_none());
    }
}
