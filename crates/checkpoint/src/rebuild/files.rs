//! Open files: each description once, in the pool; then every process takes
//! the descriptors that it had.

use std::collections::BTreeSet;

use sys::{Error, ErrorKind, Result};

use super::pool::{OPENED, put};
use super::{Puppet, Work, epoll, events, inotify, pipes, terminals};
use crate::image::schema::{Description, Kind, MappedFile, Process};
use crate::inject::{Outcome, Place, Program, number};

const FSTAT: u32 = 5;
const LSEEK: u32 = 8;
const CLOSE: u32 = 3;
const FCNTL: u32 = 72;
const FLOCK: u32 = 73;
const OPENAT: u32 = 257;
const DUP3: u32 = 292;
const CLOSE_RANGE: u32 = 436;
const OPENAT2: u32 = 437;
const AT_FDCWD: i32 = -100;
const O_RDWR: u32 = 2;
const O_NOCTTY: u32 = 0o400;
/// What was said about the path; `O_TMPFILE` has the second.
const OF_PATHS: u32 = 0o400_000 | 0o200_000;
const O_PATH: u32 = 0o10_000_000;
const O_CLOEXEC: u32 = 0o2_000_000;
/// What open(2) is given again; the rest is of the moment of the first open.
const KEPT: u32 = 0o11_777_003 & !0o300;
const KEPT_OF_PATHS: u32 = 0o10_600_000;
const RESOLVE_NO_MAGICLINKS: u64 = 2;
const LOCK_NB: u32 = 4;
const F_SETFD: u32 = 2;
const F_SETLK: u32 = 6;
const F_OFD_SETLK: u32 = 37;
/// `struct stat`.
const STAT: usize = 144;
/// Bytes of paths and answers that are gathered at most before files are opened.
const TOGETHER: usize = 256 << 10;

/// Opens mapped files and descriptions into the pool.
pub(super) fn open_all(puppet: &Puppet, work: &Work<'_>) -> Result<()> {
    pipes::make(puppet, work)?;
    let mut openings = Openings::new(puppet);
    for (index, file) in work.checkpoint.files.iter().enumerate() {
        openings.add(format!("open mapped file {}", file.path), |program| {
            Some(open_mapped(program, file, work.pool.file(index)))
        })?;
    }
    for (index, description) in work.checkpoint.descriptions.iter().enumerate() {
        let place = work.pool.description(index);
        openings.add(name_of(description), |program| {
            open(program, description, place, work)
        })?;
    }
    openings.run()
}

/// What is opened together: a process is stopped and resumed once for all of it.
struct Openings<'a> {
    puppet: &'a Puppet,
    program: Program,
    demands: Vec<Demand<'a>>,
}

/// What has to be true of an opened file, of which fstat(2) tells at a place of the
/// program.
enum Demand<'a> {
    Same(Place, &'a MappedFile),
    AtLeast(Place, u64, &'a Description),
}

impl<'a> Openings<'a> {
    fn new(puppet: &'a Puppet) -> Self {
        Self {
            puppet,
            program: Program::default(),
            demands: Vec::new(),
        }
    }

    /// Adds one, which `name` is said of if it fails.
    fn add(
        &mut self,
        name: String,
        add: impl FnOnce(&mut Program) -> Option<Demand<'a>>,
    ) -> Result<()> {
        let demand = self.program.part(name, add);
        self.demands.extend(demand);
        if self.program.data_length() < TOGETHER {
            return Ok(());
        }
        self.run()
    }

    fn run(&mut self) -> Result<()> {
        let program = std::mem::take(&mut self.program);
        let outcome = self.puppet.run(&program)?;
        let mut demands = self.demands.drain(..);
        demands.try_for_each(|demand| demand.check(&outcome))
    }
}

impl Demand<'_> {
    fn check(self, outcome: &Outcome) -> Result<()> {
        let unmet = match self {
            Self::Same(stat, file) => {
                let stat = outcome.bytes(stat);
                let modified = (number(stat, 88).cast_signed(), number(stat, 96));
                let same = number(stat, 48) == file.size
                    && (file.shared || modified == (file.modified.0, u64::from(file.modified.1)));
                (!same).then(|| {
                    format!(
                        "{} is not the file that it was at the checkpoint (its size or its time \
                         of change differs); restore with the image that the container was made \
                         from",
                        file.path
                    )
                })
            }
            Self::AtLeast(stat, bytes, description) => (number(outcome.bytes(stat), 48) < bytes)
                .then(|| {
                    format!(
                        "{}: it is shorter than it was at the checkpoint; restore with the files \
                         of that moment",
                        name_of(description)
                    )
                }),
        };
        unmet.map_or(Ok(()), |why| Err(Error::new(ErrorKind::Conflict, why)))
    }
}

