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
    let mut mappings = Vec::new();
    let mut present = Vec::new();
    for line in &inside.lines {
        if line.start == inside.area.base {
            continue;
        }
        let backing = backing(process, inside, line, all)?;
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
            let pages = own_pages(&pagemap, line, copied).context(|| "look for pages")?;
            present.extend(pages.iter().map(|it| (it.run.start, it.run.end)));
            let readable = line.is_readable();
            let missing = missing(&pages, copied);
            let bytes: u64 = missing.iter().map(|run| run.end - run.start).sum();
            all.copies.standing += bytes / PAGE;
            let writer = &mut all.copies.writer;
            reader.save(&missing, readable, &mut copied.ledger, writer)?;
        }
        if !matches!(backing, Backing::Vvar | Backing::Vdso) {
            let found = pagemap::guard_pages(&pagemap, line.start, line.end)
                .context(|| "look for guard pages")?;
            guards.extend(found.iter().map(|run| (run.start, run.end)));
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
    copied.ledger.keep_only(present.into_iter(), writer);
    Ok(mappings)
}

fn own_pages(pagemap: &File, line: &Line, copied: &Copied) -> Result<Vec<Noted>> {
    let behind = if line.is_anonymous() {
        Behind::Nothing
    } else {
        Behind::File
    };
    if copied.is_watched() {
        return pagemap::noted_pages(pagemap, line.start, line.end, behind);
    }
    let runs = pagemap::private_pages(pagemap, line.start, line.end, behind)?;
    let noted = |run| Noted {
        run,
        is_clean: false,
    };
    Ok(runs.into_iter().map(noted).collect())
}

/// What was written since it was copied, or never was.
fn missing(pages: &[Noted], copied: &Copied) -> Vec<Run> {
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
