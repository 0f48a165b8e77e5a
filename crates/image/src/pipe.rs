//! The stages of an unpacking, each a thread, with chunks handed from one to
//! the next: uncompress, then hash and untar the same bytes.
//!
//! The stage that fails names the cause; the others see the pipe end early
//! and stop quietly.

use std::io::{self, BufRead, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use spec::{Algorithm, DiffId};
use sys::{Context, Error, ErrorKind, Result};

use crate::Limits;
use crate::buffer::{Buffer, Pool};
use crate::digest::Hasher;
use crate::layer::apply::{Unfinished, apply};
use crate::layer::compression;

/// Chunks that may wait between two stages.
const DEPTH: usize = 6;

enum Item {
    Chunk(Arc<Buffer>),
    End,
}

/// Where the first stage gets bytes from the caller.
pub(crate) struct Feed {
    sender: SyncSender<Item>,
    pool: Pool,
}

/// The other side stopped; its own error says why.
#[derive(Debug)]
pub(crate) struct Stopped;

impl Feed {
    /// Where buffers to send come from.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn send(&self, bytes: Buffer) -> Result<(), Stopped> {
        let item = Item::Chunk(Arc::new(bytes));
        self.sender.send(item).map_err(|_| Stopped)
    }
}

/// What came out of the pipe.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub(crate) diff_id: DiffId,
    pub(crate) unfinished: Unfinished,
}

/// Unpacks what `feed` sends (a layer tar, compressed or not) into `root`.
/// `feed` runs on the calling thread; its own error comes first.
pub(crate) fn unpack(
    root: OwnedFd,
    limits: &Limits,
    algorithm: Algorithm,
    feed: impl FnOnce(&Feed) -> Result<(), FeedError>,
) -> Result<Unpacked> {
    let (packed_sender, packed) = sync_channel(DEPTH);
    let (plain_sender, plain) = sync_channel(DEPTH);
    let (tar_sender, tar) = sync_channel(DEPTH);
    std::thread::scope(|scope| {
        let uncompress = scope
            .spawn(move || uncompress(Chunks::new(packed), [&plain_sender, &tar_sender], limits));
        let hash = scope.spawn(move || hash(Chunks::new(plain), algorithm));
        let untar = scope.spawn(move || untar(Chunks::new(tar), root, limits));
        let feeder = Feed {
            sender: packed_sender,
            pool: Pool::default(),
        };
        let fed = feed(&feeder);
        if fed.is_ok() {
            // Nobody listens if a later stage failed, which is told below.
            let _ = feeder.sender.send(Item::End);
        }
        drop(feeder);
        let uncompressed = join(uncompress);
        let hashed = join(hash);
        let untarred = join(untar);
        if let Err(FeedError::Failed(error)) = fed {
            return Err(error);
        }
        // In the order of the stages; one that was stopped has no say.
        match (uncompressed?, untarred?, hashed) {
            (Some(()), Some(unfinished), Some(diff_id)) => Ok(Unpacked {
                diff_id,
                unfinished,
            }),
            _ => Err(Error::new(
                ErrorKind::Internal,
                "unpacking stopped without a cause",
            )),
        }
    })
}

/// Why feeding ended early.
#[derive(Debug)]
pub(crate) enum FeedError {
    Failed(Error),
    Stopped,
}

impl From<Error> for FeedError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Stopped> for FeedError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// `None` if it was stopped.
fn uncompress(
    mut packed: Chunks,
    sinks: [&SyncSender<Item>; 2],
    limits: &Limits,
) -> Result<Option<()>> {
    let result = (|| -> Result<Option<()>> {
        let mut plain = compression::decoder(&mut packed)?;
        let mut size = 0_u64;
        let pool = Pool::default();
        loop {
            let chunk = pool
                .fill(|bytes| read_full(&mut plain, bytes))
                // Decoders have errors of all kinds for bytes that are no good.
                .kind(ErrorKind::Corrupt)?;
            size += chunk.len() as u64;
            if size > limits.max_layer_bytes {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!(
                        "the layer is larger than the limit of {} bytes",
                        limits.max_layer_bytes
                    ),
                ));
            }
            if chunk.is_empty() {
                break;
            }
            let chunk = Arc::new(chunk);
            for sink in sinks {
                if sink.send(Item::Chunk(Arc::clone(&chunk))).is_err() {
                    return Ok(None);
                }
            }
        }
        for sink in sinks {
            if sink.send(Item::End).is_err() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })();
    if packed.stopped {
        return Ok(None);
    }
    let result = result.context(|| "uncompress layer")?;
    if result.is_some() {
        // What comes after the end of a compressed stream is part of the blob.
        packed.drain();
    }
    Ok(result)
}

fn hash(mut plain: Chunks, algorithm: Algorithm) -> Option<DiffId> {
    let mut hasher = Hasher::new(algorithm);
    while let Some(chunk) = plain.next() {
        hasher.update(&chunk);
    }
    (!plain.stopped).then(|| DiffId(hasher.finish()))
}

fn untar(mut tar: Chunks, root: OwnedFd, limits: &Limits) -> Result<Option<Unfinished>> {
    let applied = apply(&mut tar, root, limits);
    if tar.stopped {
        return Ok(None);
    }
    let unfinished = applied?;
    // Padding after the end marker counts for the digest.
    tar.drain();
    Ok((!tar.stopped).then_some(unfinished))
}

/// As much as fits, so that chunks are even.
fn read_full(source: &mut dyn Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match source.read(&mut chunk[filled..])? {
            0 => break,
            length => filled += length,
        }
    }
    Ok(filled)
}

/// The receiving end as a reader.
struct Chunks {
    receiver: Receiver<Item>,
    chunk: Option<Arc<Buffer>>,
    at: usize,
    ended: bool,
    /// The sender went away before the end.
    stopped: bool,
}

impl Chunks {
    fn new(receiver: Receiver<Item>) -> Self {
        Self {
            receiver,
            chunk: None,
            at: 0,
            ended: false,
            stopped: false,
        }
    }

    fn next(&mut self) -> Option<Arc<Buffer>> {
        if self.ended {
            return None;
        }
        match self.receiver.recv() {
            Ok(Item::Chunk(chunk)) => return Some(chunk),
            Ok(Item::End) => {}
            Err(_) => self.stopped = true,
        }
        self.ended = true;
        None
    }

    fn drain(&mut self) {
        while self.next().is_some() {}
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self
            .chunk
            .as_ref()
            .is_none_or(|chunk| self.at == chunk.len())
        {
            // Returns its buffer before waiting for another.
            self.chunk = None;
            self.at = 0;
            match self.next() {
                Some(chunk) => self.chunk = Some(chunk),
                None if self.stopped => {
                    return Err(io::Error::new(io::ErrorKind::BrokenPipe, "stopped"));
                }
                None => return Ok(&[]),
            }
        }
        let chunk = self.chunk.as_ref().map_or(&[][..], |chunk| chunk);
        Ok(&chunk[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}
