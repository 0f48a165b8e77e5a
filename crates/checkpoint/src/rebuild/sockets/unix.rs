//! Sockets of the family `AF_UNIX`: made by init, in the container's own
//! directories.
//!
//! An accepted socket has the name of the one that listened, so it is made
//! by connecting and accepting again; where nobody listens any more, by a
//! stand-in that does so for a moment. Ends without a name, or each with one
//! of its own, come in pairs.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, OwnedFd};

use sys::{Context as _, Error, ErrorKind, Result};

use super::super::pool::{OPENED, put};
use super::{SOCK_NONBLOCK, SOCKET, Sockets};
use crate::image::hex;
use crate::image::schema::{Socket, Unix, UnixLink, UnixName};
use crate::inject::{Place, Program, number};

const CLOSE: u32 = 3;
const CONNECT: u32 = 42;
const SHUTDOWN: u32 = 48;
const BIND: u32 = 49;
const LISTEN: u32 = 50;
const SOCKETPAIR: u32 = 53;
const CHDIR: u32 = 80;
const UNLINK: u32 = 87;
const CHMOD: u32 = 90;
const LCHOWN: u32 = 94;
const OPENAT: u32 = 257;
const NEWFSTATAT: u32 = 262;
const ACCEPT4: u32 = 288;
const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: i32 = 0x100;
const O_PATH: u32 = 0o10_000_000;
const AF_UNIX: i32 = 1;
const SOCK_DGRAM: i32 = 2;
const ENOENT: i64 = -2;
/// `struct stat`, and where its mode is.
const STAT: usize = 144;
const MODE: usize = 24;

/// What is needed until the queues are filled.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Other ends that shall be closed, by place.
    lost: BTreeMap<usize, OwnedFd>,
    /// Files that were gone, though their sockets were not.
    removed: Vec<UnixName>,
    /// Senders that are not among the descriptions.
    strangers: std::cell::RefCell<BTreeMap<(usize, String), OwnedFd>>,
}

pub(super) fn make(sockets: &Sockets<'_>) -> Result<Made> {
    let mut made = Made::default();
    // Whoever is found by name, first.
    for (place, what, unix) in sockets.unix() {
        let alone = match unix.link {
            UnixLink::None | UnixLink::Listening { .. } | UnixLink::External { .. } => true,
            UnixLink::Connected { to } => !is_mutual(sockets, place, to)?,
            UnixLink::Waiting { .. } | UnixLink::Widowed => false,
        };
        if alone {
            made.alone(sockets, place, what, unix)?;
        }
    }
    for (place, what, unix) in sockets.unix() {
        match &unix.link {
            UnixLink::Connected { to } if place < *to && is_mutual(sockets, place, *to)? => {
                made.pair(sockets, (place, unix), *to, what)?;
            }
            UnixLink::Widowed => made.widowed(sockets, place, what, unix)?,
            _ => {}
        }
    }
    // Those that are not accepted, last; and those that send to a name.
    for (place, what, unix) in sockets.unix() {
        match &unix.link {
            UnixLink::Waiting { at } => {
                let (_, listener) = sockets.unix_at(*at)?;
                sockets.open(place, what)?;
                made.bind_at(sockets, place, unix)?;
                connect(sockets, place, listener)?;
            }
            UnixLink::Connected { to } if !is_mutual(sockets, place, *to)? => {
                let (_, peer) = sockets.unix_at(*to)?;
                connect(sockets, place, peer)?;
            }
            UnixLink::External { address } => {
                let mut program = Program::default();
                let address = program.data(&hex::decode(address)?);
                let place = sockets.work.pool.description(place);
                let length = address_length(address);
                // Nobody may be there now: that is what the program is told.
                program.attempt(CONNECT, &[place.into(), address.into(), length]);
                sockets.puppet.run(&program)?;
            }
            _ => {}
        }
    }
    Ok(made)
}

fn is_mutual(sockets: &Sockets<'_>, place: usize, to: usize) -> Result<bool> {
    let (_, peer) = sockets.unix_at(to)?;
    Ok(peer.link == UnixLink::Connected { to: place })
}

