//! A layer tar becomes a directory in overlayfs' form.
//!
//! This is the hot path of a pull: no lookup for consecutive entries of one
//! directory, one system call per attribute that differs from what a new file
//! has anyway, no sync. The layer is hostile: nothing outside of the target
//! directory is ever reached ([`super::directories`] says how).

use std::io::BufRead;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sys::{Context, Error, ErrorKind, Result};

use super::directories::{Directories, times};
use super::tar::{Device, Entry, EntryKind, Reader, display_name};
use super::whiteout::{self, Meaning, OVERLAY_XATTRS};
use super::xattrs;
use crate::Limits;
use crate::tree::{open_child, remove_at};

/// What an unpacked layer leaves to be said by the layers below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// Directories that entries lie in and no entry describes: their owner,
    /// mode and time come from below.
    pub implied: Vec<Vec<u8>>,
    /// The root itself is such a directory.
    pub implied_root: bool,
    /// The root hides everything below, which overlayfs cannot say.
    pub opaque_root: bool,
}

/// Unpacks the tar into `root`, an empty directory of ours. The rest of
/// `tar` after its end marker is not read.
pub fn apply<R: BufRead>(tar: R, root: OwnedFd, limits: &Limits) -> Result<Unfinished> {
    let mut applier = Applier::new(root)?;
    let mut reader = Reader::new(tar);
    let mut entries = 0;
    let mut budget = limits.max_layer_bytes;
    while let Some(entry) = reader.next_entry().context(|| "unpack layer")? {
        entries += 1;
        if entries > limits.max_entries {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the layer has more entries than the limit of {}",
                    limits.max_entries
                ),
            ));
        }
        applier
            .place(&entry, &mut reader, &mut budget)
            .context(|| format!("unpack {}", display_name(&entry.path)))?;
    }
    applier.finish()
}

struct Applier {
    directories: Directories,
    /// Bits that new files do not get.
    umask: u32,
    /// Who new files belong to.
    owner: (u32, u32),
    unfinished: Unfinished,
}

impl Applier {
    fn new(root: OwnedFd) -> Result<Self> {
        let owner = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        Ok(Self {
            umask: find_umask(root.as_fd())?,
            directories: Directories::new(root)?,
            owner,
            unfinished: Unfinished {
                implied_root: true,
                ..Unfinished::default()
            },
        })
    }

    fn finish(self) -> Result<Unfinished> {
        Ok(Unfinished {
            implied: self.directories.finish()?,
            ..self.unfinished
        })
    }

