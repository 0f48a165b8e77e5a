//! The file `pages`: pages one after the other, nothing else. Which page is
//! where, the metadata says.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, openat, unlinkat};
use sys::pagemap::PAGE;
use sys::{Context as _, Result};

use super::{CHANGED, LINK, METADATA, PAGES};

pub(super) const PAGE_SIZE: usize = 4096;
const _: () = assert!(PAGE == 4096);
/// So many pages are written to the disk in one go.
const AT_ONCE: u64 = (8 << 20) / PAGE;
const ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// Where pages go; zero pages cost nothing.
#[derive(Debug)]
pub(crate) struct PageWriter {
    file: OwnedFd,
    /// Places in the file, all in all.
    end: u64,
    /// Those of them that hold nothing of use: first and number.
    free: Vec<(u64, u64)>,
    /// What was written since [`PageWriter::begin_attempt`] and belongs to no
    /// [`Ledger`].
    loose: Vec<(u64, u64)>,
    /// Where that begins which the kernel was not told to write to the disk;
    /// none if it is left alone.
    written_out: Option<u64>,
}

impl PageWriter {
    /// Makes the file anew; what checkpoint there was in the directory is gone
    /// first.
    ///
    /// A file that is cut to nothing and written again is not the same: some
    /// file systems (ext4) take it to the disk when it is closed, and whoever
    /// reads or maps the old one would see it change.
    pub(crate) fn create(directory: impl AsFd) -> Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let create = || -> Result<OwnedFd> {
            for name in [METADATA, PAGES, CHANGED, LINK] {
                match unlinkat(&directory, name, AtFlags::empty()) {
                    Err(rustix::io::Errno::NOENT) => {}
                    // Not a link of ours.
                    Err(rustix::io::Errno::ISDIR) if name == LINK => {}
                    done => done?,
                }
            }
            Ok(openat(&directory, PAGES, flags, Mode::from(0o600))?)
        };
        let file = create().context(|| "make the file for pages")?;
        Ok(Self {
            file,
            end: 0,
            free: Vec::new(),
            loose: Vec::new(),
            written_out: None,
        })
    }

    /// Whether what is written goes to the disk at once, beside us. Whoever
    /// syncs the file later waits for less; but it costs the writer time.
    pub(crate) fn write_out(&mut self, is_wanted: bool) {
        self.written_out = is_wanted.then_some(self.end);
    }

    fn begin_writing_out(&mut self) {
        if let Some(from) = self.written_out
            && self.end - from >= AT_ONCE
        {
            sys::writeback::begin(&self.file, from * PAGE, (self.end - from) * PAGE);
            self.written_out = Some(self.end);
        }
    }

    /// How many are of use.
    pub(crate) fn pages(&self) -> u64 {
        self.end - self.free.iter().map(|(_, count)| count).sum::<u64>()
    }

    /// What an attempt that came to nothing wrote is of no use any more, but
    /// for what the ledgers have.
    pub(crate) fn begin_attempt(&mut self) {
        let loose = std::mem::take(&mut self.loose);
        self.free.extend(loose);
    }

    /// Runs of an image that end with this attempt, if it comes to nothing.
    pub(crate) fn disown(&mut self, runs: &[(u64, u64, u64)]) {
        let places = runs.iter().map(|(_, count, stored)| (*stored, *count));
        self.loose.extend(places);
    }

    /// Writes `bytes`, whole pages that begin as page number `first` of
    /// whatever they belong to, and notes in `runs` where they went.
    pub(crate) fn write(
        &mut self,
        bytes: &[u8],
        first: u64,
        runs: &mut Vec<(u64, u64, u64)>,
    ) -> Result<()> {
        for (at, pages) in written_runs(bytes) {
            let place = first + at as u64;
            let mut done = 0;
            while done < pages.len() {
                let (stored, count) = self.put(&pages[done..])?;
                self.loose.push((stored, count as u64));
                note(runs, (place + done as u64, count as u64, stored));
                done += count;
            }
        }
        Ok(())
    }

    /// Writes the first of `pages` to free places that follow each other:
    /// where, and how many.
    pub(super) fn put(&mut self, pages: &[[u8; PAGE_SIZE]]) -> Result<(u64, usize)> {
        let (place, room) = if let Some(last) = self.free.last_mut() {
            let room = last.1.min(pages.len() as u64);
            let place = last.0;
            *last = (last.0 + room, last.1 - room);
            if last.1 == 0 {
                self.free.pop();
            }
            (place, room)
        } else {
            let place = self.end;
            self.end += pages.len() as u64;
            (place, pages.len() as u64)
        };
        let count = usize::try_from(room).unwrap_or(pages.len());
        self.overwrite(place, &pages[..count])?;
        self.begin_writing_out();
        Ok((place, count))
    }

    pub(super) fn overwrite(&mut self, place: u64, pages: &[[u8; PAGE_SIZE]]) -> Result<()> {
        let mut rest = pages.as_flattened();
        let mut offset = place * PAGE;
        while !rest.is_empty() {
            let count = rustix::io::pwrite(&self.file, rest, offset)
                .context(|| "write pages to the checkpoint")?;
            rest = &rest[count..];
            offset += count as u64;
        }
        Ok(())
    }

    pub(super) fn release(&mut self, place: u64, count: u64) {
        self.free.push((place, count));
    }

    /// Gives the room of what is of no use back to the file system.
    pub(crate) fn trim(&mut self) -> Result<()> {
        self.free.sort_unstable();
        while let Some((place, count)) = self.free.last()
            && place + count == self.end
        {
            self.end = *place;
            self.free.pop();
        }
        rustix::fs::ftruncate(&self.file, self.end * PAGE).context(|| "cut the file of pages")?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for (place, count) in &self.free {
            // Where the file system knows no holes, they take room.
            let _ = rustix::fs::fallocate(&self.file, flags, place * PAGE, count * PAGE);
        }
        Ok(())
    }
}

/// The pages of `bytes` that are not zero, in runs: number of the first.
pub(super) fn written_runs(bytes: &[u8]) -> impl Iterator<Item = (usize, &[[u8; PAGE_SIZE]])> {
    let (pages, _) = bytes.as_chunks::<PAGE_SIZE>();
    let mut at = 0;
    std::iter::from_fn(move || {
        at += pages[at..].iter().take_while(|page| is_zero(page)).count();
        let count = pages[at..].iter().take_while(|page| !is_zero(page)).count();
        let run = (at, &pages[at..at + count]);
        at += count;
        (count > 0).then_some(run)
    })
}

/// Most pages that are not zero say so at their beginning.
fn is_zero(page: &[u8; PAGE_SIZE]) -> bool {
    page[..16] == [0; 16] && *page == ZEROS
}

fn note(runs: &mut Vec<(u64, u64, u64)>, (place, count, stored): (u64, u64, u64)) {
    match runs.last_mut() {
        Some((start, pages, at)) if *start + *pages == place && *at + *pages == stored => {
            *pages += count;
        }
        _ => runs.push((place, count, stored)),
    }
}
