//! The container's ends of stdin, stdout and stderr, and ours.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use runtime::ProcessStdio;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use spec::runtime::ConsoleSize;
use state::StdinMode;
use state::channel::Stream;
use sys::{Context as _, Result};

/// Input that waits for a container which does not read; beyond it clients
/// have to wait.
const INPUT_MAX: usize = 128 << 10;
/// How soon a terminal that everybody closed is looked at again.
const TERMINAL_RETRY: Duration = Duration::from_secs(1);

/// What is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wiring {
    Pipes(StdinMode),
    Terminal(Option<ConsoleSize>),
}

/// Our ends.
#[derive(Debug)]
pub(crate) struct Stdio {
    pub(crate) input: Input,
    pub(crate) outputs: Vec<Output>,
    /// The terminal's master; pipes have none.
    console: Option<OwnedFd>,
    /// Set before there was a terminal.
    size: Option<ConsoleSize>,
}

impl Stdio {
    /// Before anything runs: input is kept until there is somebody to take it.
    pub(crate) fn unconnected() -> Self {
        Self {
            input: Input::default(),
            outputs: Vec::new(),
            console: None,
            size: None,
        }
    }

    /// The process's ends for the runtime; ours are kept here.
    pub(crate) fn connect(&mut self, wiring: Wiring) -> Result<ProcessStdio> {
        self.outputs.clear();
        self.console = None;
        let mode = match wiring {
            Wiring::Terminal(size) => {
                self.input.is_terminal = true;
                return Ok(ProcessStdio::Terminal { size });
            }
            Wiring::Pipes(mode) => mode,
        };
        let make = || -> Result<(ProcessStdio, Option<OwnedFd>, OwnedFd, OwnedFd)> {
            let (stdin, ours_in) = match mode {
                StdinMode::Closed => (null(OFlags::RDONLY)?, None),
                StdinMode::Once | StdinMode::Open => {
                    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
                    (reader, Some(non_blocking(writer)?))
                }
            };
            let (ours_out, stdout) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            let (ours_err, stderr) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            let theirs = ProcessStdio::Fds {
                stdin,
                stdout,
                stderr,
            };
            Ok((
                theirs,
                ours_in,
                non_blocking(ours_out)?,
                non_blocking(ours_err)?,
            ))
        };
        let (theirs, stdin, stdout, stderr) =
            make().context(|| "make the pipes of standard input and output")?;
        self.outputs.push(Output::new(Stream::Stdout, stdout));
        self.outputs.push(Output::new(Stream::Stderr, stderr));
        self.input.connect(stdin);
        Ok(theirs)
    }

    /// The terminal that the runtime made.
    pub(crate) fn set_console(&mut self, master: OwnedFd) -> Result<()> {
        let connect = || -> Result<(OwnedFd, OwnedFd)> {
            let master = non_blocking(master)?;
            let output = rustix::io::fcntl_dupfd_cloexec(&master, 3)?;
            Ok((master, output))
        };
        let (master, output) = connect().context(|| "take over the terminal")?;
        if let Some(size) = self.size.take() {
            // A size that cannot be set is no reason not to run.
            let _ = sys::pty::set_size(&master, size.height, size.width);
        }
        let input =
            rustix::io::fcntl_dupfd_cloexec(&master, 3).context(|| "take over the terminal")?;
        self.outputs = vec![Output {
            is_terminal: true,
            ..Output::new(Stream::Stdout, output)
        }];
        self.input.connect(Some(input));
        self.console = Some(master);
        Ok(())
    }

    pub(crate) fn resize(&mut self, size: ConsoleSize) {
        match &self.console {
            // The client's idea of a size may be wrong; nothing depends on it.
            Some(master) => drop(sys::pty::set_size(master, size.height, size.width)),
            None => self.size = Some(size),
        }
    }

    /// The process is gone: nobody reads input any more.
    pub(crate) fn process_ended(&mut self) {
        self.input.discard();
    }

    /// Closes all of our ends.
    pub(crate) fn disconnect(&mut self) {
        self.input.discard();
        self.outputs.clear();
        self.console = None;
    }
}

/// What the container writes.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stream: Stream,
    source: OwnedFd,
    is_terminal: bool,
    /// A terminal that all have closed: somebody may open it again.
    pub(crate) asleep_until: Option<Duration>,
    /// Read to its end.
    pub(crate) is_over: bool,
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Bytes(usize),
    Nothing,
    End,
}

impl Output {
    fn new(stream: Stream, source: OwnedFd) -> Self {
        Self {
            stream,
            source,
            is_terminal: false,
            asleep_until: None,
            is_over: false,
        }
    }

    pub(crate) fn source(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    /// Reads what is there. `now`: since the monitor began.
    pub(crate) fn read(&mut self, buffer: &mut [u8], now: Duration) -> Got {
        match rustix::io::read(&self.source, buffer) {
            Ok(0) => Got::End,
            Ok(length) => {
                self.asleep_until = None;
                Got::Bytes(length)
            }
            Err(Errno::AGAIN | Errno::INTR) => Got::Nothing,
            // The kernel's word for: nobody has the other side open.
            Err(Errno::IO) if self.is_terminal => {
                self.asleep_until = Some(now + TERMINAL_RETRY);
                Got::End
            }
            Err(_) => Got::End,
        }
    }

    /// Pipes that ended are done with; a terminal may come to life again.
    pub(crate) fn ends_for_good(&self) -> bool {
        !self.is_terminal
    }
}

/// What the container reads.
#[derive(Debug, Default)]
pub(crate) struct Input {
    sink: Option<OwnedFd>,
    pending: Vec<u8>,
    /// How much of `pending` is written.
    done: usize,
    /// Close the sink once all is written.
    ends: bool,
    is_terminal: bool,
    /// The process is gone, or it closed its end.
    is_closed: bool,
}

impl Input {
    fn connect(&mut self, sink: Option<OwnedFd>) {
        self.is_closed = sink.is_none();
        self.sink = sink;
        if self.is_closed {
            self.pending = Vec::new();
            self.done = 0;
        }
        self.write();
    }

