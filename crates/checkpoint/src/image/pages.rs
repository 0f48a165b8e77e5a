//! The file `pages`: pages one after the other, nothing else. Which page is
//! where, the metadata says.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, openat, unlinkat};
use sys::pagemap::PAGE;
use sys::{Context as _, Result};

use super::{CHANGED, LINK, METADATA, PAGES};

pub(super) const PAGE_SIZE: usize = 4096;
const _: () = assert!(PAGE == 4096);
/// As much is held back while the container stands (bytes); more of it is
/// written as it comes.
const HELD_BACK: usize = 16 << 20;
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
    held_back: Option<HeldBack>,
}

/// Pages that have their places in the file, and are not there yet.
#[derive(Debug)]
struct HeldBack {
    /// Never more than there is room for.
    bytes: Vec<u8>,
    /// Their places, in the order in which they came.
    places: Vec<(u64, usize)>,
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
            held_back: None,
        })
    }

    /// Whether what is written goes to the disk at once, beside us. Whoever
    /// syncs the file later waits for less; but it costs the writer time.
    pub(crate) fn write_out(&mut self, is_wanted: bool) {
        self.written_out = is_wanted.then_some(self.end);
    }

    /// From now on, what is written waits in memory for
    /// [`PageWriter::finish`], as far as there is room: files are slower.
    pub(crate) fn hold_back(&mut self) {
        let mut bytes = vec![1; HELD_BACK];
        // The memory is there by now.
        bytes.clear();
        self.held_back = Some(HeldBack {
            bytes,
            places: Vec::new(),
        });
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
        match &mut self.held_back {
            Some(held_back) if held_back.has_room(pages.len()) => {
                held_back.add(place, pages.as_flattened());
                Ok(())
            }
            Some(_) => {
                self.write_held_back()?;
                self.write_at(place, pages.as_flattened())
            }
            None => self.write_at(place, pages.as_flattened()),
        }
    }

    fn write_at(&self, place: u64, mut bytes: &[u8]) -> Result<()> {
        let mut offset = place * PAGE;
        while !bytes.is_empty() {
            let count = rustix::io::pwrite(&self.file, bytes, offset)
                .context(|| "write pages to the checkpoint")?;
            bytes = &bytes[count..];
            offset += count as u64;
        }
        Ok(())
    }

    /// In the order in which it came: a page may have been written twice.
    fn write_held_back(&mut self) -> Result<()> {
        let Some(mut held_back) = self.held_back.take() else {
            return Ok(());
        };
        let mut rest = held_back.bytes.as_slice();
        for (place, length) in held_back.places.drain(..) {
            let (bytes, after) = rest.split_at(length);
            self.write_at(place, bytes)?;
            rest = after;
        }
        held_back.bytes.clear();
        self.held_back = Some(held_back);
        Ok(())
    }

    pub(super) fn release(&mut self, place: u64, count: u64) {
        self.free.push((place, count));
    }

    /// Writes what was held back, and gives the room of what is of no use back
    /// to the file system.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.write_held_back()?;
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

impl HeldBack {
    fn has_room(&self, pages: usize) -> bool {
        self.bytes.len() + pages * PAGE_SIZE <= HELD_BACK
    }

    fn add(&mut self, place: u64, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        match self.places.last_mut() {
            Some((first, length)) if *first * PAGE + *length as u64 == place * PAGE => {
                *length += bytes.len();
            }
            _ => self.places.push((place, bytes.len())),
        }
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn what_is_held_back_is_in_the_file_in_the_end_as_it_came_last() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = PageWriter::create(File::open(directory.path()).unwrap()).unwrap();
        let file = File::open(directory.path().join(PAGES)).unwrap();
        let byte_of = |place: u64| {
            let mut byte = [0];
            file.read_exact_at(&mut byte, place * PAGE).unwrap();
            byte[0]
        };
        let page = |letter: u8| [[letter; PAGE_SIZE]];
        writer.hold_back();
        assert_eq!(writer.put(&page(b'a')).unwrap(), (0, 1));
        assert_eq!(writer.put(&page(b'b')).unwrap(), (1, 1));
        writer.overwrite(0, &page(b'c')).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
        // More than there is room for: what came before it is there before.
        let many = vec![[b'd'; PAGE_SIZE]; HELD_BACK / PAGE_SIZE];
        writer.overwrite(1, &many).unwrap();
        assert_eq!((byte_of(0), byte_of(1)), (b'c', b'd'));
        writer.overwrite(1, &page(b'e')).unwrap();
        assert_eq!(byte_of(1), b'd');
        writer.end = 1 + many.len() as u64;
        writer.finish().unwrap();
        assert_eq!((byte_of(0), byte_of(1), byte_of(2)), (b'c', b'e', b'd'));
    }
}
