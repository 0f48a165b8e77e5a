//! The loop between the user and a container: input and signals go in,
//! output comes out, until one of them leaves.
//!
//! One thread: poll tells what can be done without waiting. Input is read
//! only when the container's monitor takes it, so that a container which
//! does not read cannot keep us from showing what it writes.

use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use engine::containers::session::{Session, SessionEvent};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::Signal;
use state::ExitRecord;
use sys::{Context as _, Error, ErrorKind, Result};

use super::detach_keys::{DetachKeys, DetachWatch};
use super::raw;
use super::signals::{Event, Signals};

/// How much input travels at a time.
const CHUNK: usize = 32 << 10;
/// So often one has to ask us to end before we leave a container that does
/// not heed signals.
const PATIENCE: u32 = 3;

/// How the user takes part.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    /// The container has a terminal.
    pub(crate) tty: bool,
    /// Pass signals on.
    pub(crate) forward: bool,
    pub(crate) keys: DetachKeys,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    Exited(ExitRecord),
    /// Its memory went to the disk.
    Suspended,
    /// The user left with the detach keys.
    Detached,
    /// The user asked several times to end, and the container goes on.
    GaveUp,
    /// Nobody reads our output any more.
    PipeClosed,
    /// The monitor is gone without a word.
    Lost,
}

/// Runs until the container or the user leaves; the terminal is as before
/// then.
pub(crate) fn run(session: &Session, manner: &Manner, signals: &Signals) -> Result<End> {
    // Keys go to the container as they are only if there is one who reads.
    let raw = manner.stdin && manner.tty && rustix::termios::isatty(stdin());
    let guard = raw.then(raw::raw).transpose()?;
    let end = Loop {
        session,
        manner,
        signals,
        input: if manner.stdin {
            Input::Open
        } else {
            Input::Ended
        },
        watch: raw.then(|| DetachWatch::new(manner.keys.clone())),
        requests: Vec::new(),
    }
    .run();
    drop(guard);
    end
}

/// What there is to know about stdin.
enum Input {
    Open,
    /// Read and not sent yet.
    Pending(Vec<u8>),
    Ended,
}

struct Loop<'a> {
    session: &'a Session,
    manner: &'a Manner,
    signals: &'a Signals,
    input: Input,
    /// Only for what is typed.
    watch: Option<DetachWatch>,
    /// When the user asked us to end.
    requests: Vec<Instant>,
}

