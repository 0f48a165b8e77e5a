//! Files of the container's own memory file systems: they live as long as
//! its mounts, so the image has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, statat};
use sys::path::openat2;
use sys::{Context as _, Error, ErrorKind, Result};

use super::Collection;
use super::shared_memory::{self, Place};
use crate::image::schema::{Entry, EntryKind, MemoryFiles};
use crate::procfs;

/// Before it is said that there are too many.
const ENTRIES_MAX: usize = 1 << 20;

/// A mount as mountinfo has it.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) device: String,
    /// What of the file system is mounted.
    root: String,
    pub(crate) place: String,
    pub(crate) kind: String,
    /// Directories of an overlay, as far as they have names outside.
    pub(crate) layers: Vec<String>,
}

/// The mounts that a process sees; `who` is its directory in `/proc`.
pub(crate) fn mounts(who: &str) -> Result<Vec<Mount>> {
    let text = procfs::text(&format!("/proc/{who}/mountinfo"))?;
    Ok(text.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Mount> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut words = mount.split(' ').skip(2);
    let mut source = kind.split(' ');
    let kind = source.next()?.to_owned();
    let options = source.nth(1).filter(|_| kind == "overlay");
    Some(Mount {
        device: words.next()?.to_owned(),
        root: words.next()?.to_owned(),
        place: unescape(words.next()?),
        layers: options.map_or_else(Vec::new, layers),
        kind,
    })
}

/// `lowerdir=A:B,upperdir=C` or `lowerdir+=A,lowerdir+=B,upperdir=C`.
fn layers(options: &str) -> Vec<String> {
    let options = options.split(',').filter_map(|it| it.split_once('='));
    let layers = options.filter(|(name, _)| matches!(*name, "lowerdir" | "lowerdir+" | "upperdir"));
    layers
        .flat_map(|(_, value)| value.split(':'))
        .map(unescape)
        .filter(|path| path.starts_with('/'))
        .collect()
}

/// Blanks and their like are written in octal.
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (code, letter)| {
        text.replace(code, letter)
    })
}

/// Those memory file systems that are nobody's but the container's. What is
/// below `/sys` (control groups) the runtime makes.
pub(crate) fn own(who: &str) -> Result<Vec<Mount>> {
    let outside: BTreeSet<String> = mounts("self")?.into_iter().map(|it| it.device).collect();
    let mut all = mounts(who)?;
    all.retain(|mount| {
        mount.kind == "tmpfs"
            && mount.root == "/"
            && mount.place != "/"
            && !mount.place.starts_with("/sys/")
            && !outside.contains(&mount.device)
    });
    Ok(all)
}

/// The directory at `place` of the container, if that mount is on top there.
pub(crate) fn open(root: impl AsFd, mount: &Mount) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let Ok(directory) = openat2(root, &mount.place, flags, Mode::empty(), resolve) else {
        // A file was bound over it.
        return Ok(None);
    };
    let device = rustix::fs::fstat(&directory)?.st_dev;
    let device = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    Ok((device == mount.device).then_some(directory))
}

