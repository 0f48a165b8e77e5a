//! What has no path: which of them a description is.

use rustix::fs::FileType;
use sys::{Error, ErrorKind, Result};

use super::files::{self, O_ACCMODE, Seen};
use super::{Collection, epoll, events, inotify, pipes, shared_memory, terminals};
use crate::freeze::Stopped;
use crate::image::schema::{Kind, Pipe};

/// Which ends of which pipes are in the container.
#[derive(Debug, Default)]
pub(super) struct Ends {
    known: Vec<End>,
    pub(super) pipes: Vec<Pipe>,
}

#[derive(Debug)]
struct End {
    link: String,
    reads: bool,
    writes: bool,
    /// Its place among the pipes, once it was read.
    index: Option<usize>,
}

impl Ends {
    pub(super) fn new(seen: &[Seen]) -> Self {
        let mut ends = Self::default();
        for one in seen.iter().filter(|one| is_pipe(one)) {
            let access = one.info.flags() & O_ACCMODE;
            let place = ends.known.iter().position(|end| end.link == one.link);
            let place = place.unwrap_or_else(|| {
                ends.known.push(End {
                    link: one.link.clone(),
                    reads: false,
                    writes: false,
                    index: None,
                });
                ends.known.len() - 1
            });
            ends.known[place].reads |= access != 1;
            ends.known[place].writes |= access != 0;
        }
        ends
    }

    pub(super) fn has_both(&self, link: &str) -> bool {
        let mut known = self.known.iter();
        known.any(|end| end.link == link && end.reads && end.writes)
    }

    /// The pipe of this name; `read` is asked for its content once.
    pub(super) fn pipe(
        &mut self,
        link: &str,
        read: impl FnOnce() -> Result<Pipe>,
    ) -> Result<usize> {
        let end = self.known.iter_mut().find(|end| end.link == link);
        let Some(end) = end else {
            return Err(Error::new(ErrorKind::Internal, "an unknown pipe"));
        };
        if let Some(index) = end.index {
            return Ok(index);
        }
        let index = self.pipes.len();
        self.pipes.push(read()?);
        end.index = Some(index);
        Ok(index)
    }
}

/// With a name or without.
fn is_pipe(one: &Seen) -> bool {
    let kind = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode);
    one.link.starts_with("pipe:[")
        || one.link.starts_with('/')
            && one.info.flags() & files::O_PATH == 0
            && rustix::fs::fstat(&one.ours).is_ok_and(|it| kind(it) == FileType::Fifo)
}

/// What it is if it is not a thing with a path; an error names the remedy.
pub(super) fn special(
    stopped: &Stopped,
    one: &Seen,
    seen: &[Seen],
    ends: &mut Ends,
    all: &mut Collection,
) -> Result<Option<Kind>> {
    let link = one.link.as_str();
    if link.starts_with("pipe:[") {
        return pipes::collect(one, seen, ends).map(Some);
    }
    if let Some(name) = link.strip_prefix("/memfd:") {
        let name = name.strip_suffix(" (deleted)").unwrap_or(name);
        let memory = shared_memory::of_memfd(one, name, all)?;
        return Ok(Some(Kind::Memory { memory }));
    }
    if link.starts_with("pidfd:") {
        return events::process(one, stopped).map(Some);
    }
    if let Some(name) = link.strip_prefix("anon_inode:") {
        return anonymous(stopped, one, name, seen).map(Some);
    }
    if !link.starts_with('/') {
        return Err(refuse("is of a kind that is not carried; close it first"));
    }
    let stat = rustix::fs::fstat(&one.ours)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => {
            files::must_be_there(one, &stat, all)?;
            pipes::collect(one, seen, ends).map(Some)
        }
        FileType::CharacterDevice if terminals::is_terminal(stat.st_rdev) => {
            terminals::collect(one, &stat, all).map(Some)
        }
        FileType::CharacterDevice => device(&stat).map(|()| None),
        FileType::BlockDevice => Err(refuse("is a block device; close it first")),
        _ => Ok(None),
    }
}

fn anonymous(stopped: &Stopped, one: &Seen, name: &str, seen: &[Seen]) -> Result<Kind> {
    match name {
        "[eventfd]" => events::event(one),
        "[timerfd]" => events::timer(one),
        "[signalfd]" => Ok(events::signals(one)),
        "[eventpoll]" => epoll::collect(one, seen, stopped),
        "[pidfd]" => events::process(one, stopped),
        "[inotify]" | "inotify" => inotify::collect(one, stopped),
        "[io_uring]" => Err(refuse(
            "is an io_uring, which cannot be read from outside; turn io_uring off in the program",
        )),
        "[userfaultfd]" => Err(refuse("is a userfaultfd, which cannot be carried")),
        _ => Err(refuse("is of a kind that is not carried; close it first")),
    }
}

/// Devices without a state of their own are opened again; terminals are made
/// again.
pub(crate) fn device(stat: &rustix::fs::Stat) -> Result<()> {
    if terminals::is_terminal(stat.st_rdev) {
        return Ok(());
    }
    let number = (
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev),
    );
    match number {
        // null, zero, full, random, urandom, kmsg
        (1, 3 | 5 | 7 | 8 | 9 | 11) => Ok(()),
        (major, minor) => Err(refuse(&format!(
            "is device {major}:{minor}, whose state cannot be carried; close it first"
        ))),
    }
}

pub(super) fn refuse(why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, why)
}
