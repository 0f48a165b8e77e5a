//! Making every process of a group stand still, and go on.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use sys::{Context as _, Error, ErrorKind, Result};

use super::handle::{Cgroup, value_of};
use super::hierarchy::Version;

/// A process in the middle of a system call that cannot be interrupted does
/// not stand still; nobody should wait for one forever.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who is about to be killed need not stand still first: it only helps.
const SHORT_PATIENCE: Duration = Duration::from_millis(100);

impl Cgroup {
    /// Stops every process in it and below, and waits until they stand.
    /// `Unavailable` after five seconds, with everything thawed again.
    pub fn freeze(&self) -> Result<()> {
        let result = match self.freeze_within(PATIENCE) {
            Ok(true) => return Ok(()),
            Ok(false) => Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "freeze cgroup {self}: it does not stand still within {} s{}; try again, or \
                     kill it",
                    PATIENCE.as_secs(),
                    self.who_moves()
                ),
            )),
            Err(error) => Err(error).context(|| format!("freeze cgroup {self}")),
        };
        // Half frozen is no state to leave it in.
        let _ = self.thaw();
        result
    }

    /// Has every process in it and below stop as soon as it would move, and
    /// does not wait for that: for those who stand already.
    pub fn hold_still(&self) -> Result<()> {
        let (file, value) = match self.freezer()? {
            (Version::V1, directory) => (directory.join("freezer.state"), "FROZEN"),
            (Version::V2, directory) => (directory.join("cgroup.freeze"), "1"),
        };
        write(&file, value).context(|| format!("freeze cgroup {self}"))
    }

    /// Whether it could be had quickly; to be thawed in any case.
    pub(super) fn freeze_briefly(&self) -> bool {
        self.freeze_within(SHORT_PATIENCE).is_ok()
    }

    fn freeze_within(&self, patience: Duration) -> Result<bool> {
        match self.freezer()? {
            (Version::V1, directory) => freeze_legacy(&directory, patience),
            (Version::V2, directory) => freeze_unified(&directory, patience),
        }
    }

    /// Lets them go on; fine if they do.
    pub fn thaw(&self) -> Result<()> {
        let (file, value) = match self.freezer()? {
            (Version::V1, directory) => (directory.join("freezer.state"), "THAWED"),
            (Version::V2, directory) => (directory.join("cgroup.freeze"), "0"),
        };
        write(&file, value).context(|| format!("thaw cgroup {self}"))
    }

    /// Whether all of them stand still.
    pub fn is_frozen(&self) -> Result<bool> {
        match self.freezer()? {
            (Version::V1, directory) => Ok(state_of(&directory)? == "FROZEN"),
            (Version::V2, directory) => says_frozen(&open_events(&directory)?),
        }
    }

    fn freezer(&self) -> Result<(Version, PathBuf)> {
        self.must_exist()?;
        self.directory_of("freezer").ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "no freezer here: mount the freezer controller, or cgroup version 2",
            )
        })
    }

    fn who_moves(&self) -> String {
        let stuck = self.pids().unwrap_or_default().into_iter().find_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
            let waits = rest.trim_start().starts_with('D');
            waits.then(|| format!(" (process {pid}, {name}, waits in the kernel)"))
        });
        stuck.unwrap_or_default()
    }
}

/// The kernel says when it is done.
fn freeze_unified(directory: &Path, patience: Duration) -> Result<bool> {
    let events = open_events(directory)?;
    write(&directory.join("cgroup.freeze"), "1")?;
    let end = Instant::now() + patience;
    // A change after this look is told by the poll: it compares with what was
    // last read through the same descriptor.
    while !says_frozen(&events)? {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let mut fds = [PollFd::new(&events, PollFlags::PRI)];
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(left.min(Duration::from_millis(500)).subsec_nanos()),
        };
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(true)
}

fn open_events(directory: &Path) -> Result<OwnedFd> {
    let file = directory.join("cgroup.events");
    open(&file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open {}", file.display()))
}

fn says_frozen(events: &OwnedFd) -> Result<bool> {
    let mut text = [0; 256];
    let length = rustix::io::pread(events, &mut text[..], 0).context(|| "read cgroup.events")?;
    let text = String::from_utf8_lossy(&text[..length]);
    Ok(value_of(&text, "frozen") == Some(1))
}

/// Version 1 tells nobody, and misses processes that are made while it
/// freezes: asking again finds them, and sometimes only after a thaw.
fn freeze_legacy(directory: &Path, patience: Duration) -> Result<bool> {
    let file = directory.join("freezer.state");
    let end = Instant::now() + patience;
    let mut pause = Duration::from_micros(50);
    let mut round = 0_u32;
    while Instant::now() < end {
        if round % 32 == 31 {
            write(&file, "THAWED")?;
            std::thread::sleep(pause);
        }
        write(&file, "FROZEN")?;
        if state_of(directory)? == "FROZEN" {
            return Ok(true);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
        round += 1;
    }
    Ok(false)
}

fn state_of(directory: &Path) -> Result<String> {
    let file = directory.join("freezer.state");
    let text = fs::read_to_string(&file).context(|| format!("read {}", file.display()))?;
    Ok(text.trim().to_owned())
}

fn write(file: &Path, value: &str) -> Result<()> {
    super::apply::write_named(file, value)
}