pub(super) fn collect(init: i32, all: &mut Collection) -> Result<()> {
    let path = format!("/proc/{init}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).context(|| format!("open {path}"))?;
    let mut done = BTreeSet::new();
    for mount in own(&init.to_string())? {
        let Some(directory) = open(&root, &mount)? else {
            continue;
        };
        if !done.insert(mount.device.clone()) {
            continue;
        }
        let mut walk = Walk {
            device: rustix::fs::fstat(&directory)?.st_dev,
            // There the runtime makes devices and links of its own.
            only_files: mount.place == "/dev",
            names: BTreeMap::new(),
            entries: Vec::new(),
        };
        walk.enter(&directory, "", all)
            .context(|| format!("read the memory file system {}", mount.place))?;
        if !walk.entries.is_empty() {
            all.checkpoint.memory_files.push(MemoryFiles {
                place: mount.place,
                entries: walk.entries,
            });
        }
    }
    Ok(())
}

/// Calls `act` for each file that [`collect`] would save, while the container
/// runs: what is not there any more by then, or cannot be opened, is left out.
pub(crate) fn each_file(init: i32, act: &mut OnFile<'_>) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{init}/root"), flags, Mode::empty())?;
    let mut left = ENTRIES_MAX;
    for mount in own(&init.to_string())? {
        if let Some(directory) = open(&root, &mount)? {
            let device = rustix::fs::fstat(&directory)?.st_dev;
            each_file_in(&directory, device, &mut left, act)?;
        }
    }
    Ok(())
}

/// What a file is, and how to open it if it is still that one.
pub(crate) type OnFile<'a> = dyn FnMut(&Stat, &dyn Fn() -> Option<File>) + 'a;

fn each_file_in(
    directory: &OwnedFd,
    device: u64,
    left: &mut usize,
    act: &mut OnFile<'_>,
) -> Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_own = matches!(name.to_bytes(), b"." | b"..");
        let Ok(stat) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        if is_own || stat.st_dev != device || *left == 0 {
            continue;
        }
        *left -= 1;
        let open = |extra: OFlags| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | extra;
            let file = rustix::fs::openat(directory, name, flags, Mode::empty()).ok()?;
            let now = rustix::fs::fstat(&file).ok()?;
            let is_same = (now.st_dev, now.st_ino) == (stat.st_dev, stat.st_ino);
            is_same.then_some(file)
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => act(&stat, &|| open(OFlags::NONBLOCK).map(File::from)),
            FileType::Directory => {
                if let Some(inside) = open(OFlags::DIRECTORY) {
                    each_file_in(&inside, device, left, act)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

struct Walk {
    device: u64,
    only_files: bool,
    /// By inode, of files with several names.
    names: BTreeMap<u64, String>,
    entries: Vec<Entry>,
}

impl Walk {
    fn enter(&mut self, directory: &OwnedFd, path: &str, all: &mut Collection) -> Result<()> {
        let mut names = Vec::new();
        for entry in Dir::read_from(directory)? {
            let name = entry?.file_name().to_owned();
            if name.as_bytes() != b"." && name.as_bytes() != b".." {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let Ok(name) = name.to_str() else {
                return Err(unsupported(format!(
                    "{path}/{} has a name that is not text; rename or remove it",
                    name.to_string_lossy()
                )));
            };
            let path = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}/{name}")
            };
            self.take(directory, name, &path, all)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        directory: &OwnedFd,
        name: &str,
        path: &str,
        all: &mut Collection,
    ) -> Result<()> {
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_dev != self.device {
            // Something is mounted there.
            return Ok(());
        }
        if self.entries.len() >= ENTRIES_MAX {
            return Err(unsupported("it has too many files".to_owned()));
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        let open = |extra: OFlags| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | extra;
            rustix::fs::openat(directory, name, flags, Mode::empty())
                .context(|| format!("open {path}"))
        };
        let mut inside = None;
        let what = match kind {
            FileType::Directory => {
                inside = Some(open(OFlags::DIRECTORY)?);
                EntryKind::Directory
            }
            FileType::Symlink | FileType::CharacterDevice | FileType::BlockDevice
                if self.only_files =>
            {
                return Ok(());
            }
            _ if stat.st_nlink > 1 && self.names.contains_key(&stat.st_ino) => {
                let of = self.names.get(&stat.st_ino).cloned().unwrap_or_default();
                EntryKind::Again { of }
            }
            FileType::RegularFile => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                let file = open(OFlags::empty())?;
                let place = Place::File {
                    mount: all.checkpoint.memory_files.len(),
                    entry: self.entries.len(),
                };
                let key = (stat.st_dev, stat.st_ino);
                let pages = shared_memory::save(&file, key, size, place, all)?;
                EntryKind::File { size, pages }
            }
            FileType::Symlink => {
                let to = rustix::fs::readlinkat(directory, name, Vec::new())?;
                let to = to.into_string();
                let to = to.map_err(|_| unsupported(format!("{path} leads to what is no text")))?;
                EntryKind::Link { to }
            }
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket => EntryKind::Socket,
            _ => {
                return Err(unsupported(format!(
                    "{path} is a device, which is not carried; remove it"
                )));
            }
        };
        if kind != FileType::Directory && stat.st_nlink > 1 {
            self.names
                .entry(stat.st_ino)
                .or_insert_with(|| path.to_owned());
        }
        self.entries.push(Entry {
            path: path.to_owned(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified: (
                stat.st_mtime,
                u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            what,
        });
        inside.map_or(Ok(()), |inside| self.enter(&inside, path, all))
    }
}

fn unsupported(what: String) -> Error {
    Error::new(ErrorKind::Unsupported, what)
}
