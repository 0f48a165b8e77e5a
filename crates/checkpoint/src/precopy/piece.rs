//! A piece of shared memory, and which of its pages the image has.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread};
use sys::Result;
use sys::pagemap::{PAGE, Run};
use sys::view::View;

use super::fingerprint::Secret;
use crate::image::{Ledger, PageWriter};

/// Read at a time: what it says of itself is found while it is in the cache.
const CHUNK: u64 = 256 << 10;
const CHUNK_PAGES: usize = (CHUNK / PAGE) as usize;

/// A file of memory.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: File,
    /// Nobody can make it shorter.
    pub(super) is_fixed: bool,
}

impl Source {
    pub(super) fn changeable(file: File) -> Self {
        Self {
            file,
            is_fixed: false,
        }
    }
}

/// What can be made shorter is read through a descriptor, never mapped: so that
/// does us no harm. The rest is mapped, for to read that takes half the time.
#[derive(Debug)]
pub(super) struct Piece {
    file: File,
    view: Option<View>,
    secret: Arc<Secret>,
    ledger: Ledger,
    /// Of what the image has; chunk by chunk, 0 for what it has not.
    fingerprints: BTreeMap<u64, Box<[u128; CHUNK_PAGES]>>,
}

/// Where in a piece there may be anything.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// No longer than [`CHUNK`] each.
    pub(super) chunks: Vec<Run>,
    holes: Vec<Run>,
}

impl Piece {
    pub(super) fn new(source: Source, secret: Arc<Secret>) -> Self {
        let Source { file, is_fixed } = source;
        let view = file
            .metadata()
            .ok()
            .filter(|about| is_fixed && about.size() > 0);
        Self {
            view: view.and_then(|about| View::of(&file, about.size()).ok()),
            file,
            secret,
            ledger: Ledger::default(),
            fingerprints: BTreeMap::new(),
        }
    }

    pub(super) fn layout(&self) -> Result<Layout> {
        let size = self.file.metadata()?.size();
        let mut layout = Layout::default();
        let mut at = 0;
        while at < size {
            let data = match seek(&self.file, SeekFrom::Data(at)) {
                Ok(data) => data.min(size),
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(errno.into()),
            };
            let (start, end) = match self.view {
                // To look at a hole would fill it.
                Some(_) => (
                    data / PAGE * PAGE,
                    seek(&self.file, SeekFrom::Hole(data))?.min(size),
                ),
                None => (data / CHUNK * CHUNK, data / CHUNK * CHUNK + CHUNK),
            };
            layout.leave_out(at, start);
            at = start;
            let end = end.min(size).next_multiple_of(PAGE);
            while at < end {
                let next = (at / CHUNK * CHUNK + CHUNK).min(end);
                layout.chunks.push(Run {
                    start: at,
                    end: next,
                });
                at = next;
            }
        }
        layout.leave_out(at, u64::MAX);
        Ok(layout)
    }

    /// The parts of a run, within one chunk, that are not what was copied.
    pub(super) fn changed(&self, run: Run, buffer: &mut Vec<u8>) -> Result<Vec<Run>> {
        self.read(run, buffer)?;
        let known = self.fingerprints.get(&(run.start / CHUNK));
        let first = chunk_page(run.start);
        let mut changed: Vec<Run> = Vec::new();
        let (pages, _) = buffer.as_chunks();
        let mut at = run.start;
        for (index, page) in pages.iter().enumerate() {
            let is_same = match known {
                Some(known) if known[first + index] != 0 => {
                    known[first + index] == self.secret.of(page)
                }
                // Neither have others who read zeros there copied anything.
                _ => page.iter().all(|byte| *byte == 0),
            };
            match changed.last_mut() {
                _ if is_same => {}
                Some(last) if last.end == at => last.end += PAGE,
                _ => changed.push(Run {
                    start: at,
                    end: at + PAGE,
                }),
            }
            at += PAGE;
        }
        Ok(changed)
    }

    /// Copies what of a run is not what was copied before; the number of pages.
    pub(super) fn copy(
        &mut self,
        run: Run,
        buffer: &mut Vec<u8>,
        writer: &mut PageWriter,
    ) -> Result<u64> {
        let mut copied = 0;
        for changed in self.changed(run, buffer)? {
            let bytes = |place: u64| usize::try_from(place - run.start).unwrap_or(usize::MAX);
            let bytes = &buffer[bytes(changed.start)..bytes(changed.end)];
            self.ledger.store(changed.start, bytes, writer)?;
            let (pages, _) = bytes.as_chunks();
            let known = self.fingerprints.entry(run.start / CHUNK);
            let known = known.or_insert_with(|| Box::new([0; CHUNK_PAGES]));
            let first = chunk_page(changed.start);
            for (known, page) in known[first..].iter_mut().zip(pages) {
                *known = self.secret.of(page);
            }
            copied += pages.len() as u64;
        }
        Ok(copied)
    }

