//! `logs`: Docker's json-file form, rotated files included, followed without
//! polling.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify;
use serde::Deserialize;
use state::channel::Stream;
use state::{Channel, Frame, FromMonitor, LogDriver, Timestamp, ToMonitor};
use sys::{Context as _, Error, ErrorKind, Result};

use super::attach::connect;
use super::request::{LogsRequest, Streams};
use super::stop::no_such;
use super::{Containers, observe};

/// One line, or a piece of one that was too long for a line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub time: Timestamp,
    pub stream: Stream,
    /// With its line feed, if it had one.
    pub text: String,
}

type Take<'a> = dyn FnMut(LogEntry) -> Result<()> + 'a;

impl Containers<'_> {
    /// Hands over the lines of its log, oldest first, until they end (or the
    /// container does, if they are followed).
    pub fn logs(
        &self,
        container: &str,
        request: &LogsRequest,
        take: &mut dyn FnMut(LogEntry) -> Result<()>,
    ) -> Result<()> {
        let id = self.resolve(container)?;
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        if observed.config.log.driver == LogDriver::None {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("container {container} keeps no log"),
            ));
        }
        let path = self.engine.layout().container_log(&id);
        // Watched before anything is read, so that nothing is missed.
        let watch = if request.follow && observed.is_running() {
            let monitor = connect(self.engine, &id)?;
            monitor
                .map(|channel| Watch::new(&path, channel))
                .transpose()?
        } else {
            None
        };
        let mut current = read_back(&path, request, take)?;
        let Some(watch) = watch else {
            return Ok(());
        };
        loop {
            let is_over = watch.wait()?;
            let more = current.read_on(&path, request, take)?;
            if is_over || more == More::Never {
                return Ok(());
            }
        }
    }
}

/// The lines that are there, and the file to go on with.
fn read_back(path: &Path, request: &LogsRequest, take: &mut Take<'_>) -> Result<Current> {
    let mut kept = VecDeque::new();
    let mut files = rotated(path)?;
    let mut current = Current::open(path)?;
    // A rotation may have happened in between: then the last of them is it.
    files.retain(|(file, _)| {
        Some(inode(file)) != current.file.as_ref().map(|reader| inode(reader.get_ref()))
    });
    let mut readers: Vec<BufReader<File>> = files
        .into_iter()
        .map(|(file, _)| BufReader::new(file))
        .collect();
    readers.extend(current.file.take());
    for reader in &mut readers {
        while let Some(entry) = next_entry(reader)? {
            if !wanted(&entry, request) {
                continue;
            }
            match request.tail {
                None => take(entry)?,
                Some(0) => {}
                Some(tail) => {
                    if kept.len() == tail {
                        kept.pop_front();
                    }
                    kept.push_back(entry);
                }
            }
        }
    }
    kept.into_iter().try_for_each(take)?;
    if current.was_there {
        current.file = readers.pop();
    }
    Ok(current)
}

