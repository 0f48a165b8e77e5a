//! Whether a checkpoint can be what it claims, before anything is made of it.
//! Its writer may have been anybody: every number that leads somewhere is
//! looked at here.

mod memory_files;
mod sockets;
mod terminals;

use std::collections::BTreeSet;

use sys::pagemap::PAGE;
use sys::{Error, ErrorKind, Result};

use crate::image::schema::{Backing, Checkpoint, Kind, Memory, Process, ProcessState};
use crate::maps::END_OF_MEMORY;

/// `struct io_event`.
const EVENT: u64 = 32;
/// `SEMMSL`
const SEMAPHORES_MAX: usize = 32_000;
const PROCESSES_MAX: usize = 32 << 10;
const THREADS_MAX: usize = 64 << 10;
const DESCRIPTORS_MAX: i32 = 1 << 20;
/// The most that one piece of shared memory or file may be.
const SIZE_MAX: u64 = 1 << 46;

/// `pages` is how many pages the image has.
pub fn verify(checkpoint: &Checkpoint, pages: u64) -> Result<()> {
    tree(&checkpoint.processes)?;
    for process in &checkpoint.processes {
        if !matches!(process.state, ProcessState::Zombie(_)) {
            descriptors(process, checkpoint)?;
            memory(&process.memory, checkpoint, pages)?;
        }
    }
    for shared in &checkpoint.shared {
        ensure(shared.size <= SIZE_MAX, "shared memory is too large")?;
        for (first, count, stored) in &shared.pages {
            let end = first.checked_add(*count);
            let fits = end.is_some_and(|end| end <= shared.size.div_ceil(PAGE));
            ensure(fits, "a page lies outside of its shared memory")?;
            stored_within(*stored, *count, pages)?;
        }
    }
    for files in &checkpoint.memory_files {
        memory_files::verify(files, pages)?;
    }
    let impossible = checkpoint
        .semaphores
        .iter()
        .any(|set| set.owner.id < 0 || !(1..=SEMAPHORES_MAX).contains(&set.values.len()))
        || checkpoint.queues.iter().any(|queue| queue.owner.id < 0);
    ensure(!impossible, "a System V object is impossible")?;
    terminals::verify(checkpoint)?;
    kinds(checkpoint)
}

fn tree(processes: &[Process]) -> Result<()> {
    ensure(
        processes.len() <= PROCESSES_MAX,
        "it has too many processes",
    )?;
    let first = processes.first();
    ensure(
        first.is_some_and(|first| first.pid == 1 && first.parent == 0),
        "its first process is not the container's init",
    )?;
    let mut taken = BTreeSet::new();
    let mut threads = 0;
    for process in processes {
        let known = process.pid == 1 || taken.contains(&process.parent);
        ensure(known, "a process has no parent")?;
        ensure(
            process.pid > 0 && taken.insert(process.pid),
            "a pid is there twice",
        )?;
        let zombie = matches!(process.state, ProcessState::Zombie(_));
        ensure(
            zombie || !process.threads.is_empty(),
            "a process has no threads",
        )?;
        ensure(!zombie || process.pid != 1, "its init has ended")?;
        threads += process.threads.len();
    }
    for process in processes {
        for (index, thread) in process.threads.iter().enumerate() {
            let good = if index == 0 {
                thread.tid == process.pid
            } else {
                thread.tid > 0 && taken.insert(thread.tid)
            };
            ensure(good, "a thread has a number that is not its own")?;
            ensure(!thread.name.contains('\0'), "a name has a zero byte in it")?;
        }
    }
    ensure(threads <= THREADS_MAX, "it has too many threads")
}

fn descriptors(process: &Process, checkpoint: &Checkpoint) -> Result<()> {
    for descriptor in &process.descriptors {
        let number = (0..DESCRIPTORS_MAX).contains(&descriptor.fd);
        ensure(number, "a descriptor has an impossible number")?;
        let known = descriptor.description < checkpoint.descriptions.len();
        ensure(known, "a descriptor names nothing")?;
    }
    for lock in &process.locks {
        ensure(
            lock.description < checkpoint.descriptions.len(),
            "a lock is of nothing",
        )?;
    }
    Ok(())
}