    /// Forgets what there is no more.
    pub(super) fn forget_holes(&mut self, layout: &Layout, writer: &mut PageWriter) {
        for hole in &layout.holes {
            self.ledger.forget(hole.start, hole.end, writer);
            let chunks = hole.start / CHUNK..hole.end.div_ceil(CHUNK);
            let touched = self.fingerprints.range_mut(chunks);
            for (chunk, known) in touched {
                let chunk = chunk * CHUNK;
                let page = |place: u64| {
                    let inside = place.saturating_sub(chunk).min(CHUNK);
                    usize::try_from(inside / PAGE).unwrap_or(CHUNK_PAGES)
                };
                known[page(hole.start)..page(hole.end)].fill(0);
            }
        }
    }

    pub(super) fn forget_all(&mut self, writer: &mut PageWriter) {
        self.ledger.forget(0, u64::MAX, writer);
        self.fingerprints.clear();
    }

    /// As the image has it: page of the piece, number of pages, page in the
    /// file.
    pub(super) fn runs(&self) -> Vec<(u64, u64, u64)> {
        let runs = self.ledger.runs().into_iter();
        runs.map(|(start, pages, stored)| (start / PAGE, pages, stored))
            .collect()
    }

    /// What the file has there, with zeros behind its end.
    fn read(&self, run: Run, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.resize(usize::try_from(run.end - run.start).unwrap_or(0), 0);
        if let Some(view) = &self.view
            && view.read(run.start, buffer).is_ok()
        {
            return Ok(());
        }
        let mut done = 0;
        while done < buffer.len() {
            match pread(&self.file, &mut buffer[done..], run.start + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        buffer[done..].fill(0);
        Ok(())
    }
}

impl Layout {
    fn leave_out(&mut self, start: u64, end: u64) {
        if start < end {
            self.holes.push(Run { start, end });
        }
    }
}

/// The number of a page within its chunk.
fn chunk_page(place: u64) -> usize {
    usize::try_from(place % CHUNK / PAGE).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};

    use super::*;

    /// Page numbers of what an image has after `writes` to, and holes in, a
    /// piece of four chunks, and how many pages each round copied.
    fn rounds(is_fixed: bool) -> (Vec<Vec<u64>>, Vec<u64>) {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = PageWriter::create(File::open(directory.path()).unwrap()).unwrap();
        let file = File::from(memfd_create("piece", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(4 * CHUNK).unwrap();
        let write = |page: u64, letter: u8| file.write_all_at(&[letter; 100], page * PAGE).unwrap();
        let source = Source {
            file: file.try_clone().unwrap(),
            is_fixed,
        };
        let mut piece = Piece::new(source, Arc::new(Secret::new().unwrap()));
        assert_eq!(piece.view.is_some(), is_fixed);
        let (mut images, mut counts) = (Vec::new(), Vec::new());
        let mut round = || {
            let before = file.metadata().unwrap().blocks();
            let layout = piece.layout().unwrap();
            piece.forget_holes(&layout, &mut writer);
            let (mut buffer, mut copied) = (Vec::new(), 0);
            for chunk in layout.chunks {
                copied += piece.copy(chunk, &mut buffer, &mut writer).unwrap();
            }
            // To look at it changed nothing.
            assert_eq!(file.metadata().unwrap().blocks(), before);
            let runs = piece.runs().into_iter();
            images.push(runs.flat_map(|(at, count, _)| at..at + count).collect());
            counts.push(copied);
        };
        let last = CHUNK / PAGE * 4 - 1;
        for page in [1, 2, 70, last] {
            write(page, b'a');
        }
        round();
        write(2, b'b');
        write(3, b'c');
        round();
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&file, punch, 2 * PAGE, 69 * PAGE).unwrap();
        round();
        // The same as before there was a hole.
        write(70, b'a');
        round();
        (images, counts)
    }

    #[test]
    fn copies_what_changed_and_fills_no_holes() {
        // Without a view, zeros are seen where there is a hole in a chunk.
        for (is_fixed, zeros) in [(false, 2), (true, 0)] {
            let (images, counts) = rounds(is_fixed);
            assert_eq!(counts, [4, 2, zeros, 1]);
            let want = [
                vec![1, 2, 70, 255],
                vec![1, 2, 3, 70, 255],
                vec![1, 255],
                vec![1, 70, 255],
            ];
            assert_eq!(images, want);
        }
    }
}
