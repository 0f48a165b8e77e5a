//! Sockets of the family `AF_UNIX`: their names, their other ends.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use sys::{Result, socket};

use super::super::Collection;
use super::super::descriptors::refuse;
use super::super::files::Seen;
use super::{SO_TYPE, SOL_SOCKET, Sockets, busy, inode, number_of};
use crate::freeze::Stopped;
use crate::image::hex;
use crate::image::schema::{Unix, UnixLink, UnixName};
use crate::procfs;

const SO_PEERCRED: i32 = 17;
const SOCK_DGRAM: i32 = 2;
const SIOCOUTQ: u64 = 0x5411;
/// `sun_family`.
const FAMILY: usize = 2;

pub(super) fn collect(
    place: usize,
    one: &Seen,
    sockets: &mut Sockets,
    stopped: &Stopped,
    all: &Collection,
) -> Result<Unix> {
    let number = inode(one).unwrap_or(0);
    let Some(known) = sockets.unix.get(&number) else {
        return Err(refuse(
            "is a socket of another network namespace than the container's; close it first",
        ));
    };
    let link = link(one, number, sockets, all)?;
    let listener = matches!(link, UnixLink::Listening { .. }).then(|| listener(one, stopped));
    Ok(Unix {
        name: name(one, known.file)?,
        link,
        shutdown: known.shutdown & 3,
        listener: listener.flatten(),
        queue: sockets.queues.remove(&place).unwrap_or_default(),
    })
}

fn link(one: &Seen, number: u32, sockets: &Sockets, all: &Collection) -> Result<UnixLink> {
    let Some(known) = sockets.unix.get(&number) else {
        return Ok(UnixLink::None);
    };
    if known.is_listening {
        let backlog = known.backlog;
        return Ok(UnixLink::Listening { backlog });
    }
    let is_datagram = number_of(one, SO_TYPE)? == SOCK_DGRAM;
    match known.peer {
        Some(0) => {
            let at = sockets.places.iter().find(|(inode, _)| {
                let listener = sockets.unix.get(inode);
                listener.is_some_and(|it| it.waiting.contains(&number))
            });
            match at {
                // Where that is, nobody can read it.
                Some(_) if socket::queued(one.ours.as_fd(), SIOCOUTQ)? > 0 => Err(busy(
                    "is a connection that was not accepted yet and has data in it; try again",
                )),
                Some((_, at)) => Ok(UnixLink::Waiting { at: *at }),
                None if is_datagram => Ok(UnixLink::None),
                None => Ok(UnixLink::Widowed),
            }
        }
        Some(peer) => match sockets.places.get(&peer) {
            Some(to) => Ok(UnixLink::Connected { to: *to }),
            None => external(one, is_datagram, all),
        },
        None if known.is_connected && !is_datagram => Ok(UnixLink::Widowed),
        None => Ok(UnixLink::None),
    }
}

fn external(one: &Seen, is_datagram: bool, all: &Collection) -> Result<UnixLink> {
    let address = socket::peer_address(one.ours.as_fd()).unwrap_or_default();
    let name = String::from_utf8_lossy(address.get(FAMILY..).unwrap_or_default());
    let name = name.trim_matches('\0');
    let is_named = !name.is_empty();
    if !all.options.external_sockets || is_datagram && !is_named {
        let name = if is_named { name } else { "without a name" };
        return Err(refuse(&format!(
            "is connected to a socket ({name}) outside of the container; close it first, or use \
             --ext-unix-sk (a stream is then closed at the restore, others connect again)"
        )));
    }
    if is_datagram {
        let address = hex::encode(&address);
        return Ok(UnixLink::External { address });
    }
    Ok(UnixLink::Widowed)
}

/// The process that made it listen, if it is there.
fn listener(one: &Seen, stopped: &Stopped) -> Option<i32> {
    let value = socket::option(one.ours.as_fd(), SOL_SOCKET, SO_PEERCRED, 12).ok()?;
    let pid = i32::from_ne_bytes(value.get(..4)?.try_into().ok()?);
    let process = stopped.processes.iter().find(|process| process.pid == pid);
    process.map(|process| process.inner_pid)
}

fn name(one: &Seen, file: Option<(u32, u32)>) -> Result<Option<UnixName>> {
    let address = socket::own_address(one.ours.as_fd())?;
    let bytes = address.get(FAMILY..).unwrap_or_default();
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes[0] == 0 {
        return Ok(Some(UnixName {
            bytes: hex::encode(bytes),
            directory: None,
            file: None,
        }));
    }
    let end = bytes.iter().position(|byte| *byte == 0);
    let bytes = &bytes[..end.unwrap_or(bytes.len())];
    let text = String::from_utf8(bytes.to_vec())
        .map_err(|_| refuse("is a socket whose name is not text; close it first"))?;
    let mut found = UnixName {
        bytes: hex::encode(bytes),
        directory: None,
        file: None,
    };
    if text.starts_with('/') {
        let path = format!("/proc/{}/root{text}", one.root);
        found.file = its_file(&path, file);
        return Ok(Some(found));
    }
    // Wherever one of those that have it is now.
    let mut holders: Vec<i32> = one.named.iter().map(|(pid, _)| *pid).collect();
    holders.push(one.root);
    for pid in holders {
        let path = format!("/proc/{pid}/cwd/{text}");
        if let Some(file) = its_file(&path, file) {
            found.file = Some(file);
            found.directory = Some(procfs::link(&format!("/proc/{pid}/cwd"))?);
            break;
        }
    }
    Ok(Some(found))
}

/// Mode and owners, if the path leads to the socket's own file. Only the
/// inode is compared: devices of overlay file systems are told differently.
fn its_file(path: &str, file: Option<(u32, u32)>) -> Option<(u32, u32, u32)> {
    let stat = fs::symlink_metadata(path).ok()?;
    let (inode, _) = file?;
    let same = stat.file_type().is_socket() && stat.ino() & 0xffff_ffff == u64::from(inode);
    same.then(|| (stat.mode() & 0o7777, stat.uid(), stat.gid()))
}
