//! Finding out, while the container stands, what of its shared memory is not
//! what was copied: by threads of ours, beside the collecting of the rest.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use sys::pagemap::Run;

use super::piece::{Layout, Piece};
use super::shared::Key;

/// Beside the one that collects: memory is no faster for more of them.
const THREADS_MAX: usize = 3;

/// One that is under way.
#[derive(Debug)]
pub(super) struct Comparison {
    work: Arc<Work>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Work {
    pieces: Vec<(Key, Piece)>,
    layouts: Vec<Option<Layout>>,
    /// A piece, and a chunk of it.
    tasks: Vec<(usize, Run)>,
    next: AtomicUsize,
    is_off: AtomicBool,
    /// By piece; none of those that could not be read.
    found: Mutex<Vec<Option<Vec<Run>>>>,
    done: AtomicUsize,
}

/// What came of it, for each piece.
#[derive(Debug)]
pub(super) struct Compared {
    pub(super) piece: Piece,
    /// Where there is anything, and what of that is to be copied; none if that
    /// could not be found out.
    pub(super) found: Option<(Layout, Vec<Run>)>,
}

impl Comparison {
    pub(super) fn begin(pieces: BTreeMap<Key, Piece>) -> Self {
        let pieces: Vec<_> = pieces.into_iter().collect();
        let layouts: Vec<_> = pieces.iter().map(|(_, it)| it.layout().ok()).collect();
        let tasks = layouts.iter().enumerate().flat_map(|(index, layout)| {
            let chunks = layout.iter().flat_map(|layout| &layout.chunks);
            chunks.map(move |chunk| (index, *chunk))
        });
        let work = Arc::new(Work {
            tasks: tasks.collect(),
            found: Mutex::new(layouts.iter().map(|_| Some(Vec::new())).collect()),
            layouts,
            pieces,
            next: AtomicUsize::new(0),
            is_off: AtomicBool::new(false),
            done: AtomicUsize::new(0),
        });
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let count = (processors - 1).clamp(1, THREADS_MAX);
        let threads = (0..count).filter_map(|_| {
            let work = Arc::clone(&work);
            // If there can be none, finishing it does all of it.
            thread::Builder::new().spawn(move || work.run()).ok()
        });
        Self {
            threads: threads.collect(),
            work,
        }
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.work.pieces.iter().any(|(known, _)| *known == key)
    }

    /// Does what is left of it.
    pub(super) fn finish(self) -> BTreeMap<Key, Compared> {
        self.work.run();
        self.end()
    }

    /// Ends it before it is done.
    pub(super) fn stop(self) -> BTreeMap<Key, Piece> {
        self.work.is_off.store(true, Ordering::Relaxed);
        let pieces = self.end().into_iter();
        pieces
            .map(|(key, compared)| (key, compared.piece))
            .collect()
    }

    fn end(self) -> BTreeMap<Key, Compared> {
        for thread in self.threads {
            // What one that died has not done is missing below.
            let _ = thread.join();
        }
        // Nobody else has it any more.
        let Some(work) = Arc::into_inner(self.work) else {
            return BTreeMap::new();
        };
        let is_whole = work.done.into_inner() == work.tasks.len();
        let found = work.found.into_inner();
        let found = found.unwrap_or_else(PoisonError::into_inner);
        let all = work.pieces.into_iter().zip(work.layouts).zip(found);
        all.map(|(((key, piece), layout), found)| {
            let found = layout.zip(found).filter(|_| is_whole);
            (key, Compared { piece, found })
        })
        .collect()
    }
}

impl Work {
    fn run(&self) {
        let mut buffer = Vec::new();
        while !self.is_off.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((piece, chunk)) = self.tasks.get(number) else {
                return;
            };
            let changed = self.pieces[*piece].1.changed(*chunk, &mut buffer);
            let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            match (&mut all[*piece], changed) {
                (Some(found), Ok(changed)) => found.extend(changed),
                (found, _) => *found = None,
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }
}
