//! What the pager does.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, getppid};
use sys::pagemap::PAGE;
use sys::userfaultfd::{Event, Given};
use sys::{Context as _, Error, ErrorKind, Result};

use super::{Filled, REPORT_MAX, Report, Space, Stretch};
use crate::image::PageFiles;
use crate::rebuild::PAGE_SIZE;

/// Given at a time: what a processor keeps at hand.
const CHUNK: usize = 256 << 10;
/// … to somebody who waits, with what comes after it.
const AROUND: u64 = 64 << 10;
/// Who waited for one page often waits for the next one soon: so long nobody
/// else is given any.
const SOON: Duration = Duration::from_micros(100);
/// Until whoever changes its memory was woken.
const MOMENT: Duration = Duration::from_micros(50);
/// How often in a row memory is asked for when there is none, and when.
const ATTEMPTS: u32 = 100;
const RESPITE: Duration = Duration::from_millis(20);
/// How long a killed container may take to be gone.
const END: Duration = Duration::from_mins(1);

/// What the process works with; all of it belongs to its parent.
pub(super) struct Work<'a> {
    pub(super) pages: &'a PageFiles,
    pub(super) init: BorrowedFd<'a>,
    pub(super) report: BorrowedFd<'a>,
    pub(super) parent: Option<Pid>,
}

/// Giving memory to processes.
pub(super) struct Service<'a> {
    customers: Vec<Customer>,
    pages: &'a PageFiles,
    buffer: Vec<u8>,
    filled: Filled,
    /// How often in a row there was no memory.
    short: u32,
}

struct Customer {
    space: Space,
    /// Pages that somebody waits for.
    awaited: Vec<u64>,
    is_gone: bool,
}

/// What came of giving pages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Done,
    /// Not before events were read.
    Changing,
    /// There is no memory for it.
    Short,
}

impl Work<'_> {
    pub(super) fn run(&self, spaces: Vec<Space>) {
        let mut service = Service::new(spaces, self.pages);
        let mut has_parent = true;
        let done = service.run(&mut || {
            has_parent = getppid() == self.parent;
            has_parent
        });
        let report = match &done {
            Ok(filled) => Report::Filled(*filled),
            Err(error) => Report::Failed(error.clone()),
        };
        let text = serde_json::to_vec(&report).unwrap_or_default();
        if has_parent && text.len() < REPORT_MAX {
            // The parent finds nothing then, and does the same.
            let _ = rustix::io::write(self.report, &text);
        }
        if !has_parent || done.is_err() {
            self.end_container();
        }
    }

    /// Nothing is closed before all of it has ended: who waits for a page
    /// would find zeros.
    fn end_container(&self) {
        // It may have ended.
        let _ = sys::process::signal_pidfd(self.init, 9);
        let mut fds = [PollFd::from_borrowed_fd(self.init, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&timespec(END)));
    }
}

impl<'a> Service<'a> {
    pub(super) fn new(spaces: Vec<Space>, pages: &'a PageFiles) -> Self {
        let missing = spaces.iter().map(|space| space.missing.bytes()).sum();
        Self {
            customers: spaces.into_iter().map(Customer::new).collect(),
            pages,
            buffer: vec![0; CHUNK + PAGE_SIZE],
            filled: Filled {
                missing,
                ..Filled::default()
            },
            short: 0,
        }
    }

    /// Until nothing is missing; `may_go_on` is asked all the time.
    pub(super) fn run(&mut self, may_go_on: &mut dyn FnMut() -> bool) -> Result<Filled> {
        while self.dismiss() {
            if !may_go_on() {
                return Err(Error::new(ErrorKind::Internal, "nobody is left"));
            }
            if self.serve_waiting()? {
                self.wait(SOON)?;
                continue;
            }
            self.serve_next()?;
        }
        Ok(self.filled)
    }

    /// Lets go of those that miss nothing, or are not there; whether any are
    /// left.
    fn dismiss(&mut self) -> bool {
        // Closing its descriptor ends the watch over its memory.
        self.customers
            .retain(|customer| !customer.is_gone && !customer.space.missing.is_empty());
        !self.customers.is_empty()
    }

