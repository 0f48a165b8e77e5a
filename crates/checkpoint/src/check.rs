//! What would be in the way of a checkpoint, without one: everything that can
//! be seen from outside, in `/proc`, while the container goes on. Nothing of
//! it is stopped, and nothing is changed.
//!
//! What only the processes themselves can be asked (System V objects, options
//! and peers of unix sockets) is not among it.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use runtime::Cgroup;
use rustix::fs::{FileType, stat};
use state::ProcessRef;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::DumpOptions;
use crate::TcpPolicy;
use crate::collect::{device, refuse_flags};
use crate::maps::{self, Detail};
use crate::procfs::{self, Status};

/// Kinds of descriptors without a path that are carried.
const CARRIED: [&str; 7] = [
    "[eventfd]",
    "[timerfd]",
    "[signalfd]",
    "[eventpoll]",
    "[pidfd]",
    "inotify",
    "[inotify]",
];
const O_PATH: u32 = 0o10_000_000;

/// One sentence for each thing that would not survive: process, resource,
/// remedy.
pub fn check(init: ProcessRef, cgroup: &Cgroup, options: DumpOptions) -> Result<Vec<String>> {
    if !init.is_alive() {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the container is not running",
        ));
    }
    let mut look = Look {
        found: Vec::new(),
        options,
        sockets: sockets(init.pid),
        told: BTreeSet::new(),
    };
    // Before the tree: who is not in that, and lives, came from outside.
    let members = cgroup.pids()?;
    let tree = tree(init.pid);
    for pid in &tree {
        // One that ended meanwhile is in nobody's way.
        if let Err(error) = look.process(init.pid, *pid)
            && procfs::text(&format!("/proc/{pid}/status")).is_ok()
        {
            return Err(error);
        }
    }
    for stranger in members {
        if !tree.contains(&stranger) && procfs::text(&format!("/proc/{stranger}/status")).is_ok() {
            look.note(
                stranger,
                "was put into the container from outside (exec); end it first",
            );
        }
    }
    Ok(look.found)
}

/// All processes below init, init first.
pub(crate) fn tree(init: i32) -> Vec<i32> {
    let mut all = vec![init];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        next += 1;
        let children = procfs::children(pid).unwrap_or_default();
        all.extend(children.into_iter().filter(|child| *child != pid));
    }
    all
}

struct Look {
    found: Vec<String>,
    options: DumpOptions,
    /// By inode: what is known of sockets.
    sockets: HashMap<u64, Seen>,
    /// A socket that many processes have is told once.
    told: BTreeSet<String>,
}

/// A socket as the lists of the network namespace have it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Carried,
    /// A TCP connection, and to where.
    Connected(String),
}

impl Look {
    fn note(&mut self, pid: i32, what: &str) {
        let status = Status::read(&format!("/proc/{pid}"));
        let (inner, name) = match &status {
            Ok(status) => (status.innermost("NSpid"), status.get("Name").to_owned()),
            Err(_) => (pid, String::new()),
        };
        self.found.push(format!("process {inner} ({name}) {what}"));
    }

    fn process(&mut self, init: i32, pid: i32) -> Result<()> {
        let status = Status::read(&format!("/proc/{pid}"))?;
        if status.get("State").starts_with('Z') {
            return Ok(());
        }
        let tracer = status.get("TracerPid");
        if tracer != "0" {
            self.note(
                pid,
                &format!("is traced by process {tracer}; end the debugger"),
            );
        }
        if status.get("Seccomp") == "1" {
            self.note(
                pid,
                "runs in strict seccomp mode, which nobody can leave again",
            );
        }
        let program = procfs::link(&format!("/proc/{pid}/exe"))?;
        if program.ends_with(" (deleted)") {
            let what = format!("runs {program}, which was removed since; restart it");
            self.note(pid, &what);
        }
        self.memory(pid)?;
        self.descriptors(init, pid)
    }

    fn memory(&mut self, pid: i32) -> Result<()> {
        let mut told = BTreeSet::new();
        for line in maps::read(pid, Detail::Flags)? {
            if let Some(what) = refuse_flags(&line)
                && told.insert(what.clone())
            {
                self.note(pid, &what);
            }
        }
        Ok(())
    }

    fn descriptors(&mut self, init: i32, pid: i32) -> Result<()> {
        let mounts = mounts(init)?;
        let given = procfs::links_of(self.options.stdio);
        let given: Vec<String> = given.map(|(_, link)| link).collect();
        let path = format!("/proc/{pid}/fd");
        let entries = fs::read_dir(&path).context(|| format!("read {path}"))?;
        for entry in entries {
            let Some(fd) = entry
                .ok()
                .and_then(|entry| entry.file_name().into_string().ok())
            else {
                continue;
            };
            let (Ok(link), Ok(info)) = (
                procfs::link(&format!("{path}/{fd}")),
                procfs::text(&format!("/proc/{pid}/fdinfo/{fd}")),
            ) else {
                continue;
            };
            // Standard descriptors from outside become those of the restore.
            let is_stdio = given.contains(&link)
                || (0..=2).any(|number| {
                    procfs::link(&format!("/proc/{init}/fd/{number}")).is_ok_and(|own| own == link)
                });
            if let Some(what) = self.descriptor(&format!("{path}/{fd}"), &link, &info, &mounts)
                && (!is_stdio || link.starts_with("anon_inode:"))
                && self.told.insert(format!("{link} {what}"))
            {
                self.note(pid, &format!("has descriptor {fd} ({link}), which {what}"));
            }
        }
        Ok(())
    }

