//! Mappings at their old addresses, filled from the image. Anonymous memory
//! is anonymous again: what the program gives back to the kernel reads as
//! zero afterwards, never as what the image holds.

use std::ops::Range;

use sys::Result;
use sys::pagemap::PAGE;

use super::filling::Reading;
use super::{MMAP, MREMAP, MUNMAP, Pool, Puppet, Work, aio, filling, shared_memory};
use crate::image::hex;
use crate::image::schema::{Backing, Mapping, Memory};
use crate::inject::Program;
use crate::paging::Space;
use crate::staging::{self, Piece, Share, Staging};

const MPROTECT: u32 = 10;
const MADVISE: u32 = 28;
const ARCH_PRCTL: u32 = 158;
const PRCTL: u32 = 157;
const MLOCK2: u32 = 325;

const MREMAP_MAYMOVE_FIXED: u32 = 3;
const MADV_DOFORK: u32 = 11;
/// `MADV_GUARD_INSTALL`
const GUARD: u32 = 102;

const PROT_WRITE: u32 = 2;
const PROT_READ_WRITE: u32 = 3;
const MAP_SHARED: u32 = 1;
const MAP_PRIVATE: u32 = 2;
/// Linux 6.11.
const MAP_DROPPABLE: u32 = 8;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_GROWSDOWN: u32 = 0x100;
const MAP_NORESERVE: u32 = 0x4000;
const MAP_FIXED_NOREPLACE: u32 = 0x10_0000;
const ARCH_MAP_VDSO_64: u32 = 0x2003;
const PR_SET_MM: i32 = 35;
const PR_SET_MM_MAP: i32 = 14;
const PR_SET_VMA: i32 = 0x5356_4d41;

/// Where the pages of a process's private memory come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// From the image.
    Image,
    /// From where a template left them in the process's own address space; what is not there, from
    /// the image.
    Staged(&'a Staging),
}

/// Where those of one mapping come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pages {
    Image,
    /// The mapping itself is at this address, whole, to be read and written.
    Staged(u64),
}

impl<'a> Source<'a> {
    /// Addresses that are in use by it until the memory is made.
    pub(super) fn span(self) -> Range<u64> {
        match self {
            Self::Image => 0..0,
            Self::Staged(staging) => staging.span(),
        }
    }

    /// What of it belongs to process `pid` of the checkpoint.
    pub(super) fn share(self, pid: i32) -> Option<&'a Share> {
        match self {
            Self::Image => None,
            Self::Staged(staging) => staging.share(pid),
        }
    }
}

