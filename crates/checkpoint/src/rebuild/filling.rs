//! Pages of private memory on their way from the image to where they belong.
//!
//! Most of them are given to the process by userfaultfd(2): the kernel makes
//! pages with that content, where read(2) would have it make pages of zeros one
//! fault at a time and copy into them. Few pages, and those that have something
//! behind them, the process reads itself.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use sys::pagemap::PAGE;
use sys::userfaultfd::{CALL, CLOSE_ON_EXEC, Given, NONBLOCKING, Userfault};
use sys::{Context as _, Error, ErrorKind, Result};

use super::Puppet;
use super::pool::OPENED;
use crate::image::schema::{Backing, Memory};
use crate::inject::{Outcome, Program};
use crate::staging::{Piece, pieces};

const CLOSE: u32 = 3;
const PREADV: u32 = 295;
/// Ranges of one preadv(2), and calls of one program.
const RANGES: usize = 1024;
const READS: usize = 32;
/// The most that one read transfers.
const READ_MAX: u64 = 1 << 30;
/// A mapping with less in it is left to the process.
const GIVEN_MIN: u64 = 64 << 10;
/// Given at a time: what a processor keeps at hand.
const CHUNK: usize = 256 << 10;
const PAGE_SIZE: usize = 4096;

/// The mappings whose pages are best given to the process.
pub(super) fn given(memory: &Memory) -> Vec<bool> {
    let mut stored = vec![0; memory.mappings.len()];
    for piece in pieces(memory) {
        stored[piece.mapping] += piece.length;
    }
    let mappings = memory.mappings.iter().zip(stored);
    mappings
        .map(|(mapping, stored)| {
            let has = |flags: &[&str]| mapping.flags.iter().any(|it| flags.contains(&it.as_str()));
            // Who wants huge pages gets them by reading only; what the kernel
            // may drop has no content.
            matches!(mapping.backing, Backing::Anonymous { .. })
                && stored >= GIVEN_MIN
                && !has(&["hg", "dp"])
        })
        .collect()
}

/// Adds the making of a userfaultfd, which may be forbidden; its index.
pub(super) fn ask(program: &mut Program) -> usize {
    program.attempt(CALL, &[(CLOSE_ON_EXEC | NONBLOCKING).into()])
}

/// Takes what [`ask`] brought out of the process; `None` if it is forbidden.
pub(super) fn take(puppet: &Puppet, outcome: &Outcome, asked: usize) -> Result<Option<Userfault>> {
    if outcome.result(asked) != i64::from(OPENED) {
        return Ok(None);
    }
    let taken = take_descriptor(puppet).and_then(Userfault::for_filling);
    let mut program = Program::default();
    program.call("close a descriptor", CLOSE, &[OPENED.into()]);
    puppet.run(&program)?;
    Ok(taken.ok())
}

/// Which of the mappings that pages are to be given to can be given any.
pub(super) fn hold(userfault: &Userfault, memory: &Memory, mut given: Vec<bool>) -> Vec<bool> {
    for (mapping, is_given) in memory.mappings.iter().zip(&mut given) {
        *is_given = *is_given && userfault.hold_missing(mapping.start, mapping.end).is_ok();
    }
    given
}

fn take_descriptor(puppet: &Puppet) -> Result<OwnedFd> {
    let pid = Pid::from_raw(puppet.thread.tid);
    let pid = pid.ok_or_else(|| Error::new(ErrorKind::Internal, "not a pid"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(pidfd_getfd(&pidfd, OPENED, PidfdGetfdFlags::empty())?)
}

/// Gives pages from the file to a process that stands.
pub(super) fn give(
    userfault: &Userfault,
    pieces: impl Iterator<Item = Piece>,
    pages: BorrowedFd<'_>,
) -> Result<()> {
    // Aligned: copying to and from it is twice as fast.
    let mut buffer = vec![0; CHUNK + PAGE_SIZE];
    let skip = buffer.as_ptr().align_offset(PAGE_SIZE);
    let buffer = &mut buffer[skip..skip + CHUNK];
    for piece in pieces {
        let (mut at, mut left, mut from) = (piece.start, piece.length, piece.offset);
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let chunk = &mut buffer[..wanted];
            read_exact_at(pages, chunk, from)?;
            let length = chunk.len() as u64;
            let given = userfault.give(at, chunk);
            match given.context(|| format!("give memory at {at:#x}"))? {
                Given::Bytes(bytes) if bytes == length => {}
                other => {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        format!("memory at {at:#x} cannot be given: {other:?}"),
                    ));
                }
            }
            (at, from, left) = (at + length, from + length, left - length);
        }
    }
    Ok(())
}

pub(super) fn read_exact_at(
    pages: BorrowedFd<'_>,
    mut buffer: &mut [u8],
    mut from: u64,
) -> Result<()> {
    while !buffer.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::pread(pages, &mut *buffer, from))?;
        if count == 0 {
            return Err(too_short());
        }
        buffer = &mut buffer[count..];
        from += count as u64;
    }
    Ok(())
}

fn too_short() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the checkpoint's pages end before its memory",
    )
}

/// Has the process read pages straight to where they belong.
pub(super) fn read(puppet: &Puppet, pieces: impl Iterator<Item = Piece>, pages: i32) -> Result<()> {
    let mut runs = pieces.flat_map(|piece| {
        // In parts that one read takes.
        (0..piece.length)
            .step_by(usize::try_from(READ_MAX).unwrap_or(usize::MAX))
            .map(move |skip| {
                let length = (piece.length - skip).min(READ_MAX);
                (piece.start + skip, length, piece.offset + skip)
            })
    });
    let mut next = runs.next();
    while next.is_some() {
        let mut program = Program::default();
        let mut expected = Vec::new();
        for _ in 0..READS {
            let Some((_, _, offset)) = next else {
                break;
            };
            let mut vectors = Vec::new();
            let mut total = 0;
            while let Some((start, length, stored)) = next
                && stored == offset + total
                && vectors.len() < RANGES * 16
                && total + length <= READ_MAX
            {
                vectors.extend_from_slice(&start.to_le_bytes());
                vectors.extend_from_slice(&length.to_le_bytes());
                total += length;
                next = runs.next();
            }
            let count = vectors.len() / 16;
            let place = program.data(&vectors);
            program.call(
                "read memory from the checkpoint",
                PREADV,
                &[
                    pages.into(),
                    place.into(),
                    (count as u64).into(),
                    offset.into(),
                    0.into(),
                ],
            );
            expected.push(total);
        }
        let outcome = puppet.run(&program)?;
        for (index, total) in expected.into_iter().enumerate() {
            if outcome.value(index)? != total {
                return Err(too_short());
            }
        }
    }
    Ok(())
}

const _: () = assert!(PAGE_SIZE as u64 == PAGE && CHUNK.is_multiple_of(PAGE_SIZE));
