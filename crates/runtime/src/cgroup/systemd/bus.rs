//! A connection to systemd's manager. Blocking, and one call at a time: this
//! is all that a runtime needs, and a client library would bring an
//! asynchronous executor with threads, in a process that must have one thread.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sys::{Context as _, Error, ErrorKind, Result};

use super::message::{self, Body, Kind, Method, PREFIX, Received};

/// Starting a scope takes systemd milliseconds, unless it is reloading.
const PATIENCE: Duration = Duration::from_secs(30);
/// Messages that may come before the one that is waited for.
const MOST_OTHERS: u32 = 10_000;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const BUS: &str = "org.freedesktop.DBus";

/// Whose manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instance {
    System,
    /// Of the user with this id, as the host counts.
    User(u32),
}

/// An answer that says no.
#[derive(Debug)]
pub(super) struct Refusal {
    /// As `org.freedesktop.systemd1.NoSuchUnit`.
    pub(super) name: String,
    pub(super) words: String,
}

pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    until: Instant,
    /// Signals that came while an answer was waited for.
    signals: Vec<Received>,
}

impl Instance {
    /// The manager that may start units for us.
    pub(super) fn ours() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        if uid != 0 {
            return Self::User(uid);
        }
        // Root of a user namespace is another user to the host.
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let outside = map.lines().find_map(|line| {
            let mut numbers = line.split_whitespace();
            (numbers.next()? == "0").then(|| numbers.next()?.parse().ok())?
        });
        match outside {
            None | Some(0) => Self::System,
            Some(uid) => Self::User(uid),
        }
    }

    /// The bus, and behind it the socket on which a manager answers without.
    fn sockets(self) -> [(PathBuf, Through); 2] {
        let (bus, private) = match self {
            Self::System => (
                "/run/dbus/system_bus_socket".to_owned(),
                "/run/systemd/private".to_owned(),
            ),
            Self::User(uid) => (
                format!("/run/user/{uid}/bus"),
                format!("/run/user/{uid}/systemd/private"),
            ),
        };
        [(bus.into(), Through::Bus), (private.into(), Through::Peer)]
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    Bus,
    Peer,
}

impl Bus {
    pub(super) fn connect(instance: Instance) -> Result<Self> {
        let mut first = None;
        for (path, through) in instance.sockets() {
            match Self::open(&path, through) {
                Ok(bus) => return Ok(bus),
                Err(error) => {
                    first.get_or_insert(error.wrap(format!("connect to {}", path.display())));
                }
            }
        }
        let whose = match instance {
            Instance::System => "systemd does not run here, or cannot be reached".to_owned(),
            Instance::User(uid) => format!(
                "user {uid} has no systemd manager here (log in, or: loginctl enable-linger {uid})"
            ),
        };
        let error = first.unwrap_or_else(message::strange);
        Err(error.wrap(format!(
            "{whose}; use the systemd cgroup manager where systemd runs, cgroupfs elsewhere"
        )))
    }

