//! A directory copied while it changes, and brought up to date once it does
//! not any more: what stands still for that stands still for a moment only.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use sys::{Context as _, Error, ErrorKind, Result};

use super::layers::open;
use super::tree::{make_way, xattr_names};
use super::{Copier, DEPTH_MAX, Ownership};

/// Times of change are no finer than a tick of the kernel's.
const TICK: Duration = Duration::from_millis(20);

/// File systems that do not tell when a mapped file was written to.
const MAGIC_TMPFS: i64 = 0x0102_1994;

/// A copy in the making.
#[derive(Debug)]
pub(crate) struct Mirror {
    source: PathBuf,
    into: PathBuf,
    /// What was there when it was copied, by path.
    seen: HashMap<PathBuf, Stamp>,
}

/// Whether something is still what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    kind: FileType,
    inode: u64,
    size: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

/// Stamps of what is copied, kept if they will tell of every later change.
#[derive(Debug)]
pub(super) struct Notes {
    /// Everything written before is on the disk, so that even a mapped file
    /// gets a new time when it is written to the next time.
    settled: Duration,
    seen: HashMap<PathBuf, Stamp>,
}

impl Mirror {
    /// Copies `source`, which may change meanwhile, into the empty directory
    /// `into`.
    pub(crate) fn begin(source: &Path, into: &Path) -> Result<Self> {
        let mut mirror = Self {
            source: source.to_owned(),
            into: into.to_owned(),
            seen: HashMap::new(),
        };
        let from = open(source)?;
        if rustix::fs::fstatfs(&from)?.f_type == MAGIC_TMPFS {
            return Ok(mirror);
        }
        let settled = now().saturating_sub(TICK);
        rustix::fs::syncfs(&from).context(|| format!("sync {}", source.display()))?;
        let target = open(into)?;
        let mut copier = Copier::new(target.as_fd(), Ownership::KeptInLayers);
        copier.notes = Some(Notes {
            settled,
            seen: HashMap::new(),
        });
        let copied = copier.directory(&from, &target);
        let notes = copier.notes.take();
        match copied {
            Ok(()) => mirror.seen = notes.map(|notes| notes.seen).unwrap_or_default(),
            // Something changed under our hands; then all of it is copied
            // when nothing does.
            Err(_) => clear(&target)?,
        }
        Ok(mirror)
    }

    /// Copies again what changed since the beginning; gives the bytes of all
    /// files. If anybody changes anything meanwhile, it is to be done again.
    pub(crate) fn finish(&self) -> Result<u64> {
        let (from, target) = (open(&self.source)?, open(&self.into)?);
        let mut update = Update {
            seen: &self.seen,
            copier: Copier::new(target.as_fd(), Ownership::KeptInLayers),
            kept: 0,
        };
        update
            .directory(&from, &target, Path::new(""), DEPTH_MAX)
            .context(|| format!("copy {}", self.source.display()))?;
        Ok(update.kept + update.copier.bytes())
    }
}

impl Notes {
    pub(super) fn note(&mut self, path: &Path, stat: &Stat) {
        let stamp = Stamp::of(stat);
        let is_settled = |(seconds, nanos): (i64, u64)| since_epoch(seconds, nanos) < self.settled;
        if is_settled(stamp.modified) && is_settled(stamp.changed) {
            self.seen.insert(path.to_owned(), stamp);
        }
    }

    /// A directory is the same one if its inode is; what is in it is looked
    /// at in any case.
    pub(super) fn note_directory(&mut self, path: &Path, stat: &Stat) {
        self.seen.insert(path.to_owned(), Stamp::of(stat));
    }
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// The second look.
struct Update<'a> {
    seen: &'a HashMap<PathBuf, Stamp>,
    copier: Copier<'a>,
    /// Bytes of files that are as they were.
    kept: u64,
}