impl Loop<'_> {
    fn run(mut self) -> Result<End> {
        loop {
            let ready = self.wait()?;
            if ready.signal
                && let Some(end) = self.signal()?
            {
                return Ok(end);
            }
            if ready.output
                && let Some(end) = self.output()?
            {
                return Ok(end);
            }
            if ready.sendable
                && let Input::Pending(data) = &self.input
            {
                // An error here means that the container is on its way out:
                // its last words and its exit are still to be read.
                self.input = match self.session.send_stdin(data) {
                    Ok(()) => Input::Open,
                    Err(_) => Input::Ended,
                };
            }
            if ready.input
                && let Some(end) = self.read()?
            {
                return Ok(end);
            }
        }
    }

    fn wait(&self) -> Result<Ready> {
        let mut wanted = PollFlags::IN;
        if let Input::Pending(_) = self.input {
            wanted |= PollFlags::OUT;
        }
        let stdin = stdin();
        let mut fds = vec![
            PollFd::new(self.session, wanted),
            PollFd::new(self.signals, PollFlags::IN),
        ];
        if let Input::Open = self.input {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        match rustix::event::poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(errno) => return Err(errno).context(|| "wait for the container"),
        }
        let happened = |at: usize, flags: PollFlags| {
            fds.get(at)
                .is_some_and(|fd: &PollFd<'_>| fd.revents().intersects(flags))
        };
        let any = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        Ok(Ready {
            output: happened(0, any),
            sendable: happened(0, PollFlags::OUT),
            signal: happened(1, PollFlags::IN),
            input: happened(2, any | PollFlags::NVAL),
        })
    }

    fn output(&mut self) -> Result<Option<End>> {
        let (fd, data): (&dyn AsFdOf, Vec<u8>) = match self.session.next_event()? {
            SessionEvent::Stdout(data) if self.manner.stdout => (&stdout(), data),
            SessionEvent::Stderr(data) if self.manner.stderr => (&stderr(), data),
            SessionEvent::Stdout(_) | SessionEvent::Stderr(_) => return Ok(None),
            SessionEvent::Exited(record) => return Ok(Some(End::Exited(record))),
            SessionEvent::Suspended => return Ok(Some(End::Suspended)),
            SessionEvent::Closed => return Ok(Some(End::Lost)),
        };
        match write_all(fd.fd(), &data) {
            Ok(()) => Ok(None),
            Err(Errno::PIPE) => Ok(Some(End::PipeClosed)),
            Err(errno) => Err(Error::from(errno)).context(|| "write the container's output"),
        }
    }

    fn read(&mut self) -> Result<Option<End>> {
        let mut data = vec![0; CHUNK];
        let length = match rustix::io::read(stdin(), &mut data) {
            Ok(length) => length,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(None),
            // No terminal or no stdin at all (any more): the end of input.
            Err(Errno::IO | Errno::BADF) => 0,
            Err(errno) => return Err(Error::from(errno)).context(|| "read stdin"),
        };
        if length == 0 {
            self.input = Input::Ended;
            // It may have ended meanwhile; then there is nobody to be told.
            let _ = self.session.close_stdin();
            return Ok(None);
        }
        data.truncate(length);
        if let Some(watch) = &mut self.watch {
            let (passed, detached) = watch.filter(&data);
            if detached {
                let _ = self.session.send_stdin(&passed);
                return Ok(Some(End::Detached));
            }
            data = passed;
        }
        if !data.is_empty() {
            self.input = Input::Pending(data);
        }
        Ok(None)
    }

    fn signal(&mut self) -> Result<Option<End>> {
        while let Some(event) = self.signals.next()? {
            match event {
                Event::Resized if self.manner.tty => {
                    if let Some(size) = super::size() {
                        // As with input: if it is gone, its exit follows.
                        let _ = self.session.resize(size);
                    }
                }
                Event::Forward(signal) if self.manner.forward => {
                    let _ = self.session.signal(signal.as_raw());
                    if self.asked_often_enough(signal) {
                        return Ok(Some(End::GaveUp));
                    }
                }
                Event::Forward(Signal::INT | Signal::TERM | Signal::HUP | Signal::QUIT) => {
                    return Ok(Some(End::GaveUp));
                }
                Event::Resized | Event::Forward(_) => {}
            }
        }
        Ok(None)
    }

    fn asked_often_enough(&mut self, signal: Signal) -> bool {
        if !matches!(signal, Signal::INT | Signal::TERM) {
            return false;
        }
        let now = Instant::now();
        self.requests.push(now);
        self.requests
            .retain(|then| now.duration_since(*then) < Duration::from_secs(5));
        u32::try_from(self.requests.len()).unwrap_or(u32::MAX) >= PATIENCE
    }
}

#[derive(Default)]
struct Ready {
    output: bool,
    sendable: bool,
    signal: bool,
    input: bool,
}

/// `AsFd` as an object.
trait AsFdOf {
    fn fd(&self) -> BorrowedFd<'_>;
}

impl<T: AsFd> AsFdOf for T {
    fn fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

/// Writes straight to the descriptor: no buffer, no lines. A terminal that
/// another program made non-blocking is waited for.
pub(crate) fn write_all(fd: BorrowedFd<'_>, mut data: &[u8]) -> Result<(), Errno> {
    while !data.is_empty() {
        match rustix::io::write(fd, data) {
            Ok(written) => data = &data[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
                match rustix::event::poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// A container with a terminal needs one of ours to take input from.
pub(crate) fn require_terminal(manner: &Manner) -> Result<()> {
    if manner.stdin && manner.tty && !rustix::termios::isatty(stdin()) {
        return Err(Error::new(
            ErrorKind::NoTerminal,
            "the input device is not a TTY: leave -t out to pipe data in",
        ));
    }
    Ok(())
}