impl Made {
    fn alone(
        &mut self,
        sockets: &Sockets<'_>,
        place: usize,
        what: &Socket,
        unix: &Unix,
    ) -> Result<()> {
        sockets.open(place, what)?;
        self.bind_at(sockets, place, unix)?;
        if let UnixLink::Listening { backlog } = unix.link {
            let mut program = Program::default();
            let place = sockets.work.pool.description(place);
            program.call("listen", LISTEN, &[place.into(), backlog.into()]);
            sockets.puppet.run(&program)?;
        }
        Ok(())
    }

    fn pair(
        &mut self,
        sockets: &Sockets<'_>,
        (place, unix): (usize, &Unix),
        to: usize,
        what: &Socket,
    ) -> Result<()> {
        let (_, peer) = sockets.unix_at(to)?;
        let ends = [(place, unix), (to, peer)];
        if what.kind != SOCK_DGRAM {
            for (server, client) in [(0, 1), (1, 0)] {
                let listener = listener_of(sockets, ends[server].1);
                if listener.is_some() || is_shared(sockets, ends[server].1) {
                    return self.accepted(sockets, ends[server], ends[client], listener, what);
                }
            }
        }
        let mut program = Program::default();
        socketpair(&mut program, what);
        let pool = sockets.work.pool;
        put(&mut program, OPENED, pool.description(place));
        put(&mut program, OPENED + 1, pool.description(to));
        sockets.puppet.run(&program)?;
        for (place, unix) in ends {
            self.bind_at(sockets, place, unix)?;
        }
        Ok(())
    }

    /// One end was accepted by somebody who listened under its name.
    fn accepted(
        &mut self,
        sockets: &Sockets<'_>,
        server: (usize, &Unix),
        client: (usize, &Unix),
        listener: Option<usize>,
        what: &Socket,
    ) -> Result<()> {
        let pool = sockets.work.pool;
        sockets.open(client.0, what)?;
        self.bind_at(sockets, client.0, client.1)?;
        // A stand-in is where the accepted one will be.
        let listening = listener.unwrap_or(server.0);
        if listener.is_none() {
            sockets.open(server.0, what)?;
            self.bind_at(sockets, server.0, server.1)?;
            let mut program = Program::default();
            let place = pool.description(server.0);
            program.call("listen", LISTEN, &[place.into(), 1.into()]);
            sockets.puppet.run(&program)?;
        }
        connect(sockets, client.0, server.1)?;
        let mut program = Program::default();
        accept(&mut program, pool.description(listening));
        put(&mut program, OPENED, pool.description(server.0));
        sockets.puppet.run(&program).map(drop)
    }

    fn widowed(
        &mut self,
        sockets: &Sockets<'_>,
        place: usize,
        what: &Socket,
        unix: &Unix,
    ) -> Result<()> {
        let pool = sockets.work.pool;
        let (other, this) = (OPENED, OPENED + 1);
        let listener = listener_of(sockets, unix);
        let mut program = Program::default();
        if let Some(listener) = listener {
            let arguments = [AF_UNIX.into(), what.kind.into(), what.protocol.into()];
            program.call("make a socket", SOCKET, &arguments);
            connect_program(&mut program, other, unix)?;
            accept(&mut program, pool.description(listener));
        } else {
            socketpair(&mut program, what);
        }
        put(&mut program, this, pool.description(place));
        sockets.puppet.run(&program)?;
        self.lost.insert(place, sockets.take(other)?);
        let mut program = Program::default();
        program.call("close a descriptor", CLOSE, &[other.into()]);
        sockets.puppet.run(&program)?;
        if listener.is_some() || is_shared(sockets, unix) {
            // Several cannot bind the same name.
            return Ok(());
        }
        self.bind_at(sockets, place, unix)
    }

    /// Gives it its name, if it has one.
    fn bind_at(&mut self, sockets: &Sockets<'_>, place: usize, unix: &Unix) -> Result<()> {
        let Some(name) = &unix.name else {
            return Ok(());
        };
        let bytes = hex::decode(&name.bytes)?;
        let said = String::from_utf8_lossy(&bytes).replace('\0', "@");
        let bind = || -> Result<()> {
            let fd = sockets.work.pool.description(place);
            let mut program = Program::default();
            let is_file = !bytes.starts_with(&[0]);
            if is_file {
                make_way(sockets, name, &bytes)?;
                enter_directory(&mut program, name);
            }
            let address = address_of(&mut program, &bytes);
            let length = address_length(address);
            program.call("bind", BIND, &[fd.into(), address.into(), length]);
            if let Some((mode, uid, gid)) = name.file.filter(|_| is_file) {
                let path = program.text(&bytes);
                program.attempt(LCHOWN, &[path.into(), uid.into(), gid.into()]);
                program.call("set its mode", CHMOD, &[path.into(), mode.into()]);
            }
            sockets.puppet.run(&program).map(drop)
        };
        bind().context(|| format!("bind unix socket {said}"))?;
        if !bytes.starts_with(&[0]) && name.file.is_none() {
            self.removed.push(name.clone());
        }
        Ok(())
    }

