//! Mappings, and the pages that are the process's own.

use std::fs::{self, File};

use sys::pagemap::{self, Behind, Noted, PAGE, Run};
use sys::{Context as _, Result};

use super::{Collection, Inside, aio, files, shared_memory};
use crate::copy::PageReader;
use crate::freeze::StoppedProcess;
use crate::image::hex;
use crate::image::schema::{Backing, Mapping, Memory};
use crate::maps::Line;
use crate::precopy::{Copied, has_direct_io};
use crate::procfs;

/// Flags that restore sets again: not inherited, wiped on fork, locked,
/// huge pages wanted or not, mergeable, no core dump, no reserve, grows down,
/// read sequentially or at random, droppable.
pub(crate) const KEPT: [&str; 12] = [
    "dc", "wf", "lo", "hg", "nh", "mg", "dd", "nr", "gd", "sr", "rr", "dp",
];

pub(super) fn collect(
    process: &StoppedProcess,
    inside: &Inside,
    brk: u64,
    all: &mut Collection,
) -> Result<Memory> {
    let mut memory = Memory {
        fields: fields(process.pid, brk)?,
        auxiliary: {
            let path = format!("/proc/{}/auxv", process.pid);
            hex::encode(&fs::read(&path).context(|| format!("read {path}"))?)
        },
        ..Memory::default()
    };
    aio::settle(process.pid, &inside.lines)?;
    if inside.lines.iter().any(aio::is_ring) {
        // Until now devices may have written to memory that is shared.
        all.copies.precopied.shared.distrust();
    }
    let mut copied = all.copies.precopied.take(process.pid);
    if copied.is_watched() && has_direct_io(process.pid) {
        copied.distrust(&mut all.copies.writer);
    }
    let saved = save(process, inside, &mut copied, (&mut memory.guards, all));
    memory.pages = all
        .copies
        .precopied
        .put_back(copied, &mut all.copies.writer);
    memory.mappings = saved?;
    memory.program = files::program(process, all)?;
    Ok(memory)
}

/// The mappings, and what is not copied yet of their pages.
fn save(
    process: &StoppedProcess,
    inside: &Inside,
    copied: &mut Copied,
    (guards, all): (&mut Vec<(u64, u64)>, &mut Collection),
) -> Result<Vec<Mapping>> {
    let pagemap = procfs::open(process.pid, "pagemap")?;
    let mut reader = PageReader::open(process.pid)?;
    let all_own = if copied.is_watched() {
        Vec::new()
    } else {
        all_own_pages(&pagemap, &inside.lines).context(|| "look for pages")?
    };
    let all_guards = all_guards(&pagemap, &inside.lines).context(|| "look for guard pages")?;
    let mut mappings: Vec<Mapping> = Vec::new();
    let mut present = Vec::new();
    // To copy: what the program may read itself, and what it may not.
    let mut missing = [Vec::new(), Vec::new()];
    let mut before: Option<&Line> = None;
    for line in &inside.lines {
        if line.start == inside.area.base {
            continue;
        }
        let known = mappings.last().map(|last| &last.backing);
        let known = before.and_then(|before| same_file(before, line, known?));
        let backing = match known {
            Some(known) => known,
            None => backing(process, inside, line, all)?,
        };
        before = Some(line);
        // What the kernel may drop at any time is dropped now: random numbers
        // are made from it, and no two processes shall make the same.
        let has_pages = !line.has("dp")
            && matches!(
                backing,
                Backing::Anonymous { .. }
                    | Backing::PrivateFile { .. }
                    | Backing::PrivateShared { .. }
            );
        if has_pages {
            let pages = own_pages(&pagemap, line, copied, &all_own);
            let pages = pages.context(|| "look for pages")?;
            present.extend(pages.iter().map(|it| (it.run.start, it.run.end)));
            missing[usize::from(!line.is_readable())].extend(not_copied(&pages, copied));
        }
        if !matches!(backing, Backing::Vvar | Backing::Vdso) {
            let found = within(&all_guards, line);
            guards.extend(found.map(|run| (run.start, run.end)));
        }
        mappings.push(Mapping {
            start: line.start,
            end: line.end,
            protection: line.protection,
            backing,
            flags: KEPT
                .iter()
                .filter(|flag| line.has(flag))
                .map(|flag| (*flag).to_owned())
                .collect(),
        });
    }
    let writer = &mut all.copies.writer;
    for (missing, readable) in missing.iter().zip([true, false]) {
        let bytes: u64 = missing.iter().map(|run| run.end - run.start).sum();
        all.copies.standing += bytes / PAGE;
        reader.save(missing, readable, &mut copied.ledger, writer)?;
    }
    copied.ledger.keep_only(present.into_iter(), writer);
    Ok(mappings)
}