    fn place<R: BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<R>,
        budget: &mut u64,
    ) -> Result<()> {
        let path = components(&entry.path)?;
        let Some((name, parent)) = path.split_last() else {
            return self.place_root(entry);
        };
        match whiteout::meaning(name) {
            Some(Meaning::Name) => {}
            Some(Meaning::Nothing) => return Ok(()),
            Some(Meaning::Opaque) => return self.place_opaque(parent),
            Some(Meaning::Deletes(deleted)) => return self.place_whiteout(parent, deleted),
            None => return Err(invalid("a whiteout without a name")),
        }
        refuse_overlay_xattrs(entry)?;
        match &entry.kind {
            EntryKind::File => self.place_file(parent, name, entry, (reader, budget)),
            EntryKind::Directory => self.place_directory(parent, name, entry),
            EntryKind::HardLink(target) => self.place_hard_link(parent, name, target),
            EntryKind::Symlink(target) => self.place_other(parent, name, entry, |dir, name| {
                rustix::fs::symlinkat(&**target, dir, name)
            }),
            EntryKind::Fifo => {
                self.place_node(parent, name, entry, (FileType::Fifo, Device::default()))
            }
            EntryKind::CharDevice(device) => {
                self.place_node(parent, name, entry, (FileType::CharacterDevice, *device))
            }
            EntryKind::BlockDevice(device) => {
                self.place_node(parent, name, entry, (FileType::BlockDevice, *device))
            }
        }
    }

    fn place_root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != EntryKind::Directory {
            return Err(invalid("the root of a layer must be a directory"));
        }
        refuse_overlay_xattrs(entry)?;
        let root = self.directories.root()?;
        set_owner_and_mode(root, entry, Always)?;
        set_xattrs(root, entry)?;
        self.directories.root_described(entry.mtime)?;
        self.unfinished.implied_root = false;
        Ok(())
    }

    fn place_opaque(&mut self, parent: &[&[u8]]) -> Result<()> {
        let place = self.directories.enter(parent)?;
        if parent.is_empty() {
            self.unfinished.opaque_root = true;
            return Ok(());
        }
        whiteout::make_opaque(place.fd)
    }

    fn place_whiteout(&mut self, parent: &[&[u8]], deleted: &[u8]) -> Result<()> {
        let place = self.directories.enter(parent)?;
        match whiteout::make_whiteout(place.fd, deleted) {
            Ok(()) => Ok(()),
            // Deletions are about the layers below: what this layer has stays,
            // and hides them (a directory: only if told so).
            Err(Errno::EXIST) => match open_child(place.fd, deleted) {
                Ok(directory) => whiteout::make_opaque(directory.as_fd()),
                Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    fn place_file<R: BufRead>(
        &mut self,
        parent: &[&[u8]],
        name: &[u8],
        entry: &Entry,
        (reader, budget): (&mut Reader<R>, &mut u64),
    ) -> Result<()> {
        let place = self.directories.enter(parent)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let file = clearing_the_way(place.fd, name, || {
            rustix::fs::openat(place.fd, name, flags, mode)
        })?;
        let mut end = 0;
        while let Some(chunk) = reader.next_chunk()? {
            *budget = budget
                .checked_sub(chunk.bytes.len() as u64)
                .ok_or_else(|| invalid("the layer is larger than the limit on layers"))?;
            write_at(&file, chunk.bytes, chunk.offset, &mut end)?;
        }
        if end != entry.size {
            rustix::fs::ftruncate(&file, entry.size)?;
        }
        let need = need_of(entry, self.umask, self.owner, place.sets_group);
        set_owner_and_mode(file.as_fd(), entry, need)?;
        set_xattrs(file.as_fd(), entry)?;
        rustix::fs::futimens(&file, &times(entry.mtime))?;
        Ok(())
    }

    fn place_directory(&mut self, parent: &[&[u8]], name: &[u8], entry: &Entry) -> Result<()> {
        let place = self.directories.enter(parent)?;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let mut need = SetAttributes::from(Always);
        let mut opaque = false;
        match rustix::fs::mkdirat(place.fd, name, mode) {
            Ok(()) => need = need_of(entry, self.umask, self.owner, place.sets_group),
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(place.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    // Deleted below and made anew: nothing shines through.
                    opaque = whiteout::is_whiteout(&stat);
                    remove_at(place.fd, name)?;
                    rustix::fs::mkdirat(place.fd, name, mode)?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        let directory = open_child(place.fd, name)?;
        if opaque {
            whiteout::make_opaque(directory.as_fd())?;
        }
        set_owner_and_mode(directory.as_fd(), entry, need)?;
        set_xattrs(directory.as_fd(), entry)?;
        self.directories
            .enter_described(name, entry.mtime, directory)
    }

    fn place_hard_link(&mut self, parent: &[&[u8]], name: &[u8], target: &[u8]) -> Result<()> {
        let target_path = components(target)?;
        let Some((target_name, target_parent)) = target_path.split_last() else {
            return Err(invalid("a hard link to the root"));
        };
        let missing = || {
            let target = display_name(target);
            invalid(format!(
                "the hard link's target {target} is not in this layer"
            ))
        };
        let from = match self.directories.open(target_parent) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing()),
            other => other?,
        };
        let place = self.directories.enter(parent)?;
        let link = || rustix::fs::linkat(&from, *target_name, place.fd, name, AtFlags::empty());
        match link() {
            Err(Errno::EXIST) => {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                let there = rustix::fs::statat(place.fd, name, flags)?;
                let wanted = rustix::fs::statat(&from, *target_name, flags)?;
                if (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino) {
                    return Ok(());
                }
                remove_at(place.fd, name)?;
                link().map_err(|error| match error {
                    Errno::NOENT => missing(),
                    error => error.into(),
                })
            }
            Err(Errno::NOENT) => Err(missing()),
            other => Ok(other?),
        }
    }

    fn place_node(
        &mut self,
        parent: &[&[u8]],
        name: &[u8],
        entry: &Entry,
        (kind, device): (FileType, Device),
    ) -> Result<()> {
        // What the kernel's device numbers hold.
        if device.major >= 1 << 12 || device.minor >= 1 << 20 {
            return Err(invalid("the device number is out of range"));
        }
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let device = rustix::fs::makedev(device.major, device.minor);
        self.place_other(parent, name, entry, |dir, name| {
            rustix::fs::mknodat(dir, name, kind, mode, device)
        })
    }

    /// Things that are not opened: links and special files.
    fn place_other(
        &mut self,
        parent: &[&[u8]],
        name: &[u8],
        entry: &Entry,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<()>,
    ) -> Result<()> {
        let place = self.directories.enter(parent)?;
        clearing_the_way(place.fd, name, || make(place.fd, name))?;
        let need = need_of(entry, self.umask, self.owner, place.sets_group);
        if need.owner {
            let (uid, gid) = owner_of(entry);
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(place.fd, name, uid, gid, flags)?;
        }
        if need.mode && !matches!(entry.kind, EntryKind::Symlink(_)) {
            // No link can be here: it was just made, and nobody else is.
            let mode = Mode::from_raw_mode(entry.mode);
            rustix::fs::chmodat(place.fd, name, mode, AtFlags::empty())?;
        }
        set_xattrs_by_name(place.fd, name, entry)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(place.fd, name, &times(entry.mtime), flags)?;
        Ok(())
    }
}

/// The parts of a path below the root. As Docker does, an absolute path
/// starts at the root and `..` is taken out of the text; one that would lead
/// outside is refused.
fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    let absolute = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::with_capacity(8);
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() && !absolute {
                    return Err(invalid("the path leads out of the image's root"));
                }
            }
            _ if part.contains(&0) => return Err(invalid("the path holds a zero byte")),
            _ => parts.push(part),
        }
    }
    Ok(parts)
}

