//! Gzip on all processors: the stream is cut into blocks, each compressed by
//! itself with the end of the block before as its dictionary, and joined to
//! one member. The same bytes come out whatever the number of threads.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use flate2::{Compress, Compression, Crc, FlushCompress};

/// Uncompressed bytes of a block.
const BLOCK: usize = 512 << 10;
/// How far back deflate looks.
const WINDOW: usize = 32 << 10;
/// Balanced for layers: see docs/on-disk.md.
const LEVEL: u32 = 5;
/// Magic, deflate, no flags, no time, no hint, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

struct Job {
    block: Arc<Vec<u8>>,
    /// The block before.
    before: Option<Arc<Vec<u8>>>,
    last: bool,
    done: SyncSender<io::Result<Done>>,
}

struct Done {
    bytes: Vec<u8>,
    crc: Crc,
}

/// Compresses what is written to it; [`Self::finish`] ends the stream.
pub(super) struct ParallelGzip<W: Write> {
    sink: W,
    jobs: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
    waiting: VecDeque<Receiver<io::Result<Done>>>,
    block: Vec<u8>,
    before: Option<Arc<Vec<u8>>>,
    crc: Crc,
    started: bool,
}

impl<W: Write> ParallelGzip<W> {
    pub(super) fn new(sink: W) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(16));
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let workers = (0..threads).map(|_| {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || work(&queue))
        });
        Self {
            sink,
            jobs: Some(jobs),
            workers: workers.collect(),
            waiting: VecDeque::new(),
            block: Vec::with_capacity(BLOCK),
            before: None,
            crc: Crc::new(),
            started: false,
        }
    }

    /// Writes the end of the stream and gives the sink back.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.submit(true)?;
        while !self.waiting.is_empty() {
            self.collect()?;
        }
        self.jobs = None;
        for worker in self.workers.drain(..) {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
        self.sink.write_all(&self.crc.sum().to_le_bytes())?;
        // The length modulo 2^32, as the format wants.
        self.sink.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.sink)
    }

    fn submit(&mut self, last: bool) -> io::Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let block = Arc::new(block);
        let (done, result) = sync_channel(1);
        let before = self.before.replace(Arc::clone(&block));
        let job = Job {
            block,
            before,
            last,
            done,
        };
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job));
        if !matches!(sent, Some(Ok(()))) {
            return Err(io::Error::other("a compressing thread ended"));
        }
        self.waiting.push_back(result);
        // Enough to keep all busy, not the whole layer in memory.
        if self.waiting.len() > 2 * self.workers.len() {
            self.collect()?;
        }
        Ok(())
    }

    fn collect(&mut self) -> io::Result<()> {
        let Some(result) = self.waiting.pop_front() else {
            return Ok(());
        };
        let ended = |_| io::Error::other("a compressing thread ended");
        let done = result.recv().map_err(ended)??;
        if !self.started {
            self.started = true;
            self.sink.write_all(&HEADER)?;
        }
        self.crc.combine(&done.crc);
        self.sink.write_all(&done.bytes)
    }
}

impl<W: Write> Write for ParallelGzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..length]);
        if self.block.len() == BLOCK {
            self.submit(false)?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        // A poisoned lock means that another worker panicked, which `finish`
        // tells.
        let Ok(job) = queue.lock().map(|queue| queue.recv()) else {
            return;
        };
        let Ok(job) = job else { return };
        let result = compress(&job);
        // Nobody waits if the writer was dropped.
        let _ = job.done.send(result);
    }
}

fn compress(job: &Job) -> io::Result<Done> {
    let mut state = Compress::new(Compression::new(LEVEL), false);
    if let Some(before) = &job.before {
        let start = before.len().saturating_sub(WINDOW);
        if !before[start..].is_empty() {
            state
                .set_dictionary(&before[start..])
                .map_err(io::Error::other)?;
        }
    }
    let flush = if job.last {
        FlushCompress::Finish
    } else {
        FlushCompress::Sync
    };
    let mut bytes = Vec::with_capacity(job.block.len() / 2 + 1024);
    loop {
        let taken = usize::try_from(state.total_in()).unwrap_or(usize::MAX);
        let status = state
            .compress_vec(&job.block[taken..], &mut bytes, flush)
            .map_err(io::Error::other)?;
        // Room left over means that all is out.
        let complete = match status {
            flate2::Status::StreamEnd => true,
            _ => !job.last && bytes.len() < bytes.capacity(),
        };
        if complete {
            break;
        }
        bytes.reserve(64 << 10);
    }
    let mut crc = Crc::new();
    crc.update(&job.block);
    Ok(Done { bytes, crc })
}
