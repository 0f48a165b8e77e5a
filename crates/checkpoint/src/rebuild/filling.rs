//! Pages of private memory on their way from the image to where they belong.
//!
//! Most of them are given to the process by userfaultfd(2): the kernel makes
//! pages with that content, where read(2) would have it make pages of zeros one
//! fault at a time and copy into them. Few pages, and those that have something
//! behind them, the process reads itself.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use sys::pagemap::PAGE;
use sys::userfaultfd::{CALL, CLOSE_ON_EXEC, Given, NONBLOCKING, Userfault};
use sys::{Context as _, Error, ErrorKind, Result};

use super::pool::OPENED;
use super::{Puppet, Work};
use crate::image::schema::{Backing, Checkpoint, Memory};
use crate::image::{PageFiles, too_short};
use crate::inject::{Outcome, Program};
use crate::paging::{Missing, Space, Stretch};
use crate::staging::{Piece, pieces};

const CLOSE: u32 = 3;
const PREADV: u32 = 295;
/// Ranges of one preadv(2), and calls of one program.
const RANGES: usize = 1024;
const READS: usize = 32;
/// The most that one read transfers.
const READ_MAX: u64 = 1 << 30;
/// What all processes have to have in mappings that may wait, so that it is
/// worth a process that gives it to them.
const WAITING_MIN: u64 = 16 << 20;
/// A mapping with less in it does not wait.
const WAITS_MIN: u64 = 1 << 20;
/// A mapping with less in it is left to the process.
const GIVEN_MIN: u64 = 64 << 10;
/// Given at a time: what a processor keeps at hand.
const CHUNK: usize = 256 << 10;
pub(crate) const PAGE_SIZE: usize = 4096;

/// Whether there is so much that processes should not wait for all of it.
pub(super) fn is_much(checkpoint: &Checkpoint) -> bool {
    let processes = checkpoint.processes.iter();
    let waiting = processes.map(|process| {
        let stored = stored(&process.memory);
        let waits = waiting(&process.memory, true);
        let bytes = stored.iter().zip(waits).filter(|(_, waits)| *waits);
        bytes.map(|(bytes, _)| bytes).sum::<u64>()
    });
    waiting.fold(0, u64::saturating_add) >= WAITING_MIN
}

/// The mappings whose pages may come when the process has gone on; none unless
/// that `is_wanted`.
///
/// What is locked was promised to be there. Of what a child does not get, or
/// gets empty, and of guards nobody would tell while it is waited for.
pub(super) fn waiting(memory: &Memory, is_wanted: bool) -> Vec<bool> {
    let mappings = memory
        .mappings
        .iter()
        .zip(stored(memory))
        .zip(given(memory));
    mappings
        .map(|((mapping, stored), is_given)| {
            let kept = ["lo", "wf", "dc"];
            let guards = &memory.guards;
            let first = guards.partition_point(|(_, end)| *end <= mapping.start);
            let has_guard = guards.get(first).is_some_and(|it| it.0 < mapping.end);
            is_wanted
                && is_given
                && stored >= WAITS_MIN
                && !has_guard
                && !mapping.flags.iter().any(|it| kept.contains(&it.as_str()))
        })
        .collect()
}

/// Bytes in the image, by mapping.
fn stored(memory: &Memory) -> Vec<u64> {
    let mut stored = vec![0; memory.mappings.len()];
    for piece in pieces(memory) {
        stored[piece.mapping] += piece.length;
    }
    stored
}

