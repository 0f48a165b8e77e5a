//! A container's processes become an image.

use std::os::fd::AsFd;

use runtime::Cgroup;
use state::ProcessRef;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::collect::collect;
use crate::freeze;
use crate::image::{self, PageWriter};

/// How to make a checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct DumpOptions {
    /// The container goes on afterwards.
    pub leave_running: bool,
}

/// What a checkpoint came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    pub processes: usize,
    /// Bytes in the file of pages.
    pub pages: u64,
}

/// Writes the processes below `init`, which are all that is in `cgroup`, into
/// `directory`. On any failure the container goes on unharmed; on success it
/// has ended unless it was to be left running.
pub fn dump(
    init: ProcessRef,
    cgroup: &Cgroup,
    directory: impl AsFd,
    options: DumpOptions,
) -> Result<Dumped> {
    if !init.is_alive() {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the container is not running",
        ));
    }
    let pages = PageWriter::create(&directory)?;
    let stopped = freeze::stop(init.pid, cgroup)?;
    let (checkpoint, pages) = collect(&stopped, pages)?;
    image::write(&directory, &checkpoint)?;
    let dumped = Dumped {
        processes: checkpoint.processes.len(),
        pages: pages.pages() * sys::pagemap::PAGE,
    };
    if options.leave_running {
        stopped.release().context(|| "let the container go on")?;
    } else {
        stopped.kill().context(|| "end the container")?;
    }
    Ok(dumped)
}
