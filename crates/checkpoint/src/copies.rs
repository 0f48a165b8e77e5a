//! Shared memory cannot be shared copy-on-write, so every clone gets a copy.
//! One that is made beforehand costs the clone nothing.
//!
//! Files can, where the file system has reflinks: there anonymous shared memory
//! becomes a file without a name beside the image, whose blocks are the image's
//! until somebody writes. Nothing is copied, and what a clone does not look at
//! takes no memory. The kernel may write such memory to the disk, as that of
//! any mapped file, and a full disk is a SIGBUS.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Advice, MemfdFlags, Mode, OFlags, XattrFlags};
use sys::pagemap::PAGE;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::image::schema::{Checkpoint, SharedKind, SharedMemory};
use crate::image::{Extent, PageFiles, too_short};

/// `F_SEAL_SEAL`
const F_SEAL_SEAL: u32 = 1;

/// Marks a file that is anonymous shared memory to the processes that have it.
const MARK: &str = "trusted.wharf.shared-memory";

/// What one clone needs of it, as far as it can be made outside of a container:
/// files of memory, by their places in the checkpoint.
#[derive(Debug, Default)]
pub struct Copies {
    files: BTreeMap<usize, OwnedFd>,
}

impl Copies {
    /// Files of the right sizes: empty, or of those that `bases` have all
    /// there is.
    pub(crate) fn prepare(checkpoint: &Checkpoint, bases: Option<&Bases>) -> Result<Self> {
        let mut files = BTreeMap::new();
        for (index, memory) in checkpoint.shared.iter().enumerate() {
            if let Some(base) = bases.and_then(|bases| bases.of(index)) {
                files.insert(index, base?);
            } else if let Some((name, flags)) = memfd(&memory.kind) {
                let make = || -> Result<OwnedFd> {
                    let flags = flags | MemfdFlags::CLOEXEC;
                    let file = rustix::fs::memfd_create(name, flags)?;
                    rustix::fs::ftruncate(&file, memory.size)?;
                    Ok(file)
                };
                files.insert(index, make().context(|| "make shared memory")?);
            }
        }
        Ok(Self { files })
    }

    /// With those of `bases` that are missing.
    pub(crate) fn completed(mut self, bases: &Bases) -> Result<Self> {
        for index in bases.files.keys() {
            if !self.files.contains_key(index)
                && let Some(file) = bases.of(*index)
            {
                self.files.insert(*index, file?);
            }
        }
        Ok(self)
    }

    /// Writes the content of the image into them. Those of `bases` have it: it
    /// is read into memory, so that nobody waits for the disk.
    pub(crate) fn fill(
        &self,
        checkpoint: &Checkpoint,
        pages: &PageFiles,
        bases: Option<&Bases>,
    ) -> Result<()> {
        for (index, file) in &self.files {
            let memory = checkpoint.shared.get(*index);
            let memory = memory.ok_or_else(|| Error::new(ErrorKind::Internal, "no such memory"))?;
            if bases.is_some_and(|bases| bases.files.contains_key(index)) {
                warm_up(memory, file)?;
            } else {
                fill(memory, pages, file.as_fd())?;
            }
        }
        Ok(())
    }

    /// The one for shared memory number `index`.
    pub(crate) fn get(&self, index: usize) -> Option<&OwnedFd> {
        self.files.get(&index)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, &OwnedFd)> {
        self.files.iter().map(|(index, file)| (*index, file))
    }
}

/// Files from which those of all clones are reflinked.
#[derive(Debug)]
pub(crate) struct Bases {
    /// Where new ones are made.
    directory: OwnedFd,
    files: BTreeMap<usize, OwnedFd>,
}

impl Bases {
    /// Of the anonymous shared memory of the image in `directory`; none if
    /// there is none, or no reflinks.
    pub(crate) fn make(
        checkpoint: &Checkpoint,
        directory: BorrowedFd<'_>,
        pages: &PageFiles,
    ) -> Option<Self> {
        let all = checkpoint.shared.iter().enumerate();
        let anonymous: Vec<(usize, &SharedMemory)> = all
            .filter(|(_, memory)| memory.kind == SharedKind::Anonymous)
            .collect();
        if anonymous.is_empty() {
            return None;
        }
        let make = || -> Result<Self> {
            let directory = rustix::io::fcntl_dupfd_cloexec(directory, 0)?;
            // Else the copy below would be one.
            for file in pages.files() {
                rustix::fs::ioctl_ficlone(nameless(&directory)?, file)?;
            }
            let mut files = BTreeMap::new();
            for (index, memory) in anonymous {
                let file = nameless(&directory)?;
                rustix::fs::ftruncate(&file, memory.size)?;
                for (first, count, stored) in &memory.pages {
                    let mut place = first * PAGE;
                    for part in pages.extents(stored * PAGE, count * PAGE) {
                        share(part, &file, place)?;
                        place += part.length;
                    }
                }
                rustix::fs::ftruncate(&file, memory.size)?;
                files.insert(index, file);
            }
            Ok(Self { directory, files })
        };
        make().ok()
    }

