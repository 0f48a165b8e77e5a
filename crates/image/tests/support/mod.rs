//! Trees for the tests: scratch directories, and listings to compare.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use image::Limits;
use image::layer::apply::{Unfinished, apply};
use sys::Result;

/// Removed with everything in it.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }
}

pub(crate) fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

pub(crate) fn unpack(tar: &[u8], into: &Path) -> Result<Unfinished> {
    apply(tar, open(into), &Limits::default())
}

/// The tree as a layer tar.
pub(crate) fn pack(tree: &Path) -> Vec<u8> {
    image::layer::diff::diff(
        &open(tree),
        image::layer::diff::Root::Described,
        &|_| false,
        Vec::new(),
    )
    .unwrap()
}

/// What matters of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) device: u64,
    pub(crate) mtime: (i64, i64),
    pub(crate) content: Vec<u8>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The first path of the same inode.
    pub(crate) same_as: Option<PathBuf>,
}

/// Everything below `root` by relative path; the root is `""`.
pub(crate) fn listing(root: &Path) -> BTreeMap<PathBuf, Line> {
    let mut lines = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    list(root, Path::new(""), &mut lines);
    for (path, line) in &mut lines {
        let metadata = fs::symlink_metadata(root.join(path)).unwrap();
        if !metadata.is_dir() && metadata.nlink() > 1 {
            let first = inodes.entry(metadata.ino()).or_insert_with(|| path.clone());
            line.same_as = Some(first.clone());
        }
    }
    lines
}

/// Names the first path that differs.
pub(crate) fn assert_same(a: &Path, b: &Path) {
    let (one, other) = (listing(a), listing(b));
    assert_eq!(
        one.keys().collect::<Vec<_>>(),
        other.keys().collect::<Vec<_>>()
    );
    for (path, line) in &one {
        assert_eq!(line, &other[path], "{}", path.display());
    }
}

fn list(root: &Path, path: &Path, lines: &mut BTreeMap<PathBuf, Line>) {
    let full = if path.as_os_str().is_empty() {
        root.to_owned()
    } else {
        root.join(path)
    };
    let metadata = fs::symlink_metadata(&full).unwrap();
    let kind = metadata.file_type();
    let content = if kind.is_symlink() {
        fs::read_link(&full)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .to_vec()
    } else if kind.is_file() {
        fs::read(&full).unwrap()
    } else {
        Vec::new()
    };
    let mut line = Line {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        device: metadata.rdev(),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        content,
        xattrs: xattrs(&full),
        same_as: None,
    };
    if kind.is_char_device() && metadata.rdev() == 0 {
        // A deletion is nothing but its name.
        (line.owner, line.mtime) = Default::default();
    }
    lines.insert(path.to_owned(), line);
    if kind.is_dir() {
        for entry in fs::read_dir(&full).unwrap() {
            list(root, &path.join(entry.unwrap().file_name()), lines);
        }
    }
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let mut found: Vec<_> = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect();
    found.sort();
    found
}