    fn wait(&self, time: Duration) -> Result<()> {
        let descriptors = self.customers.iter().map(|it| it.space.userfault.as_fd());
        let mut fds: Vec<PollFd<'_>> = descriptors
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut fds, Some(&timespec(time))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether anything happened.
    fn serve_waiting(&mut self) -> Result<bool> {
        let mut happened = false;
        let mut place = 0;
        while place < self.customers.len() {
            let newborn = self.customers[place].hear(&mut happened)?;
            self.customers.extend(newborn);
            let awaited = std::mem::take(&mut self.customers[place].awaited);
            for page in awaited {
                happened = true;
                if self.give_awaited(place, page)? != Progress::Done {
                    self.customers[place].awaited.push(page);
                }
            }
            place += 1;
        }
        Ok(happened)
    }

    fn give_awaited(&mut self, place: usize, page: u64) -> Result<Progress> {
        let customer = &mut self.customers[place];
        if let Some(stretch) = customer.space.missing.at(page, AROUND) {
            let (progress, bytes) = customer.give(stretch, self.pages, &mut self.buffer)?;
            self.filled.awaited += bytes;
            return self.pause_after(progress);
        }
        let userfault = &customer.space.userfault;
        match userfault.give_zeros(page, PAGE) {
            Ok(Given::Changing) => return Ok(Progress::Changing),
            Ok(Given::Bytes(_)) => {}
            Ok(Given::Gone) => customer.is_gone = true,
            // It was there by then, or is no memory of ours: let it look again.
            Ok(Given::Present | Given::Elsewhere) => userfault.wake(page, page + PAGE)?,
            Err(error) if is_short(&error) => return self.pause_after(Progress::Short),
            Err(error) => return Err(error).context(|| format!("give zeros at {page:#x}")),
        }
        Ok(Progress::Done)
    }

    /// There may be memory in a while, but not for ever.
    fn pause_after(&mut self, progress: Progress) -> Result<Progress> {
        match progress {
            Progress::Done => self.short = 0,
            Progress::Changing => std::thread::sleep(MOMENT),
            Progress::Short if self.short < ATTEMPTS => {
                self.short += 1;
                std::thread::sleep(RESPITE);
            }
            Progress::Short => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "there is not enough memory for what it had; raise its limit (update --memory)",
                ));
            }
        }
        Ok(progress)
    }

    /// The next stretch of the first that misses any.
    fn serve_next(&mut self) -> Result<()> {
        let Some(customer) = self.customers.first_mut() else {
            return Ok(());
        };
        let Some(stretch) = customer.space.missing.first(CHUNK as u64) else {
            return Ok(());
        };
        let (progress, bytes) = customer.give(stretch, self.pages, &mut self.buffer)?;
        self.filled.in_turn += bytes;
        if progress == Progress::Changing {
            // Others may have to be served before it stands still.
            self.customers.rotate_left(1);
        }
        self.pause_after(progress).map(drop)
    }
}

impl Customer {
    fn new(space: Space) -> Self {
        Self {
            space,
            awaited: Vec::new(),
            is_gone: false,
        }
    }

    /// Takes note of all that happened; gives those that were born of it.
    fn hear(&mut self, happened: &mut bool) -> Result<Vec<Self>> {
        let mut newborn = Vec::new();
        let missing = &mut self.space.missing;
        loop {
            let event = match self.space.userfault.next() {
                // It stays until somebody who was born has got everything.
                Err(error) if is_crowded(&error) => break,
                event => event.context(|| "hear of changed memory")?,
            };
            let Some(event) = event else {
                break;
            };
            *happened = true;
            match event {
                Event::Missing { address } => self.awaited.push(address & !(PAGE - 1)),
                Event::Forked(userfault) => newborn.push(Self::new(Space {
                    userfault,
                    missing: missing.clone(),
                })),
                Event::Moved { from, to, length } => missing.relocate(from, to, length),
                Event::Dropped { start, end } => drop(missing.remove(start, end)),
            }
        }
        Ok(newborn)
    }

    /// Gives as much of `stretch` as it takes; how much that was.
    fn give(
        &mut self,
        stretch: Stretch,
        pages: &PageFiles,
        buffer: &mut [u8],
    ) -> Result<(Progress, u64)> {
        let Stretch {
            start,
            length,
            offset,
        } = stretch;
        // Aligned: copying to and from it is twice as fast.
        let skip = buffer.as_ptr().align_offset(PAGE_SIZE);
        let length = length.min(CHUNK as u64);
        let chunk = &mut buffer[skip..][..usize::try_from(length).unwrap_or(CHUNK)];
        pages.read_exact_at(chunk, offset)?;
        let Space { userfault, missing } = &mut self.space;
        let given = match userfault.give(start, chunk) {
            Err(error) if is_short(&error) => return Ok((Progress::Short, 0)),
            given => given.context(|| format!("give memory at {start:#x}"))?,
        };
        match given {
            Given::Bytes(bytes) => {
                missing.remove(start, start + bytes);
                return Ok((Progress::Done, bytes));
            }
            Given::Changing => return Ok((Progress::Changing, 0)),
            Given::Gone => self.is_gone = true,
            // Its end may be another mapping's by now.
            Given::Elsewhere if length > PAGE => {
                let page = Stretch {
                    length: PAGE,
                    ..stretch
                };
                return self.give(page, pages, buffer);
            }
            // It was there already, or there is no such memory any more.
            Given::Present | Given::Elsewhere => {
                missing.remove(start, start + PAGE);
                userfault.wake(start, start + PAGE)?;
            }
        }
        Ok((Progress::Done, 0))
    }
}

/// Too many descriptors: each process that is born has one.
fn is_crowded(error: &Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.errno(), Some(ENFILE | EMFILE))
}

/// Of memory: perhaps somebody gives some back.
fn is_short(error: &Error) -> bool {
    const ENOMEM: i32 = 12;
    error.errno() == Some(ENOMEM)
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}
