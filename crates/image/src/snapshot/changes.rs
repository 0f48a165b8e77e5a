//! What a container changed, as `docker diff` shows it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;
use spec::ChainId;
use state::ContainerId;
use sys::{Context, Error, ErrorKind, Result};

use super::overlay::OverlaySnapshots;
use crate::layer::{whiteout, xattrs};
use crate::tree;

/// Directories open at once in the container's layer.
const MAX_DEPTH: usize = 512;

/// One path that differs from the image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Absolute in the container.
    pub path: PathBuf,
    pub kind: ChangeKind,
    /// False for a directory that counts only for what lies in it: nothing
    /// but its time differs from the image's.
    pub itself: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

impl OverlaySnapshots {
    /// The differences between a container and its image, sorted by path.
    /// A directory counts as modified if it differs itself or a member does.
    pub fn changes(&self, id: &ContainerId, chain: &[ChainId]) -> Result<Vec<Change>> {
        let below = chain.iter().map(|chain_id| self.fs(chain_id)).collect();
        Ok(changes(below, &self.state(id, None)?)?.into_list())
    }

    /// What one layer of an image does to those below it.
    pub fn changes_of_layer(&self, below: &[ChainId], layer: &ChainId) -> Result<Vec<Change>> {
        let below = below.iter().map(|chain_id| self.fs(chain_id)).collect();
        Ok(changes(below, &[self.fs(layer)])?.into_list())
    }

    /// What leads from one image's files to another's.
    pub fn changes_between(&self, from: &[ChainId], to: &[ChainId]) -> Result<Vec<Change>> {
        let paths =
            |chain: &[ChainId]| -> Vec<PathBuf> { chain.iter().map(|one| self.fs(one)).collect() };
        changes_from(Vec::new(), &paths(from), &paths(to))
    }

    /// The differences between two states of a container: snapshots, or what it
    /// is now.
    pub fn changes_since(
        &self,
        id: &ContainerId,
        chain: &[ChainId],
        from: &str,
        to: Option<&str>,
    ) -> Result<Vec<Change>> {
        let (from, to) = (self.state(id, Some(from))?, self.state(id, to)?);
        let below = chain.iter().map(|chain_id| self.fs(chain_id)).collect();
        changes_from(below, &from, &to)
    }
}

/// What leads from some directories on top of `below` to others; each lowest
/// first.
fn changes_from(mut below: Vec<PathBuf>, from: &[PathBuf], to: &[PathBuf]) -> Result<Vec<Change>> {
    let both = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    below.extend_from_slice(&to[..both]);
    let undone = changes(below.clone(), &from[both..])?;
    let done = changes(below, &to[both..])?;
    Ok(undone.reversed_then(done).into_list())
}

/// What some directories of changes do together to what is below, lowest first.
fn changes(mut below: Vec<PathBuf>, layers: &[PathBuf]) -> Result<Together> {
    let mut together = Together::default();
    for layer in layers {
        let mut found = Vec::new();
        let root = tree::open_directory(layer)?;
        let lower = Below {
            directories: below.iter().rev().cloned().collect(),
        };
        visit(root, lower, &mut found).context(|| format!("compare {}", layer.display()))?;
        together.add(found);
        below.push(layer.clone());
    }
    Ok(together)
}

/// Changes of several layers, by path.
#[derive(Default)]
struct Together(BTreeMap<PathBuf, (ChangeKind, bool)>);

impl Together {
    fn add(&mut self, mut changes: Vec<Change>) {
        use ChangeKind::{Added, Deleted, Modified};
        changes.sort();
        for change in changes {
            let old = self.0.get(&change.path).copied();
            if change.kind == Deleted {
                self.0.retain(|path, _| !path.starts_with(&change.path));
            }
            let new = match (old, change.kind) {
                (Some((Added, _)), Deleted) => continue,
                (Some((Added, itself)), _) => (Added, itself || change.itself),
                (Some((Deleted, _)), _) => (Modified, true),
                (Some((Modified, itself)), Modified) => (Modified, itself || change.itself),
                (_, kind) => (kind, change.itself),
            };
            self.0.insert(change.path, new);
        }
    }

    /// First these are undone, then others are done.
    fn reversed_then(self, done: Self) -> Self {
        use ChangeKind::{Added, Deleted, Modified};
        let mut all = done.0;
        for (path, (kind, itself)) in self.0 {
            let undone = match kind {
                Added => Deleted,
                Deleted => Added,
                Modified => Modified,
            };
            let new = match (undone, all.get(&path)) {
                (Deleted | Modified, Some((Added | Modified, _))) => Some(Modified),
                (Added, Some((Deleted, _))) => None,
                (Added, Some(_)) => Some(Added),
                (_, Some((Deleted, _))) => Some(Deleted),
                (undone, None) => Some(undone),
            };
            match new {
                Some(kind) => {
                    let both = all.get(&path).is_some_and(|(_, other)| *other);
                    all.insert(path, (kind, itself || both));
                }
                None => {
                    all.remove(&path);
                }
            }
        }
        Self(all)
    }

    fn into_list(self) -> Vec<Change> {
        let change = |(path, (kind, itself))| Change { path, kind, itself };
        let mut list: Vec<Change> = self.0.into_iter().map(change).collect();
        list.sort();
        list
    }
}

/// The directories of one path in the layers below, topmost first. They do
/// not change, so paths will do.
struct Below {
    directories: Vec<PathBuf>,
}

/// What the layers below have under a name.
enum Lower {
    Nothing,
    Other,
    Directory(Below, Box<Stat>),
}

