//! An image that stands on another one has only those pages that the other
//! has not: at the same place of the same process, memory or file, with the
//! same bytes. It is made of a whole image, and is a whole one until that is
//! done: nothing stands still for it, and nothing is lost if it fails.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use sys::pagemap::PAGE;
use sys::{Context as _, Error, ErrorKind, Result};

use super::load::{CHAIN_MAX, Loaded, Parents, load, place};
use super::pages::PAGE_SIZE;
use super::schema::{Checkpoint, EntryKind, Parent, SharedKind};
use super::{CHANGED, PAGES, PageFiles, verify, write};

/// Pages that are compared at a time.
const AT_ONCE: usize = 64;

/// First address or page, number of pages, page in the image.
type Runs = Vec<(u64, u64, u64)>;

/// An image that others are to stand on.
#[derive(Debug)]
pub struct Base(Loaded);

/// What became of an image's pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Pages that its parent has.
    pub shared: u64,
    /// … and that it has itself.
    pub own: u64,
}

impl Base {
    /// Reads and verifies it.
    pub fn open(directory: impl AsFd, parents: &Parents) -> Result<Self> {
        let loaded = load(directory, parents)?;
        if loaded.directories.len() == CHAIN_MAX {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "it stands on {} others, and more cannot be; make one that stands on none",
                    CHAIN_MAX - 1
                ),
            ));
        }
        Ok(Self(loaded))
    }

    /// Whether a checkpoint made in that directory would be written over it,
    /// or what it stands on.
    pub fn is_in(&self, directory: impl AsFd) -> Result<bool> {
        Ok(self.0.directories.contains(&place(directory)?))
    }
}

/// Has the image in `directory`, which stands on none, stand on `base`. If they
/// have nothing in common, or anything fails, it stays as it is.
pub fn stand_on(directory: impl AsFd, base: &Base) -> Result<Difference> {
    let directory = directory.as_fd();
    let make = || -> Result<Difference> {
        let Loaded {
            mut checkpoint,
            pages,
            ..
        } = load(directory, &Parents::none())?;
        let mut comparison = Comparison::begin(create(directory)?, &pages, &base.0.pages);
        comparison.all(&mut checkpoint, &base.0.checkpoint)?;
        let found = comparison.found;
        if found.shared == 0 {
            unlinkat(directory, CHANGED, AtFlags::empty())?;
            return Ok(found);
        }
        let below = base.0.pages.count();
        checkpoint.parent = Some(Parent {
            digest: base.0.digest,
            pages: below,
        });
        verify(&checkpoint, below + found.own)?;
        write(directory, &checkpoint)?;
        unlinkat(directory, PAGES, AtFlags::empty())?;
        Ok(found)
    };
    make().context(|| "leave out what the parent has")
}

fn create(directory: impl AsFd) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match unlinkat(&directory, CHANGED, AtFlags::empty()) {
        Err(rustix::io::Errno::NOENT) => {}
        done => done?,
    }
    Ok(openat(directory, CHANGED, flags, Mode::from(0o600))?)
}

/// The pages of two images side by side.
struct Comparison<'a> {
    /// Where those go that differ.
    file: OwnedFd,
    own: &'a PageFiles,
    base: &'a PageFiles,
    found: Difference,
    left: Vec<u8>,
    right: Vec<u8>,
}

impl<'a> Comparison<'a> {
    fn begin(file: OwnedFd, own: &'a PageFiles, base: &'a PageFiles) -> Self {
        Self {
            file,
            own,
            base,
            found: Difference::default(),
            left: vec![0; AT_ONCE * PAGE_SIZE],
            right: vec![0; AT_ONCE * PAGE_SIZE],
        }
    }

    /// Everything that has pages, with what it was in `base`.
    fn all(&mut self, checkpoint: &mut Checkpoint, base: &Checkpoint) -> Result<()> {
        let none = Runs::new();
        let processes = base.processes.iter();
        let processes: HashMap<i32, &Runs> =
            processes.map(|it| (it.pid, &it.memory.pages)).collect();
        for process in &mut checkpoint.processes {
            let before = processes.get(&process.pid).copied().unwrap_or(&none);
            self.compare(&mut process.memory.pages, before, PAGE)?;
        }
        let kinds = base.shared.iter().map(|it| &it.kind);
        let shared: HashMap<Identity, &Runs> = identities(kinds)
            .zip(base.shared.iter().map(|it| &it.pages))
            .collect();
        let kinds: Vec<SharedKind> = checkpoint.shared.iter().map(|it| it.kind.clone()).collect();
        for (memory, identity) in checkpoint.shared.iter_mut().zip(identities(kinds.iter())) {
            let before = shared.get(&identity).copied().unwrap_or(&none);
            self.compare(&mut memory.pages, before, 1)?;
        }
        let mut files: HashMap<(&str, &str), &Runs> = HashMap::new();
        for system in &base.memory_files {
            for entry in &system.entries {
                if let EntryKind::File { pages, .. } = &entry.what {
                    files.insert((&system.place, &entry.path), pages);
                }
            }
        }
        for system in &mut checkpoint.memory_files {
            for entry in &mut system.entries {
                if let EntryKind::File { pages, .. } = &mut entry.what {
                    let name = (system.place.as_str(), entry.path.as_str());
                    let before = files.get(&name).copied().unwrap_or(&none);
                    self.compare(pages, before, 1)?;
                }
            }
        }
        Ok(())
    }

