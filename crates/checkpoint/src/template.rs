//! An image kept in memory, from which containers are made again and again:
//! read and verified once, the private memory of its processes already in
//! pages that every clone shares until it writes to them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use sys::pagemap::PAGE;
use sys::region::{HUGE, Region, Traits};
use sys::{Context as _, ErrorKind, Result};

use crate::copies::{Bases, Copies, memfd};
use crate::image::{self, Loaded, PageFiles, Parents, schema::Checkpoint, schema::Mapping};
use crate::maps::{self, Detail};
use crate::rebuild::Common;
use crate::staging::{Piece, Share, Staging, pieces};

/// How much of a huge page has to be in use for it to be one: so no template
/// takes more than a third more than what it holds.
const DENSE: u64 = HUGE / 4 * 3;

/// What a process holds that clones are made from: its children inherit the
/// memory, and the one that becomes a container's monitor hands it on.
#[derive(Debug)]
pub struct Template {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) pages: PageFiles,
    pub(crate) staging: Staging,
    pub(crate) regions: Vec<Region>,
    pub(crate) common: Common,
    /// Of shared memory that need not be copied.
    pub(crate) bases: Option<Bases>,
    /// For the next clone.
    pub(crate) copies: Option<Copies>,
}

impl Template {
    /// Reads and verifies the image in `directory` and takes its memory into
    /// ours. Memory for which there is no place is read for each clone anew.
    pub fn read(directory: impl AsFd) -> Result<Self> {
        let Loaded {
            checkpoint, pages, ..
        } = image::load(&directory, &Parents::none())?;
        let own = maps::read(own_pid(), Detail::Places)?;
        let taken: Vec<Range<u64>> = own.iter().map(|line| line.start..line.end).collect();
        let staging = Staging::plan(&checkpoint, &taken);
        let mut regions = Vec::new();
        for process in &checkpoint.processes {
            let Some(share) = staging.share(process.pid) else {
                continue;
            };
            let mut found: BTreeMap<usize, Vec<Piece>> = BTreeMap::new();
            for piece in pieces(&process.memory) {
                found.entry(piece.mapping).or_default().push(piece);
            }
            for (index, pieces) in found {
                let mapping = &process.memory.mappings[index];
                regions.extend(
                    stage(share, mapping, &pieces, &pages)
                        .context(|| format!("memory of process {}", process.pid))?,
                );
            }
        }
        let common = Common::find(&checkpoint, &pages);
        Ok(Self {
            bases: Bases::make(&checkpoint, directory.as_fd(), &pages),
            common,
            checkpoint,
            pages,
            staging,
            regions,
            copies: None,
        })
    }

    /// Bytes of memory that it holds for its clones.
    pub fn size(&self) -> u64 {
        let processes = self.checkpoint.processes.iter();
        processes
            .flat_map(|process| {
                let share = self.staging.share(process.pid);
                pieces(&process.memory).filter(move |piece| {
                    let mapping = &process.memory.mappings[piece.mapping];
                    share.is_some_and(|share| share.place(mapping).is_some())
                })
            })
            .map(|piece| piece.length)
            .sum()
    }

    /// Bytes of shared memory of which a clone gets its own, as far as that can
    /// be made beforehand; 0 if there is none.
    pub fn copied(&self) -> u64 {
        let shared = self.checkpoint.shared.iter();
        shared
            .filter(|memory| memfd(&memory.kind).is_some())
            .flat_map(|memory| &memory.pages)
            .map(|(_, count, _)| count * PAGE)
            .sum()
    }

    /// Makes the files of such a copy.
    pub fn prepare_copies(&self) -> Result<Copies> {
        Copies::prepare(&self.checkpoint, self.bases.as_ref())
    }

    /// Fills them, which takes its time.
    pub fn fill_copies(&self, copies: &Copies) -> Result<()> {
        copies.fill(&self.checkpoint, &self.pages, self.bases.as_ref())
    }

    /// Gives the clone that is made of this a copy that was filled.
    pub fn give(&mut self, copies: Copies) {
        self.copies = Some(copies);
    }

    /// Descriptors that it needs.
    pub fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        let copies = self.copies.iter().flat_map(Copies::all);
        let bases = self.bases.iter().flat_map(Bases::descriptors);
        copies
            .map(|(_, file)| file)
            .chain(bases)
            .chain(self.pages.files())
    }
}

/// A region with the pages of `mapping`, if it is to have one.
fn stage(
    share: &Share,
    mapping: &Mapping,
    pieces: &[Piece],
    pages: &PageFiles,
) -> Result<Option<Region>> {
    let Some(place) = share.place(mapping) else {
        return Ok(None);
    };
    let has = |flag: &str| mapping.flags.iter().any(|known| known == flag);
    let traits = Traits {
        grows_down: has("gd"),
        unreserved: has("nr"),
    };
    let region = Region::map(place, mapping.end - mapping.start, traits)?;
    for range in dense(mapping, pieces) {
        // What comes of it is speed.
        let _ = region.make_huge(range.start - mapping.start, range.end - range.start);
    }
    for piece in pieces {
        let mut at = piece.start - mapping.start;
        for part in pages.extents(piece.offset, piece.length) {
            region
                .fill(at, part.length, part.file, part.offset)
                .map_err(|error| match error.kind() {
                    ErrorKind::Corrupt => image::too_short(),
                    _ => error,
                })?;
            at += part.length;
        }
    }
    Ok(Some(region))
}

/// Where in a mapping huge pages would be in use for the most part: a fork
/// copies the tables of pages, and these have none.
fn dense(mapping: &Mapping, pieces: &[Piece]) -> Vec<Range<u64>> {
    let mut used: BTreeMap<u64, u64> = BTreeMap::new();
    for piece in pieces {
        let (mut from, end) = (piece.start, piece.start + piece.length);
        while from < end {
            let chunk = from / HUGE * HUGE;
            let to = end.min(chunk + HUGE);
            *used.entry(chunk).or_default() += to - from;
            from = to;
        }
    }
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for (chunk, bytes) in used {
        if bytes < DENSE || chunk < mapping.start || chunk + HUGE > mapping.end {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.end == chunk => last.end = chunk + HUGE,
            _ => ranges.push(chunk..chunk + HUGE),
        }
    }
    ranges
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::schema::Backing;

    fn piece(start: u64, pages: u64) -> Piece {
        Piece {
            mapping: 0,
            start,
            length: pages * PAGE,
            offset: 0,
        }
    }

    #[test]
    fn huge_pages_are_where_most_of_them_is_used() {
        let mapping = Mapping {
            start: HUGE - PAGE,
            end: 6 * HUGE - PAGE,
            protection: 3,
            backing: Backing::Anonymous { name: None },
            flags: Vec::new(),
        };
        let full = [piece(HUGE - PAGE, 1 + 512 + 384)];
        let in_parts = [piece(HUGE, 300), piece(HUGE + 400 * PAGE, 84)];
        let too_few = [piece(HUGE, 383)];
        let not_whole = [piece(5 * HUGE, 511)];
        for (pieces, found) in [
            (&full[..], Some(HUGE..3 * HUGE)),
            (&in_parts, Some(HUGE..2 * HUGE)),
            (&too_few, None),
            (&not_whole, None),
        ] {
            let found: Vec<_> = found.into_iter().collect();
            assert_eq!(dense(&mapping, pieces), found, "{pieces:?}");
        }
    }
}
