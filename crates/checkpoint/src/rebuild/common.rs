//! Files that every process of a tree has mapped privately at the same place,
//! with the same content: libraries and what their loader wrote into them. They
//! are mapped and filled once, before the processes part, so that they share
//! the pages as they did, and nobody does the same work again for each.

use std::collections::BTreeMap;

use sys::Result;

use super::{Puppet, Work, filling, memory};
use crate::image::PageFiles;
use crate::image::schema::{Backing, Checkpoint, Mapping, Memory, ProcessState};
use crate::inject::Program;
use crate::staging::{self, Piece};

/// Compared at a time.
const CHUNK: usize = 64 << 10;
/// What a fork does not pass on as it is: `DONTFORK`, locked.
const NOT_INHERITED: [&str; 2] = ["dc", "lo"];

/// The mappings that all processes have alike, by their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Common {
    mappings: BTreeMap<u64, Mapping>,
}

impl Common {
    /// Looks for them; none if there is one process alone. What cannot be read
    /// is not alike: whoever needs it says what is wrong.
    pub(crate) fn find(checkpoint: &Checkpoint, pages: &PageFiles) -> Self {
        let mut processes = checkpoint
            .processes
            .iter()
            .filter(|process| !matches!(process.state, ProcessState::Zombie(_)))
            .map(|process| &process.memory);
        let Some(first) = processes.next() else {
            return Self::default();
        };
        let others: Vec<(&Memory, BTreeMap<u64, Vec<Piece>>)> = processes
            .map(|memory| (memory, by_mapping(memory)))
            .collect();
        if others.is_empty() {
            return Self::default();
        }
        let stored = by_mapping(first);
        let none = Vec::new();
        let is_common = |mapping: &&Mapping| {
            may_be_shared(mapping)
                && others.iter().all(|(memory, pieces)| {
                    let own = stored.get(&mapping.start).unwrap_or(&none);
                    let other = pieces.get(&mapping.start).unwrap_or(&none);
                    memory.mappings.contains(mapping) && holds_the_same(own, other, pages)
                })
        };
        let mappings = first.mappings.iter().filter(is_common);
        Self {
            mappings: mappings
                .map(|mapping| (mapping.start, mapping.clone()))
                .collect(),
        }
    }

    /// Whether `mapping` is there when a process begins.
    pub(super) fn has(&self, mapping: &Mapping) -> bool {
        self.mappings.get(&mapping.start) == Some(mapping)
    }
}

/// Makes them in the process that all others are forked from.
pub(super) fn make(first: &Puppet, work: &Work<'_>) -> Result<()> {
    let common = work.common;
    if common.mappings.is_empty() {
        return Ok(());
    }
    let what = &work.process(first)?.memory;
    let filled = memory::filled(what);
    let mappings = || {
        let all = what.mappings.iter().zip(&filled);
        all.filter(|(mapping, _)| common.has(mapping))
    };
    let mut program = Program::default();
    for (mapping, is_filled) in mappings() {
        memory::map(&mut program, mapping, *is_filled, work.pool);
    }
    let pieces = staging::pieces(what).filter(|piece| common.has(&what.mappings[piece.mapping]));
    let mut reading = filling::Reading::new(first, program);
    reading.add(pieces, work)?;
    for (mapping, is_filled) in mappings() {
        let program = reading.program();
        memory::settle(program, mapping, *is_filled, memory::Pages::Image);
    }
    reading.run()
}

fn may_be_shared(mapping: &Mapping) -> bool {
    matches!(mapping.backing, Backing::PrivateFile { .. })
        && !NOT_INHERITED
            .iter()
            .any(|flag| mapping.flags.iter().any(|has| has == flag))
}

/// What is stored of each mapping, by the addresses of the mappings.
fn by_mapping(memory: &Memory) -> BTreeMap<u64, Vec<Piece>> {
    let mut found: BTreeMap<u64, Vec<Piece>> = BTreeMap::new();
    for piece in staging::pieces(memory) {
        let mapping = &memory.mappings[piece.mapping];
        if may_be_shared(mapping) {
            found.entry(mapping.start).or_default().push(piece);
        }
    }
    found
}