impl Update<'_> {
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, at: &Path, depth: usize) -> Result<()> {
        if depth == 0 {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "directories are nested too deeply",
            ));
        }
        let names = names_in(from)?;
        for name in names_in(to)?.difference(&names) {
            remove(to, name)?;
        }
        for name in &names {
            let path = at.join(OsStr::from_bytes(name.to_bytes()));
            self.one(from, to, name, &path, depth)
                .context(|| path.display().to_string())?;
        }
        forget_xattrs(from, to)?;
        self.copier.attributes_of(from, to)
    }

    fn one(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        path: &Path,
        depth: usize,
    ) -> Result<()> {
        let before = self.seen.get(path);
        if let Some(before) = before.filter(|it| it.kind != FileType::Directory) {
            let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if *before == Stamp::of(&stat) {
                self.kept += u64::try_from(stat.st_size).unwrap_or_default();
                return Ok(());
            }
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::openat(from, name, flags, Mode::empty())?;
        let now = Stamp::of(&rustix::fs::fstat(&held)?);
        if now.kind != FileType::Directory {
            remove(to, name)?;
            return self.copier.one(&held, to, name, parent(path), depth);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // A removed file's inode may be the next directory's.
        if before.is_none_or(|before| (before.kind, before.inode) != (now.kind, now.inode)) {
            // What it said about layers below may not hold for this one.
            remove(to, name)?;
            rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
        }
        let source = rustix::fs::openat(&held, ".", flags, Mode::empty())?;
        let target = rustix::fs::openat(to, name, flags, Mode::empty())?;
        self.directory(&source, &target, path, depth - 1)
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn names_in(directory: &OwnedFd) -> Result<BTreeSet<CString>> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.insert(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// Takes extended attributes away that the source has not any more.
fn forget_xattrs(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let copied = xattr_names(to.as_fd())?;
    if copied.is_empty() {
        return Ok(());
    }
    let there = xattr_names(from.as_fd())?;
    for name in copied.difference(&there) {
        rustix::fs::fremovexattr(to, name.as_slice())?;
    }
    Ok(())
}

fn clear(directory: &OwnedFd) -> Result<()> {
    names_in(directory)?
        .iter()
        .try_for_each(|name| remove(directory, name))
}

/// Whatever has the name, with all that is in it; nothing is fine.
fn remove(from: &OwnedFd, name: &CStr) -> Result<()> {
    match make_way(from, name) {
        Err(error) if error.errno() == Some(Errno::ISDIR.raw_os_error()) => {}
        done => return done,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = rustix::fs::openat(from, name, flags, Mode::empty())?;
    for name in names_in(&inside)? {
        remove(&inside, &name)?;
    }
    Ok(rustix::fs::unlinkat(from, name, AtFlags::REMOVEDIR)?)
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn since_epoch(seconds: i64, nanos: u64) -> Duration {
    // What was changed before the epoch was changed long ago.
    let seconds = u64::try_from(seconds).unwrap_or(0);
    Duration::new(seconds, u32::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use rustix::fs::XattrFlags;

    use super::*;

    fn scratch() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let scratch = tempfile::tempdir().unwrap();
        let (source, into) = (scratch.path().join("source"), scratch.path().join("into"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&into).unwrap();
        (scratch, source, into)
    }

    /// As if it had been written to long ago; its time of change cannot be
    /// set, so that is waited for.
    fn age() {
        std::thread::sleep(TICK * 3);
    }

    #[test]
    fn what_changed_in_between_is_as_it_is_in_the_end() {
        let (_scratch, source, into) = scratch();
        let at = |name: &str| source.join(name);
        for directory in ["a/b", "gone", "swapped"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for name in [
            "same",
            "a/b/grows",
            "a/same-size",
            "gone/x",
            "file",
            "linked",
        ] {
            fs::write(at(name), "before").unwrap();
        }
        fs::hard_link(at("linked"), at("a/link")).unwrap();
        std::os::unix::fs::symlink("before", at("symlink")).unwrap();
        for name in ["user.kept", "user.dropped"] {
            rustix::fs::setxattr(at("a"), name, b"1", XattrFlags::empty()).unwrap();
        }
        age();
        let mirror = Mirror::begin(&source, &into).unwrap();
        let copied = fs::metadata(into.join("same")).unwrap().ino();
        fs::write(at("a/b/grows"), "before and after").unwrap();
        fs::write(at("a/same-size"), "after!").unwrap();
        fs::remove_dir_all(at("gone")).unwrap();
        fs::remove_dir(at("swapped")).unwrap();
        fs::write(at("swapped"), "a file").unwrap();
        fs::remove_file(at("file")).unwrap();
        fs::create_dir(at("file")).unwrap();
        fs::write(at("file/new"), "new").unwrap();
        fs::remove_file(at("symlink")).unwrap();
        std::os::unix::fs::symlink("after", at("symlink")).unwrap();
        fs::hard_link(at("linked"), at("third")).unwrap();
        fs::set_permissions(at("a"), fs::Permissions::from_mode(0o711)).unwrap();
        rustix::fs::removexattr(at("a"), "user.dropped").unwrap();
        let bytes = mirror.finish().unwrap();
        let read = |name: &str| fs::read_to_string(into.join(name)).unwrap();
        assert_eq!(read("a/b/grows"), "before and after");
        assert_eq!(read("a/same-size"), "after!");
        assert_eq!(
            (read("swapped"), read("file/new")),
            ("a file".into(), "new".into())
        );
        assert!(!into.join("gone").exists());
        assert_eq!(
            fs::read_link(into.join("symlink")).unwrap(),
            Path::new("after")
        );
        let inode = |name: &str| fs::metadata(into.join(name)).unwrap().ino();
        assert_eq!(
            (inode("linked"), inode("third")),
            (inode("a/link"), inode("a/link"))
        );
        assert_eq!(fs::metadata(into.join("a")).unwrap().mode() & 0o777, 0o711);
        let left = xattr_names(open(&into.join("a")).unwrap().as_fd()).unwrap();
        assert!(left.contains(&b"user.kept"[..]), "{left:?}");
        assert!(!left.contains(&b"user.dropped"[..]), "{left:?}");
        // What did not change was not copied again.
        assert_eq!(inode("same"), copied);
        assert_eq!(bytes, 6 + 16 + 6 + 6 + 6 + 3);
    }

    #[test]
    fn what_was_just_written_is_copied_again_although_its_times_do_not_tell() {
        let (_scratch, source, into) = scratch();
        let file = source.join("file");
        fs::write(&file, "before").unwrap();
        let mirror = Mirror::begin(&source, &into).unwrap();
        // A mapped file can change without a new time; here it is set back.
        let times = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "after!").unwrap();
        let written = fs::File::options().write(true).open(&file).unwrap();
        written.set_modified(times).unwrap();
        mirror.finish().unwrap();
        assert_eq!(fs::read_to_string(into.join("file")).unwrap(), "after!");
    }

    #[test]
    fn it_may_change_while_it_is_copied() {
        let (_scratch, source, into) = scratch();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut number = 0_u32;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let directory = source.join(format!("d{}", number % 7));
                    if number.is_multiple_of(5) {
                        let _ = fs::remove_dir_all(&directory);
                    }
                    fs::create_dir_all(&directory).unwrap();
                    fs::write(
                        directory.join(format!("f{}", number % 11)),
                        format!("{number}"),
                    )
                    .unwrap();
                    number += 1;
                }
            });
            for round in 0..20 {
                let into = into.join(round.to_string());
                fs::create_dir(&into).unwrap();
                Mirror::begin(&source, &into).unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            writer.join().unwrap();
        });
        let into = into.join("last");
        fs::create_dir(&into).unwrap();
        Mirror::begin(&source, &into).unwrap().finish().unwrap();
        let status = std::process::Command::new("diff")
            .arg("-r")
            .args([&source, &into])
            .status();
        assert!(status.unwrap().success());
    }
}
