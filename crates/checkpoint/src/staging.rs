//! Where the private memory of all processes lies in a template, from which
//! every clone inherits it copy-on-write and moves it to its final addresses.
//! Pure: who maps and fills it is `template`, who moves it `rebuild::memory`.
//!
//! ```text
//! span  ├─ init ─┬─ child ─┬─ its child ─┬─ second child ─┤
//!         a subtree of the tree of processes is one piece of it
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use sys::pagemap::PAGE;

use crate::image::schema::{Backing, Checkpoint, Mapping, Memory, ProcessState};
use crate::maps::END_OF_MEMORY;

/// What the kernel maps with one table of pages. Source and destination have
/// the same place within it, so that tables move as a whole.
pub(crate) const TABLE: u64 = 2 << 20;
/// Between mappings: they do not become one, and none that grows downwards
/// (its guard is 1 MiB) reaches another.
const GAP: u64 = TABLE;
/// Above what small processes use, ours among them, and below libraries and
/// stacks.
const FIRST: u64 = 0x2000_0000_0000;

/// Where everything lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Staging {
    span: Range<u64>,
    processes: HashMap<i32, Share>,
}

/// What belongs to one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// Where each of its mappings lies, by the address that it is to have.
    places: BTreeMap<u64, u64>,
    /// Its own memory, and with its descendants' behind it.
    own: Range<u64>,
    subtree: Range<u64>,
}

impl Staging {
    /// Finds a place for the memory of all processes that none of them uses,
    /// and nothing of `taken`; no place at all if there is no room.
    pub(crate) fn plan(checkpoint: &Checkpoint, taken: &[Range<u64>]) -> Self {
        let mut sizes: HashMap<i32, u64> = HashMap::new();
        let mut shares: HashMap<i32, Share> = HashMap::new();
        // Children come after their parents.
        for process in checkpoint.processes.iter().rev() {
            let share = lay_out(&process.memory, process.state);
            let size = sizes.entry(process.pid).or_default();
            *size = size.saturating_add(share.own.end);
            let size = *size;
            let above = sizes.entry(process.parent).or_default();
            *above = above.saturating_add(size);
            shares.insert(process.pid, share);
        }
        let total = sizes.get(&0).copied().unwrap_or(0);
        let Some(start) = hole(checkpoint, taken, total).filter(|_| total > 0) else {
            return Self::default();
        };
        // Where the next child of each process begins.
        let mut next = HashMap::from([(0, start)]);
        for process in &checkpoint.processes {
            let size = sizes.get(&process.pid).copied().unwrap_or(0);
            let place = next.entry(process.parent).or_default();
            let at = *place;
            *place += size;
            if let Some(share) = shares.get_mut(&process.pid) {
                share.places.values_mut().for_each(|place| *place += at);
                share.own = at..at + share.own.end;
                share.subtree = at..at + size;
                next.insert(process.pid, share.own.end);
            }
        }
        Self {
            span: start..start + total,
            processes: shares,
        }
    }

    /// All of it; empty if nothing is staged.
    pub(crate) fn span(&self) -> Range<u64> {
        self.span.clone()
    }

    /// Of process `pid` of the checkpoint.
    pub(crate) fn share(&self, pid: i32) -> Option<&Share> {
        self.processes.get(&pid)
    }
}

impl Share {
    /// Where the memory of `mapping` lies; none if it is read from the image.
    pub(crate) fn place(&self, mapping: &Mapping) -> Option<u64> {
        self.places.get(&mapping.start).copied()
    }

    pub(crate) fn own(&self) -> Range<u64> {
        self.own.clone()
    }

    pub(crate) fn subtree(&self) -> Range<u64> {
        self.subtree.clone()
    }
}

/// The memory of one process, as if it began at 0.
fn lay_out(memory: &Memory, state: ProcessState) -> Share {
    let mut share = Share::default();
    if matches!(state, ProcessState::Zombie(_)) {
        return share;
    }
    let mut end: u64 = 0;
    let filled: BTreeSet<usize> = pieces(memory).map(|piece| piece.mapping).collect();
    for mapping in filled.into_iter().map(|index| &memory.mappings[index]) {
        if !matches!(mapping.backing, Backing::Anonymous { .. }) {
            continue;
        }
        let place = end.next_multiple_of(TABLE) + mapping.start % TABLE;
        share.places.insert(mapping.start, place);
        end = place + (mapping.end - mapping.start) + GAP;
    }
    share.own = 0..end.next_multiple_of(TABLE);
    share
}

/// Room for `size` bytes, aligned to [`TABLE`].
fn hole(checkpoint: &Checkpoint, taken: &[Range<u64>], size: u64) -> Option<u64> {
    let mappings = checkpoint
        .processes
        .iter()
        .flat_map(|process| &process.memory.mappings);
    let mut taken: Vec<Range<u64>> = mappings
        .map(|mapping| mapping.start..mapping.end)
        .chain(taken.iter().cloned())
        .collect();
    taken.sort_unstable_by_key(|range| range.start);
    let mut place = FIRST;
    for range in taken {
        // Something that grows downwards may begin there.
        if range.start < place.checked_add(size)?.checked_add(GAP)? && range.end > place {
            place = range
                .end
                .checked_next_multiple_of(TABLE)?
                .checked_add(GAP)?;
        }
    }
    (place.checked_add(size)? < END_OF_MEMORY).then_some(place)
}