    /// Has `runs`, whose places are `step` apart from page to page, name the
    /// pages of the base where those are the same.
    fn compare(&mut self, runs: &mut Runs, before: &Runs, step: u64) -> Result<()> {
        let before: BTreeMap<u64, (u64, u64)> = before
            .iter()
            .filter(|(_, count, _)| *count > 0)
            .map(|(place, count, stored)| (*place, (*count, *stored)))
            .collect();
        let mut compared = Runs::new();
        for (place, count, stored) in runs.drain(..) {
            let mut done = 0;
            while done < count {
                let at = place + done * step;
                let most = (count - done).min(AT_ONCE as u64);
                let (length, other) = counterpart(&before, at, step, most);
                self.part(&mut compared, (at, length, stored + done), (other, step))?;
                done += length;
            }
        }
        *runs = compared;
        Ok(())
    }

    /// Pages of which the base has as many from `other` on, or none.
    fn part(
        &mut self,
        compared: &mut Runs,
        (place, count, stored): (u64, u64, u64),
        (other, step): (Option<u64>, u64),
    ) -> Result<()> {
        let bytes = usize::try_from(count * PAGE).unwrap_or(0);
        let (mut left, mut right) = (
            std::mem::take(&mut self.left),
            std::mem::take(&mut self.right),
        );
        self.own.read_exact_at(&mut left[..bytes], stored * PAGE)?;
        if let Some(other) = other {
            self.base.read_exact_at(&mut right[..bytes], other * PAGE)?;
        }
        let (ours, _) = left[..bytes].as_chunks::<PAGE_SIZE>();
        let (theirs, _) = right[..bytes].as_chunks::<PAGE_SIZE>();
        let mut at = 0;
        while at < ours.len() {
            let is_same = |page: usize| other.is_some() && ours[page] == theirs[page];
            let same = is_same(at);
            let length = (at..ours.len())
                .take_while(|page| is_same(*page) == same)
                .count();
            let first = match other {
                Some(other) if same => {
                    self.found.shared += length as u64;
                    other + at as u64
                }
                _ => self.keep(ours[at..at + length].as_flattened())?,
            };
            let run = (place + at as u64 * step, length as u64, first);
            note(compared, run, step);
            at += length;
        }
        (self.left, self.right) = (left, right);
        Ok(())
    }

    /// Writes whole pages behind those that are there; the number of the first.
    fn keep(&mut self, mut bytes: &[u8]) -> Result<u64> {
        let first = self.found.own;
        self.found.own += bytes.len() as u64 / PAGE;
        while !bytes.is_empty() {
            let count = rustix::io::write(&self.file, bytes).context(|| "write pages")?;
            bytes = &bytes[count..];
        }
        Ok(self.base.count() + first)
    }
}

/// How many pages from `at` on, at most so many, have counterparts that lie
/// together, or none, and where these begin.
fn counterpart(
    before: &BTreeMap<u64, (u64, u64)>,
    at: u64,
    step: u64,
    most: u64,
) -> (u64, Option<u64>) {
    if let Some((place, (count, stored))) = before.range(..=at).next_back() {
        let skip = (at - place) / step;
        if skip < *count {
            return (most.min(count - skip), Some(stored + skip));
        }
    }
    let next = before.range((Excluded(at), Unbounded)).next();
    let free = next.map_or(most, |(place, _)| (place - at) / step);
    (most.min(free), None)
}

fn note(runs: &mut Runs, (place, count, stored): (u64, u64, u64), step: u64) {
    match runs.last_mut() {
        Some((start, pages, at)) if *start + *pages * step == place && *at + *pages == stored => {
            *pages += count;
        }
        _ => runs.push((place, count, stored)),
    }
}

/// What shared memory is called, and which one of that name it is. Bytes are
/// compared, so a mistake costs room and nothing else.
type Identity = (String, usize);

fn identities<'a>(kinds: impl Iterator<Item = &'a SharedKind>) -> impl Iterator<Item = Identity> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    kinds.map(move |kind| {
        let name = match kind {
            SharedKind::Anonymous => "anonymous".to_owned(),
            SharedKind::Memfd { name, .. } => format!("memfd {name}"),
            SharedKind::SystemV { id, .. } => format!("segment {id}"),
            SharedKind::Removed { path, .. } => format!("removed {path}"),
        };
        let number = seen.entry(name.clone()).or_default();
        *number += 1;
        (name, *number)
    })
}
