//! Descriptors that every process of the tree inherits and takes its own from:
//! each description is opened once, by init, before the tree is grown. So
//! what was shared is shared again.

use std::os::fd::{AsRawFd as _, OwnedFd};

use sys::{Error, ErrorKind, Result};

use super::Puppet;
use crate::copies::Copies;
use crate::image::PageFiles;
use crate::image::schema::Checkpoint;
use crate::inject::{Program, tail};

const DUP3: u32 = 292;
const PRLIMIT: u32 = 302;
const CLOSE_RANGE: u32 = 436;
const CLOSE: u32 = 3;
const RLIMIT_NOFILE: u32 = 7;
/// Resources that have a limit.
pub(crate) const LIMITS: usize = 16;
/// Descriptors of ours are below it.
const LOWEST: i32 = 512;

/// Which number is what, from `base` on: standard input, output and error, the
/// files of pages, then shared memory, mapped files, descriptions and terminals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    base: i32,
    pages: i32,
    shared: i32,
    files: i32,
    descriptions: i32,
    terminals: i32,
}

/// What a descriptor that was just opened in an otherwise empty table has.
pub(super) const OPENED: i32 = 0;

impl Pool {
    /// Puts in what we brought, and closes everything else. Also gives the hard
    /// limits that are in force.
    pub(super) fn prepare(
        puppet: &Puppet,
        checkpoint: &Checkpoint,
        (pages, copies): (&PageFiles, &Copies),
    ) -> Result<(Self, [u64; LIMITS])> {
        let highest = checkpoint
            .processes
            .iter()
            .flat_map(|process| &process.descriptors)
            .map(|descriptor| descriptor.fd)
            .max()
            .unwrap_or(0);
        let count = |length: usize| i32::try_from(length).unwrap_or(i32::MAX / 8);
        let base = highest.saturating_add(1).max(LOWEST);
        let first_page = base.saturating_add(3);
        let shared = first_page.saturating_add(count(pages.files().count()));
        let files = shared.saturating_add(count(checkpoint.shared.len()));
        let descriptions = files.saturating_add(count(checkpoint.files.len()));
        let terminals = descriptions.saturating_add(count(checkpoint.descriptions.len()));
        let end = terminals.saturating_add(count(checkpoint.terminals.len()));
        let pool = Self {
            base,
            pages: first_page,
            shared,
            files,
            descriptions,
            terminals,
        };
        let brought = copies.all().map(|(_, file)| file.as_raw_fd());
        if brought
            .chain(pages.files().map(OwnedFd::as_raw_fd))
            .any(|fd| fd >= LOWEST)
        {
            return Err(Error::new(
                ErrorKind::Internal,
                "too many descriptors of ours",
            ));
        }
        let hard_limits = hard_limits(puppet)?;
        let hard = hard_limits[RLIMIT_NOFILE as usize];
        if hard < u64::from(end.unsigned_abs()) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("restoring needs {end} descriptors, and the limit here is {hard}"),
            ));
        }
        let mut program = Program::default();
        let limits = program.data(&[hard.to_le_bytes(), hard.to_le_bytes()].concat());
        program.call(
            "raise the limit of descriptors",
            PRLIMIT,
            &[0.into(), RLIMIT_NOFILE.into(), limits.into()],
        );
        program.call(
            "close descriptors",
            CLOSE_RANGE,
            &[base.into(), u32::MAX.into()],
        );
        let dup = |program: &mut Program, from: i32, to: i32| {
            program.attempt(DUP3, &[from.into(), to.into(), 0.into()]);
        };
        for (index, file) in pages.files().enumerate() {
            dup(&mut program, file.as_raw_fd(), pool.pages(index));
        }
        for number in 0..=2 {
            dup(&mut program, number, pool.stdio(number));
        }
        for (index, file) in copies.all() {
            dup(&mut program, file.as_raw_fd(), pool.shared(index));
        }
        let last = base - 1;
        program.call("close descriptors", CLOSE_RANGE, &[0.into(), last.into()]);
        puppet.run(&program)?;
        Ok((pool, hard_limits))
    }

    /// Everything below it is free.
    pub(super) fn lowest(self) -> i32 {
        self.base
    }

    /// A file of [`PageFiles::files`].
    pub(super) fn pages(self, index: usize) -> i32 {
        self.pages + i32::try_from(index).unwrap_or(0)
    }

    pub(super) fn stdio(self, number: i32) -> i32 {
        self.base + number
    }

    pub(super) fn shared(self, index: usize) -> i32 {
        self.shared + i32::try_from(index).unwrap_or(0)
    }

    pub(super) fn file(self, index: usize) -> i32 {
        self.files + i32::try_from(index).unwrap_or(0)
    }

    pub(super) fn description(self, index: usize) -> i32 {
        self.descriptions + i32::try_from(index).unwrap_or(0)
    }

    /// An end of a terminal of the container's own.
    pub(super) fn terminal(self, index: usize) -> i32 {
        self.terminals + i32::try_from(index).unwrap_or(0)
    }

    /// Adds the closing of all of it.
    pub(super) fn close(self, program: &mut Program) {
        program.call(
            "close descriptors",
            CLOSE_RANGE,
            &[self.base.into(), u32::MAX.into()],
        );
    }
}

fn hard_limits(puppet: &Puppet) -> Result<[u64; LIMITS]> {
    let mut program = Program::default();
    let room = program.room(LIMITS * 16);
    for resource in 0..LIMITS {
        let at = tail(room, resource * 16);
        let arguments = [0.into(), (resource as u64).into(), 0.into(), at.into()];
        program.call("read a limit", PRLIMIT, &arguments);
    }
    let outcome = puppet.run(&program)?;
    Ok(std::array::from_fn(|resource| {
        outcome.number(room, resource * 2 + 1)
    }))
}

/// Adds the move of what was just opened to its place.
pub(super) fn put(program: &mut Program, opened: i32, place: i32) {
    program.call(
        "move a descriptor",
        DUP3,
        &[opened.into(), place.into(), 0.into()],
    );
    program.call("close a descriptor", CLOSE, &[opened.into()]);
}
