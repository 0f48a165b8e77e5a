//! Copying pages of a process into the image, from outside.

use std::fs::File;

use sys::pagemap::{PAGE, Run};
use sys::{Error, ErrorKind, Result, process_vm};

use crate::image::{Ledger, PageWriter};
use crate::procfs;

/// Read at a time: what is written on from there is still in the cache.
const BUFFER: usize = 512 << 10;
/// `ESRCH`
const NO_PROCESS: i32 = 3;

/// Reads the memory of one process.
pub(crate) struct PageReader {
    pid: i32,
    mem: File,
    buffer: Vec<u8>,
}

impl PageReader {
    pub(crate) fn open(pid: i32) -> Result<Self> {
        Ok(Self {
            pid,
            mem: procfs::open(pid, "mem")?,
            buffer: vec![0; BUFFER],
        })
    }

    /// Copies the pages of `runs`, all of which are there because the process
    /// stands; `readable` if it may read them itself.
    pub(crate) fn save(
        &mut self,
        runs: &[Run],
        readable: bool,
        ledger: &mut Ledger,
        writer: &mut PageWriter,
    ) -> Result<()> {
        batches(runs, |batch, total| {
            if !readable || self.read(batch, total)? < total {
                self.read_any(batch)?;
            }
            self.store(batch, total, ledger, writer)
        })
    }

    /// Copies what of `runs` is still there: the process goes on meanwhile.
    /// Gives the number of pages.
    pub(crate) fn save_moving(
        &mut self,
        runs: &[Run],
        ledger: &mut Ledger,
        writer: &mut PageWriter,
    ) -> Result<u64> {
        let mut bytes = 0;
        batches(runs, |batch, total| {
            let read = match self.read(batch, total) {
                Err(error) if error.errno() != Some(NO_PROCESS) => 0,
                read => read?,
            };
            bytes += read as u64;
            self.store(batch, read, ledger, writer)
        })?;
        Ok(bytes / PAGE)
    }

    fn read(&mut self, batch: &[(u64, usize)], total: usize) -> Result<usize> {
        process_vm::read(self.pid, batch, &mut self.buffer[..total])
    }

    /// Also what the process itself may not read.
    fn read_any(&mut self, batch: &[(u64, usize)]) -> Result<()> {
        let mut at = 0;
        for (address, length) in batch {
            let mut done = 0;
            while done < *length {
                let into = &mut self.buffer[at + done..at + length];
                match rustix::io::pread(&self.mem, into, address + done as u64)? {
                    0 => return Err(Error::new(ErrorKind::Internal, "memory ends early")),
                    count => done += count,
                }
            }
            at += length;
        }
        Ok(())
    }

    /// Stores what lies in the first `read` bytes of the buffer, whole pages.
    fn store(
        &self,
        batch: &[(u64, usize)],
        read: usize,
        ledger: &mut Ledger,
        writer: &mut PageWriter,
    ) -> Result<()> {
        let page = usize::try_from(PAGE).unwrap_or(4096);
        let mut at = 0;
        for (address, length) in batch {
            let length = read.saturating_sub(at).min(*length) / page * page;
            if length == 0 {
                break;
            }
            ledger.store(*address, &self.buffer[at..at + length], writer)?;
            at += length;
        }
        Ok(())
    }
}

/// Hands out the runs in pieces, as many at a time as fit the buffer, with
/// their bytes all in all.
fn batches(runs: &[Run], mut act: impl FnMut(&[(u64, usize)], usize) -> Result<()>) -> Result<()> {
    let mut batch = Vec::new();
    let mut total = 0;
    for piece in runs.iter().flat_map(|run| pieces(*run)) {
        if total + piece.1 > BUFFER || batch.len() == process_vm::RANGES_MAX {
            act(&batch, total)?;
            batch.clear();
            total = 0;
        }
        batch.push(piece);
        total += piece.1;
    }
    if batch.is_empty() {
        return Ok(());
    }
    act(&batch, total)
}

/// A run in pieces that fit the buffer.
fn pieces(run: Run) -> impl Iterator<Item = (u64, usize)> {
    (run.start..run.end).step_by(BUFFER).map(move |start| {
        let length = usize::try_from(run.end - start).unwrap_or(BUFFER);
        (start, length.min(BUFFER))
    })
}
