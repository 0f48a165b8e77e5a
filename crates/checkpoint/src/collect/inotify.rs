//! What an inotify descriptor watches. The kernel tells inodes, and a watch
//! is made of a path: that is found by the handle of the inode, in an overlay
//! by that of the file in its layer; and else by looking through the whole
//! file system. What is found is asked for its inode by a watch of our own,
//! for nothing else has the same idea of inodes.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, openat};
use sys::inotify::open_handle;
use sys::path::openat2;
use sys::{Context as _, Error, ErrorKind, Result};

use super::descriptors::refuse;
use super::files::Seen;
use super::memory_files::{Mount, mounts};
use crate::freeze::Stopped;
use crate::image::hex;
use crate::image::schema::{Kind, Watch};
use crate::procfs;

/// What inotify_add_watch(2) takes; the rest is the kernel's own.
const SETTABLE: u32 = 0xfff | 0x0400_0000 | 0x8000_0000;
/// Handles of overlay, and what one of them begins with.
const OVERLAY: [i32; 2] = [0xf8, 0xfb];
const OVERLAY_MAGIC: u8 = 0xfb;
/// Names to look through before that is given up.
const NAMES_MAX: usize = 1 << 20;
/// Watches of ours at a time.
const BATCH: usize = 512;

/// A line of `/proc/PID/fdinfo/N`.
#[derive(Debug)]
struct Line {
    number: i32,
    mask: u32,
    file: File,
    kind: i32,
    handle: Vec<u8>,
}

/// A file as the kernel's notification knows it: file system and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct File {
    device: u64,
    inode: u64,
}

pub(super) fn collect(one: &Seen, stopped: &Stopped) -> Result<Kind> {
    if rustix::io::ioctl_fionread(&one.ours)? > 0 {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "is an inotify with events that were not read yet; try again",
        ));
    }
    let lines: Vec<Line> = one.info.text.lines().filter_map(parse).collect();
    let init = stopped.processes.first();
    let search = Search::begin(init.map_or(one.root, |init| init.pid))?;
    let mut paths: BTreeMap<File, String> = BTreeMap::new();
    for line in &lines {
        if let Some(path) = search.by_handle(line) {
            paths.insert(line.file, path);
        }
    }
    let lost = lines.iter().filter(|line| !paths.contains_key(&line.file));
    let lost: Vec<File> = lost.map(|line| line.file).collect();
    search.look_through(lost, &mut paths)?;
    let watches = lines.iter().map(|line| {
        let path = paths.get(&line.file).cloned().ok_or_else(|| {
            refuse(
                "is an inotify that watches a file which was removed, or which no path leads to; \
                 close it first",
            )
        })?;
        let (number, mask) = (line.number, line.mask & SETTABLE);
        Ok(Watch { number, path, mask })
    });
    let mut watches = watches.collect::<Result<Vec<Watch>>>()?;
    watches.sort_by_key(|watch| watch.number);
    Ok(Kind::Inotify { watches })
}

/// `inotify wd:2 ino:9e7e sdev:800013 mask:800afce ignored_mask:0
/// fhandle-bytes:8 fhandle-type:1 f_handle:7e9e0000640d1b6d`
fn parse(line: &str) -> Option<Line> {
    let rest = line.strip_prefix("inotify ")?;
    let field = |name: &str| {
        let mut words = rest.split_whitespace().filter_map(|it| it.split_once(':'));
        words.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let number = |name: &str| u64::from_str_radix(field(name)?, 16).ok();
    Some(Line {
        number: i32::try_from(number("wd")?).ok()?,
        mask: u32::try_from(number("mask")?).ok()?,
        file: File {
            device: number("sdev")?,
            inode: number("ino")?,
        },
        kind: number("fhandle-type").map_or(-1, |kind| i32::try_from(kind).unwrap_or(-1)),
        handle: field("f_handle")
            .map_or_else(Vec::new, |text| hex::decode(text).unwrap_or_default()),
    })
}

/// The files that a process can reach.
struct Search {
    root: OwnedFd,
    mounts: Vec<Mount>,
}

impl Search {
    fn begin(process: i32) -> Result<Self> {
        let path = format!("/proc/{process}/root");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty());
        Ok(Self {
            root: root.context(|| format!("open {path}"))?,
            mounts: mounts(&process.to_string())?,
        })
    }

    fn by_handle(&self, line: &Line) -> Option<String> {
        let (major, minor) = (line.file.device >> 20, line.file.device & 0xf_ffff);
        let device = format!("{major}:{minor}");
        let mut mounts = self.mounts.iter().filter(|mount| mount.device == device);
        mounts.find_map(|mount| {
            let path = if OVERLAY.contains(&line.kind) {
                in_layers(mount, &line.handle)?
            } else {
                let place = self.open(&mount.place).ok()?;
                let found = open_handle(place.as_fd(), line.kind, &line.handle).ok()?;
                name(&found)?
            };
            (self.is_that(&path, line.file) == Some(true)).then_some(path)
        })
    }

    fn open(&self, path: &str) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.root, path, flags, Mode::empty(), resolve)?)
    }

    fn is_that(&self, path: &str, file: File) -> Option<bool> {
        let found = self.open(path).ok()?;
        let mut ours = Ours::new().ok()?;
        ours.add(&found, String::new())?;
        Some(ours.found().ok()?.iter().any(|(seen, _)| *seen == file))
    }

    /// Directory after directory, those near the root first.
    fn look_through(&self, mut lost: Vec<File>, paths: &mut BTreeMap<File, String>) -> Result<()> {
        let mut places: VecDeque<String> = VecDeque::new();
        for mount in &self.mounts {
            let device = mount.device.split_once(':').and_then(|(major, minor)| {
                Some(major.parse::<u64>().ok()? << 20 | minor.parse::<u64>().ok()?)
            });
            if lost.iter().any(|file| Some(file.device) == device) {
                places.push_back(mount.place.clone());
            }
        }
        let mut ours = Ours::new()?;
        let mut count = 0;
        while !lost.is_empty() && count < NAMES_MAX {
            let Some(place) = places.pop_front() else {
                break;
            };
            count += self.enter(&place, &mut places, &mut ours);
            if ours.names.len() >= BATCH || places.is_empty() {
                for (file, path) in std::mem::replace(&mut ours, Ours::new()?).found()? {
                    if let Some(place) = lost.iter().position(|one| *one == file) {
                        lost.swap_remove(place);
                        paths.insert(file, path);
                    }
                }
            }
        }
        Ok(())
    }

    /// Watches a directory and what is in it, and notes the directories there.
    fn enter(&self, place: &str, places: &mut VecDeque<String>, ours: &mut Ours) -> usize {
        let Ok(directory) = self.open(place) else {
            return 1;
        };
        let _ = ours.add(&directory, place.to_owned());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(listing) = openat(&directory, ".", flags, Mode::empty()) else {
            return 1;
        };
        let Ok(entries) = Dir::new(listing) else {
            return 1;
        };
        let mut count = 1;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Ok(text) = name.to_str() else {
                continue;
            };
            if text == "." || text == ".." {
                continue;
            }
            count += 1;
            let path = format!("{}/{text}", place.trim_end_matches('/'));
            if entry.file_type() == FileType::Directory {
                places.push_back(path);
                continue;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let Ok(file) = openat(&directory, name, flags, Mode::empty()) {
                let _ = ours.add(&file, path);
            }
        }
        count
    }
}