    /// Takes input from a client.
    pub(crate) fn push(&mut self, data: &[u8]) {
        if self.is_closed || self.ends {
            return;
        }
        let mut rest = data;
        if self.pending.is_empty()
            && let Some(sink) = &self.sink
        {
            match rustix::io::write(sink, data) {
                Ok(written) => rest = &data[written..],
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return self.discard(),
            }
        }
        self.pending.extend_from_slice(rest);
    }

    /// No more input will come. A terminal has no end of input.
    pub(crate) fn end(&mut self) {
        if !self.is_terminal {
            self.ends = true;
            self.write();
        }
    }

    /// Writes what the container is ready to take.
    pub(crate) fn write(&mut self) {
        while let (Some(sink), true) = (&self.sink, self.done < self.pending.len()) {
            match rustix::io::write(sink, &self.pending[self.done..]) {
                Ok(written) => self.done += written,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => return self.discard(),
            }
        }
        if self.done == self.pending.len() {
            self.pending = Vec::new();
            self.done = 0;
            if self.ends && self.sink.is_some() {
                self.discard();
            }
        }
    }

    /// True if clients have to wait with more.
    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() - self.done >= INPUT_MAX
    }

    /// To be polled for room, if something waits for it.
    pub(crate) fn waiting_sink(&self) -> Option<BorrowedFd<'_>> {
        let waits = self.done < self.pending.len();
        self.sink.as_ref().filter(|_| waits).map(OwnedFd::as_fd)
    }

    fn discard(&mut self) {
        self.sink = None;
        self.pending = Vec::new();
        self.done = 0;
        self.is_closed = true;
    }
}

fn null(access: OFlags) -> Result<OwnedFd> {
    let flags = access | OFlags::CLOEXEC;
    rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()).context(|| "open /dev/null")
}

/// Only our end: the two ends of a pipe have flags of their own.
fn non_blocking(fd: OwnedFd) -> Result<OwnedFd> {
    rustix::fs::fcntl_setfl(&fd, rustix::fs::fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected(mode: StdinMode) -> (Stdio, OwnedFd, OwnedFd, OwnedFd) {
        let mut stdio = Stdio::unconnected();
        match stdio.connect(Wiring::Pipes(mode)).unwrap() {
            ProcessStdio::Fds {
                stdin,
                stdout,
                stderr,
            } => (stdio, stdin, stdout, stderr),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn input_waits_for_a_slow_reader_and_keeps_its_order() {
        let (mut stdio, stdin, _stdout, _stderr) = connected(StdinMode::Once);
        let data: Vec<u8> = (0..300_000u32).map(|number| (number % 251) as u8).collect();
        for chunk in data.chunks(50_000) {
            stdio.input.push(chunk);
        }
        assert!(stdio.input.is_full() && stdio.input.waiting_sink().is_some());
        stdio.input.end();
        let mut read = Vec::new();
        let mut buffer = [0; 7000];
        loop {
            match rustix::io::read(&stdin, &mut buffer).unwrap() {
                0 => break,
                length => read.extend_from_slice(&buffer[..length]),
            }
            stdio.input.write();
        }
        assert!(read == data);
    }

    #[test]
    fn input_that_came_early_is_kept() {
        let mut stdio = Stdio::unconnected();
        stdio.input.push(b"early");
        stdio.input.end();
        let ProcessStdio::Fds { stdin, .. } =
            stdio.connect(Wiring::Pipes(StdinMode::Once)).unwrap()
        else {
            panic!("no pipes");
        };
        let mut buffer = [0; 10];
        assert_eq!(rustix::io::read(&stdin, &mut buffer).unwrap(), 5);
        assert_eq!(rustix::io::read(&stdin, &mut buffer).unwrap(), 0);
    }

    #[test]
    fn a_closed_stdin_reads_as_empty_and_takes_nothing() {
        let (mut stdio, stdin, ..) = connected(StdinMode::Closed);
        stdio.input.push(&vec![1; 1 << 20]);
        assert!(!stdio.input.is_full());
        assert_eq!(rustix::io::read(&stdin, &mut [0; 10]).unwrap(), 0);
    }

    #[test]
    fn a_reader_that_went_away_ends_the_input() {
        sys::signalfd::tolerate(&[13]).unwrap();
        let (mut stdio, stdin, ..) = connected(StdinMode::Open);
        drop(stdin);
        stdio.input.push(b"lost");
        assert!(stdio.input.waiting_sink().is_none());
    }

    #[test]
    fn output_is_read_to_its_end() {
        let (mut stdio, _stdin, stdout, stderr) = connected(StdinMode::Closed);
        let mut buffer = [0; 100];
        let now = Duration::ZERO;
        assert_eq!(stdio.outputs[0].read(&mut buffer, now), Got::Nothing);
        rustix::io::write(&stdout, b"abc").unwrap();
        drop(stdout);
        assert_eq!(stdio.outputs[0].read(&mut buffer, now), Got::Bytes(3));
        assert_eq!(stdio.outputs[0].read(&mut buffer, now), Got::End);
        rustix::io::write(&stderr, b"e").unwrap();
        assert_eq!(stdio.outputs[1].read(&mut buffer, now), Got::Bytes(1));
    }
}