/// `log.N` … `log.1`, oldest first.
fn rotated(path: &Path) -> Result<Vec<(File, PathBuf)>> {
    let mut files = Vec::new();
    for number in 1.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        let path = PathBuf::from(name);
        match File::open(&path) {
            Ok(file) => files.insert(0, (file, path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
            Err(error) => return Err(error).context(|| format!("read {}", path.display())),
        }
    }
    Ok(files)
}

/// The file that is written to.
struct Current {
    file: Option<BufReader<File>>,
    was_there: bool,
}

#[derive(PartialEq, Eq)]
enum More {
    Perhaps,
    /// The reader has all that was asked for.
    Never,
}

impl Current {
    /// None yet if the container has said nothing.
    fn open(path: &Path) -> Result<Self> {
        match File::open(path) {
            Ok(file) => Ok(Self {
                file: Some(BufReader::new(file)),
                was_there: true,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self {
                file: None,
                was_there: false,
            }),
            Err(error) => Err(error).context(|| format!("read {}", path.display())),
        }
    }

    /// What was written since, also if the file was rotated away.
    fn read_on(&mut self, path: &Path, request: &LogsRequest, take: &mut Take<'_>) -> Result<More> {
        loop {
            if let Some(reader) = &mut self.file {
                while let Some(entry) = next_entry(reader)? {
                    if request.until.is_some_and(|until| entry.time > until) {
                        return Ok(More::Never);
                    }
                    if wanted(&entry, request) {
                        take(entry)?;
                    }
                }
            }
            let next = Self::open(path)?;
            let numbers =
                |current: &Self| current.file.as_ref().map(|reader| inode(reader.get_ref()));
            if numbers(&next).is_none() || numbers(&next) == numbers(self) {
                return Ok(More::Perhaps);
            }
            *self = next;
        }
    }
}

fn inode(file: &File) -> Option<(u64, u64)> {
    let metadata = file.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[derive(Deserialize)]
struct Line {
    log: String,
    stream: Name,
    time: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    Stdout,
    Stderr,
}

/// The next whole line; what is half written is left for the next time.
fn next_entry(reader: &mut BufReader<File>) -> Result<Option<LogEntry>> {
    loop {
        let mut line = Vec::new();
        reader
            .read_until(b'\n', &mut line)
            .context(|| "read the log")?;
        if line.last() != Some(&b'\n') {
            if !line.is_empty() {
                let back = i64::try_from(line.len()).unwrap_or_default();
                reader
                    .seek(SeekFrom::Current(-back))
                    .context(|| "read the log")?;
            }
            return Ok(None);
        }
        // A line that a crash damaged hides no other.
        if let Ok(line) = serde_json::from_slice::<Line>(&line) {
            return Ok(Some(LogEntry {
                time: line.time,
                stream: match line.stream {
                    Name::Stdout => Stream::Stdout,
                    Name::Stderr => Stream::Stderr,
                },
                text: line.log,
            }));
        }
    }
}

fn wanted(entry: &LogEntry, request: &LogsRequest) -> bool {
    let stream = match request.streams {
        Streams::Both => true,
        Streams::Stdout => entry.stream == Stream::Stdout,
        Streams::Stderr => entry.stream == Stream::Stderr,
    };
    stream
        && request.since.is_none_or(|since| entry.time >= since)
        && request.until.is_none_or(|until| entry.time <= until)
}

/// Wakes when the log's directory changes or the container ends.
struct Watch {
    changes: OwnedFd,
    monitor: Channel,
}

impl Watch {
    fn new(log: &Path, monitor: Channel) -> Result<Self> {
        let watch = || -> Result<Self> {
            let changes =
                inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            // The directory: the file itself is renamed when it is rotated.
            let directory = log.parent().unwrap_or(Path::new("/"));
            let flags = inotify::WatchFlags::MODIFY
                | inotify::WatchFlags::CREATE
                | inotify::WatchFlags::MOVED_TO;
            inotify::add_watch(&changes, directory, flags)?;
            monitor.send(&ToMonitor::Wait)?;
            Ok(Self { changes, monitor })
        };
        watch().context(|| format!("follow {}", log.display()))
    }

    /// True if the container is over: what it said is written by then.
    fn wait(&self) -> Result<bool> {
        let mut fds = [
            PollFd::new(&self.changes, PollFlags::IN),
            PollFd::new(&self.monitor, PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).context(|| "wait for the log"),
        }
        let heard = fds[1].revents().intersects(PollFlags::IN | PollFlags::HUP);
        let mut events = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.changes, &mut events);
        // All that is there: one look at the file serves them all.
        while reader.next().is_ok() {}
        if !heard {
            return Ok(false);
        }
        Ok(matches!(
            self.monitor.receive::<FromMonitor>()?,
            None | Some((Frame::Message(FromMonitor::Exited(_)), _))
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;

    use super::*;

    fn line(text: &str, second: u32) -> String {
        format!(
            "{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:{second:02}Z\"}}\n"
        )
    }

    fn texts(path: &Path, request: &LogsRequest) -> (Vec<String>, Current) {
        let mut texts = Vec::new();
        let current = read_back(path, request, &mut |entry| {
            texts.push(entry.text.trim_end().to_owned());
            Ok(())
        })
        .unwrap();
        (texts, current)
    }

    #[test]
    fn reads_rotated_files_oldest_first_and_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(directory.path().join("log.2"), line("a", 1)).unwrap();
        fs::write(directory.path().join("log.1"), line("b", 2) + "garbage\n").unwrap();
        fs::write(&path, line("c", 3) + "{\"log\":\"ha").unwrap();
        let all = LogsRequest::default();
        let (read, mut current) = texts(&path, &all);
        assert_eq!(read, ["a", "b", "c"]);
        let tail = LogsRequest {
            tail: Some(2),
            ..all
        };
        assert_eq!(texts(&path, &tail).0, ["b", "c"]);
        let since = LogsRequest {
            since: Some("2026-01-01T00:00:02Z".parse().unwrap()),
            until: Some("2026-01-01T00:00:02Z".parse().unwrap()),
            ..all
        };
        assert_eq!(texts(&path, &since).0, ["b"]);

        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"lf\\n\",\"stream\":\"stderr\",\"time\":\"2026-01-01T00:00:04Z\"}\n")
            .unwrap();
        fs::rename(&path, directory.path().join("log.0")).unwrap();
        fs::write(&path, line("d", 5)).unwrap();
        let mut more = Vec::new();
        current
            .read_on(&path, &all, &mut |entry| {
                more.push((entry.text, entry.stream));
                Ok(())
            })
            .unwrap();
        assert_eq!(
            more,
            [
                ("half\n".to_owned(), Stream::Stderr),
                ("d\n".to_owned(), Stream::Stdout)
            ]
        );
    }

    #[test]
    fn no_log_yet_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (read, mut current) = texts(&path, &LogsRequest::default());
        assert!(read.is_empty());
        fs::write(&path, line("a", 1)).unwrap();
        let mut count = 0;
        current
            .read_on(&path, &LogsRequest::default(), &mut |_| {
                count += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(count, 1);
    }
}
