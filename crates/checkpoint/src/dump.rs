//! A container's processes become an image.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use runtime::Cgroup;
use state::{ProcessRef, StdioInodes};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::collect::{Copies, Stilled, collect};
use crate::freeze::{self, Stopped};
use crate::image::schema::Checkpoint;
use crate::image::{self, PageWriter};
use crate::precopy::{Precopied, precopy};

/// How to make a checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct DumpOptions {
    /// The container goes on afterwards, so that the time for which it stands
    /// counts more than all of it.
    pub leave_running: bool,
    /// Look at how memory is used only when the container stands, which takes
    /// longer. Otherwise [`Held::release`] fails (`Unavailable`) if the
    /// container changed that in the wrong moment.
    pub is_exact: bool,
    /// What becomes of TCP connections.
    pub tcp: TcpPolicy,
    /// Connections to unix sockets outside of the container are no reason to
    /// refuse: datagrams connect again by name, streams are closed.
    pub external_sockets: bool,
    /// What the container got as standard input, output and error.
    pub stdio: StdioInodes,
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
    /// As [`TcpPolicy::Close`], but for those whose other end is in the
    /// checkpoint, too, if they are over the loopback: those go on.
    KeepInner,
}

/// What a checkpoint came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    pub processes: usize,
    /// Bytes in the file of pages.
    pub pages: u64,
    /// Pages that each round copied before the container was stopped for good.
    pub rounds: Vec<u64>,
    /// … and those that were copied then.
    pub standing: u64,
    /// For how long it stood, or has been standing if it is held.
    pub stood: Duration,
    /// TCP connections that go on with it.
    pub connections: usize,
}

/// For how long and how often what is busy is tried again.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(7);

/// Processes that are written down and stand. Dropping it lets them go on; so
/// does the kernel, if we are killed.
#[derive(Debug)]
pub struct Held {
    since: Instant,
    leaves_running: bool,
    connections: Vec<Stilled>,
    stopped: Stopped,
    /// Both end after the stop: the container waits neither for the watch nor
    /// for what the file system does when a file is closed.
    watched: Precopied,
    image: Image,
}

/// The image, of which nothing is missing but what is written when nobody
/// waits for it any more.
#[derive(Debug)]
struct Image {
    directory: OwnedFd,
    checkpoint: Checkpoint,
    writer: PageWriter,
}

impl Image {
    fn write(&mut self) -> Result<()> {
        self.writer.finish()?;
        image::write(&self.directory, &self.checkpoint)
    }
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
    let write = |options: DumpOptions| -> Result<Dumped> {
        let (held, mut dumped) = hold(init, cgroup, &directory, options, &mut || {})?;
        if options.leave_running {
            dumped.stood = held.release()?;
        } else {
            held.end()?;
        }
        Ok(dumped)
    };
    match write(options) {
        Err(error) if error.kind() == ErrorKind::Unavailable && options.leave_running => {
            let is_exact = true;
            write(DumpOptions {
                is_exact,
                ..options
            })
        }
        done => done,
    }
}

/// As [`dump`], but they stand until it is decided what becomes of them. On
/// any failure they go on. If they are to be left running, the image is whole
/// only after [`Held::release`].
///
/// `stand` is called when they stand, again if it has to be tried again.
pub fn hold(
    init: ProcessRef,
    cgroup: &Cgroup,
    directory: impl AsFd,
    options: DumpOptions,
    stand: &mut dyn FnMut(),
) -> Result<(Held, Dumped)> {
    if !init.is_alive() {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the container is not running",
        ));
    }
    crate::mend(init).context(|| "let connections go on that another dump left")?;
    let mut writer = PageWriter::create(&directory)?;
    let precopied = precopy(init.pid, cgroup, &mut writer, options);
    if options.leave_running {
        writer.hold_back();
    }
    let mut copies = Copies {
        writer,
        standing: 0,
        precopied,
    };
    let deadline = Instant::now() + PATIENCE;
    let (stopped, checkpoint, connections, since) = loop {
        let since = Instant::now();
        let (done, kept) = attempt(init.pid, cgroup, copies, options, stand);
        copies = kept;
        match done {
            // Something is half done that will be done in a moment.
            Err(error) if error.kind() == ErrorKind::Unavailable && Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            done => {
                let (stopped, checkpoint, connections) = done?;
                break (stopped, checkpoint, connections, since);
            }
        }
    };
    let dumped = Dumped {
        processes: checkpoint.processes.len(),
        pages: copies.writer.pages() * sys::pagemap::PAGE,
        standing: copies.standing,
        rounds: std::mem::take(&mut copies.precopied.rounds),
        stood: since.elapsed(),
        connections: checkpoint.connections(),
    };
    let mut image = Image {
        directory: directory.as_fd().try_clone_to_owned()?,
        checkpoint,
        writer: copies.writer,
    };
    if !options.leave_running {
        image.write()?;
    }
    Ok((
        Held {
            since,
            leaves_running: options.leave_running,
            connections,
            stopped,
            watched: copies.precopied,
            image,
        },
        dumped,
    ))
}

impl Held {
    /// Lets them go on; for how long they stood. After an error they do, too,
    /// but the image is not to be used.
    pub fn release(mut self) -> Result<Duration> {
        drop(self.connections);
        self.stopped
            .release()
            .context(|| "let the container go on")?;
        let stood = self.since.elapsed();

        self.watched.confirm_mappings()?;
        if self.leaves_running {
            self.image.write()?;
        }
        Ok(stood)
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
    copies: Copies,
    options: DumpOptions,
    stand: &mut dyn FnMut(),
) -> (Result<(Stopped, Checkpoint, Vec<Stilled>)>, Copies) {
    let stopped = match freeze::stop(init, cgroup) {
        Ok(stopped) => stopped,
        Err(error) => return (Err(error), copies),
    };
    stand();
    let (collected, copies) = collect(&stopped, copies, options);
    let attempt = || -> Result<_> {
        let (checkpoint, connections) = collected?;
        // From here on our death does them no harm.
        stopped.put_back()?;
        Ok((stopped, checkpoint, connections))
    };
    (attempt(), copies)
}
