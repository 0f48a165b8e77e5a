//! Shared memory, copied while the container runs. Whoever may write to it is
//! hard to watch: processes come and go, some write through descriptors, some
//! are not of the container. So at the last stop all of it is compared with
//! what was copied.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::sync::Arc;

use sys::Result;

use super::comparison::{Compared, Comparison};
use super::fingerprint::Secret;
use super::piece::{Piece, Source};
use crate::collect::memory_files;
use crate::copies::stands_for_anonymous;
use crate::image::PageWriter;
use crate::maps::{self, Detail};

/// Device and inode.
pub(crate) type Key = (u64, u64);

/// Less than this is copied sooner than compared (bytes).
const WORTHWHILE_EACH: u64 = 2 << 20;
/// `O_NONBLOCK`: nobody waits for a pipe that came to be there.
const NONBLOCKING: i32 = 0o4_000;

/// Pieces of which most was copied before the last stop.
#[derive(Debug, Default)]
pub(crate) struct SharedPieces {
    pieces: BTreeMap<Key, Piece>,
    comparison: Option<Comparison>,
    /// Those that the image is to have.
    claimed: BTreeSet<Key>,
    /// Somebody may have written after the comparison began.
    is_stale: bool,
}

/// What the image has of a piece.
#[derive(Debug)]
pub(crate) struct Settled {
    /// Page of the piece, number of pages, page in the file.
    pub(crate) runs: Vec<(u64, u64, u64)>,
    /// Pages that were copied at the last stop.
    pub(crate) standing: u64,
}

impl SharedPieces {
    /// Looks for what is worth it. What is not found, or cannot be opened,
    /// the last stop copies.
    pub(super) fn find(init: i32, pids: &[i32]) -> Self {
        let Ok(secret) = Secret::new().map(Arc::new) else {
            return Self::default();
        };
        let mut found = BTreeMap::new();
        for pid in pids {
            find_mapped(*pid, &mut found);
            find_open(*pid, &mut found);
        }
        // What of this can be seen is told at the last stop.
        let _ = memory_files::each_file(init, &mut |stat, open| {
            let size = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            let open = || Some(Source::changeable(open()?));
            keep(&mut found, (stat.st_dev, stat.st_ino), size, open);
        });
        let pieces = found
            .into_iter()
            .map(|(key, source)| (key, Piece::new(source, Arc::clone(&secret))));
        Self {
            pieces: pieces.collect(),
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Copies what is not what was copied before; the number of pages.
    pub(super) fn round(&mut self, writer: &mut PageWriter) -> u64 {
        let mut copied = 0;
        for piece in self.pieces.values_mut() {
            // What cannot be read now is told when it cannot be at the last
            // stop.
            let _ = copy(piece, writer, &mut copied);
        }
        copied
    }

    /// Everybody stands from now on: looks what was written since.
    pub(crate) fn compare(&mut self) {
        self.claimed.clear();
        self.is_stale = false;
        if !self.pieces.is_empty() {
            self.comparison = Some(Comparison::begin(std::mem::take(&mut self.pieces)));
        }
    }

    /// What was compared may have been written to afterwards, but will not be
    /// any more.
    pub(crate) fn distrust(&mut self) {
        self.is_stale = true;
    }

    /// Whether [`SharedPieces::settle`] is going to tell of a piece: the first
    /// time that this is asked, if it was copied before.
    pub(crate) fn claim(&mut self, key: Key) -> bool {
        let is_known = self.comparison.as_ref().is_some_and(|it| it.has(key));
        is_known && self.claimed.insert(key)
    }

    /// Copies what is not what was copied before, of those that were claimed.
    /// The others are of no use any more.
    pub(crate) fn settle(&mut self, writer: &mut PageWriter) -> Result<BTreeMap<Key, Settled>> {
        let Some(comparison) = self.comparison.take() else {
            return Ok(BTreeMap::new());
        };
        let mut settled = BTreeMap::new();
        let mut outcome = Ok(());
        for (key, compared) in comparison.finish() {
            let Compared { mut piece, found } = compared;
            if !self.claimed.contains(&key) {
                piece.forget_all(writer);
                continue;
            }
            let mut standing = 0;
            let found = found.filter(|_| !self.is_stale);
            let done = if let Some((layout, changed)) = found {
                piece.forget_holes(&layout, writer);
                let mut buffer = Vec::new();
                changed.into_iter().try_for_each(|run| {
                    standing += piece.copy(run, &mut buffer, writer)?;
                    Ok(())
                })
            } else {
                copy(&mut piece, writer, &mut standing)
            };
            let runs = piece.runs();
            settled.insert(key, Settled { runs, standing });
            // Another attempt builds on it.
            self.pieces.insert(key, piece);
            outcome = outcome.and(done);
        }
        outcome.map(|()| settled)
    }

    /// Ends a comparison that nobody needs.
    pub(crate) fn stop(&mut self) {
        if let Some(comparison) = self.comparison.take() {
            self.pieces = comparison.stop();
        }
    }
}

fn copy(piece: &mut Piece, writer: &mut PageWriter, copied: &mut u64) -> Result<()> {
    let layout = piece.layout()?;
    piece.forget_holes(&layout, writer);
    let mut buffer = Vec::new();
    for chunk in layout.chunks {
        *copied += piece.copy(chunk, &mut buffer, writer)?;
    }
    Ok(())
}

/// Mapped memory that has no name, or none any more.
fn find_mapped(pid: i32, found: &mut BTreeMap<Key, Source>) {
    let lines = maps::read(pid, Detail::Places).unwrap_or_default();
    for line in lines.iter().filter(|it| it.name.ends_with(" (deleted)")) {
        let is_fixed = |file: &File| {
            // No process of the container has descriptors of these.
            let has_none = line.name.starts_with("/SYSV") || line.name.starts_with("/dev/zero ");
            has_none || stands_for_anonymous(file)
        };
        find_at(&line.file(pid), is_fixed, found);
    }
}

/// Open memory of that kind.
fn find_open(pid: i32, found: &mut BTreeMap<Key, Source>) {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let link = fs::read_link(&path).unwrap_or_default();
        if link.to_string_lossy().ends_with(" (deleted)") {
            find_at(&path.to_string_lossy(), |_| false, found);
        }
    }
}

fn find_at(path: &str, is_fixed: impl Fn(&File) -> bool, found: &mut BTreeMap<Key, Source>) {
    let Ok(about) = fs::metadata(path) else {
        return;
    };
    if !about.is_file() {
        return;
    }
    let open = || {
        let mut options = File::options();
        let file = options
            .read(true)
            .custom_flags(NONBLOCKING)
            .open(path)
            .ok()?;
        let now = file.metadata().ok()?;
        let is_same = (now.dev(), now.ino()) == (about.dev(), about.ino());
        is_same.then(|| Source {
            is_fixed: is_fixed(&file),
            file,
        })
    };
    let key = (about.dev(), about.ino());
    keep(found, key, about.blocks() * 512, open);
}

fn keep(found: &mut BTreeMap<Key, Source>, key: Key, size: u64, open: impl Fn() -> Option<Source>) {
    if size >= WORTHWHILE_EACH
        && !found.contains_key(&key)
        && let Some(source) = open()
    {
        found.insert(key, source);
    }
}
