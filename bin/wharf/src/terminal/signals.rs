//! Signals as this program takes them: read from a descriptor while it is
//! attached, or as the wish to stop a long act.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;
use sys::Result;
use sys::signalfd::SignalFd;

/// What is passed on to a container. Those of job control keep their meaning
/// for us; SIGCHLD and SIGPIPE are our own affair.
const FORWARDED: [Signal; 7] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::TERM,
];

/// Signals for an attached container, blocked from the moment this is made:
/// what comes while the container is being made reaches it once it runs.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: SignalFd,
}

/// What a signal means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The terminal has another size.
    Resized,
    Forward(Signal),
}

impl Signals {
    /// To be made before any thread.
    pub(crate) fn new() -> Result<Self> {
        let numbers: Vec<i32> = FORWARDED
            .into_iter()
            .chain([Signal::WINCH])
            .map(Signal::as_raw)
            .collect();
        Ok(Self {
            fd: SignalFd::new(&numbers)?,
        })
    }

    /// The next one that came, if any.
    pub(crate) fn next(&self) -> Result<Option<Event>> {
        let Some(number) = self.fd.read()? else {
            return Ok(None);
        };
        Ok(Some(match FORWARDED.iter().find(|one| one.as_raw() == number) {
            Some(signal) => Event::Forward(*signal),
            None => Event::Resized,
        }))
    }

    /// Waits for one that asks to stop.
    fn wait_for_end(&self) -> Result<()> {
        loop {
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            while let Some(event) = self.next()? {
                if let Event::Forward(Signal::INT | Signal::TERM | Signal::HUP | Signal::QUIT) = event {
                    return Ok(());
                }
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
