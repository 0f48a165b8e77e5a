//! Memory that comes from the image while its processes go on already.
//!
//! Whoever uses a page that is not there yet stands until it is given
//! (userfaultfd(2)), by a process of its own beside the one that restores: the
//! *pager*. It gives what somebody waits for first, and everything else
//! meanwhile; then it ends. Should the last descriptor of a userfaultfd be
//! closed before, the kernel would give zeros for what is missing. So both
//! processes have one table of descriptors: while one of them lives, all of
//! them are open, and if the pager dies early, the container is ended by
//! whoever restored it; if that one dies, by the pager.

mod missing;
mod serve;

use std::os::fd::{AsFd as _, BorrowedFd, IntoRawFd as _, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde::{Deserialize, Serialize};
use sys::clone::{Child, clone_beside, exit_now};
use sys::userfaultfd::{self, Userfault};
use sys::{Error, Result};

use crate::image::PageFiles;

pub(crate) use missing::{Missing, Stretch};

/// The memory of one process, and what is missing of it.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) userfault: Userfault,
    pub(crate) missing: Missing,
}

/// How memory came to be there: bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    /// Missing when the processes were made.
    pub missing: u64,
    /// Given because somebody waited for it, with what lies behind it.
    pub awaited: u64,
    /// Given because it was its turn; in new processes once more.
    pub in_turn: u64,
}

/// The most that a report takes: a pipe holds it.
const REPORT_MAX: usize = 4096;
const NAME: &std::ffi::CStr = c"wharf-pager";

#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Filled(Filled),
    Failed(Error),
}

/// The process that gives the rest. Dropping it ends it: by then everything is
/// there, or the container has ended or stands for good.
#[derive(Debug)]
pub struct Pager {
    child: Child,
    /// How it went.
    report: OwnedFd,
    /// What it uses and we keep open, under the same numbers.
    _kept: (PageFiles, [OwnedFd; 2]),
    is_over: bool,
}

impl Pager {
    /// Has the rest of `spaces` given from `pages` to the processes
    /// below `init`, which stand; `None` if all of it is there, because there
    /// is none or no process for it.
    ///
    /// The calling process must have one thread only.
    pub(crate) fn start(
        spaces: Vec<Space>,
        pages: &PageFiles,
        init: BorrowedFd<'_>,
    ) -> Result<Option<Self>> {
        if spaces.is_empty() {
            return Ok(None);
        }
        let (report, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let pages = pages.try_clone()?;
        let init = init.try_clone_to_owned()?;
        let parent = Some(rustix::process::getpid());
        let mut spaces = Some(spaces);
        let child = clone_beside(|| {
            // What it is called is a matter of taste.
            let _ = rustix::thread::set_name(NAME);
            let work = serve::Work {
                pages: &pages,
                init: init.as_fd(),
                report: writer.as_fd(),
                parent,
            };
            work.run(spaces.take().unwrap_or_default());
            exit_now(0)
        });
        let Ok(child) = child else {
            give_all(spaces.unwrap_or_default(), &pages)?;
            return Ok(None);
        };
        // They are its own from here on.
        for space in spaces.into_iter().flatten() {
            let _ = space.userfault.into_raw_fd();
        }
        Ok(Some(Self {
            child,
            report,
            _kept: (pages, [init, writer]),
            is_over: false,
        }))
    }

    /// Readable when it ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd.as_fd()
    }

    /// It has ended, as far as we know.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Ends it, if it did not end, and says once how it went; nothing if it was
    /// killed. Not before the container has ended, or the pager itself. Unless
    /// all is there, the container is to be ended, and to be gone before this
    /// is dropped.
    pub fn outcome(&mut self) -> Result<Option<Filled>> {
        self.end();
        let mut bytes = [0; REPORT_MAX];
        let length = rustix::io::read(&self.report, &mut bytes).unwrap_or(0);
        match serde_json::from_slice(&bytes[..length]) {
            Ok(Report::Filled(filled)) => Ok(Some(filled)),
            Ok(Report::Failed(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn end(&mut self) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        // It may have ended.
        let _ = sys::process::signal_pidfd(self.child.pidfd.as_fd(), 9);
        let id = || WaitId::PidFd(self.child.pidfd.as_fd());
        while let Err(rustix::io::Errno::INTR) = waitid(id(), WaitIdOptions::EXITED) {}
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        self.end();
        // What it owned when it was killed; else there is none.
        let _ = userfaultfd::close_abandoned();
    }
}

/// Gives everything that is missing to processes that stand.
fn give_all(spaces: Vec<Space>, pages: &PageFiles) -> Result<Filled> {
    serve::Service::new(spaces, pages).run(&mut || true)
}
