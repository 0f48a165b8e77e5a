//! Open files: which descriptors are one description, and what each is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use state::StdioInodes;
use sys::{Context as _, Error, ErrorKind, Result};

use super::{Collection, Inside, descriptors, shared_memory, sockets};
use crate::freeze::{Stopped, StoppedProcess, refusal};
use crate::image::schema::{
    Description, Descriptor, Kind, MappedFile, Process, RecordLock, SharedKind,
};
use crate::maps::Line;
use crate::procfs;

const O_CLOEXEC: u32 = 0o2_000_000;
pub(super) const O_ACCMODE: u32 = 3;
pub(super) const O_PATH: u32 = 0o10_000_000;
const O_TMPFILE_BITS: u32 = 0o20_000_000;

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) seen: Vec<Seen>,
    /// Places in `seen` by what is certainly equal for equal descriptions.
    by_text: HashMap<(String, String), Vec<usize>>,
    mapped: BTreeMap<(u64, u64), usize>,
    /// The same by what is told of private mappings: device, inode, name.
    mapped_lines: HashMap<((u32, u32), u64, String), usize>,
    /// Of the container: mounts that its files can be on.
    mounts: BTreeSet<u32>,
    /// What init's standard descriptors are, by what their links say.
    stdio: Vec<(String, bool, i32)>,
    /// flock(2) by description.
    flocks: BTreeMap<usize, u32>,
}

/// One open file description, held open.
pub(crate) struct Seen {
    /// Where it was met first.
    pub(crate) pid: i32,
    pub(crate) fd: i32,
    /// The process whose root its path begins at.
    pub(crate) root: i32,
    /// All descriptors that name it.
    pub(crate) named: Vec<(i32, i32)>,
    pub(crate) ours: OwnedFd,
    pub(crate) link: String,
    pub(crate) info: Info,
}

/// `/proc/PID/fdinfo/N`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Info {
    pub(crate) text: String,
}

impl Info {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim())
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.get(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    }

    pub(crate) fn hex(&self, name: &str) -> u64 {
        let digits = |value: &str| u64::from_str_radix(value.trim_start_matches("0x"), 16).ok();
        self.get(name).and_then(digits).unwrap_or(0)
    }

    pub(crate) fn flags(&self) -> u32 {
        self.get("flags")
            .and_then(|flags| u32::from_str_radix(flags, 8).ok())
            .unwrap_or(0)
    }
}

/// The descriptors of a process; the descriptions that are new go to `all`.
pub(super) fn collect(
    process: &StoppedProcess,
    inside: &Inside,
    into: &mut Process,
    all: &mut Collection,
) -> Result<()> {
    if all.files.mounts.is_empty() {
        learn_about_init(process.pid, all.options.stdio, &mut all.files)?;
    }
    let path = format!("/proc/{}/fd", process.pid);
    let mut numbers: Vec<i32> = fs::read_dir(&path)
        .context(|| format!("read {path}"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    for fd in numbers {
        let link = procfs::link(&format!("{path}/{fd}"))?;
        let text = procfs::text(&format!("/proc/{}/fdinfo/{fd}", process.pid))?;
        let close_on_exec = Info { text: text.clone() }.flags() & O_CLOEXEC != 0;
        let (locks, text): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with("lock:"));
        let info = Info {
            text: text.join("\n"),
        };
        let description = find_or_add((process.pid, fd), &link, info, process.pid, all, || {
            pidfd_getfd(&inside.pidfd, fd, PidfdGetfdFlags::empty())
                .context(|| format!("take descriptor {fd}"))
        })?;
        all.files.seen[description].named.push((process.pid, fd));
        into.descriptors.push(Descriptor {
            fd,
            description,
            close_on_exec,
        });
        for lock in locks {
            read_lock(lock, description, &mut into.locks, all);
        }
    }
    Ok(())
}

/// What the container got as standard descriptors: what it has been given, as
/// whoever started it says, and what it has there now.
fn learn_about_init(pid: i32, given: StdioInodes, files: &mut Gathered) -> Result<()> {
    files.mounts = procfs::text(&format!("/proc/{pid}/mountinfo"))?
        .lines()
        .filter_map(|line| line.split(' ').next()?.parse().ok())
        .collect();
    for (number, link) in procfs::links_of(given) {
        files.stdio.push((link, true, number));
    }
    for number in 0..=2 {
        let Ok(link) = procfs::link(&format!("/proc/{pid}/fd/{number}")) else {
            continue;
        };
        let info = Info {
            text: procfs::text(&format!("/proc/{pid}/fdinfo/{number}"))?,
        };
        let mount = u32::try_from(info.number("mnt_id")).unwrap_or(0);
        // On no mount of the container's: it came from outside. Pipes and
        // sockets are never on one.
        let foreign = !files.mounts.contains(&mount);
        files.stdio.push((link, foreign, number));
    }
    Ok(())
}

/// The description of a descriptor that came to us out of a queue.
pub(super) fn in_flight(ours: OwnedFd, root: i32, all: &mut Collection) -> Result<usize> {
    let own = rustix::process::getpid().as_raw_pid();
    let number = ours.as_raw_fd();
    let link = procfs::link(&format!("/proc/self/fd/{number}"))?;
    let text = procfs::text(&format!("/proc/self/fdinfo/{number}"))?;
    let text: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("lock:"))
        .collect();
    let info = Info {
        text: text.join("\n"),
    };
    find_or_add((own, number), &link, info, root, all, || Ok(ours))
}

