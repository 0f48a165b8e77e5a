//! A container's processes become an image.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use runtime::Cgroup;
use state::ProcessRef;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::collect::{Stilled, collect};
use crate::freeze::{self, Stopped};
use crate::image::schema::Checkpoint;
use crate::image::{self, PageWriter};

/// How to make a checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct DumpOptions {
    /// The container goes on afterwards.
    pub leave_running: bool,
    /// What becomes of TCP connections.
    pub tcp: TcpPolicy,
    /// Connections to unix sockets outside of the container are no reason to
    /// refuse: datagrams connect again by name, streams are closed.
    pub external_sockets: bool,
}

/// What becomes of TCP connections that are established.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpPolicy {
    /// They are a reason to refuse.
    #[default]
    Refuse,
    /// They go on where they are restored, if the addresses are the same.
    Keep,
    /// They are restored as reset by their peers.
    Close,
}

/// What a checkpoint came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    pub processes: usize,
    /// Bytes in the file of pages.
    pub pages: u64,
}

/// For how long and how often what is busy is tried again.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(7);

/// Processes that are written down and stand. Dropping it lets them go on; so
/// does the kernel, if we are killed.
#[derive(Debug)]
pub struct Held {
    connections: Vec<Stilled>,
    stopped: Stopped,
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
    let (held, dumped) = hold(init, cgroup, directory, options)?;
    if options.leave_running {
        held.release()?;
    } else {
        held.end()?;
    }
    Ok(dumped)
}

/// As [`dump`], but they stand until it is decided what becomes of them. On
/// any failure they go on.
pub fn hold(
    init: ProcessRef,
    cgroup: &Cgroup,
    directory: impl AsFd,
    options: DumpOptions,
) -> Result<(Held, Dumped)> {
    if !init.is_alive() {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the container is not running",
        ));
    }
    let deadline = Instant::now() + PATIENCE;
    let (stopped, checkpoint, pages, connections) = loop {
        match attempt(init.pid, cgroup, &directory, options) {
            // Something is half done that will be done in a moment.
            Err(error) if error.kind() == ErrorKind::Unavailable && Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            done => break done?,
        }
    };
    image::write(&directory, &checkpoint)?;
    let dumped = Dumped {
        processes: checkpoint.processes.len(),
        pages: pages.pages() * sys::pagemap::PAGE,
    };
    Ok((
        Held {
            connections,
            stopped,
        },
        dumped,
    ))
}

impl Held {
    /// Lets them go on.
    pub fn release(self) -> Result<()> {
        drop(self.connections);
        self.stopped.release().context(|| "let the container go on")
    }

    /// Kills them; returns when they are gone.
    pub fn end(self) -> Result<()> {
        self.connections
            .iter()
            .try_for_each(Stilled::prepare_end)
            .context(|| "reset connections")?;
        self.stopped.kill().context(|| "end the container")?;
        self.connections.into_iter().for_each(Stilled::finish);
        Ok(())
    }
}

/// Stops the container and reads it; lets it go on if that fails.
fn attempt(
    init: i32,
    cgroup: &Cgroup,
    directory: impl AsFd,
    options: DumpOptions,
) -> Result<(Stopped, Checkpoint, PageWriter, Vec<Stilled>)> {
    let pages = PageWriter::create(&directory)?;
    let stopped = freeze::stop(init, cgroup)?;
    let (checkpoint, pages, connections) = collect(&stopped, pages, options)?;
    // From here on our death does them no harm.
    stopped.put_back()?;
    Ok((stopped, checkpoint, pages, connections))
}
