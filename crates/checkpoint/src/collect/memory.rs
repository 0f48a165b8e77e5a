//! Mappings, and the pages that are the process's own.

use std::fs;
use std::os::fd::AsFd as _;

use sys::pagemap::{self, PAGE, Run};
use sys::{Context as _, Error, ErrorKind, Result, process_vm};

use super::{Collection, Inside, aio, files, shared_memory};
use crate::freeze::StoppedProcess;
use crate::image::schema::{Backing, Mapping, Memory};
use crate::image::{PageWriter, hex};
use crate::maps::Line;
use crate::procfs;

/// Read at a time.
const BUFFER: usize = 1 << 20;
/// Flags that restore sets again: not inherited, wiped on fork, locked,
/// huge pages wanted or not, mergeable, no core dump, no reserve, grows down,
/// read sequentially or at random.
const KEPT: [&str; 11] = [
    "dc", "wf", "lo", "hg", "nh", "mg", "dd", "nr", "gd", "sr", "rr",
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
    let pagemap = fs::File::open(format!("/proc/{}/pagemap", process.pid))
        .context(|| "open the map of pages")?;
    let mem = fs::File::open(format!("/proc/{}/mem", process.pid)).context(|| "open memory")?;
    let mut reader = Reader {
        pid: process.pid,
        mem,
        buffer: vec![0; BUFFER],
    };
    for line in &inside.lines {
        if line.start == inside.area.base {
            continue;
        }
        let backing = backing(process, inside, line, all)?;
        let has_pages = matches!(
            backing,
            Backing::Anonymous { .. } | Backing::PrivateFile { .. } | Backing::PrivateShared { .. }
        );
        if has_pages {
            let runs = pagemap::private_pages(pagemap.as_fd(), line.start, line.end)
                .context(|| "look for pages")?;
            let readable = line.protection & 1 != 0;
            reader.save(&runs, readable, &mut all.pages, &mut memory.pages)?;
        }
        if !matches!(backing, Backing::Vvar | Backing::Vdso) {
            let guards = pagemap::guard_pages(pagemap.as_fd(), line.start, line.end)
                .context(|| "look for guard pages")?;
            let guards = guards.iter().map(|run| (run.start, run.end));
            memory.guards.extend(guards);
        }
        memory.mappings.push(Mapping {
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
    memory.program = files::program(process, all)?;
    Ok(memory)
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
    if line.inode == 0 && !line.is_shared {
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

struct Reader {
    pid: i32,
    mem: fs::File,
    buffer: Vec<u8>,
}

impl Reader {
    /// Copies the pages of `runs` into the image.
    fn save(
        &mut self,
        runs: &[Run],
        readable: bool,
        pages: &mut PageWriter,
        into: &mut Vec<(u64, u64, u64)>,
    ) -> Result<()> {
        let pieces: Vec<(u64, usize)> = runs.iter().flat_map(|run| pieces(*run)).collect();
        let mut rest = pieces.as_slice();
        while !rest.is_empty() {
            let count = fitting(rest);
            let (batch, after) = rest.split_at(count);
            rest = after;
            let total: usize = batch.iter().map(|(_, length)| length).sum();
            self.fill(batch, total, readable)?;
            let mut at = 0;
            for (address, length) in batch {
                let bytes = &self.buffer[at..at + length];
                pages.write(bytes, *address, PAGE, into)?;
                at += length;
            }
        }
        Ok(())
    }

    fn fill(&mut self, batch: &[(u64, usize)], total: usize, readable: bool) -> Result<()> {
        if readable {
            let read = process_vm::read(self.pid, batch, &mut self.buffer[..total])?;
            if read == total {
                return Ok(());
            }
        }
        // Pages that the program itself may not read.
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
}

/// A run in pieces that fit the buffer.
fn pieces(run: Run) -> impl Iterator<Item = (u64, usize)> {
    (run.start..run.end).step_by(BUFFER).map(move |start| {
        let length = usize::try_from(run.end - start).unwrap_or(BUFFER);
        (start, length.min(BUFFER))
    })
}

/// How many of the pieces one read takes.
fn fitting(pieces: &[(u64, usize)]) -> usize {
    let mut total = 0;
    pieces
        .iter()
        .take(process_vm::RANGES_MAX)
        .take_while(|(_, length)| {
            total += length;
            total <= BUFFER
        })
        .count()
        .max(1)
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