fn name_of(description: &Description) -> String {
    match &description.kind {
        Kind::Path { path, .. } => format!("open {path}"),
        Kind::Stdio { number } => format!("standard descriptor {number}"),
        kind => {
            let text = format!("{kind:?}").to_lowercase();
            let end = text.find(|letter: char| !letter.is_alphanumeric());
            format!("make {} again", &text[..end.unwrap_or(text.len())])
        }
    }
}

/// A file that memory is mapped from has to be what it was.
fn open_mapped<'a>(program: &mut Program, file: &'a MappedFile, place: i32) -> Demand<'a> {
    let flags = if file.writable { O_RDWR } else { 0 };
    open_path(program, &file.path, flags);
    let stat = program.room(STAT);
    program.call("look at a file", FSTAT, &[OPENED.into(), stat.into()]);
    put(program, OPENED, place);
    Demand::Same(stat, file)
}

/// Adds the opening of a path of the container; no link of /proc leads to
/// descriptors that are still ours.
pub(super) fn open_path(program: &mut Program, path: &str, flags: u32) {
    let path_at = program.text(path.as_bytes());
    let flags = if flags & O_PATH == 0 {
        flags | O_NOCTTY
    } else {
        flags
    };
    let how = [u64::from(flags), 0, RESOLVE_NO_MAGICLINKS];
    let how = program.data(&how.map(u64::to_le_bytes).concat());
    program.call(
        format!("open {path}"),
        OPENAT2,
        &[AT_FDCWD.into(), path_at.into(), how.into(), 24.into()],
    );
}

fn open<'a>(
    program: &mut Program,
    description: &'a Description,
    place: i32,
    work: &Work<'_>,
) -> Option<Demand<'a>> {
    let mut demand = None;
    match &description.kind {
        Kind::Stdio { number } => {
            let from = work.pool.stdio(*number);
            let arguments = [from.into(), place.into(), 0.into()];
            program.call("take a standard descriptor", DUP3, &arguments);
        }
        // Until the tree has grown there is nothing to open.
        kind if kind.is_late() => return None,
        Kind::Path { path, size } => {
            let kept = if description.flags & O_PATH == 0 {
                KEPT
            } else {
                KEPT_OF_PATHS
            };
            open_path(program, path, description.flags & kept);
            if size.is_some() && description.flags & O_PATH == 0 {
                let at = program.room(STAT);
                program.call("look at a file", FSTAT, &[OPENED.into(), at.into()]);
                let bytes = description.position.min(size.unwrap_or(0));
                demand = Some(Demand::AtLeast(at, bytes, description));
            }
            put(program, OPENED, place);
            seek(program, place, description);
        }
        Kind::Memory { memory } => {
            let from = work.pool.shared(*memory);
            reopen(program, from, description.flags & KEPT);
            put(program, OPENED, place);
            seek(program, place, description);
        }
        // Made with their other end, when the tree is there, and when
        // everything else is.
        Kind::Pipe { .. } | Kind::Process { .. } | Kind::Socket(_) => return None,
        Kind::Terminal {
            terminal,
            is_master,
            path,
        } => {
            let flags = description.flags;
            if *is_master {
                terminals::take_master(program, work.pool.terminal(*terminal), place, flags);
            } else {
                let path = terminals::openable(work, *terminal, path);
                open_path(program, &path, flags & KEPT);
                put(program, OPENED, place);
            }
        }
        Kind::Event { count, semaphore } => {
            events::event(program, *count, *semaphore, description.flags);
            put(program, OPENED, place);
        }
        Kind::Timer(timer) => {
            events::timer(program, timer, description.flags);
            put(program, OPENED, place);
        }
        Kind::Signals { mask } => {
            events::signals(program, *mask, description.flags);
            put(program, OPENED, place);
        }
        Kind::Inotify { .. } => {
            inotify::make(program, description.flags);
            put(program, OPENED, place);
        }
        Kind::Epoll { .. } => {
            epoll::make(program);
            put(program, OPENED, place);
        }
    }
    if let Some(lock) = description.lock {
        program.call(
            "take a lock",
            FLOCK,
            &[place.into(), (lock | LOCK_NB).into()],
        );
    }
    demand
}