/// Pages that lie together in a mapping and in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Index of the mapping.
    pub(crate) mapping: usize,
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) length: u64,
    /// Byte in the file of pages.
    pub(crate) offset: u64,
}

/// The stored pages of a process's memory in the order of the image, cut where
/// mappings end.
pub(crate) fn pieces(memory: &Memory) -> impl Iterator<Item = Piece> {
    memory.pages.iter().flat_map(|(start, count, stored)| {
        let (start, end) = (*start, start + count * PAGE);
        let mappings = &memory.mappings;
        let first = mappings.partition_point(|mapping| mapping.end <= start);
        (first..mappings.len())
            .take_while(move |index| mappings[*index].start < end)
            .map(move |index| {
                let from = mappings[index].start.max(start);
                let to = mappings[index].end.min(end);
                Piece {
                    mapping: index,
                    start: from,
                    length: to - from,
                    offset: stored * PAGE + (from - start),
                }
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::schema::Process;

    fn mapping(start: u64, end: u64) -> Mapping {
        Mapping {
            start,
            end,
            protection: 3,
            backing: Backing::Anonymous { name: None },
            flags: Vec::new(),
        }
    }

    fn process(pid: i32, parent: i32, mappings: &[(u64, u64)]) -> Process {
        let memory = Memory {
            mappings: mappings
                .iter()
                .map(|(from, to)| mapping(*from, *to))
                .collect(),
            pages: mappings.iter().map(|(from, _)| (*from, 1, 0)).collect(),
            ..Memory::default()
        };
        Process {
            pid,
            parent,
            memory,
            ..Process::default()
        }
    }

    fn tree() -> Checkpoint {
        let same = (0x5555_0000_1000, 0x5555_0040_3000);
        Checkpoint {
            processes: vec![
                process(1, 0, &[(FIRST + 0x5000, FIRST + 0x6000), same]),
                process(2, 1, &[same]),
                process(5, 2, &[same, (0x7000_0000_0000, 0x7000_0000_1000)]),
                process(3, 1, &[same]),
            ],
            ..Checkpoint::default()
        }
    }

    #[test]
    fn places_are_apart_congruent_and_grouped_by_subtree() {
        let checkpoint = tree();
        let staging = Staging::plan(&checkpoint, &[]);
        let mut all = Vec::new();
        for process in &checkpoint.processes {
            let share = staging.share(process.pid).unwrap();
            for mapping in &process.memory.mappings {
                let place = share.place(mapping).unwrap();
                assert_eq!(place % TABLE, mapping.start % TABLE);
                let end = place + (mapping.end - mapping.start);
                assert!(share.own.start <= place && end + GAP <= share.own.end);
                all.push((place, end));
            }
            if let Some(parent) = staging.share(process.parent) {
                assert!(parent.subtree.start <= share.subtree.start);
                assert!(share.subtree.end <= parent.subtree.end);
                assert!(parent.own.end <= share.subtree.start);
            }
        }
        all.sort_unstable();
        assert!(all.windows(2).all(|two| two[0].1 + GAP <= two[1].0));
        let span = staging.span();
        assert!(span.start > FIRST + 0x6000, "a process has memory there");
        assert_eq!(staging.share(1).unwrap().subtree, span);
    }

    #[test]
    fn avoids_what_is_taken_and_gives_up_without_room() {
        let checkpoint = tree();
        let span = Staging::plan(&checkpoint, &[]).span();
        let taken = span.start + 1..span.end - 1;
        let other = Staging::plan(&checkpoint, std::slice::from_ref(&taken)).span();
        assert!(other.start > taken.end);
        let everything = 0..END_OF_MEMORY;
        assert!(Staging::plan(&checkpoint, &[everything]).span().is_empty());
        // Sums of lies do not overflow.
        let mut checkpoint = tree();
        for process in &mut checkpoint.processes {
            process.memory.mappings = vec![mapping(0, END_OF_MEMORY)];
        }
        assert!(Staging::plan(&checkpoint, &[]).span().is_empty());
    }

    #[test]
    fn pieces_end_where_mappings_do() {
        let memory = Memory {
            mappings: vec![mapping(0x1000, 0x3000), mapping(0x3000, 0x5000)],
            pages: vec![(0x2000, 3, 7), (0x1000, 1, 20)],
            ..Memory::default()
        };
        let found: Vec<_> = pieces(&memory)
            .map(|piece| (piece.mapping, piece.start, piece.length, piece.offset))
            .collect();
        assert_eq!(
            found,
            [
                (0, 0x2000, 0x1000, 0x7000),
                (1, 0x3000, 0x2000, 0x8000),
                (0, 0x1000, 0x1000, 0x14000)
            ]
        );
    }
}
