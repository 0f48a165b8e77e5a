//! What was sent to a unix socket and not received: looked at, not taken.

use std::os::fd::{AsFd as _, BorrowedFd};

use sys::socket::{self, Received};
use sys::{Error, ErrorKind, Result};

use super::super::Collection;
use super::super::files;
use super::{SO_TYPE, SOL_SOCKET, Sockets, inode, number_of};
use crate::image::hex;
use crate::image::schema::Message;

const SO_PEEK_OFF: i32 = 42;
const MSG_PEEK: i32 = 2;
const SOCK_STREAM: i32 = 1;
const SOCK_DGRAM: i32 = 2;
const ENOTCONN: i32 = 107;
const EINVAL: i32 = 22;
/// More than any single message.
const BUFFER: usize = 4 << 20;

/// Of the socket that was seen at `place`; descriptors in flight are added to
/// those that were seen.
pub(super) fn read(place: usize, sockets: &Sockets, all: &mut Collection) -> Result<Vec<Message>> {
    let one = &all.files.seen[place];
    let known = inode(one).and_then(|inode| sockets.unix.get(&inode));
    let Some(known) = known.filter(|known| !known.is_listening) else {
        return Ok(Vec::new());
    };
    let kind = number_of(one, SO_TYPE)?;
    if kind != SOCK_DGRAM && !known.is_connected {
        return Ok(Vec::new());
    }
    let is_over = known.shutdown & 1 != 0;
    // A copy, so that the list of what was seen may grow.
    let ours = one.ours.try_clone()?;
    let usual = socket::option(ours.as_fd(), SOL_SOCKET, SO_PEEK_OFF, 4)?;
    socket::set_number(ours.as_fd(), SOL_SOCKET, SO_PEEK_OFF, 0)?;
    let messages = look(ours.as_fd(), kind, is_over);
    socket::set_option(ours.as_fd(), SOL_SOCKET, SO_PEEK_OFF, &usual)?;
    let root = one.root;
    let mut queue = Vec::new();
    for (content, received) in messages? {
        let mut message = Message {
            content: hex::encode(&content),
            sender: match received.sender.len() {
                0..=2 => String::new(),
                _ => hex::encode(&received.sender),
            },
            descriptions: Vec::new(),
        };
        for fd in received.descriptors {
            message.descriptions.push(files::in_flight(fd, root, all)?);
        }
        queue.push(message);
    }
    Ok(queue)
}

fn look(ours: BorrowedFd<'_>, kind: i32, is_over: bool) -> Result<Vec<(Vec<u8>, Received)>> {
    let mut all = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let received = match socket::receive(ours, &mut buffer, MSG_PEEK) {
            Ok(Some(received)) => received,
            Ok(None) => return Ok(all),
            Err(error) if matches!(error.errno(), Some(ENOTCONN | EINVAL)) => return Ok(all),
            Err(error) => return Err(error),
        };
        let length = received.length;
        if length == 0 && (kind == SOCK_STREAM || is_over && kind != SOCK_DGRAM) {
            return Ok(all);
        }
        if received.is_cut {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a message in it is larger than can be carried",
            ));
        }
        let mut content = buffer[..length].to_vec();
        if kind == SOCK_STREAM && !received.descriptors.is_empty() && length > 1 {
            // They belong to one of the messages that were read as one; which,
            // the kernel does not tell. With the last byte they come neither
            // too early nor, for who reads that message at once, too late.
            let last = content.split_off(length - 1);
            all.push((std::mem::replace(&mut content, last), Received::default()));
        }
        all.push((content, received));
    }
}
