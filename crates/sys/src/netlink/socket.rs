//! A netlink socket: several messages in one system call, one outcome each.
//!
//! The kernel works on a request inside of `send`, so when `send` returns all
//! answers but those of a dump already wait in the receive queue.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use super::message::{ACK, Attributes, DUMP, HEADER, Message, Reply, malformed, read_u32};
use crate::{Context, Error, ErrorKind, Result};

/// `NLMSG_ERROR`, which is also the acknowledgement when its number is 0.
const KIND_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
const KIND_DONE: u16 = 3;
/// `NLM_F_CAPPED`: the failed request is not repeated in the answer.
const FLAG_CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: attributes follow the answer.
const FLAG_EXTENDED: u16 = 0x200;
/// `NLM_F_DUMP_INTR`: the objects changed during the dump.
const FLAG_INTERRUPTED: u16 = 0x10;
/// `NLMSGERR_ATTR_MSG`: the kernel's reason in words.
const ATTRIBUTE_REASON: u16 = 1;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// What the batch is for (`NFNL_SUBSYS_NFTABLES`, network order), after
/// family and version.
const BATCH_FOR_NFTABLES: [u8; 4] = [0, 0, 0, 10];
/// Messages per system call: their answers have to fit the receive buffer,
/// of which the kernel counts 4 KiB for an answer with data.
const MESSAGES_PER_CALL: usize = 32;
/// A dump that keeps being interrupted is given up after so many tries.
const DUMP_TRIES: usize = 8;

/// The kernel's side of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes.
    Route,
    /// nftables and connection tracking.
    Netfilter,
    /// Sockets.
    Diagnosis,
}

/// A socket bound to the network namespace it was opened in.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> Result<Self> {
        // `NETLINK_ROUTE` is number 0, the default.
        let number = match protocol {
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
            Protocol::Diagnosis => Some(netlink::SOCK_DIAG),
        };
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            number,
        )
        .context(|| "open netlink socket")?;
        // Both are refinements of the answers; without them errors carry no
        // words, which the parser allows for.
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            enable(&fd, option);
        }
        Ok(Self {
            fd,
            sequence: 0,
            buffer: vec![0; 32 * 1024],
        })
    }

    /// Sends the messages, in one system call if they are not many, and
    /// returns one outcome for each: what it answered, or the kernel's error.
    /// A message is worked on even if an earlier one failed.
    pub fn exchange(&mut self, mut messages: Vec<Message>) -> Result<Vec<Result<Vec<Reply>>>> {
        let mut outcomes = Vec::with_capacity(messages.len());
        while !messages.is_empty() {
            let later = messages.split_off(messages.len().min(MESSAGES_PER_CALL));
            outcomes.extend(self.exchange_at_once(messages)?);
            messages = later;
        }
        Ok(outcomes)
    }

    fn exchange_at_once(&mut self, messages: Vec<Message>) -> Result<Vec<Result<Vec<Reply>>>> {
        let count = messages.len();
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(count * 128);
        for mut message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend_from_slice(message.finish(self.sequence, ACK)?);
        }
        self.send(&bytes)?;

        let mut outcomes: Vec<Option<Result<()>>> = (0..count).map(|_| None).collect();
        let mut answers: Vec<Vec<Reply>> = vec![Vec::new(); count];
        while outcomes.iter().any(Option::is_none) {
            for reply in self.receive()? {
                let index = reply.sequence.wrapping_sub(first) as usize;
                if index >= count {
                    continue;
                }
                if reply.kind == KIND_ERROR {
                    outcomes[index] = Some(acknowledgement(&reply)?);
                } else {
                    answers[index].push(reply);
                }
            }
        }
        Ok(outcomes
            .into_iter()
            .zip(answers)
            .map(|(outcome, answer)| outcome.unwrap_or(Ok(())).map(|()| answer))
            .collect())
    }

    /// Sends one message and returns what it answered.
    pub fn request(&mut self, message: Message) -> Result<Vec<Reply>> {
        self.exchange(vec![message])?
            .pop()
            .unwrap_or_else(|| Err(malformed()))
    }

    /// Asks for a list of objects. Repeats the question when the objects
    /// changed meanwhile, so that the list is true for one moment.
    pub fn dump(&mut self, message: &Message) -> Result<Vec<Reply>> {
        for _ in 0..DUMP_TRIES {
            self.sequence = self.sequence.wrapping_add(1);
            let bytes = message.clone().finish(self.sequence, DUMP)?.to_vec();
            self.send(&bytes)?;
            if let Some(replies) = self.collect_dump()? {
                return Ok(replies);
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "network objects keep changing while they are listed",
        ))
    }

    /// Sends nftables messages as one transaction: all of them happen or
    /// none. The error is the first failed message's, with its index.
    pub fn transaction(&mut self, messages: Vec<Message>) -> Result<(), (Option<usize>, Error)> {
        self.commit(messages)
            .map_err(|error| (None, error))
            .and_then(|outcome| outcome.map_err(|(index, error)| (Some(index), error)))
    }

    fn commit(&mut self, messages: Vec<Message>) -> Result<Result<(), (usize, Error)>> {
        let count = messages.len();
        let begin = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(count * 128);
        let mut append = |mut message: Message, flags| -> Result<()> {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend_from_slice(message.finish(self.sequence, flags)?);
            Ok(())
        };
        append(Message::new(BATCH_BEGIN, 0, &BATCH_FOR_NFTABLES), 0)?;
        for (index, message) in messages.into_iter().enumerate() {
            // The last one's answer tells that the kernel is through.
            append(message, if index + 1 == count { ACK } else { 0 })?;
        }
        append(Message::new(BATCH_END, 0, &BATCH_FOR_NFTABLES), 0)?;
        self.send(&bytes)?;

        let mut failure = None;
        loop {
            for reply in self.receive()? {
                let index = reply.sequence.wrapping_sub(begin) as usize;
                if reply.kind != KIND_ERROR || index > count {
                    continue;
                }
                let outcome = acknowledgement(&reply)?;
                if let (Err(error), None) = (outcome, &failure) {
                    failure = Some((index.saturating_sub(1), error));
                }
                // An answer to the opening message concerns all of it.
                if index == 0 || index == count {
                    return Ok(failure.map_or(Ok(()), Err));
                }
            }
        }
    }

    fn collect_dump(&mut self) -> Result<Option<Vec<Reply>>> {
        let mut all = Vec::new();
        let mut consistent = true;
        loop {
            for reply in self.receive()? {
                if reply.sequence != self.sequence {
                    continue;
                }
                consistent &= reply.flags & FLAG_INTERRUPTED == 0;
                match reply.kind {
                    KIND_DONE => return Ok(consistent.then_some(all)),
                    KIND_ERROR => match acknowledgement(&reply)? {
                        Ok(()) => return Ok(Some(all)),
                        Err(error) if error.errno() == Some(libc::EINTR) => return Ok(None),
                        Err(error) => return Err(error),
                    },
                    _ => all.push(reply),
                }
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.make_room_for(bytes.len());
        let sent = send(&self.fd, bytes, SendFlags::empty()).context(|| "send netlink request")?;
        if sent != bytes.len() {
            return Err(Error::new(
                ErrorKind::Internal,
                "the kernel took only a part of a netlink request",
            ));
        }
        Ok(())
    }

    /// A datagram larger than the send buffer is refused with `EMSGSIZE`;
    /// only thousands of published ports make one.
    fn make_room_for(&mut self, length: usize) {
        if length > 64 * 1024 {
            // A failure shows when the message is sent.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&self.fd, length * 4)
                .or_else(|_| {
                    rustix::net::sockopt::set_socket_send_buffer_size(&self.fd, length * 4)
                });
        }
    }

    fn receive(&mut self) -> Result<Vec<Reply>> {
        let (_, length) = recv(&self.fd, &mut self.buffer[..], RecvFlags::TRUNC)
            .context(|| "receive netlink reply")?;
        let bytes = self.buffer.get(..length).ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                "netlink reply is larger than its buffer",
            )
        })?;
        Reply::parse_all(bytes)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The outer result: could the answer be read; the inner one: what it says.