struct Level {
    entries: Dir,
    directory: OwnedFd,
    below: Below,
    path: Vec<u8>,
}

fn visit(root: OwnedFd, below: Below, found: &mut Vec<Change>) -> Result<()> {
    let mut levels = vec![Level {
        entries: Dir::read_from(&root)?,
        directory: root,
        below,
        path: b"/".to_vec(),
    }];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.entries.next() else {
            levels.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        // The container may be running: what vanished is no difference.
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let Ok(stat) = rustix::fs::statat(&level.directory, name, flags) else {
            continue;
        };
        let mut path = level.path.clone();
        path.extend_from_slice(name);
        let lower = level.below.look_up(name)?;
        if whiteout::is_whiteout(&stat) {
            if !matches!(lower, Lower::Nothing) {
                note(found, &path, ChangeKind::Deleted, true);
            }
            continue;
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let kind = match lower {
                Lower::Nothing => ChangeKind::Added,
                _ => ChangeKind::Modified,
            };
            note(found, &path, kind, true);
            continue;
        }
        let Ok(directory) = tree::open_child(level.directory.as_fd(), name) else {
            continue;
        };
        let below = match lower {
            Lower::Nothing => {
                note(found, &path, ChangeKind::Added, true);
                Below::nothing()
            }
            Lower::Other => {
                note(found, &path, ChangeKind::Modified, true);
                Below::nothing()
            }
            Lower::Directory(below, old) => {
                let opaque = whiteout::is_opaque(directory.as_fd())?;
                let itself = opaque || !same(&stat, &old) || !same_xattrs(&directory, &below)?;
                if itself || !same_time(&stat, &old) {
                    note(found, &path, ChangeKind::Modified, itself);
                }
                if opaque {
                    note_missing(found, &directory, (&below, &path))?;
                }
                below
            }
        };
        if levels.len() >= MAX_DEPTH {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "directories are nested too deeply",
            ));
        }
        path.push(b'/');
        levels.push(Level {
            entries: Dir::read_from(&directory)?,
            directory,
            below,
            path,
        });
    }
    mark_parents(found);
    Ok(())
}

/// Everything below that an opaque directory does not have was deleted.
fn note_missing(
    found: &mut Vec<Change>,
    directory: &OwnedFd,
    (below, path): (&Below, &[u8]),
) -> Result<()> {
    for name in below.names()? {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let here = rustix::fs::statat(directory, &*name, flags);
        if matches!(here, Err(Errno::NOENT)) && !matches!(below.look_up(&name)?, Lower::Nothing) {
            let path = [path, b"/", &name].concat();
            note(found, &path, ChangeKind::Deleted, true);
        }
    }
    Ok(())
}

/// The directories that changes lie in count as modified.
fn mark_parents(found: &mut Vec<Change>) {
    let known: std::collections::HashSet<PathBuf> =
        found.iter().map(|change| change.path.clone()).collect();
    let mut parents = std::collections::BTreeSet::new();
    for change in &*found {
        let ancestors = change.path.ancestors().skip(1);
        for parent in ancestors.take_while(|parent| parent.parent().is_some()) {
            if known.contains(parent) || !parents.insert(parent.to_owned()) {
                break;
            }
        }
    }
    found.extend(parents.into_iter().map(|path| Change {
        path,
        kind: ChangeKind::Modified,
        itself: false,
    }));
}

fn note(found: &mut Vec<Change>, path: &[u8], kind: ChangeKind, itself: bool) {
    use std::os::unix::ffi::OsStrExt;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(path));
    found.push(Change { path, kind, itself });
}

fn same(a: &Stat, b: &Stat) -> bool {
    (a.st_mode, a.st_uid, a.st_gid) == (b.st_mode, b.st_uid, b.st_gid)
}

fn same_time(a: &Stat, b: &Stat) -> bool {
    (a.st_mtime, a.st_mtime_nsec) == (b.st_mtime, b.st_mtime_nsec)
}

/// Whether a directory has the extended attributes of the topmost one below;
/// overlayfs' own do not count.
fn same_xattrs(directory: &OwnedFd, below: &Below) -> Result<bool> {
    let Some(topmost) = below.directories.first() else {
        return Ok(true);
    };
    Ok(xattrs::read(directory)? == xattrs::read(&tree::open_directory(topmost)?)?)
}

impl Below {
    fn nothing() -> Self {
        Self {
            directories: Vec::new(),
        }
    }

    fn look_up(&self, name: &[u8]) -> Result<Lower> {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::OsStr::from_bytes(name);
        let mut directories = Vec::new();
        let mut topmost = None;
        for directory in &self.directories {
            let path = directory.join(name);
            let stat = match rustix::fs::lstat(&path) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                if directories.is_empty() {
                    return Ok(if whiteout::is_whiteout(&stat) {
                        Lower::Nothing
                    } else {
                        Lower::Other
                    });
                }
                break;
            }
            let opened = tree::open_directory(&path)?;
            directories.push(path);
            topmost.get_or_insert(stat);
            if whiteout::is_opaque(opened.as_fd())? {
                break;
            }
        }
        Ok(match topmost {
            Some(stat) => Lower::Directory(Below { directories }, Box::new(stat)),
            None => Lower::Nothing,
        })
    }

    fn names(&self) -> Result<std::collections::BTreeSet<Vec<u8>>> {
        let mut names = std::collections::BTreeSet::new();
        for directory in &self.directories {
            for entry in Dir::read_from(tree::open_directory(directory)?)? {
                let name = entry?.file_name().to_bytes().to_vec();
                if name != b"." && name != b".." {
                    names.insert(name);
                }
            }
        }
        Ok(names)
    }
}
