//! Layers come in: from the network in one pass (hash, store, uncompress,
//! hash, untar), or from blobs that are here.

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use sys::{Context, Error, ErrorKind, Errors, Result};

use crate::buffer::{Buffer, Pool};
use crate::content::Ingest;
use crate::pipe::{self, FeedError, Unpacked};
use crate::snapshot::Staging;
use crate::store::{LayerToReceive, Store};

/// Layers unpacked at once, where the caller does not decide.
const WORKERS: usize = 3;

/// How a layer's reception goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerProgress {
    /// The layer was here already.
    Present,
    /// So many bytes of the blob are here.
    Received(u64),
    /// All is here and unpacked.
    Complete,
}

/// Opens the rest of a blob, from a byte on.
pub type Fetch<'a> = dyn FnMut(u64) -> Result<Box<dyn Read + Send>> + 'a;

/// Gets one layer: blob and snapshot, in one pass. What an interrupted
/// attempt left is used. Layers of one image may come in parallel and in any
/// order; [`Store::finish_layers`] follows once all are there.
///
/// The caller holds [`Store::use_lock`].
pub fn receive_layer(
    store: &Store,
    layer: &LayerToReceive,
    fetch: &mut Fetch<'_>,
    progress: &dyn Fn(LayerProgress),
) -> Result<()> {
    receive(store, layer, fetch, progress).context(|| format!("layer {}", layer.descriptor.digest))
}

/// Unpacks a layer whose blob is here, unless that was done.
pub fn unpack_layer(store: &Store, layer: &LayerToReceive) -> Result<()> {
    unpack_present(store, layer).context(|| format!("layer {}", layer.descriptor.digest))
}

/// Unpacks layers whose blobs are here, some at once, and finishes them.
pub fn unpack_layers(store: &Store, layers: &[LayerToReceive]) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
            unpack_layer(store, layer)?;
        }
        Ok(())
    };
    let mut errors = Errors::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WORKERS.min(layers.len()))
            .map(|_| scope.spawn(work))
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(result) => errors.keep(result),
                Err(panic) => std::panic::resume_unwind(panic),
            };
        }
    });
    errors.into_result()?;
    store.finish_layers(layers)
}

impl Store {
    /// Makes the layers of an image, lowest first, all received or unpacked,
    /// its snapshots for good. Blobs and snapshots survive a power cut from
    /// here on; a reference may be set.
    pub fn finish_layers(&self, layers: &[LayerToReceive]) -> Result<()> {
        let chain: Vec<_> = layers.iter().map(|layer| layer.chain_id).collect();
        self.snapshots().settle(&chain)?;
        self.content().sync()
    }
}

fn receive(
    store: &Store,
    layer: &LayerToReceive,
    fetch: &mut Fetch<'_>,
    progress: &dyn Fn(LayerProgress),
) -> Result<()> {
    let Some(mut ingest) = store.content().ingest(&layer.descriptor)? else {
        unpack_present(store, layer)?;
        progress(LayerProgress::Present);
        return Ok(());
    };
    if store.snapshots().is_staged(&layer.chain_id)? {
        // Unpacked from another blob of the same content.
        let pool = Pool::default();
        feed_all(&mut ingest, fetch, progress, (&pool, &mut |_| Ok(()))).map_err(unstopped)?;
        ingest.commit()?;
        progress(LayerProgress::Complete);
        return Ok(());
    }
    let resumed = ingest.offset() > 0;
    let first = receive_once(store, layer, ingest, (fetch, progress));
    match first {
        // What an earlier attempt left may be damaged: once more from scratch.
        Err(error) if resumed && error.kind() == ErrorKind::Corrupt => {
            let ingest = store.content().ingest(&layer.descriptor)?;
            let Some(mut ingest) = ingest else {
                return unpack_present(store, layer);
            };
            ingest.restart()?;
            receive_once(store, layer, ingest, (fetch, progress))?;
        }
        other => other?,
    }
    progress(LayerProgress::Complete);
    Ok(())
}

fn receive_once(
    store: &Store,
    layer: &LayerToReceive,
    mut ingest: Ingest,
    (fetch, progress): (&mut Fetch<'_>, &dyn Fn(LayerProgress)),
) -> Result<()> {
    let staging = store.snapshots().begin()?;
    let algorithm = layer.diff_id.0.algorithm();
    // Who waits for the blob finds it unpacked, too.
    let mut held = None;
    let unpacked = pipe::unpack(staging.open()?, store.limits(), algorithm, |feed| {
        let mut send = |bytes| Ok(feed.send(bytes)?);
        feed_all(&mut ingest, fetch, progress, (feed.pool(), &mut send))?;
        held = Some(ingest.commit()?);
        Ok(())
    });
    let finished = finish(store, layer, staging, unpacked);
    drop(held);
    finished
}

fn finish(
    store: &Store,
    layer: &LayerToReceive,
    staging: Staging,
    unpacked: Result<Unpacked>,
) -> Result<()> {
    let unpacked = unpacked?;
    if unpacked.diff_id != layer.diff_id {
        let (found, wanted) = (unpacked.diff_id, layer.diff_id);
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("the uncompressed content is {found}, the config says {wanted}"),
        ));
    }
    staging.finish(store.snapshots(), &layer.chain_id, &unpacked.unfinished)
}

fn unpack_present(store: &Store, layer: &LayerToReceive) -> Result<()> {
    if store.snapshots().is_staged(&layer.chain_id)? {
        return Ok(());
    }
    let blob = store.content().open_blob(&layer.descriptor.digest)?;
    let staging = store.snapshots().begin()?;
    let algorithm = layer.diff_id.0.algorithm();
    let unpacked = pipe::unpack(staging.open()?, store.limits(), algorithm, |feed| {
        let mut at = 0;
        loop {
            let read = |bytes: &mut [u8]| blob.read_at(bytes, at);
            let bytes = feed.pool().fill(read).context(|| "read blob")?;
            if bytes.is_empty() {
                return Ok(());
            }
            at += bytes.len() as u64;
            feed.send(bytes)?;
        }
    });
    finish(store, layer, staging, unpacked)
}

/// Sends the whole blob down the pipe while storing it: what is here from an
/// earlier attempt first, then the rest from the network.
fn feed_all(
    ingest: &mut Ingest,
    fetch: &mut Fetch<'_>,
    progress: &dyn Fn(LayerProgress),
    (pool, send): (&Pool, &mut dyn FnMut(Buffer) -> Result<(), FeedError>),
) -> Result<(), FeedError> {
    loop {
        let bytes = pool.fill(|bytes| ingest.replay(bytes))?;
        if bytes.is_empty() {
            break;
        }
        send(bytes)?;
        progress(LayerProgress::Received(ingest.offset()));
    }
    if ingest.is_full() {
        return Ok(());
    }
    let mut source = fetch(ingest.offset())?;
    loop {
        let bytes = pool.fill(|bytes| read_some(&mut *source, bytes))?;
        if bytes.is_empty() {
            return Ok(());
        }
        ingest.write(&bytes)?;
        progress(LayerProgress::Received(ingest.offset()));
        send(bytes)?;
    }
}

fn unstopped(error: FeedError) -> Error {
    match error {
        FeedError::Failed(error) => error,
        FeedError::Stopped => Error::new(ErrorKind::Internal, "nobody took the blob"),
    }
}

fn read_some(source: &mut dyn Read, bytes: &mut [u8]) -> Result<usize> {
    loop {
        match source.read(bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other.context(|| "receive"),
        }
    }
}