fn acknowledgement(reply: &Reply) -> Result<Result<()>> {
    let number = read_u32(&reply.payload, 0)?.cast_signed();
    if number == 0 {
        return Ok(Ok(()));
    }
    let errno = number
        .checked_neg()
        .filter(|errno| (1..4096).contains(errno));
    let mut error = Error::from_errno(errno.ok_or_else(malformed)?);
    if let Some(reason) = reason(reply)? {
        error = error.wrap(reason);
    }
    Ok(Err(error))
}

/// The kernel's words about a failure, if it sent any.
fn reason(reply: &Reply) -> Result<Option<String>> {
    if reply.flags & FLAG_EXTENDED == 0 {
        return Ok(None);
    }
    let mut fixed = 4 + HEADER;
    if reply.flags & FLAG_CAPPED == 0 {
        let request = read_u32(&reply.payload, 4)? as usize;
        fixed += request.saturating_sub(HEADER);
    }
    let attributes: Attributes<'_> = reply.attributes(fixed)?;
    Ok(attributes
        .text(ATTRIBUTE_REASON)
        .filter(|text| !text.is_empty()))
}

fn enable(fd: &OwnedFd, option: i32) {
    let on: libc::c_int = 1;
    let length: libc::socklen_t = 4;
    // SAFETY: `on` lives across the call and its size is the one given; the
    // kernel only reads it. The result is deliberately unused (see caller).
    unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            length,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_reply(flags: u16, payload: &[u8]) -> Reply {
        Reply {
            kind: KIND_ERROR,
            flags,
            sequence: 1,
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn the_kernels_words_stand_before_its_number() {
        let mut payload = (-libc::EXFULL).to_ne_bytes().to_vec();
        payload.extend_from_slice(&[0; HEADER]);
        payload.extend_from_slice(&[8, 0, 1, 0, b'f', b'u', b'l', 0]);
        let reply = error_reply(FLAG_CAPPED | FLAG_EXTENDED, &payload);
        let error = acknowledgement(&reply).unwrap().unwrap_err();
        assert_eq!(error.errno(), Some(libc::EXFULL));
        assert_eq!(error.to_string(), "ful: exchange full");
    }

    #[test]
    fn hostile_acknowledgements_are_errors() {
        assert!(acknowledgement(&error_reply(0, &[])).is_err());
        assert!(acknowledgement(&error_reply(0, &i32::MIN.to_ne_bytes())).is_err());
        assert!(acknowledgement(&error_reply(0, &5_i32.to_ne_bytes())).is_err());
        // Says that a request of 4 GiB and attributes follow.
        let mut payload = (-1_i32).to_ne_bytes().to_vec();
        payload.extend_from_slice(&[0xff; HEADER]);
        assert!(acknowledgement(&error_reply(FLAG_EXTENDED, &payload)).is_err());
    }
}
