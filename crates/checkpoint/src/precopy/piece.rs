//! A piece of shared memory, and which of its pages the image has.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread};
use sys::Result;
use sys::pagemap::{PAGE, Run};

use super::fingerprint::Secret;
use crate::image::{Ledger, PageWriter};

/// Read at a time: what it says of itself is found while it is in the cache.
const CHUNK: u64 = 256 << 10;
const CHUNK_PAGES: usize = (CHUNK / PAGE) as usize;

/// It is read through a descriptor, never mapped: holes stay holes, nothing of
/// it is charged to us, and who makes it shorter does us no harm.
#[derive(Debug)]
pub(super) struct Piece {
    file: File,
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
    pub(super) fn new(file: File, secret: Arc<Secret>) -> Self {
        Self {
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
                Ok(data) => data.min(size) / CHUNK * CHUNK,
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(errno.into()),
            };
            layout.leave_out(at, data);
            let end = (data + CHUNK).min(size.next_multiple_of(PAGE));
            layout.chunks.push(Run { start: data, end });
            at = end;
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
            let chunks = hole.start.div_ceil(CHUNK)..hole.end.div_ceil(CHUNK);
            let gone: Vec<u64> = self.fingerprints.range(chunks).map(|(at, _)| *at).collect();
            for chunk in gone {
                self.fingerprints.remove(&chunk);
            }
            // The file's end may lie within a chunk.
            if let Some(known) = self.fingerprints.get_mut(&(hole.start / CHUNK)) {
                known[chunk_page(hole.start)..].fill(0);
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