fn find_or_add(
    who: (i32, i32),
    link: &str,
    info: Info,
    root: i32,
    all: &mut Collection,
    take: impl FnOnce() -> Result<OwnedFd>,
) -> Result<usize> {
    // The flag of the descriptor is shown among those of the description.
    let mut key = info.text.clone();
    if let Some(flags) = info.get("flags") {
        key = key.replacen(flags, &format!("{:o}", info.flags() & !O_CLOEXEC), 1);
    }
    let alike = all.files.by_text.entry((link.to_owned(), key)).or_default();
    for index in alike.iter() {
        let seen = &all.files.seen[*index];
        if sys::kcmp::same_description((seen.pid, seen.fd), who)? {
            return Ok(*index);
        }
    }
    let index = all.files.seen.len();
    alike.push(index);
    let ours = take()?;
    all.files.seen.push(Seen {
        pid: who.0,
        fd: who.1,
        root,
        named: Vec::new(),
        ours,
        link: link.to_owned(),
        info,
    });
    Ok(index)
}

/// `lock: 1: FLOCK  ADVISORY  WRITE 42 00:1f:93 0 EOF`
fn read_lock(line: &str, description: usize, locks: &mut Vec<RecordLock>, all: &mut Collection) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, _, kind, _, access, _, _, start, end] = words[..] else {
        return;
    };
    let exclusive = access == "WRITE";
    if kind == "FLOCK" {
        all.files
            .flocks
            .insert(description, if exclusive { 2 } else { 1 });
        return;
    }
    let start = start.parse().unwrap_or(0);
    let length = end
        .parse::<u64>()
        .map_or(0, |end| end.saturating_sub(start) + 1);
    let lock = RecordLock {
        description,
        of_description: kind == "OFDLCK",
        exclusive,
        start,
        length,
    };
    if !locks.contains(&lock) {
        locks.push(lock);
    }
}

/// Understands every description, once all of them are known.
pub(super) fn finish(stopped: &Stopped, all: &mut Collection) -> Result<()> {
    let mut known = sockets::Sockets::learn(stopped, all)?;
    let mut outside = Vec::with_capacity(all.files.seen.len());
    for one in &all.files.seen {
        outside.push(known.is_outside(one, all)?);
    }
    let seen = std::mem::take(&mut all.files.seen);
    let mut ends = descriptors::Ends::new(&seen);
    let mut descriptions = Vec::with_capacity(seen.len());
    for (index, one) in seen.iter().enumerate() {
        let kind = if let Some(number) = external(one, outside[index], &ends, all) {
            Ok(Kind::Stdio { number })
        } else if sockets::inode(one).is_some() && one.info.flags() & O_PATH == 0 {
            known.understand(index, one, stopped, all)
        } else {
            understand(stopped, one, &seen, &mut ends, all)
        };
        let kind = kind.map_err(|error| error.wrap(name_of(stopped, one)))?;
        descriptions.push(Description {
            flags: one.info.flags() & !O_CLOEXEC,
            position: one.info.number("pos"),
            kind,
            lock: all.files.flocks.get(&index).copied(),
        });
    }
    sockets::refuse_late(&descriptions)?;
    all.checkpoint.descriptions = descriptions;
    all.checkpoint.pipes = ends.pipes;
    all.files.seen = seen;
    Ok(())
}

fn name_of(stopped: &Stopped, one: &Seen) -> String {
    let who = stopped
        .processes
        .iter()
        .find(|process| process.pid == one.pid);
    who.map_or_else(
        || format!("a descriptor that is in flight in a socket ({})", one.link),
        |process| {
            format!(
                "descriptor {} of process {} ({})",
                one.fd, process.inner_pid, one.link
            )
        },
    )
}

/// Which of the standard descriptors that came from outside it is.
fn external(one: &Seen, outside: bool, ends: &descriptors::Ends, all: &Collection) -> Option<i32> {
    let is_inside = one.link.starts_with("pipe:") && ends.has_both(&one.link)
        || one.link.starts_with("socket:") && !outside;
    let mut stdio = all.files.stdio.iter().filter(|_| !is_inside);
    let found = stdio.find(|(known, foreign, number)| {
        *foreign && *known == one.link && (*number == 0 || one.info.flags() & O_ACCMODE != 0)
    });
    found.map(|(_, _, number)| *number)
}