/// Begins to make it: what is left is the process's own to do. Also gives what
/// is missing of it then, if the process can wait for that.
pub(super) fn make<'a>(
    puppet: &'a Puppet,
    memory: &Memory,
    work: &Work<'_>,
) -> Result<(Reading<'a>, Option<Space>)> {
    aio::make(puppet, memory, work)?;
    let pool = work.pool;
    let share = work.source.share(puppet.thread.inner_pid);
    let pages_of = |mapping: &Mapping| match share.and_then(|share| share.place(mapping)) {
        Some(place) => Pages::Staged(place),
        None => Pages::Image,
    };
    let mut program = Program::default();
    let given = filling::given(memory);
    let asked = (share.is_none() && given.contains(&true)).then(|| filling::ask(&mut program));
    if let Some(share) = share {
        let own = share.own();
        let length = own.end - own.start;
        // There are holes in it, of which the call complains when it is done.
        program.attempt(
            MADVISE,
            &[own.start.into(), length.into(), MADV_DOFORK.into()],
        );
    }
    let mut has_vdso = false;
    let filled = filled(memory);
    for (mapping, is_filled) in memory.mappings.iter().zip(&filled) {
        match mapping.backing {
            // Together they are one thing of the kernel's, made at the
            // address of the first.
            Backing::Vvar | Backing::Vdso if has_vdso => {}
            Backing::Ring { .. } => {}
            _ if work.common.has(mapping) => {}
            Backing::Vvar | Backing::Vdso => {
                has_vdso = true;
                program.call(
                    "map the vdso",
                    ARCH_PRCTL,
                    &[ARCH_MAP_VDSO_64.into(), mapping.start.into()],
                );
            }
            Backing::Shared { memory, .. } if work.system_v(memory).is_some() => {
                shared_memory::attach(&mut program, mapping, work.system_v(memory));
            }
            _ => match pages_of(mapping) {
                Pages::Image => map(&mut program, mapping, *is_filled, pool),
                Pages::Staged(place) => move_in(&mut program, mapping, place),
            },
        }
    }
    if let Source::Staged(staging) = work.source {
        let span = staging.span();
        let length = span.end - span.start;
        program.call(
            "drop what was staged",
            MUNMAP,
            &[span.start.into(), length.into()],
        );
    }
    let waiting = filling::waiting(memory, work.is_lazy && share.is_none());
    let taken = match asked {
        Some(asked) => {
            let outcome = puppet.run(&std::mem::take(&mut program))?;
            filling::take(puppet, (&outcome, asked), waiting.contains(&true))?
        }
        None => None,
    };
    let given = taken.as_ref().map_or(Vec::new(), |(userfault, _)| {
        filling::hold(userfault, memory, given)
    });
    let can_wait = taken.as_ref().is_some_and(|(_, can_wait)| *can_wait);
    let waits = |mapping: usize| can_wait && waiting[mapping] && given.get(mapping) == Some(&true);
    let is_given = |piece: &Piece| given.get(piece.mapping) == Some(&true);
    let missing = staging::pieces(memory).filter(|piece| {
        let mapping = &memory.mappings[piece.mapping];
        matches!(pages_of(mapping), Pages::Image) && !is_given(piece) && !work.common.has(mapping)
    });
    let mut reading = Reading::new(puppet, program);
    reading.add(missing, work)?;
    let mut space = None;
    if let Some((userfault, _)) = taken {
        let now = staging::pieces(memory).filter(|it| is_given(it) && !waits(it.mapping));
        filling::give(&userfault, now, work.pages)?;
        let later = staging::pieces(memory).filter(|it| waits(it.mapping));
        space = filling::leave(userfault, later);
    }
    if let Some(space) = &space {
        let mappings = memory.mappings.iter().enumerate();
        for (_, mapping) in mappings.filter(|(index, _)| given[*index] && !waits(*index)) {
            space.userfault.forget(mapping.start, mapping.end)?;
        }
    }
    let program = reading.program();
    let own = memory.mappings.iter().zip(&filled);
    for (mapping, is_filled) in own.filter(|(mapping, _)| !work.common.has(mapping)) {
        settle(program, mapping, *is_filled, pages_of(mapping));
    }
    for (start, end) in &memory.guards {
        let arguments = [(*start).into(), (end - start).into(), GUARD.into()];
        program.call("guard memory", MADVISE, &arguments);
    }
    set_fields(program, memory, pool)?;
    Ok((reading, space))
}

/// Moves what a template prepared to where it belongs, without a copy. It
/// stays anonymous, and shared copy-on-write with the template.
fn move_in(program: &mut Program, mapping: &Mapping, place: u64) {
    let length = mapping.end - mapping.start;
    program.call(
        format!("move memory to {:#x}", mapping.start),
        MREMAP,
        &[
            place.into(),
            length.into(),
            length.into(),
            MREMAP_MAYMOVE_FIXED.into(),
            mapping.start.into(),
        ],
    );
    advise_on_sizes(program, mapping);
}

/// Which of the mappings get pages from the image.
pub(super) fn filled(memory: &Memory) -> Vec<bool> {
    let mut filled = vec![false; memory.mappings.len()];
    for (start, count, _) in &memory.pages {
        let end = start + count * PAGE;
        let first = memory.mappings.partition_point(|it| it.end <= *start);
        let these = memory.mappings.iter().zip(&mut filled).skip(first);
        for (_, is_filled) in these.take_while(|(mapping, _)| mapping.start < end) {
            *is_filled = true;
        }
    }
    filled
}