/// The mappings whose pages are best given to the process.
pub(super) fn given(memory: &Memory) -> Vec<bool> {
    let mappings = memory.mappings.iter().zip(stored(memory));
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
/// With `waits`, also whether the process can go on meanwhile.
pub(super) fn take(
    puppet: &Puppet,
    (outcome, asked): (&Outcome, usize),
    waits: bool,
) -> Result<Option<(Userfault, bool)>> {
    if outcome.result(asked) != i64::from(OPENED) {
        return Ok(None);
    }
    let taken = take_descriptor(puppet).and_then(|fd| {
        if waits && let Ok(userfault) = Userfault::for_missing(fd.try_clone()?) {
            return Ok((userfault, true));
        }
        Ok((Userfault::for_filling(fd)?, false))
    });
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
    pages: &PageFiles,
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
            pages.read_exact_at(chunk, from)?;
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

/// What is left to be given when the process has gone on.
pub(super) fn leave(userfault: Userfault, pieces: impl Iterator<Item = Piece>) -> Option<Space> {
    let mut missing = Missing::default();
    for piece in pieces {
        missing.add(Stretch {
            start: piece.start,
            length: piece.length,
            offset: piece.offset,
        });
    }
    (!missing.is_empty()).then_some(Space { userfault, missing })
}

/// A program that has a process read pages straight to where they belong,
/// among other things.
pub(super) struct Reading<'a> {
    puppet: &'a Puppet,
    program: Program,
    /// What the calls with these indices have to give.
    expected: Vec<(usize, u64)>,
}

impl<'a> Reading<'a> {
    /// After what is in `program`.
    pub(super) fn new(puppet: &'a Puppet, program: Program) -> Self {
        Self {
            puppet,
            program,
            expected: Vec::new(),
        }
    }

    /// What else is to be done then.
    pub(super) fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Adds reads, and has them done as soon as they are many.
    pub(super) fn add(
        &mut self,
        pieces: impl Iterator<Item = Piece>,
        work: &Work<'_>,
    ) -> Result<()> {
        let mut runs = pieces.flat_map(|piece| stretches(piece, work.pages));
        let mut next = runs.next();
        while let Some((_, _, (file, offset))) = next {
            let mut vectors = Vec::new();
            let mut total = 0;
            while let Some((start, length, stored)) = next
                && stored == (file, offset + total)
                && vectors.len() < RANGES * 16
                && total + length <= READ_MAX
            {
                vectors.extend_from_slice(&start.to_le_bytes());
                vectors.extend_from_slice(&length.to_le_bytes());
                total += length;
                next = runs.next();
            }
            let count = vectors.len() / 16;
            let place = self.program.data(&vectors);
            let index = self.program.call(
                "read memory from the checkpoint",
                PREADV,
                &[
                    work.pool.pages(file).into(),
                    place.into(),
                    (count as u64).into(),
                    offset.into(),
                    0.into(),
                ],
            );
            self.expected.push((index, total));
            if self.expected.len() == READS {
                self.run()?;
            }
        }
        Ok(())
    }

    pub(super) fn run(&mut self) -> Result<()> {
        let outcome = self.puppet.run(&self.program)?;
        self.check(&outcome)?;
        self.program = Program::default();
        self.expected.clear();
        Ok(())
    }

    /// What is not done yet of several, by all of them at once.
    pub(super) fn run_all(all: &[Self]) -> Result<()> {
        let programs = all.iter().map(|one| (one.puppet, &one.program));
        for (one, outcome) in all.iter().zip(super::run_all(programs)?) {
            one.check(&outcome)?;
        }
        Ok(())
    }

    fn check(&self, outcome: &Outcome) -> Result<()> {
        for (index, total) in &self.expected {
            if outcome.value(*index)? != *total {
                return Err(too_short());
            }
        }
        Ok(())
    }
}

/// Where it is to be, bytes, file and byte in it, in parts that one read takes.
fn stretches(piece: Piece, pages: &PageFiles) -> impl Iterator<Item = (u64, u64, (usize, u64))> {
    let step = usize::try_from(READ_MAX).unwrap_or(usize::MAX);
    let mut start = piece.start;
    pages
        .extents(piece.offset, piece.length)
        .flat_map(move |part| {
            let begin = start;
            start += part.length;
            (0..part.length).step_by(step).map(move |skip| {
                let length = (part.length - skip).min(READ_MAX);
                (begin + skip, length, (part.index, part.offset + skip))
            })
        })
}

const _: () = assert!(PAGE_SIZE as u64 == PAGE && CHUNK.is_multiple_of(PAGE_SIZE));