/// Opens the file of a pool descriptor once more, as a description of its own.
pub(super) fn reopen(program: &mut Program, from: i32, flags: u32) {
    let path = program.text(format!("/proc/self/fd/{from}").as_bytes());
    program.call(
        "open it once more",
        OPENAT,
        &[
            AT_FDCWD.into(),
            path.into(),
            (flags & !OF_PATHS | O_NOCTTY).into(),
            0.into(),
        ],
    );
}

fn seek(program: &mut Program, place: i32, description: &Description) {
    if description.position != 0 && description.flags & O_PATH == 0 {
        let arguments = [place.into(), description.position.into(), 0.into()];
        program.call("find the position", LSEEK, &arguments);
    }
}

/// Adds that the process takes its descriptors from the pool, and lets go of
/// that.
pub(super) fn hand_out(program: &mut Program, what: &Process, work: &Work<'_>) -> Result<()> {
    epoll::fill(program, what, work);
    // Numbers under which something was watched only.
    let last = work.pool.lowest() - 1;
    program.call("close descriptors", CLOSE_RANGE, &[0.into(), last.into()]);
    let mut taken = BTreeSet::new();
    for descriptor in &what.descriptors {
        let flags = if descriptor.close_on_exec {
            O_CLOEXEC
        } else {
            0
        };
        let description = work.checkpoint.descriptions.get(descriptor.description);
        let description = description.ok_or_else(corrupt)?;
        let act = format!("take descriptor {}", descriptor.fd);
        if description.kind.is_late() {
            // A descriptor that is opened gets the lowest free number.
            let opened = (0..=descriptor.fd).find(|number| !taken.contains(number));
            let opened = opened.ok_or_else(corrupt)?;
            open_late(program, description)?;
            if opened == descriptor.fd {
                let close_on_exec = u32::from(descriptor.close_on_exec);
                let arguments = [opened.into(), F_SETFD.into(), close_on_exec.into()];
                program.call(act, FCNTL, &arguments);
            } else {
                let arguments = [opened.into(), descriptor.fd.into(), flags.into()];
                program.call(act, DUP3, &arguments);
                program.call("close a descriptor", CLOSE, &[opened.into()]);
            }
        } else {
            let from = work.pool.description(descriptor.description);
            let arguments = [from.into(), descriptor.fd.into(), flags.into()];
            program.call(act, DUP3, &arguments);
        }
        taken.insert(descriptor.fd);
    }
    work.pool.close(program);
    // After that: closing any descriptor of a file drops the locks on it.
    for lock in &what.locks {
        let Some(descriptor) = what
            .descriptors
            .iter()
            .find(|descriptor| descriptor.description == lock.description)
        else {
            continue;
        };
        let mut flock = vec![0; 32];
        flock[0] = u8::from(lock.exclusive);
        flock[8..16].copy_from_slice(&lock.start.to_le_bytes());
        flock[16..24].copy_from_slice(&lock.length.to_le_bytes());
        let flock = program.data(&flock);
        let how = if lock.of_description {
            F_OFD_SETLK
        } else {
            F_SETLK
        };
        program.call(
            "take a lock",
            FCNTL,
            &[descriptor.fd.into(), how.into(), flock.into()],
        );
    }
    Ok(())
}

fn open_late(program: &mut Program, description: &Description) -> Result<()> {
    match &description.kind {
        Kind::Path { path, .. } => open_path(program, path, description.flags & KEPT),
        Kind::Process { pid } => events::process(program, *pid, description.flags),
        _ => return Err(corrupt()),
    }
    Ok(())
}

fn corrupt() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the checkpoint names what it does not have",
    )
}
