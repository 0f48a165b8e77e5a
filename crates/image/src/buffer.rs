//! Buffers that are used again. Memory that is given back and asked for anew
//! costs a page fault per 4 KiB, which on some machines is more than all the
//! rest of unpacking.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

/// The bytes that are moved at once: enough to make hand-overs cheap, few
/// enough to stay in the cache from one stage to the next.
pub(crate) const CHUNK: usize = 128 << 10;

/// Where buffers come from and return to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

/// Bytes read at once; returns to its pool when dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// Always `CHUNK` long.
    bytes: Vec<u8>,
    length: usize,
    home: Pool,
}

impl Pool {
    /// A buffer of up to `CHUNK` bytes that `read` fills; it says how many.
    pub(crate) fn fill<E>(
        &self,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Buffer, E> {
        // A poisoned pool is as good as an empty one.
        let used = self.0.lock().ok().and_then(|mut free| free.pop());
        let mut buffer = Buffer {
            bytes: used.unwrap_or_else(|| vec![0; CHUNK]),
            length: 0,
            home: self.clone(),
        };
        buffer.length = read(&mut buffer.bytes)?;
        Ok(buffer)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Ok(mut free) = self.home.0.lock() {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}