/// Only what is filled is to be written to meanwhile: the kernel counts
/// memory that can be written as promised, and some programs reserve
/// terabytes that nobody may touch.
pub(super) fn map(program: &mut Program, mapping: &Mapping, is_filled: bool, pool: Pool) {
    let has = |flag: &str| mapping.flags.iter().any(|known| known == flag);
    let (mut flags, fd, offset) = match &mapping.backing {
        Backing::Anonymous { .. } => (MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
        Backing::PrivateFile { file, offset } => (MAP_PRIVATE, pool.file(*file), *offset),
        Backing::SharedFile { file, offset } => (MAP_SHARED, pool.file(*file), *offset),
        Backing::PrivateShared { memory, offset } => (MAP_PRIVATE, pool.shared(*memory), *offset),
        Backing::Shared { memory, offset } => (MAP_SHARED, pool.shared(*memory), *offset),
        Backing::Ring { .. } | Backing::Vvar | Backing::Vdso => return,
    };
    if has("dp") {
        flags = MAP_DROPPABLE | MAP_ANONYMOUS;
    }
    flags |= MAP_FIXED_NOREPLACE;
    if has("gd") {
        flags |= MAP_GROWSDOWN;
    }
    if has("nr") {
        flags |= MAP_NORESERVE;
    }
    let protection = if is_filled {
        mapping.protection | PROT_WRITE
    } else {
        mapping.protection
    };
    let length = mapping.end - mapping.start;
    program.call(
        format!("map memory at {:#x}", mapping.start),
        MMAP,
        &[
            mapping.start.into(),
            length.into(),
            protection.into(),
            flags.into(),
            fd.into(),
            offset.into(),
        ],
    );
    // Before it is filled: these say with which pages.
    advise_on_sizes(program, mapping);
}

/// Whether huge pages are wanted or not.
fn advise_on_sizes(program: &mut Program, mapping: &Mapping) {
    let length = mapping.end - mapping.start;
    for (flag, advice) in [("hg", 14), ("nh", 15)] {
        if mapping.flags.iter().any(|known| known == flag) {
            program.attempt(
                MADVISE,
                &[mapping.start.into(), length.into(), advice.into()],
            );
        }
    }
}

/// What has to come after the filling.
pub(super) fn settle(program: &mut Program, mapping: &Mapping, is_filled: bool, pages: Pages) {
    let length = mapping.end - mapping.start;
    let range = [mapping.start.into(), length.into()];
    let differs = match pages {
        Pages::Image => is_filled && mapping.protection & PROT_WRITE == 0,
        Pages::Staged(_) => mapping.protection != PROT_READ_WRITE,
    };
    if differs {
        let arguments = [range[0], range[1], mapping.protection.into()];
        program.call("protect memory", MPROTECT, &arguments);
    }
    for flag in &mapping.flags {
        let advice = match flag.as_str() {
            "dc" => 10,
            "wf" => 18,
            "mg" => 12,
            "dd" => 16,
            "sr" => 2,
            "rr" => 1,
            "lo" => {
                // Only what is present: locking filled the rest before, too,
                // unless it was told not to.
                program.call("lock memory", MLOCK2, &[range[0], range[1], 1.into()]);
                continue;
            }
            _ => continue,
        };
        program.call(
            "advise on memory",
            MADVISE,
            &[range[0], range[1], advice.into()],
        );
    }
    if let Backing::Anonymous { name: Some(name) } = &mapping.backing {
        let name = program.text(name.as_bytes());
        program.attempt(
            PRCTL,
            &[PR_SET_VMA.into(), 0.into(), range[0], range[1], name.into()],
        );
    }
}

/// `struct prctl_mm_map`.
fn set_fields(program: &mut Program, memory: &Memory, pool: Pool) -> Result<()> {
    let auxiliary = hex::decode(&memory.auxiliary)?;
    let auxiliary_at = program.data(&auxiliary);
    let mut map = Vec::new();
    for field in memory.fields {
        map.extend_from_slice(&field.to_le_bytes());
    }
    let pointer = map.len();
    map.extend_from_slice(&0u64.to_le_bytes());
    let size = u32::try_from(auxiliary.len()).unwrap_or(0);
    map.extend_from_slice(&size.to_le_bytes());
    let program_file = memory.program.map_or(-1, |file| pool.file(file));
    map.extend_from_slice(&program_file.to_le_bytes());
    let length = map.len() as u64;
    let place = program.data(&map);
    program.point(place, pointer, auxiliary_at);
    program.call(
        "set the addresses of program and heap",
        PRCTL,
        &[
            PR_SET_MM.into(),
            PR_SET_MM_MAP.into(),
            place.into(),
            length.into(),
        ],
    );
    Ok(())
}
