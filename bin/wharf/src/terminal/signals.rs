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
        Ok(Some(
            match FORWARDED.iter().find(|one| one.as_raw() == number) {
                Some(signal) => Event::Forward(*signal),
                None => Event::Resized,
            },
        ))
    }

    /// Waits for one that asks to stop (true), or until the other end of the
    /// pipe `end` closes.
    fn wait_for_end(&self, end: &std::os::fd::OwnedFd) -> Result<bool> {
        loop {
            let mut fds = [
                PollFd::new(&self.fd, PollFlags::IN),
                PollFd::new(end, PollFlags::IN),
            ];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let over = !fds[1].revents().is_empty();
            while let Some(event) = self.next()? {
                let Event::Forward(signal) = event else {
                    continue;
                };
                if matches!(
                    signal,
                    Signal::INT | Signal::TERM | Signal::HUP | Signal::QUIT
                ) {
                    return Ok(true);
                }
            }
            if over {
                return Ok(false);
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A thread that waits for the wish to stop while another thread is busy.
/// Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The thread sees its other end close.
    _alive: std::os::fd::OwnedFd,
}

impl Watch {
    /// Calls `stop` when a signal asks for it. A watch that cannot be set up
    /// is none: then signals wait until the act is done.
    pub(crate) fn start<'scope, 'env>(
        scope: &'scope std::thread::Scope<'scope, 'env>,
        signals: &'scope Signals,
        stop: impl FnOnce() + Send + 'scope,
    ) -> Option<Self> {
        let (end, alive) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).ok()?;
        scope.spawn(move || {
            if let Ok(true) = signals.wait_for_end(&end) {
                stop();
            }
        });
        Some(Self { _alive: alive })
    }
}
