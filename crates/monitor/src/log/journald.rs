//! journald: each line is a datagram in the journal's own protocol, with
//! Docker's fields.
//!
//! The protocol: `NAME=value\n`, or `NAME\n`, the length as 64 bits, little
//! endian, the bytes and `\n` for values that hold a line feed.

use std::os::unix::net::UnixDatagram;

use state::Timestamp;
use state::channel::Stream;

use super::lines::Lines;

const SOCKET: &str = "/run/systemd/journal/socket";
/// How long a journal may take to make room for a line.
const PATIENCE: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// Sends to the journal, which is looked for with the first output.
#[derive(Debug)]
pub struct Journal {
    socket: Option<UnixDatagram>,
    /// What every entry has, encoded.
    fields: Vec<u8>,
    lines: Lines,
    /// Lines that could not be sent.
    lost: u64,
    /// Whether it is waited for: it took what was sent last.
    is_listening: bool,
}

impl Journal {
    /// `fields` are names and values for each entry.
    pub fn new(fields: &[(String, String)]) -> Self {
        let mut encoded = Vec::new();
        for (name, value) in fields {
            field(&mut encoded, name, value.as_bytes());
        }
        Self {
            socket: None,
            fields: encoded,
            lines: Lines::default(),
            lost: 0,
            is_listening: true,
        }
    }

    pub fn append(&mut self, stream: Stream, data: &[u8], now: Timestamp) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.split(stream, data, now, &mut |text, time| {
            self.entry(stream, text, time);
        });
        self.lines = lines;
    }

    pub fn finish(&mut self, now: Timestamp) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.finish(now, &mut |stream, text, time| {
            self.entry(stream, text, time);
        });
    }

    fn entry(&mut self, stream: Stream, text: &[u8], time: Timestamp) {
        if self.lost > 0 {
            let note = format!("[wharf] {} lines of log were lost\n", self.lost);
            if self.send(Stream::Stderr, note.as_bytes(), Timestamp::now()) {
                self.lost = 0;
            }
        }
        if !self.send(stream, text, time) {
            self.lost += 1;
        }
    }

    /// Waits for a journal that has more to do than it can, but once only for
    /// one that does not listen: it must not stop a container.
    fn send(&mut self, stream: Stream, text: &[u8], time: Timestamp) -> bool {
        let mut message = Vec::with_capacity(text.len() + self.fields.len() + 128);
        let line = text.strip_suffix(b"\n");
        field(&mut message, "MESSAGE", line.unwrap_or(text));
        let priority = match stream {
            Stream::Stderr => b"3",
            _ => b"6",
        };
        field(&mut message, "PRIORITY", priority);
        field(
            &mut message,
            "SYSLOG_TIMESTAMP",
            time.to_string().as_bytes(),
        );
        if line.is_none() {
            field(&mut message, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        message.extend_from_slice(&self.fields);
        for _ in 0..2 {
            if self.socket.is_none() {
                self.socket = connect().ok();
            }
            match &self.socket {
                None => return false,
                Some(socket) => match send(socket, &message, self.is_listening) {
                    Ok(()) => {
                        self.is_listening = true;
                        return true;
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        self.is_listening = false;
                        return false;
                    }
                    // It was restarted: a new one listens, perhaps.
                    Err(_) => self.socket = None,
                },
            }
        }
        false
    }
}

/// `WouldBlock` if there is no room, at once or after a while.
fn send(socket: &UnixDatagram, message: &[u8], may_wait: bool) -> std::io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        match socket.send(message) {
            Err(error) if may_wait && error.kind() == std::io::ErrorKind::WouldBlock => {
                let mut fds = [PollFd::new(socket, PollFlags::OUT)];
                if poll(&mut fds, Some(&PATIENCE))? == 0 {
                    return Err(error);
                }
            }
            sent => return sent.map(drop),
        }
    }
}

fn connect() -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(SOCKET)?;
    Ok(socket)
}

fn field(into: &mut Vec<u8>, name: &str, value: &[u8]) {
    into.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        into.push(b'\n');
        into.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        into.push(b'=');
    }
    into.extend_from_slice(value);
    into.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_line_feeds_have_a_length() {
        let mut text = Vec::new();
        field(&mut text, "A", b"b=c");
        field(&mut text, "D", b"e\nf");
        assert_eq!(text, b"A=b=c\nD\n\x03\0\0\0\0\0\0\0e\nf\n");
    }
}