    /// The end of a pair that shall be gone.
    pub(super) fn lost_end(&self, place: usize) -> Option<&OwnedFd> {
        self.lost.get(&place)
    }

    /// Who can send to that socket as `sender` (hex of an address), and to
    /// which address.
    pub(super) fn route(
        &self,
        sockets: &Sockets<'_>,
        place: usize,
        sender: &str,
    ) -> Result<(OwnedFd, Vec<u8>)> {
        let (what, unix) = sockets.unix_at(place)?;
        let named = sockets.unix().find(|(_, _, other)| {
            let name = other.name.as_ref();
            let own = name.map(|name| name.bytes.trim_end_matches("00"));
            own.is_some_and(|own| {
                sender
                    .get(4..)
                    .is_some_and(|it| it.trim_end_matches("00") == own)
            })
        });
        if let Some((from, _, other)) = named {
            let is_ours = other.link == UnixLink::Connected { to: place };
            let address = if is_ours {
                Vec::new()
            } else {
                self.way_to(sockets, unix)?
            };
            return Ok((sockets.ours(from)?, address));
        }
        // Somebody who is gone.
        let key = (place, sender.to_owned());
        if let Some(known) = self.strangers.borrow().get(&key) {
            return Ok((known.try_clone()?, Vec::new()));
        }
        let fd = OPENED;
        let mut program = Program::default();
        let arguments = [AF_UNIX.into(), what.kind.into(), what.protocol.into()];
        program.call("make a socket", SOCKET, &arguments);
        let address = hex::decode(sender)?;
        if address.get(2) == Some(&0) {
            let address = program.data(&address);
            let length = address_length(address);
            program.attempt(BIND, &[fd.into(), address.into(), length]);
        }
        connect_program(&mut program, fd, unix)?;
        sockets.puppet.run(&program)?;
        let ours = sockets.take(fd)?;
        let mut program = Program::default();
        program.call("close a descriptor", CLOSE, &[fd.into()]);
        sockets.puppet.run(&program)?;
        self.strangers.borrow_mut().insert(key, ours.try_clone()?);
        Ok((ours, Vec::new()))
    }

    /// An address that leads to the socket from where we are.
    fn way_to(&self, sockets: &Sockets<'_>, unix: &Unix) -> Result<Vec<u8>> {
        let name = unix.name.as_ref().ok_or_else(nowhere)?;
        let bytes = hex::decode(&name.bytes)?;
        let mut address = family();
        if bytes.starts_with(&[0]) {
            address.extend_from_slice(&bytes);
            return Ok(address);
        }
        let mut program = Program::default();
        enter_directory(&mut program, name);
        let path = program.text(&bytes);
        let arguments = [AT_FDCWD.into(), path.into(), O_PATH.into(), 0.into()];
        program.call("open a socket's file", OPENAT, &arguments);
        sockets.puppet.run(&program)?;
        let file = sockets.take(OPENED)?;
        let mut program = Program::default();
        program.call("close a descriptor", CLOSE, &[OPENED.into()]);
        sockets.puppet.run(&program)?;
        address.extend_from_slice(format!("/proc/self/fd/{}", file.as_raw_fd()).as_bytes());
        // Kept until the message is sent, which is before the next.
        self.strangers
            .borrow_mut()
            .insert((usize::MAX, String::new()), file);
        Ok(address)
    }

    /// Closes what shall be closed, and ends what was ended.
    pub(super) fn finish(self, sockets: &Sockets<'_>) -> Result<()> {
        for (place, _, unix) in sockets.unix() {
            if unix.shutdown == 0 || self.lost.contains_key(&place) {
                continue;
            }
            let mut program = Program::default();
            let place = sockets.work.pool.description(place);
            let how = u32::from(unix.shutdown) - 1;
            program.attempt(SHUTDOWN, &[place.into(), how.into()]);
            sockets.puppet.run(&program)?;
        }
        for name in &self.removed {
            make_way(sockets, name, &hex::decode(&name.bytes)?)?;
        }
        Ok(())
    }
}

