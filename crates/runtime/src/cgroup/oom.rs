//! Hearing of it when the kernel kills for lack of memory.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::EventfdFlags;
use rustix::fs::inotify;
use sys::{Context as _, Error, ErrorKind, Result};

use super::handle::{Cgroup, value_of};
use super::hierarchy::Version;

/// A watch on one group; its descriptor is readable when there is news.
#[derive(Debug)]
pub struct OomWatch {
    /// An eventfd on version 1, inotify on version 2.
    fd: OwnedFd,
    version: Version,
    file: PathBuf,
    seen: u64,
}

/// What a look at an [`OomWatch`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomNews {
    /// So many processes were killed since the last look; perhaps none.
    Killed(u64),
    /// The group is gone: there will be no more.
    Gone,
}

impl Cgroup {
    /// Watches for processes of it that the kernel kills for lack of memory.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        self.must_exist()?;
        let Some((version, directory)) = self.directory_of("memory") else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "no memory controller here: lack of memory cannot be watched",
            ));
        };
        let watch = match version {
            Version::V1 => legacy(&directory),
            Version::V2 => unified(&directory),
        };
        let (fd, file) = watch.context(|| format!("watch the memory of cgroup {self}"))?;
        let seen = count(&file).unwrap_or(0);
        Ok(OomWatch {
            fd,
            version,
            file,
            seen,
        })
    }
}

impl OomWatch {
    /// Empties the descriptor and says what happened since the last look.
    /// Does not block.
    pub fn look(&mut self) -> Result<OomNews> {
        let told = self.drain()?;
        let Some(now) = count(&self.file) else {
            return Ok(OomNews::Gone);
        };
        let counted = now.saturating_sub(self.seen);
        self.seen = now;
        Ok(OomNews::Killed(match self.version {
            // The kernel tells before it kills and counts.
            Version::V1 => told,
            Version::V2 => counted,
        }))
    }

    /// The sum of an eventfd; of no meaning for inotify.
    fn drain(&self) -> Result<u64> {
        let mut told = 0;
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(8) => {
                    let count: [u8; 8] = buffer[..8].try_into().unwrap_or_default();
                    told += u64::from_ne_bytes(count);
                }
                Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(told),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    return Err(sys::Error::from(errno)).context(|| "read an event of the memory");
                }
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The kernel writes to an eventfd when it runs out, and when the group goes.
fn legacy(directory: &Path) -> Result<(OwnedFd, PathBuf)> {
    let file = directory.join("memory.oom_control");
    let control = File::open(&file).context(|| format!("open {}", file.display()))?;
    let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .context(|| "make an eventfd")?;
    let words = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    super::apply::write_named(&directory.join("cgroup.event_control"), &words)?;
    Ok((event, file))
}

fn unified(directory: &Path) -> Result<(OwnedFd, PathBuf)> {
    let file = directory.join("memory.events");
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .context(|| "make an inotify")?;
    // The file's end shows as the watch being ignored.
    inotify::add_watch(&watch, &file, inotify::WatchFlags::MODIFY)
        .context(|| format!("watch {}", file.display()))?;
    Ok((watch, file))
}

fn count(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    value_of(&text, "oom_kill")
}
