//! What a container's init and its parent say to each other: packets of one
//! tag byte and a payload on a SOCK_SEQPACKET socket. The end of the
//! connection is a message too: it closes when the program is executed.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use sys::{Context as _, Error, ErrorKind, Result};

/// Errors are sentences; those that repeat a long path of the configuration
/// are shortened.
const PACKET_MAX: usize = 8 << 10;

/// From init.
#[derive(Debug)]
pub(crate) enum FromInit {
    /// From the process in between: init is there.
    Born {
        pidfd: OwnedFd,
    },
    /// From a process that only did this; what it opened.
    Done {
        opened: Option<OwnedFd>,
    },
    /// The mounts are made; hooks of the parent may run.
    Built,
    /// It stands at the gate; what was bent, in words.
    Ready {
        warnings: Vec<String>,
        console: Option<OwnedFd>,
    },
    /// The next thing is execve.
    Executing,
    Failed(Error),
}

/// To init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToInit {
    /// What the parent had to do is done.
    Continue,
    /// The gate is open.
    Start,
}

/// Tag, payload, descriptors.
type Packet = (u8, Vec<u8>, Vec<OwnedFd>);

/// One end.
#[derive(Debug)]
pub(crate) struct Link(OwnedFd);

impl Link {
    pub(crate) fn pair() -> Result<(Self, Self)> {
        let (one, two) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .context(|| "make a socket pair")?;
        Ok((Self(one), Self(two)))
    }

    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub(crate) fn tell_parent(&self, message: &FromInit) -> Result<()> {
        match message {
            FromInit::Born { pidfd } => self.send(b'p', &[], &[pidfd.as_fd()]),
            FromInit::Done { opened } => {
                let fds: Vec<BorrowedFd<'_>> = opened.iter().map(AsFd::as_fd).collect();
                self.send(b'd', &[], &fds)
            }
            FromInit::Built => self.send(b'b', &[], &[]),
            FromInit::Ready { warnings, console } => {
                let fds: Vec<BorrowedFd<'_>> = console.iter().map(AsFd::as_fd).collect();
                self.send(b'r', warnings.join("\n").as_bytes(), &fds)
            }
            FromInit::Executing => self.send(b'x', &[], &[]),
            FromInit::Failed(error) => {
                let packed = |error: &Error| {
                    serde_json::to_vec(error)
                        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
                };
                let mut text = packed(error)?;
                if text.len() >= PACKET_MAX {
                    text = packed(&shortened(error))?;
                }
                self.send(b'f', &text, &[])
            }
        }
    }

    pub(crate) fn tell_init(&self, message: ToInit) -> Result<()> {
        match message {
            ToInit::Continue => self.send(b'c', &[], &[]),
            ToInit::Start => self.send(b's', &[], &[]),
        }
    }

    /// `None` when the other end is closed.
    pub(crate) fn hear_init(&self) -> Result<Option<FromInit>> {
        let Some((tag, payload, mut fds)) = self.receive()? else {
            return Ok(None);
        };
        match tag {
            b'r' => Ok(Some(FromInit::Ready {
                warnings: String::from_utf8_lossy(&payload)
                    .lines()
                    .map(str::to_owned)
                    .collect(),
                console: fds.pop(),
            })),
            b'p' => match fds.pop() {
                Some(pidfd) => Ok(Some(FromInit::Born { pidfd })),
                None => Err(strange()),
            },
            b'd' => Ok(Some(FromInit::Done { opened: fds.pop() })),
            b'b' => Ok(Some(FromInit::Built)),
            b'x' => Ok(Some(FromInit::Executing)),
            b'f' => serde_json::from_slice(&payload)
                .map(|error| Some(FromInit::Failed(error)))
                .map_err(|error| Error::new(ErrorKind::Internal, error.to_string())),
            _ => Err(strange()),
        }
    }

    /// `None` when the other end is closed.
    pub(crate) fn hear_parent(&self) -> Result<Option<ToInit>> {
        let Some((tag, ..)) = self.receive()? else {
            return Ok(None);
        };
        match tag {
            b'c' => Ok(Some(ToInit::Continue)),
            b's' => Ok(Some(ToInit::Start)),
            _ => Err(strange()),
        }
    }

    fn send(&self, tag: u8, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(strange());
        }
        let payload = &payload[..payload.len().min(PACKET_MAX - 1)];
        let parts = [
            IoSlice::new(std::slice::from_ref(&tag)),
            IoSlice::new(payload),
        ];
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&self.0, &parts, &mut control, SendFlags::NOSIGNAL)
        })
        .context(|| "talk to the other side of the start")?;
        Ok(())
    }

    fn receive(&self) -> Result<Option<Packet>> {
        let mut packet = [0; PACKET_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut was_reset = false;
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut packet)];
            match rustix::net::recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                // It died without reading our last message. The kernel says so
                // once, before the last words of the dead.
                Err(Errno::CONNRESET) if !was_reset => was_reset = true,
                Err(Errno::CONNRESET) => return Ok(None),
                Err(errno) => {
                    return Err(Error::from(errno))
                        .context(|| "listen to the other side of the start");
                }
            }
        };
        let fds = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        let Some((tag, payload)) = packet[..received.bytes].split_first() else {
            return Ok(None);
        };
        Ok(Some((*tag, payload.to_vec(), fds)))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Its beginning, which says what was done to what, and its end, which says
/// what the kernel thought of it.
fn shortened(error: &Error) -> Error {
    const KEPT: usize = 250;
    let text: Vec<char> = error.to_string().chars().collect();
    let start: String = text.iter().take(KEPT).collect();
    let end: String = text[text.len().saturating_sub(KEPT)..].iter().collect();
    Error::new(error.kind(), format!("{start} … {end}"))
}

fn strange() -> Error {
    Error::new(ErrorKind::Internal, "strange message during the start")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_arrives_shortened() {
        let (ours, theirs) = Link::pair().unwrap();
        // Each of these letters takes more room on the way than here.
        let long = Error::new(ErrorKind::InvalidInput, "\u{1}".repeat(70_000)).wrap("open it");
        ours.tell_parent(&FromInit::Failed(long)).unwrap();
        let Some(FromInit::Failed(heard)) = theirs.hear_init().unwrap() else {
            panic!("no error was heard");
        };
        assert_eq!(heard.kind(), ErrorKind::InvalidInput);
        assert!(heard.to_string().starts_with("open it: "), "{heard}");
        assert!(heard.to_string().len() < 4096);
    }

    #[test]
    fn errors_cross_word_for_word_and_the_end_is_heard() {
        let (parent, init) = Link::pair().unwrap();
        let error = Error::from_errno(13).wrap("mount /proc");
        init.tell_parent(&FromInit::Failed(error.clone())).unwrap();
        drop(init);
        let heard = parent.hear_init().unwrap();
        assert!(matches!(heard, Some(FromInit::Failed(same)) if same == error));
        assert!(parent.hear_init().unwrap().is_none());
    }
}