/// The one that listens under the name of this one.
fn listener_of(sockets: &Sockets<'_>, unix: &Unix) -> Option<usize> {
    let name = unix.name.as_ref()?;
    let mut listening = sockets.unix().filter(|(_, _, other)| {
        matches!(other.link, UnixLink::Listening { .. })
            && other
                .name
                .as_ref()
                .is_some_and(|other| other.bytes == name.bytes)
    });
    listening.next().map(|(place, ..)| place)
}

fn is_shared(sockets: &Sockets<'_>, unix: &Unix) -> bool {
    let Some(name) = &unix.name else {
        return false;
    };
    let same = sockets.unix().filter(|(_, _, other)| {
        other
            .name
            .as_ref()
            .is_some_and(|other| other.bytes == name.bytes)
    });
    same.count() > 1
}

fn socketpair(program: &mut Program, what: &Socket) {
    let ends = program.room(8);
    let arguments = [
        AF_UNIX.into(),
        (what.kind | SOCK_NONBLOCK).into(),
        what.protocol.into(),
        ends.into(),
    ];
    program.call("make a pair of sockets", SOCKETPAIR, &arguments);
}

fn accept(program: &mut Program, listener: i32) {
    let arguments = [listener.into(), 0.into(), 0.into(), SOCK_NONBLOCK.into()];
    program.call("accept", ACCEPT4, &arguments);
}

fn connect(sockets: &Sockets<'_>, place: usize, to: &Unix) -> Result<()> {
    let mut program = Program::default();
    connect_program(&mut program, sockets.work.pool.description(place), to)?;
    sockets.puppet.run(&program).map(drop)
}

fn connect_program(program: &mut Program, fd: i32, to: &Unix) -> Result<()> {
    let name = to.name.as_ref().ok_or_else(nowhere)?;
    let bytes = hex::decode(&name.bytes)?;
    enter_directory(program, name);
    let address = address_of(program, &bytes);
    let length = address_length(address);
    program.call("connect", CONNECT, &[fd.into(), address.into(), length]);
    Ok(())
}

/// Removes the file of the socket that it was; nothing else.
fn make_way(sockets: &Sockets<'_>, name: &UnixName, bytes: &[u8]) -> Result<()> {
    const IS_SOCKET: u64 = 0o140_000;
    let mut program = Program::default();
    enter_directory(&mut program, name);
    let path = program.text(bytes);
    let stat = program.room(STAT);
    let arguments = [
        AT_FDCWD.into(),
        path.into(),
        stat.into(),
        AT_SYMLINK_NOFOLLOW.into(),
    ];
    let looked = program.attempt(NEWFSTATAT, &arguments);
    let outcome = sockets.puppet.run(&program)?;
    if outcome.result(looked) == ENOENT {
        return Ok(());
    }
    outcome.value(looked)?;
    if number(outcome.bytes(stat), MODE) & 0o170_000 != IS_SOCKET {
        return Err(Error::new(
            ErrorKind::Conflict,
            "there is another file of that name now; move it away",
        ));
    }
    let mut program = Program::default();
    enter_directory(&mut program, name);
    let path = program.text(bytes);
    program.call("remove the old file", UNLINK, &[path.into()]);
    sockets.puppet.run(&program).map(drop)
}

fn enter_directory(program: &mut Program, name: &UnixName) {
    let directory = name.directory.as_deref().unwrap_or("/");
    let path = program.text(directory.as_bytes());
    program.call("enter a directory", CHDIR, &[path.into()]);
}

fn family() -> Vec<u8> {
    u16::try_from(AF_UNIX).unwrap_or(1).to_ne_bytes().to_vec()
}

fn address_of(program: &mut Program, name: &[u8]) -> Place {
    let mut address = family();
    address.extend_from_slice(name);
    program.data(&address)
}

fn address_length(address: Place) -> crate::inject::Arg {
    (address.length() as u64).into()
}

fn nowhere() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "a socket is connected to one without a name",
    )
}