    /// A file with the blocks of that for shared memory number `index`, until
    /// somebody writes; none if there is no such base.
    fn of(&self, index: usize) -> Option<Result<OwnedFd>> {
        let base = self.files.get(&index)?;
        let copy = || -> Result<OwnedFd> {
            let file = nameless(&self.directory)?;
            // What comes of it is less disk.
            let _ = sys::quota::copy_single_blocks(&file);
            rustix::fs::ioctl_ficlone(&file, base)?;
            rustix::fs::fsetxattr(&file, MARK, b"", XattrFlags::empty())?;
            Ok(file)
        };
        Some(copy().context(|| "share the blocks of memory"))
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        self.files.values().chain([&self.directory])
    }
}

/// Whether `file`, which somebody has mapped, was made as anonymous shared
/// memory.
pub(crate) fn stands_for_anonymous(file: impl AsFd) -> bool {
    rustix::fs::fgetxattr(file, MARK, &mut [0; 1]).is_ok()
}

/// Reads what is in a file, so that it is in memory: page by page, not in the
/// large pieces (folios) that reading ahead makes. A write to mapped memory
/// makes all of its piece dirty, so up to 2 MiB of the disk a clone's own.
fn warm_up(memory: &SharedMemory, file: &OwnedFd) -> Result<()> {
    rustix::fs::fadvise(file, 0, None, Advice::Random)?;
    let mut buffer = vec![0; 1 << 20];
    for (first, count, _) in &memory.pages {
        let (mut at, end) = (first * PAGE, (first + count) * PAGE);
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
            let wanted = wanted.min(buffer.len());
            match rustix::io::pread(file, &mut buffer[..wanted], at)? {
                // The last page may be a part of one.
                0 => break,
                read => at += read as u64,
            }
        }
    }
    Ok(rustix::fs::fadvise(file, 0, None, Advice::Normal)?)
}

fn nameless(directory: &OwnedFd) -> Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(rustix::fs::openat(directory, c".", flags, mode)?)
}

/// Lets `to` have the blocks of `from` at `place`: copy_file_range(2) shares
/// what it can.
fn share(from: Extent<'_>, to: &OwnedFd, mut place: u64) -> Result<()> {
    let (mut at, end) = (from.offset, from.offset + from.length);
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
        let done =
            rustix::fs::copy_file_range(from.file, Some(&mut at), to, Some(&mut place), wanted)?;
        if done == 0 {
            return Err(too_short());
        }
    }
    Ok(())
}

/// Copies a piece of shared memory from the image to `file`.
pub(crate) fn fill(memory: &SharedMemory, pages: &PageFiles, file: BorrowedFd<'_>) -> Result<()> {
    fill_runs(pages, file, &memory.pages).context(|| "fill shared memory")?;
    // Not before: a whole page may have been written to its end.
    Ok(rustix::fs::ftruncate(file, memory.size)?)
}

/// Copies pages of the image to where they belong in `file`.
pub(crate) fn fill_runs(
    pages: &PageFiles,
    file: impl AsFd,
    runs: &[(u64, u64, u64)],
) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for (first, count, stored) in runs {
        let (mut from, mut to, mut left) = (stored * PAGE, first * PAGE, count * PAGE);
        while left > 0 {
            let wanted = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            pages.read_exact_at(&mut buffer[..wanted], from)?;
            let mut done = 0;
            while done < wanted {
                done += rustix::io::pwrite(&file, &buffer[done..wanted], to + done as u64)?;
            }
            from += wanted as u64;
            to += wanted as u64;
            left -= wanted as u64;
        }
    }
    Ok(())
}

/// Name and flags of a file of memory that is as good as the one that was;
/// none if it has to be made inside the container.
pub(crate) fn memfd(kind: &SharedKind) -> Option<(&str, MemfdFlags)> {
    match kind {
        SharedKind::Memfd { name, seals } => {
            let mut flags = MemfdFlags::empty();
            if seals & F_SEAL_SEAL == 0 || *seals != F_SEAL_SEAL {
                flags |= MemfdFlags::ALLOW_SEALING;
            }
            Some((name, flags))
        }
        SharedKind::Anonymous => Some(("shared", MemfdFlags::empty())),
        SharedKind::SystemV { .. } | SharedKind::Removed { .. } => None,
    }
}