    fn descriptor(
        &self,
        path: &str,
        link: &str,
        info: &str,
        mounts: &BTreeSet<String>,
    ) -> Option<String> {
        let field = |name: &str| {
            let mut lines = info.lines().filter_map(|line| line.split_once(':'));
            lines
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.trim())
        };
        if let Some(kind) = link.strip_prefix("anon_inode:") {
            let carried = CARRIED.contains(&kind);
            return (!carried).then(|| format!("is {kind}, which is not carried; close it first"));
        }
        if let Some(inode) = link.strip_prefix("socket:[") {
            let inode = inode.trim_end_matches(']').parse().ok()?;
            return match self.sockets.get(&inode) {
                Some(Seen::Connected(peer)) if self.options.tcp == TcpPolicy::Refuse => Some(
                    format!("is a TCP connection to {peer}; use --tcp-close to have it reset"),
                ),
                Some(_) => None,
                None => Some(
                    "is a socket of another family or network than can be carried; close it first"
                        .to_owned(),
                ),
            };
        }
        let flags = u32::from_str_radix(field("flags")?, 8).ok()?;
        if !link.starts_with('/') || flags & O_PATH != 0 || link.starts_with("/memfd:") {
            return None;
        }
        let about = stat(path).ok()?;
        let refused = match FileType::from_raw_mode(about.st_mode) {
            FileType::CharacterDevice => device(&about).err().map(|error| error.to_string()),
            FileType::BlockDevice => Some("is a block device; close it first".to_owned()),
            _ => None,
        };
        let is_outside = about.st_nlink > 0 && !mounts.contains(field("mnt_id")?);
        refused.or_else(|| {
            is_outside.then(|| {
                "is a file outside of the container and not one of its standard descriptors; \
                 close it first"
                    .to_owned()
            })
        })
    }
}

/// Ids of the container's mounts.
fn mounts(init: i32) -> Result<BTreeSet<String>> {
    let text = procfs::text(&format!("/proc/{init}/mountinfo"))?;
    let ids = text.lines().filter_map(|line| line.split(' ').next());
    Ok(ids.map(str::to_owned).collect())
}

/// The sockets of the network namespace, of families that are carried.
fn sockets(init: i32) -> HashMap<u64, Seen> {
    let mut all = HashMap::new();
    // Name of the list, column of the inode; TCP has a state and a peer.
    for (list, column) in [
        ("tcp", 9),
        ("tcp6", 9),
        ("udp", 9),
        ("udp6", 9),
        ("raw", 9),
        ("raw6", 9),
        ("icmp", 9),
        ("icmp6", 9),
        ("unix", 6),
        ("netlink", 9),
    ] {
        let text = procfs::text(&format!("/proc/{init}/net/{list}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let Some(inode) = fields.get(column).and_then(|field| field.parse().ok()) else {
                continue;
            };
            let is_connected =
                list.starts_with("tcp") && !matches!(fields.get(3), Some(&"07" | &"0A"));
            let seen = if is_connected {
                Seen::Connected(fields.get(2).map_or_else(String::new, |peer| address(peer)))
            } else {
                Seen::Carried
            };
            all.insert(inode, seen);
        }
    }
    all
}

/// `0100007F:1F90` is 127.0.0.1:8080; in groups of four bytes, each the
/// processor's way round.
fn address(text: &str) -> String {
    let parse = || -> Option<String> {
        let (host, port) = text.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let mut bytes = Vec::new();
        for at in (0..host.len()).step_by(8) {
            let group = u32::from_str_radix(host.get(at..at + 8)?, 16).ok()?;
            bytes.extend(group.to_ne_bytes());
        }
        if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
            return Some(format!("{}:{port}", std::net::Ipv4Addr::from(four)));
        }
        let sixteen = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
        let address = std::net::Ipv6Addr::from(sixteen);
        Some(match address.to_ipv4_mapped() {
            Some(four) => format!("{four}:{port}"),
            None => format!("[{address}]:{port}"),
        })
    };
    parse().unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn addresses_are_as_people_write_them() {
        for (text, shown) in [
            ("0100007F:1F90", "127.0.0.1:8080"),
            ("00000000000000000000000001000000:0050", "[::1]:80"),
            ("0000000000000000FFFF00000100007F:0050", "127.0.0.1:80"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(super::address(text), shown);
        }
    }
}