/// What a mapping shows, if it is more of the file that the one before it
/// shows: a program has many libraries, each of them mapped in pieces that
/// touch. Pieces that do not are asked about, for on some file systems (btrfs
/// with subvolumes) two files may have the same device and inode here.
fn same_file(before: &Line, line: &Line, known: &Backing) -> Option<Backing> {
    let is_same = !line.is_shared
        && !before.is_shared
        && before.end == line.start
        && (&line.device, line.inode, &line.name) == (&before.device, before.inode, &before.name);
    match known {
        Backing::PrivateFile { file, .. } if is_same => Some(Backing::PrivateFile {
            file: *file,
            offset: line.offset,
        }),
        _ => None,
    }
}

/// Private pages of all mappings of a process that nobody watches. Mappings
/// that touch are looked at together, but those that are large and of no file,
/// for which a look is cheaper.
fn all_own_pages(pagemap: &File, lines: &[Line]) -> Result<Vec<Run>> {
    const LARGE: u64 = 1 << 20;
    let mut ranges: Vec<(Run, Behind)> = Vec::new();
    for line in lines.iter().filter(|line| !line.is_shared) {
        let behind = if line.is_anonymous() && line.end - line.start >= LARGE {
            Behind::Nothing
        } else {
            Behind::File
        };
        match ranges.last_mut() {
            Some((range, Behind::File)) if range.end == line.start && behind == Behind::File => {
                range.end = line.end;
            }
            _ => ranges.push((line.range(), behind)),
        }
    }
    let mut runs = Vec::new();
    for (range, behind) in ranges {
        let found = pagemap::private_pages(pagemap, range.start, range.end, behind)?;
        runs.extend(found);
    }
    Ok(runs)
}

/// Guard pages of all of a process's mappings, with one look.
fn all_guards(pagemap: &File, lines: &[Line]) -> Result<Vec<Run>> {
    match lines {
        [first, .., last] => pagemap::guard_pages(pagemap, first.start, last.end),
        _ => Ok(Vec::new()),
    }
}

/// The parts of `runs`, which are in order, that lie in a mapping.
fn within<'a>(runs: &'a [Run], line: &Line) -> impl Iterator<Item = Run> + use<'a> {
    let Run { start, end } = line.range();
    let first = runs.partition_point(|run| run.end <= start);
    let rest = runs[first..].iter();
    rest.take_while(move |run| run.start < end)
        .map(move |run| Run {
            start: run.start.max(start),
            end: run.end.min(end),
        })
}

/// Private pages of a mapping: of `all_own`, if nobody watches.
fn own_pages(pagemap: &File, line: &Line, copied: &Copied, all_own: &[Run]) -> Result<Vec<Noted>> {
    if copied.is_watched() {
        let behind = if line.is_anonymous() {
            Behind::Nothing
        } else {
            Behind::File
        };
        return pagemap::noted_pages(pagemap, line.start, line.end, behind);
    }
    let noted = |run| Noted {
        run,
        is_clean: false,
    };
    Ok(within(all_own, line).map(noted).collect())
}

/// What was written since it was copied, or never was.
fn not_copied(pages: &[Noted], copied: &Copied) -> Vec<Run> {
    let mut missing = Vec::new();
    for Noted { run, is_clean } in pages {
        if *is_clean {
            let parts = copied.ledger.missing(run.start, run.end);
            missing.extend(parts.into_iter().map(|(start, end)| Run { start, end }));
        } else {
            missing.push(*run);
        }
    }
    missing
}

/// Why a mapping cannot be carried, as far as its line tells; with remedy.
pub(crate) fn refuse_flags(line: &Line) -> Option<String> {
    match line.name.as_str() {
        name if name.starts_with("[vvar") || name == "[vdso]" => return None,
        "[uprobes]" => return Some("has probes on it (perf, bpftrace); end them first".into()),
        name if name.contains("[io_uring]") => {
            return Some(
                "uses io_uring, which cannot be read from outside; turn it off (MariaDB: \
                 innodb_use_native_aio=0), or run it with a system call filter, which forbids it"
                    .into(),
            );
        }
        name if name.starts_with("anon_inode:") => {
            return Some(format!(
                "has memory of {name}, which cannot be carried; close it first"
            ));
        }
        _ => {}
    }
    for (flag, what) in [
        (
            "ht",
            "uses huge pages of hugetlbfs, which are not carried yet",
        ),
        ("um", "is served by a userfaultfd, which cannot be carried"),
        ("uw", "is served by a userfaultfd, which cannot be carried"),
        ("ss", "has a shadow stack, which is not carried yet"),
        ("sl", "has sealed memory (mseal), which is not carried yet"),
    ] {
        if line.has(flag) {
            return Some(what.to_owned());
        }
    }
    (line.has("io") || line.has("pf"))
        .then(|| format!("has memory of a device mapped ({})", line.name))
}

