//! Shared memory cannot be shared copy-on-write, so every clone gets a copy.
//! One that is made beforehand costs the clone nothing.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::MemfdFlags;
use sys::pagemap::PAGE;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::image::schema::{Checkpoint, SharedKind, SharedMemory};

/// `F_SEAL_SEAL`
const F_SEAL_SEAL: u32 = 1;

/// What one clone needs of it, as far as it can be made outside of a container:
/// files of memory, by their places in the checkpoint.
#[derive(Debug, Default)]
pub struct Copies {
    files: BTreeMap<usize, OwnedFd>,
}

impl Copies {
    /// Empty files of the right sizes.
    pub(crate) fn prepare(checkpoint: &Checkpoint) -> Result<Self> {
        let mut files = BTreeMap::new();
        for (index, memory) in checkpoint.shared.iter().enumerate() {
            if let Some((name, flags)) = memfd(&memory.kind) {
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

    /// Writes the content of the image into them.
    pub(crate) fn fill(&self, checkpoint: &Checkpoint, pages: BorrowedFd<'_>) -> Result<()> {
        for (index, file) in &self.files {
            let memory = checkpoint.shared.get(*index);
            let memory = memory.ok_or_else(|| Error::new(ErrorKind::Internal, "no such memory"))?;
            fill(memory, pages, file.as_fd())?;
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

/// Copies a piece of shared memory from the image to `file`.
pub(crate) fn fill(
    memory: &SharedMemory,
    pages: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
) -> Result<()> {
    fill_runs(pages, file, &memory.pages).context(|| "fill shared memory")?;
    // Not before: a whole page may have been written to its end.
    Ok(rustix::fs::ftruncate(file, memory.size)?)
}

/// Copies pages of the image to where they belong in `file`.
pub(crate) fn fill_runs(pages: impl AsFd, file: impl AsFd, runs: &[(u64, u64, u64)]) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for (first, count, stored) in runs {
        let (mut from, mut to, mut left) = (stored * PAGE, first * PAGE, count * PAGE);
        while left > 0 {
            let wanted = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let read = rustix::io::pread(&pages, &mut buffer[..wanted], from)?;
            if read == 0 {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    "the checkpoint's pages end before its memory",
                ));
            }
            let mut done = 0;
            while done < read {
                done += rustix::io::pwrite(&file, &buffer[done..read], to + done as u64)?;
            }
            from += read as u64;
            to += read as u64;
            left -= read as u64;
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