fn understand(
    stopped: &Stopped,
    one: &Seen,
    seen: &[Seen],
    ends: &mut descriptors::Ends,
    all: &mut Collection,
) -> Result<Kind> {
    if one.info.flags() & O_PATH == 0
        && let Some(kind) = descriptors::special(stopped, one, seen, ends, all)?
    {
        return Ok(kind);
    }
    by_path(one, all)
}

fn by_path(one: &Seen, all: &mut Collection) -> Result<Kind> {
    let stat = rustix::fs::fstat(&one.ours)?;
    if stat.st_nlink == 0 || one.info.flags() & O_TMPFILE_BITS == O_TMPFILE_BITS {
        let memory = shared_memory::removed(one, &stat, all)?;
        return Ok(Kind::Memory { memory });
    }
    must_be_there(one, &stat, all)?;
    let regular =
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
    Ok(Kind::Path {
        path: one.link.clone(),
        size: regular.then(|| u64::try_from(stat.st_size).unwrap_or(0)),
    })
}

/// It is on one of the container's mounts.
pub(super) fn must_be_in_the_container(one: &Seen, all: &Collection) -> Result<()> {
    let mount = u32::try_from(one.info.number("mnt_id")).unwrap_or(0);
    if all.files.mounts.contains(&mount) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        "is a file outside of the container and not one of its standard descriptors; \
         close it first",
    ))
}

/// Its path leads to it, in the container.
pub(super) fn must_be_there(one: &Seen, stat: &rustix::fs::Stat, all: &Collection) -> Result<()> {
    must_be_in_the_container(one, all)?;
    let here = format!("/proc/{}/root{}", one.root, one.link);
    // A file of /proc may be gone; it is opened again when the process is.
    let same = fs::symlink_metadata(&here)
        .is_ok_and(|there| (there.dev(), there.ino()) == (stat.st_dev, stat.st_ino));
    if !same && !one.link.starts_with("/proc/") {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "is hidden below another mount, or another file has its name now; close it first",
        ));
    }
    Ok(())
}

/// The file behind a mapping, as one of the checkpoint's mapped files.
pub(super) fn mapped(process: &StoppedProcess, line: &Line, all: &mut Collection) -> Result<usize> {
    let look = || {
        fs::metadata(line.file(process.pid))
            .context(|| format!("look at mapped file {}", line.name))
    };
    if line.is_shared {
        return add_mapped(process, &line.name, &look()?, line.has("mw"), true, all);
    }
    // What several processes map under one name is one file, even where two
    // files may have the same device and inode here (subvolumes of btrfs).
    let key = (line.device, line.inode, line.name.clone());
    if let Some(index) = all.files.mapped_lines.get(&key) {
        return Ok(*index);
    }
    let index = add_mapped(process, &line.name, &look()?, false, false, all)?;
    all.files.mapped_lines.insert(key, index);
    Ok(index)
}

/// The program that the process runs.
pub(super) fn program(process: &StoppedProcess, all: &mut Collection) -> Result<Option<usize>> {
    let link = format!("/proc/{}/exe", process.pid);
    let path = procfs::link(&link)?;
    if path.ends_with(" (deleted)") {
        return Err(refusal(
            process.pid,
            &format!("runs {path}, which was removed since; restart it"),
        ));
    }
    let stat = fs::metadata(&link).context(|| format!("look at {path}"))?;
    add_mapped(process, &path, &stat, false, false, all).map(Some)
}

fn add_mapped(
    process: &StoppedProcess,
    path: &str,
    stat: &fs::Metadata,
    writable: bool,
    shared: bool,
    all: &mut Collection,
) -> Result<usize> {
    let key = (stat.dev(), stat.ino());
    if let Some(index) = all.files.mapped.get(&key) {
        let known = &mut all.checkpoint.files[*index];
        known.writable |= writable;
        known.shared |= shared;
        return Ok(*index);
    }
    let there = fs::metadata(format!("/proc/{}/root{path}", process.pid));
    if !there.is_ok_and(|there| (there.dev(), there.ino()) == key) {
        return Err(refusal(
            process.pid,
            &format!("has {path} mapped, and another file has that name now; restart it"),
        ));
    }
    let index = all.checkpoint.files.len();
    all.files.mapped.insert(key, index);
    all.checkpoint.files.push(MappedFile {
        path: path.to_owned(),
        size: stat.size(),
        modified: (stat.mtime(), u32::try_from(stat.mtime_nsec()).unwrap_or(0)),
        writable,
        shared,
    });
    Ok(index)
}

/// A file without a name, and who it belongs to.
pub(super) fn removed_kind(one: &Seen, stat: &rustix::fs::Stat) -> SharedKind {
    let path = one.link.strip_suffix(" (deleted)").unwrap_or(&one.link);
    SharedKind::Removed {
        path: path.to_owned(),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
    }
}