fn backing(
    process: &StoppedProcess,
    inside: &Inside,
    line: &Line,
    all: &mut Collection,
) -> Result<Backing> {
    let pid = process.pid;
    match line.name.as_str() {
        name if name.starts_with("[vvar") => return Ok(Backing::Vvar),
        "[vdso]" => return Ok(Backing::Vdso),
        _ => {}
    }
    if aio::is_ring(line) {
        return aio::ring(pid, line);
    }
    // The first System V segment is inode 0.
    if line.is_anonymous() {
        let name = line
            .name
            .strip_prefix("[anon:")
            .and_then(|name| name.strip_suffix(']'));
        return Ok(Backing::Anonymous {
            name: name.map(str::to_owned),
        });
    }
    if line.is_shared
        && let Some(memory) = shared_memory::of_mapping(process, inside, line, all)?
    {
        return Ok(Backing::Shared {
            memory,
            offset: line.offset,
        });
    }
    let offset = line.offset;
    if line.is_shared {
        let file = files::mapped(process, line, all)?;
        return Ok(Backing::SharedFile { file, offset });
    }
    // The pages of it that were never written are not the process's own, and
    // no file has them any more.
    if let Some(memory) = shared_memory::of_mapping(process, inside, line, all)? {
        return Ok(Backing::PrivateShared { memory, offset });
    }
    let file = files::mapped(process, line, all)?;
    Ok(Backing::PrivateFile { file, offset })
}

/// `struct prctl_mm_map` up to the auxiliary vector.
fn fields(pid: i32, brk: u64) -> Result<[u64; 11]> {
    let stat = procfs::stat(pid)?;
    let field = |number| procfs::stat_field(&stat, number);
    Ok([
        field(26),
        field(27),
        field(45),
        field(46),
        field(47),
        brk,
        field(28),
        field(48),
        field(49),
        field(50),
        field(51),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(start: u64, end: u64) -> Line {
        Line {
            start,
            end,
            device: (0xfe, 1),
            inode: 7,
            name: "/lib".into(),
            ..Line::default()
        }
    }

    #[test]
    fn cuts_what_was_found_at_the_ends_of_a_mapping() {
        let run = |start, end| Run { start, end };
        let runs = [
            run(0x1000, 0x4000),
            run(0x5000, 0x6000),
            run(0x8000, 0x9000),
        ];
        let cut = |start, end| within(&runs, &line(start, end)).collect::<Vec<_>>();
        assert_eq!(cut(0x2000, 0x3000), [run(0x2000, 0x3000)]);
        assert_eq!(
            cut(0x3000, 0x8000),
            [run(0x3000, 0x4000), run(0x5000, 0x6000)]
        );
        assert_eq!(cut(0x4000, 0x5000), []);
        assert_eq!(cut(0x0, 0x1000), []);
        assert_eq!(cut(0x8000, 0xa000), [run(0x8000, 0x9000)]);
    }

    #[test]
    fn only_the_next_private_piece_is_of_the_same_file() {
        let before = line(0x1000, 0x2000);
        let known = Backing::PrivateFile { file: 3, offset: 0 };
        let next = Line {
            offset: 0x5000,
            ..line(0x2000, 0x3000)
        };
        let told = same_file(&before, &next, &known);
        assert!(matches!(
            told,
            Some(Backing::PrivateFile {
                file: 3,
                offset: 0x5000
            })
        ));
        let mut others = vec![line(0x3000, 0x4000)];
        others.extend([next.clone(), next.clone(), next.clone(), next.clone()]);
        others[1].is_shared = true;
        others[2].inode = 8;
        others[3].device = (0xfe, 2);
        others[4].name = "/lib (deleted)".into();
        for other in &others {
            assert!(same_file(&before, other, &known).is_none(), "{other:?}");
        }
        let memory = Backing::Anonymous { name: None };
        assert!(same_file(&before, &next, &memory).is_none());
    }
}