/// Whether two lists of pieces are of the same addresses and bytes.
fn holds_the_same(one: &[Piece], other: &[Piece], pages: &PageFiles) -> bool {
    let place = |piece: &Piece| (piece.start, piece.length);
    one.iter().map(place).eq(other.iter().map(place))
        && one.iter().zip(other).all(|(one, other)| {
            one.offset == other.offset || is_equal(one, other, pages).unwrap_or(false)
        })
}

fn is_equal(one: &Piece, other: &Piece, pages: &PageFiles) -> Result<bool> {
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut done = 0;
    while done < one.length {
        let wanted = usize::try_from(one.length - done)
            .unwrap_or(CHUNK)
            .min(CHUNK);
        pages.read_exact_at(&mut left[..wanted], one.offset + done)?;
        pages.read_exact_at(&mut right[..wanted], other.offset + done)?;
        if left[..wanted] != right[..wanted] {
            return Ok(false);
        }
        done += wanted as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use sys::pagemap::PAGE;

    use super::*;
    use crate::image::schema::Process;

    const AT: u64 = 0x7000_0000_0000;

    fn file(start: u64, file: usize, flags: &[&str]) -> Mapping {
        Mapping {
            start,
            end: start + 4 * PAGE,
            protection: 3,
            backing: Backing::PrivateFile { file, offset: 0 },
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        }
    }

    /// A process with these mappings, and page `stored` of the image in the
    /// second page of the first of them.
    fn process(mappings: &[Mapping], stored: u64) -> Process {
        let mut process = Process::default();
        process.memory.mappings = mappings.to_vec();
        process.memory.pages = vec![(mappings[0].start + PAGE, 1, stored)];
        process
    }

    fn common(processes: Vec<Process>) -> Vec<u64> {
        // Pages 0 and 2 are alike, 1 is another.
        let mut pages = tempfile::tempfile().unwrap();
        for byte in [7, 8, 7] {
            pages.write_all(&vec![byte; 4096]).unwrap();
        }
        let checkpoint = Checkpoint {
            processes,
            ..Checkpoint::default()
        };
        let pages = PageFiles::new([(pages.into(), 3)]);
        let found = Common::find(&checkpoint, &pages);
        found.mappings.into_keys().collect()
    }

    #[test]
    fn what_is_alike_in_all_processes_is_common() {
        let (one, two) = (file(AT, 0, &[]), file(AT + 0x10_0000, 1, &[]));
        let both = [one.clone(), two.clone()];
        assert_eq!(
            common(vec![
                process(&both, 0),
                process(&both, 2),
                process(&both, 0)
            ]),
            [one.start, two.start]
        );
        // Another content, and content that is not there.
        assert_eq!(
            common(vec![process(&both, 0), process(&both, 1)]),
            [two.start]
        );
        assert_eq!(
            common(vec![process(&both, 0), process(&both, 9)]),
            [two.start]
        );
        // Another file at that place, or nothing.
        let other = [one.clone(), file(two.start, 2, &[])];
        assert_eq!(
            common(vec![process(&both, 0), process(&other, 2)]),
            [one.start]
        );
        let less = [one.clone()];
        assert_eq!(
            common(vec![process(&both, 0), process(&less, 2)]),
            [one.start]
        );
    }

    #[test]
    fn one_process_has_nothing_in_common_and_some_things_are_not_inherited() {
        let one = [file(AT, 0, &[])];
        assert_eq!(common(vec![process(&one, 0)]), [0; 0]);
        let mut zombie = process(&one, 0);
        zombie.state = ProcessState::Zombie(0);
        assert_eq!(common(vec![process(&one, 0), zombie]), [0; 0]);
        for flag in NOT_INHERITED {
            let one = [file(AT, 0, &[flag])];
            assert_eq!(common(vec![process(&one, 0), process(&one, 0)]), [0; 0]);
        }
        let mut anonymous = file(AT, 0, &[]);
        anonymous.backing = Backing::Anonymous { name: None };
        let one = [anonymous];
        assert_eq!(common(vec![process(&one, 0), process(&one, 0)]), [0; 0]);
    }
}