fn memory(memory: &Memory, checkpoint: &Checkpoint, pages: u64) -> Result<()> {
    let mut end = 0;
    for mapping in &memory.mappings {
        let good = mapping.start >= end
            && mapping.start < mapping.end
            && mapping.end <= END_OF_MEMORY
            && mapping.start.is_multiple_of(PAGE)
            && mapping.end.is_multiple_of(PAGE)
            && mapping.protection < 8;
        ensure(good, "its memory overlaps or has impossible addresses")?;
        end = mapping.end;
        let known = match &mapping.backing {
            Backing::Ring { length, events } => {
                let bytes = (u64::from(*length) + 1) * EVENT;
                bytes <= mapping.end - mapping.start
                    && (events.len() as u64) < u64::from(*length)
                    && events.iter().all(|it| it.len() as u64 == EVENT * 2)
            }
            Backing::PrivateFile { file, .. } | Backing::SharedFile { file, .. } => {
                *file < checkpoint.files.len()
            }
            Backing::Shared { memory, .. } | Backing::PrivateShared { memory, .. } => {
                *memory < checkpoint.shared.len()
            }
            Backing::Anonymous { .. } | Backing::Vvar | Backing::Vdso => true,
        };
        ensure(known, "a mapping is of nothing")?;
    }
    if let Some(program) = memory.program {
        ensure(program < checkpoint.files.len(), "a program is nothing")?;
    }
    let guards = memory.guards.iter();
    let mut mappings = guards.map(|(start, end)| (memory.mappings.iter(), *start, *end));
    let are_within = mappings.all(|(mut mappings, start, end)| {
        start < end && mappings.any(|it| it.start <= start && end <= it.end)
    });
    ensure(are_within, "a guard lies outside of its memory")?;
    runs_within(memory, pages)
}

/// Nothing is read into memory that the process does not have for itself:
/// not into what is shared, and not beside it, where our own code may be.
fn runs_within(memory: &Memory, pages: u64) -> Result<()> {
    let mut own: Vec<(u64, u64)> = Vec::new();
    for mapping in &memory.mappings {
        let private = matches!(
            mapping.backing,
            Backing::Anonymous { .. } | Backing::PrivateFile { .. } | Backing::PrivateShared { .. }
        );
        match own.last_mut() {
            Some((_, end)) if private && *end == mapping.start => *end = mapping.end,
            _ if private => own.push((mapping.start, mapping.end)),
            _ => {}
        }
    }
    for (start, count, stored) in &memory.pages {
        let length = count.checked_mul(PAGE);
        let end = length.and_then(|length| start.checked_add(length));
        let place = own.partition_point(|(_, end)| end <= start);
        let fits = start.is_multiple_of(PAGE)
            && own
                .get(place)
                .is_some_and(|(from, to)| from <= start && end.is_some_and(|end| end <= *to));
        ensure(fits, "a page lies outside of its memory")?;
        stored_within(*stored, *count, pages)?;
    }
    Ok(())
}

fn stored_within(stored: u64, count: u64, pages: u64) -> Result<()> {
    let end = stored.checked_add(count);
    ensure(
        end.is_some_and(|end| end <= pages),
        "a page is beyond the end of the file of pages",
    )
}

fn kinds(checkpoint: &Checkpoint) -> Result<()> {
    let count = checkpoint.descriptions.len();
    let named = checkpoint.pipes.iter().filter_map(|it| it.path.as_ref());
    for path in named {
        let good = path.starts_with('/') && !path.contains('\0');
        ensure(good, "a named pipe has an impossible path")?;
    }
    for (place, description) in checkpoint.descriptions.iter().enumerate() {
        if let Kind::Socket(socket) = &description.kind {
            sockets::verify(place, socket, checkpoint)?;
        }
        let good = match &description.kind {
            Kind::Stdio { number } => (0..=2).contains(number),
            Kind::Path { path, .. } => path.starts_with('/') && !path.contains('\0'),
            Kind::Memory { memory } => checkpoint.shared.get(*memory).is_some_and(|it| {
                !matches!(it.kind, crate::image::schema::SharedKind::SystemV { .. })
            }),
            Kind::Pipe { pipe } => *pipe < checkpoint.pipes.len(),
            Kind::Terminal { terminal, path, .. } => {
                *terminal < checkpoint.terminals.len()
                    && path.starts_with('/')
                    && !path.contains('\0')
            }
            Kind::Inotify { watches } => watches
                .iter()
                .all(|it| it.number > 0 && it.path.starts_with('/') && !it.path.contains('\0')),
            Kind::Epoll { watched, .. } => watched
                .iter()
                .all(|it| it.description < count && (0..DESCRIPTORS_MAX).contains(&it.fd)),
            _ => true,
        };
        ensure(good, "an open file is of nothing")?;
    }
    Ok(())
}

fn ensure(good: bool, why: &str) -> Result<()> {
    if good {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        format!("the checkpoint is damaged: {why}"),
    ))
}

#[cfg(test)]
mod tests;
