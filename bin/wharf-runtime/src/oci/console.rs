//! Waiting in the foreground: signals go to the process, a terminal is
//! connected to ours.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use runtime::Running;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use spec::runtime::ConsoleSize;
use state::ExitStatus;
use sys::signalfd::SignalFd;
use sys::{Context as _, Result};

use super::pidfd;

/// Not passed on: what cannot be caught, what faults of our own would raise,
/// what children and broken pipes send to us alone.
const OURS: [i32; 9] = [
    9,  // KILL
    19, // STOP
    4,  // ILL
    7,  // BUS
    8,  // FPE
    11, // SEGV
    13, // PIPE
    17, // CHLD
    5,  // TRAP
];
const WINCH: i32 = 28;

/// Hands the master of a terminal to whoever listens on `socket`.
pub(super) fn send(socket: &Path, master: &OwnedFd) -> Result<()> {
    // The name that runc sends too.
    pidfd::send_fd(socket, master.as_fd(), "/dev/ptmx")
        .context(|| format!("send the terminal to {}", socket.display()))
}

/// Of our own terminal.
pub(super) fn size() -> Option<ConsoleSize> {
    let size = tcgetwinsize(rustix::stdio::stdin()).ok()?;
    Some(ConsoleSize {
        height: size.ws_row,
        width: size.ws_col,
    })
}

/// We, with every signal caught that is to be passed on.
pub(super) struct Foreground {
    signals: SignalFd,
}

impl Foreground {
    /// To be made before the process, so that no signal is lost.
    pub(super) fn new() -> Result<Self> {
        let all: Vec<i32> = (1..=64).filter(|signal| !OURS.contains(signal)).collect();
        let signals = SignalFd::new(&all).context(|| "catch signals")?;
        Ok(Self { signals })
    }

    /// Waits for the end of the process. Without a terminal it shares our
    /// streams and there is nothing to copy.
    pub(super) fn wait(
        &self,
        running: &mut Running,
        console: Option<&OwnedFd>,
    ) -> Result<ExitStatus> {
        let raw = RawMode::enter(console);
        let stayed = self.stay(running, console);
        drop(raw);
        stayed?;
        running.reap()
    }

    fn stay(&self, running: &Running, console: Option<&OwnedFd>) -> Result<()> {
        let mut open = Open {
            input: console.is_some(),
            output: console.is_some(),
        };
        loop {
            let ready = self.poll(running.pidfd(), console, open)?;
            if ready.signals {
                self.pass_on(running, console)?;
            }
            if let Some(console) = console {
                if ready.output && !pump(console, rustix::stdio::stdout())? {
                    open = Open::default();
                }
                if ready.input && !pump(rustix::stdio::stdin(), console)? {
                    open.input = false;
                }
            }
            // What it wrote last is still in the terminal when it has ended.
            if ready.ended && !ready.output {
                return Ok(());
            }
        }
    }

    fn pass_on(&self, running: &Running, console: Option<&OwnedFd>) -> Result<()> {
        while let Some(signal) = self.signals.read()? {
            match (signal, console) {
                // The kernel tells the processes of the container.
                (WINCH, Some(console)) => resize(console),
                // It may have ended just now.
                _ => drop(running.signal(signal)),
            }
        }
        Ok(())
    }

    fn poll(
        &self,
        process: BorrowedFd<'_>,
        console: Option<&OwnedFd>,
        open: Open,
    ) -> Result<Ready> {
        let stdin = rustix::stdio::stdin();
        let output = console.map_or(process, AsFd::as_fd);
        let mut fds = [
            PollFd::new(&process, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&output, PollFlags::IN),
            PollFd::new(&stdin, PollFlags::IN),
        ];
        // A hang-up is told whether it was asked for or not.
        let count = match open {
            Open { output: false, .. } => 2,
            Open { input: false, .. } => 3,
            _ => 4,
        };
        match poll(&mut fds[..count], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let [ended, signals, output, input] = fds.map(|fd| !fd.revents().is_empty());
        Ok(Ready {
            ended,
            signals,
            input,
            output,
        })
    }
}

/// What is still copied: input only while there is output.
#[derive(Clone, Copy, Default)]
struct Open {
    input: bool,
    output: bool,
}

struct Ready {
    ended: bool,
    signals: bool,
    input: bool,
    output: bool,
}

/// As large as our own.
pub(super) fn resize(console: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
        let _ = tcsetwinsize(console, size);
    }
}

/// Our terminal in raw mode, until dropped.
struct RawMode(Option<Termios>);

impl RawMode {
    fn enter(console: Option<&OwnedFd>) -> Self {
        let input = rustix::stdio::stdin();
        if console.is_none() || !isatty(input) {
            return Self(None);
        }
        let before = tcgetattr(input).ok();
        if let Some(mut raw) = before.clone() {
            raw.make_raw();
            let _ = tcsetattr(input, OptionalActions::Now, &raw);
        }
        Self(before)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

/// One read's worth; false at the end.
fn pump(from: impl AsFd, to: impl AsFd) -> Result<bool> {
    let mut buffer = [0; 8192];
    let count = match rustix::io::read(&from, &mut buffer) {
        // EIO: nobody has the other side of the terminal open any more.
        Ok(0) | Err(rustix::io::Errno::IO) => return Ok(false),
        Ok(count) => count,
        Err(rustix::io::Errno::INTR) => return Ok(true),
        Err(errno) => return Err(errno.into()),
    };
    let mut rest = &buffer[..count];
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&to, rest))?;
        rest = &rest[written..];
    }
    Ok(true)
}