/// Runs `make`; if something of the same layer is there, removes it first.
fn clearing_the_way<T>(
    directory: BorrowedFd<'_>,
    name: &[u8],
    make: impl Fn() -> rustix::io::Result<T>,
) -> Result<T> {
    match make() {
        Err(Errno::EXIST) => {
            remove_at(directory, name)?;
            Ok(make()?)
        }
        other => Ok(other?),
    }
}

/// Writes at the end where possible: `pwrite` only after a hole.
fn write_at(file: &OwnedFd, mut bytes: &[u8], offset: u64, end: &mut u64) -> Result<()> {
    if offset != *end {
        rustix::fs::seek(file, rustix::fs::SeekFrom::Start(offset))?;
    }
    *end = offset + bytes.len() as u64;
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::NOSPC.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Which attributes a new file does not have yet.
#[derive(Clone, Copy)]
struct SetAttributes {
    owner: bool,
    mode: bool,
}

/// For files that were there before.
struct Always;

impl From<Always> for SetAttributes {
    fn from(_: Always) -> Self {
        Self {
            owner: true,
            mode: true,
        }
    }
}

fn need_of(entry: &Entry, umask: u32, owner: (u32, u32), sets_group: bool) -> SetAttributes {
    let owner = sets_group || (entry.uid, entry.gid) != owner;
    SetAttributes {
        owner,
        // Directories inherit the set-group bit; chown takes set-user off.
        mode: sets_group || entry.mode & (umask | 0o7000) != 0,
    }
}

fn set_owner_and_mode(
    file: BorrowedFd<'_>,
    entry: &Entry,
    need: impl Into<SetAttributes>,
) -> Result<()> {
    let need = need.into();
    if need.owner {
        let (uid, gid) = owner_of(entry);
        rustix::fs::fchown(file, uid, gid)?;
    }
    if need.mode {
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))?;
    }
    Ok(())
}

fn owner_of(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    // The reader refuses the one value that is no id.
    (
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )
}

/// After owner and data, which both take capabilities off.
fn set_xattrs(file: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
    for (name, value) in wanted_xattrs(entry) {
        let set = rustix::fs::fsetxattr(file, name, value, XattrFlags::empty());
        tolerate(set).context(|| format!("set attribute {}", display_name(name)))?;
    }
    Ok(())
}

fn set_xattrs_by_name(directory: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<()> {
    if entry.xattrs.is_empty() {
        return Ok(());
    }
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    for (name, value) in wanted_xattrs(entry) {
        let set = rustix::fs::lsetxattr(&*path, name, value, XattrFlags::empty());
        tolerate(set).context(|| format!("set attribute {}", display_name(name)))?;
    }
    Ok(())
}

fn wanted_xattrs(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = entry.xattrs.iter();
    pairs
        .map(|(name, value)| (&name[..], &value[..]))
        .filter(|(name, _)| xattrs::travels(name))
}

/// As Docker: an attribute that the file system or the kind of file cannot
/// have is left out.
fn tolerate(set: rustix::io::Result<()>) -> Result<()> {
    match set {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// With them an image could point the kernel at files of other layers.
fn refuse_overlay_xattrs(entry: &Entry) -> Result<()> {
    let ours = |(name, _): &&(Vec<u8>, Vec<u8>)| name.starts_with(OVERLAY_XATTRS);
    match entry.xattrs.iter().find(ours) {
        None => Ok(()),
        Some((name, _)) => Err(invalid(format!(
            "attribute {} belongs to overlayfs and may not come from an image",
            display_name(name)
        ))),
    }
}

/// Learned from a directory that is made and removed, as the call that asks
/// would change it for the whole process.
fn find_umask(root: BorrowedFd<'_>) -> Result<u32> {
    let name = ".umask";
    rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o777))?;
    let stat = rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::unlinkat(root, name, AtFlags::REMOVEDIR)?;
    Ok(0o777 & !stat.st_mode)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        let parts = |path: &str| components(path.as_bytes()).map(|parts| parts.join(&b'/'));
        assert_eq!(parts("./a//b/").unwrap(), b"a/b");
        assert_eq!(parts("/a/../../b").unwrap(), b"b");
        assert_eq!(parts("a/../b").unwrap(), b"b");
        assert_eq!(parts("./").unwrap(), b"");
        assert!(parts("../a").is_err());
        assert!(parts("a/../../b").is_err());
    }
}
