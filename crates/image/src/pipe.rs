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
use crate::content::CHUNK;
use crate::digest::Hasher;
use crate::layer::apply::{Unfinished, apply};
use crate::layer::compression;

/// Chunks that may wait between two stages.
const DEPTH: usize = 8;

enum Item {
    Chunk(Arc<Vec<u8>>),
    End,
}

/// Where the first stage gets bytes from the caller.
pub(crate) struct Feed {
    sender: SyncSender<Item>,
}

/// The other side stopped; its own error says why.
#[derive(Debug)]
pub(crate) struct Stopped;

impl Feed {
    pub(crate) fn send(&self, bytes: Vec<u8>) -> Result<(), Stopped> {
        let item = Item::Chunk(Arc::new(bytes));
        self.sender.send(item).map_err(|_| Stopped)
    }
}

/// What came out of the pipe.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub(crate) diff_id: DiffId,
    pub(crate) unfinished: Unfinished,
    /// Bytes of the uncompressed tar.
    pub(crate) size: u64,
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
        let (mut size, mut diff_id, mut unfinished) = (None, None, None);
        // In the order of the stages; a stage that was stopped has no say.
        for failure in [
            uncompressed.map(|value| size = value).err(),
            untarred.map(|value| unfinished = value).err(),
            hashed.map(|value| diff_id = value).err(),
        ] {
            if let Some(error) = failure {
                return Err(error);
            }
        }
        match (size, diff_id, unfinished) {
            (Some(size), Some(diff_id), Some(unfinished)) => Ok(Unpacked {
                diff_id,
                unfinished,
                size,
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

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Gives the size, or `None` if it was stopped.
fn uncompress(
    mut packed: Chunks,
    sinks: [&SyncSender<Item>; 2],
    limits: &Limits,
) -> Result<Option<u64>> {
    let result = (|| -> Result<Option<u64>> {
        let mut plain = compression::decoder(&mut packed)?;
        let mut size = 0_u64;
        loop {
            let mut chunk = vec![0; CHUNK];
            let length = read_full(&mut plain, &mut chunk)?;
            size += length as u64;
            if size > limits.max_layer_bytes {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("the layer is larger than {} bytes", limits.max_layer_bytes),
                ));
            }
            if length == 0 {
                break;
            }
            chunk.truncate(length);
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
        Ok(Some(size))
    })();
    if packed.stopped {
        return Ok(None);
    }
    // What comes after the end of a compressed stream is part of the blob.
    let result = result.map_err(|error| match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::Unsupported => error,
        // Decoders have errors of all kinds for bytes that are no good.
        _ => error.with_kind(ErrorKind::Corrupt),
    });
    let result = result.context(|| "uncompress layer")?;
    if result.is_some() {
        packed.drain();
    }
    Ok(result)
}

fn hash(mut plain: Chunks, algorithm: Algorithm) -> Result<Option<DiffId>> {
    let mut hasher = Hasher::new(algorithm);
    while let Some(chunk) = plain.next() {
        hasher.update(&chunk);
    }
    Ok((!plain.stopped).then(|| DiffId(hasher.finish())))
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
    chunk: Arc<Vec<u8>>,
    at: usize,
    ended: bool,
    /// The sender went away before the end.
    stopped: bool,
}

impl Chunks {
    fn new(receiver: Receiver<Item>) -> Self {
        Self {
            receiver,
            chunk: Arc::new(Vec::new()),
            at: 0,
            ended: false,
            stopped: false,
        }
    }

    fn next(&mut self) -> Option<Arc<Vec<u8>>> {
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
        while self.at == self.chunk.len() {
            match self.next() {
                Some(chunk) => {
                    self.chunk = chunk;
                    self.at = 0;
                }
                None if self.stopped => {
                    return Err(io::Error::new(io::ErrorKind::BrokenPipe, "stopped"));
                }
                None => break,
            }
        }
        Ok(&self.chunk[self.at..])
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
