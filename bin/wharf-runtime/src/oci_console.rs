//! Waiting in the foreground: signals go to the process, a terminal is
//! connected to ours.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use runtime::Running;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use spec::runtime::ConsoleSize;
use sys::{Context as _, Result};

use crate::oci_commands::Ended;

/// Hands the master of a terminal to whoever listens on `socket`.
pub(crate) fn send(socket: &Path, master: &OwnedFd) -> Result<()> {
    let send = || -> Result<()> {
        let stream = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        let fds = [master.as_fd()];
        control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds));
        // The name that runc sends too.
        let name = [std::io::IoSlice::new(b"/dev/ptmx")];
        let flags = rustix::net::SendFlags::NOSIGNAL;
        rustix::net::sendmsg(&stream, &name, &mut control, flags)?;
        Ok(())
    };
    send().context(|| format!("send the terminal to {}", socket.display()))
}

/// Of our own terminal.
pub(crate) fn size() -> Option<ConsoleSize> {
    let size = tcgetwinsize(rustix::stdio::stdin()).ok()?;
    Some(ConsoleSize {
        height: size.ws_row,
        width: size.ws_col,
    })
}

/// Waits for the end. Without a terminal of its own the process shares our
/// streams and there is nothing to copy.
pub(crate) fn wait(running: &mut Running, console: Option<OwnedFd>) -> Result<Ended> {
    let Some(console) = console else {
        return running.reap();
    };
    let raw = RawMode::enter();
    let copied = copy(running.pidfd(), &console);
    drop(raw);
    copied?;
    running.reap()
}

/// Our terminal in raw mode, until dropped.
struct RawMode(Option<Termios>);

impl RawMode {
    fn enter() -> Self {
        let input = rustix::stdio::stdin();
        if !isatty(input) {
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

fn copy(process: BorrowedFd<'_>, console: &OwnedFd) -> Result<()> {
    let mut input_open = true;
    loop {
        let (ended, output, input) = {
            let none = PollFlags::empty();
            let stdin = rustix::stdio::stdin();
            let mut fds = [
                PollFd::new(&process, PollFlags::IN),
                PollFd::new(console, PollFlags::IN),
                PollFd::new(&stdin, if input_open { PollFlags::IN } else { none }),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let [process, console, stdin] = fds.map(|fd| !fd.revents().is_empty());
            (process, console, stdin && input_open)
        };
        if output && !pump(console, rustix::stdio::stdout())? {
            return Ok(());
        }
        if input && !pump(rustix::stdio::stdin(), console)? {
            input_open = false;
        }
        // What it wrote last is still in the terminal when it has ended.
        if ended && !output {
            return Ok(());
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