/// The path in the container of what a handle of its overlay means, from the
/// layers that its mount names.
fn in_layers(mount: &Mount, handle: &[u8]) -> Option<String> {
    // Three bytes to align, then `struct ovl_fb`: version, magic, length,
    // flags, type, 16 bytes of file system, the handle there.
    let inner = handle.get(3..)?;
    if inner.get(1) != Some(&OVERLAY_MAGIC) {
        return None;
    }
    let length = usize::from(*inner.get(2)?);
    let (kind, inner) = (i32::from(*inner.get(4)?), inner.get(21..length)?);
    let mut layers = mount.layers.iter();
    layers.find_map(|layer| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(layer, flags, Mode::empty()).ok()?;
        let found = name(&open_handle(directory.as_fd(), kind, inner).ok()?)?;
        let of_layer = |layer: &String| {
            let rest = found.strip_prefix(layer.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_owned())
        };
        let rest = mount.layers.iter().find_map(of_layer)?;
        Some(format!("{}{rest}", mount.place.trim_end_matches('/'))).map(|path| {
            if path.is_empty() {
                "/".to_owned()
            } else {
                path
            }
        })
    })
}

fn name(file: &OwnedFd) -> Option<String> {
    let name = procfs::link(&format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    (name.starts_with('/') && !name.ends_with(" (deleted)")).then_some(name)
}

/// An inotify of ours, to learn how the kernel knows files.
struct Ours {
    inotify: OwnedFd,
    names: BTreeMap<i32, String>,
}

impl Ours {
    fn new() -> Result<Self> {
        Ok(Self {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
                .context(|| "look for watched files")?,
            names: BTreeMap::new(),
        })
    }

    /// Nothing if it cannot be watched.
    fn add(&mut self, file: &OwnedFd, name: String) -> Option<()> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let number = inotify::add_watch(&self.inotify, path, WatchFlags::DELETE_SELF).ok()?;
        // The first name is as good as the others.
        self.names.entry(number).or_insert(name);
        Some(())
    }

    fn found(self) -> Result<Vec<(File, String)>> {
        let path = format!("/proc/self/fdinfo/{}", self.inotify.as_raw_fd());
        let text = procfs::text(&path)?;
        let lines = text.lines().filter_map(parse);
        let named = lines.filter_map(|line| {
            let name = self.names.get(&line.number)?.clone();
            Some((line.file, name))
        });
        Ok(named.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_the_kernels_lines() {
        let line = "inotify wd:a ino:21000e sdev:27 mask:3c6 ignored_mask:0 fhandle-bytes:20 \
                    fhandle-type:f8 f_handle:00000000fb";
        let line = parse(line).unwrap();
        assert_eq!((line.number, line.mask, line.kind), (10, 0x3c6, 0xf8));
        assert_eq!((line.file.device, line.file.inode), (0x27, 0x21_000e));
        assert_eq!(line.handle, [0, 0, 0, 0, 0xfb]);
        let line = parse("inotify wd:1 ino:2 sdev:800013 mask:8000004 ignored_mask:0").unwrap();
        assert_eq!((line.kind, line.handle.len()), (-1, 0));
    }
}