    fn open(path: &Path, through: Through) -> Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut bus = Self {
            stream,
            serial: 0,
            until: Instant::now() + PATIENCE,
            signals: Vec::new(),
        };
        bus.authenticate()?;
        if through == Through::Bus {
            bus.say(BUS, "/org/freedesktop/DBus", BUS, "Hello", &Body::default())?;
        }
        Ok(bus)
    }

    /// By what the socket tells about us, which no user namespace changes.
    fn authenticate(&mut self) -> Result<()> {
        self.stream
            .write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        for _ in 0..3 {
            let line = self.line()?;
            if line.starts_with("OK ") {
                return Ok(());
            }
            if line != "DATA" {
                break;
            }
        }
        Err(Error::new(ErrorKind::Denied, "it does not let us in"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.push(byte[0]);
            if line.len() > 256 {
                return Err(message::strange());
            }
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Has systemd tell about jobs that are done.
    pub(super) fn subscribe(&mut self) -> Result<()> {
        // Without a bus there is nothing to match and it is told anyway.
        let rule = format!("type='signal',sender='{SYSTEMD}',member='JobRemoved'");
        let body = Body::default().text(&rule);
        match self.call(
            &method(BUS, "/org/freedesktop/DBus", BUS, "AddMatch"),
            &body,
        )? {
            Ok(_) => self
                .manager("Subscribe", &Body::default())?
                .map(|_| ())
                .or_else(|refusal| match refusal.name.as_str() {
                    "org.freedesktop.systemd1.AlreadySubscribed" => Ok(()),
                    _ => Err(refusal.into_error()),
                }),
            Err(_) => Ok(()),
        }
    }

    /// A method of the manager.
    pub(super) fn manager(
        &mut self,
        member: &str,
        body: &Body,
    ) -> Result<std::result::Result<Received, Refusal>> {
        let interface = "org.freedesktop.systemd1.Manager";
        self.call(
            &method(SYSTEMD, "/org/freedesktop/systemd1", interface, member),
            body,
        )
    }

    /// A property of the manager that is a string.
    pub(super) fn property(&mut self, name: &str) -> Result<String> {
        let body = Body::default()
            .text("org.freedesktop.systemd1.Manager")
            .text(name);
        let answer = self.say(
            SYSTEMD,
            "/org/freedesktop/systemd1",
            "org.freedesktop.DBus.Properties",
            "Get",
            &body,
        )?;
        let mut reader = answer.body();
        match reader.signature()? {
            "s" => Ok(reader.text()?.to_owned()),
            _ => Err(message::strange()),
        }
    }

    /// Waits until `job` is over; how it went, in systemd's word.
    pub(super) fn wait_for_job(&mut self, job: &str) -> Result<String> {
        for _ in 0..MOST_OTHERS {
            let signal = match self.signals.pop() {
                Some(signal) => signal,
                None => match self.receive()? {
                    Some(received) if received.kind == Kind::Signal => received,
                    _ => continue,
                },
            };
            if signal.member.as_deref() != Some("JobRemoved") {
                continue;
            }
            let mut reader = signal.body();
            reader.u32()?;
            if reader.text()? == job {
                reader.text()?;
                return Ok(reader.text()?.to_owned());
            }
        }
        Err(message::strange())
    }

    fn say(
        &mut self,
        destination: &str,
        path: &str,
        interface: &str,
        member: &str,
        body: &Body,
    ) -> Result<Received> {
        self.call(&method(destination, path, interface, member), body)?
            .map_err(Refusal::into_error)
    }

    fn call(
        &mut self,
        method: &Method<'_>,
        body: &Body,
    ) -> Result<std::result::Result<Received, Refusal>> {
        self.serial += 1;
        let bytes = message::call(self.serial, method, body);
        self.stream
            .write_all(&bytes)
            .context(|| "talk to systemd")?;
        for _ in 0..MOST_OTHERS {
            let Some(received) = self.receive()? else {
                continue;
            };
            match received.kind {
                Kind::Signal => self.signals.push(received),
                Kind::Return if received.answers == Some(self.serial) => return Ok(Ok(received)),
                Kind::Error if received.answers == Some(self.serial) => {
                    let words = received.body().text().unwrap_or_default().to_owned();
                    let name = received.error.unwrap_or_default();
                    return Ok(Err(Refusal { name, words }));
                }
                _ => {}
            }
        }
        Err(message::strange())
    }

    fn receive(&mut self) -> Result<Option<Received>> {
        if Instant::now() > self.until {
            return Err(too_late());
        }
        let mut receive = || -> Result<Option<Received>> {
            let mut prefix = [0; PREFIX];
            self.stream.read_exact(&mut prefix)?;
            let mut whole = vec![0; PREFIX + message::rest_of(&prefix)?];
            whole[..PREFIX].copy_from_slice(&prefix);
            self.stream.read_exact(&mut whole[PREFIX..])?;
            message::parse(&whole)
        };
        receive().map_err(|error| match error.errno() {
            Some(errno) if errno == rustix::io::Errno::AGAIN.raw_os_error() => too_late(),
            _ => error.wrap("listen to systemd"),
        })
    }
}

impl Refusal {
    pub(super) fn into_error(self) -> Error {
        let kind = match self.name.as_str() {
            "org.freedesktop.DBus.Error.AccessDenied"
            | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => ErrorKind::Denied,
            "org.freedesktop.systemd1.UnitExists" => ErrorKind::AlreadyExists,
            "org.freedesktop.systemd1.NoSuchUnit" => ErrorKind::NotFound,
            _ => ErrorKind::Internal,
        };
        Error::new(kind, format!("systemd refused: {}", self.words))
    }
}

fn method<'a>(
    destination: &'a str,
    path: &'a str,
    interface: &'a str,
    member: &'a str,
) -> Method<'a> {
    Method {
        destination,
        path,
        interface,
        member,
    }
}

fn too_late() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("systemd did not answer within {} s", PATIENCE.as_secs()),
    )
}
