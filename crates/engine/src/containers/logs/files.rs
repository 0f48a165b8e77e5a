//! Logs in files, rotated ones included, followed without polling.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify;
use serde::Deserialize;
use state::channel::Stream;
use state::{Channel, Frame, FromMonitor, Timestamp, ToMonitor};
use sys::{Context as _, Result};

use super::{Back, LogEntry, Take, wanted};
use crate::containers::request::LogsRequest;

/// How entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Docker's, a line of JSON each. `log.1` is the newest full file.
    Json,
    /// `TIME STREAM F|P TEXT`. The full file with the highest number is the
    /// newest; `.zst` stands behind those that are packed.
    Local,
}

/// Hands over what is there; what comes, too, until the container whose
/// monitor is given ends.
pub(super) fn logs(
    path: &Path,
    form: Form,
    monitor: Option<Channel>,
    request: &LogsRequest,
    take: &mut Take<'_>,
) -> Result<()> {
    // Watched before anything is read, so that nothing is missed.
    let watch = monitor
        .map(|channel| Watch::new(path, channel))
        .transpose()?;
    let mut current = read_back(path, form, request, take)?;
    let Some(watch) = watch else {
        return Ok(());
    };
    loop {
        let is_over = watch.wait()?;
        let more = current.read_on(path, request, take)?;
        if is_over || more == More::Never {
            return Ok(());
        }
    }
}

/// The lines that are there, and the file to go on with.
fn read_back(
    path: &Path,
    form: Form,
    request: &LogsRequest,
    take: &mut Take<'_>,
) -> Result<Current> {
    let mut back = Back::default();
    // Opened first: if it becomes a full file meanwhile, it is met twice and
    // known by its number.
    let mut current = Current::open(path, form)?;
    let full = match form {
        Form::Json => renamed(path)?,
        Form::Local => numbered(path)?,
    };
    for file in full {
        if current.is(&file) {
            continue;
        }
        let mut reader = match form {
            Form::Json => Reader::new(Box::new(BufReader::new(file)), form),
            Form::Local => {
                let plain = image::layer::compression::decoder(BufReader::new(file))?;
                Reader::new(Box::new(BufReader::new(plain)), form)
            }
        };
        while let Some(entry) = reader.next()? {
            back.add(entry, request, take)?;
        }
    }
    while let Some(entry) = current.next()? {
        back.add(entry, request, take)?;
    }
    back.finish(take)?;
    Ok(current)
}

/// `log.N` … `log.1`, oldest first.
fn renamed(path: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for number in 1.. {
        match open(&with_suffix(path, &number.to_string()))? {
            Some(file) => files.insert(0, file),
            None => break,
        }
    }
    Ok(files)
}

/// `log.N`, `log.N.zst`, N going up.
fn numbered(path: &Path) -> Result<Vec<File>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut numbers: Vec<u64> = crate::entries(directory)?
        .iter()
        .filter_map(|entry| {
            let number = entry.strip_prefix(&prefix)?;
            number.strip_suffix(".zst").unwrap_or(number).parse().ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut files = Vec::new();
    for number in numbers {
        // It may be packed, or forgotten, right now.
        let file = match open(&with_suffix(path, &number.to_string()))? {
            None => open(&with_suffix(path, &format!("{number}.zst")))?,
            found => found,
        };
        files.extend(file);
    }
    Ok(files)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn open(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(|| format!("read {}", path.display())),
    }
}

/// The file that is written to.
struct Current {
    form: Form,
    /// None yet if the container has said nothing.
    file: Option<(Reader, Option<Inode>)>,
}

type Inode = (u64, u64);

#[derive(PartialEq, Eq)]
enum More {
    Perhaps,
    /// The reader has all that was asked for.
    Never,
}

impl Current {
    fn open(path: &Path, form: Form) -> Result<Self> {
        let file = open(path)?.map(|file| {
            let inode = inode(&file);
            (Reader::new(Box::new(BufReader::new(file)), form), inode)
        });
        Ok(Self { form, file })
    }

    fn inode(&self) -> Option<Inode> {
        self.file.as_ref()?.1
    }

    fn is(&self, file: &File) -> bool {
        self.inode().is_some_and(|own| Some(own) == inode(file))
    }

    fn next(&mut self) -> Result<Option<LogEntry>> {
        match &mut self.file {
            Some((reader, _)) => reader.next(),
            None => Ok(None),
        }
    }

    /// What was written since, also if the file was rotated away.
    fn read_on(&mut self, path: &Path, request: &LogsRequest, take: &mut Take<'_>) -> Result<More> {
        loop {
            while let Some(entry) = self.next()? {
                if request.until.is_some_and(|until| entry.time > until) {
                    return Ok(More::Never);
                }
                if wanted(&entry, request) {
                    take(entry)?;
                }
            }
            let next = Self::open(path, self.form)?;
            if next.inode().is_none() || next.inode() == self.inode() {
                return Ok(More::Perhaps);
            }
            *self = next;
        }
    }
}

fn inode(file: &File) -> Option<Inode> {
    let metadata = file.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

struct Reader {
    from: Box<dyn BufRead>,
    form: Form,
    /// The beginning of a line whose end is not written yet.
    line: Vec<u8>,
}

impl Reader {
    fn new(from: Box<dyn BufRead>, form: Form) -> Self {
        Self {
            from,
            form,
            line: Vec::new(),
        }
    }

    /// The next whole line. One that a crash damaged hides no other.
    fn next(&mut self) -> Result<Option<LogEntry>> {
        loop {
            self.from
                .read_until(b'\n', &mut self.line)
                .context(|| "read the log")?;
            if self.line.last() != Some(&b'\n') {
                return Ok(None);
            }
            let entry = match self.form {
                Form::Json => json(&self.line),
                Form::Local => local(&self.line),
            };
            self.line.clear();
            if entry.is_some() {
                return Ok(entry);
            }
        }
    }
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

fn json(line: &[u8]) -> Option<LogEntry> {
    let line = serde_json::from_slice::<Line>(line).ok()?;
    Some(LogEntry {
        time: line.time,
        stream: match line.stream {
            Name::Stdout => Stream::Stdout,
            Name::Stderr => Stream::Stderr,
        },
        text: line.log.into_bytes(),
    })
}

fn local(line: &[u8]) -> Option<LogEntry> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let ends = match parts.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    let text = parts.next()?;
    let text = if ends {
        text
    } else {
        text.strip_suffix(b"\n")?
    };
    Some(LogEntry {
        time,
        stream,
        text: text.to_vec(),
    })
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
            monitor.ask(&ToMonitor::Wait, &[])?;
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
        let current = read_back(path, Form::Json, request, &mut |entry| {
            texts.push(String::from_utf8(entry.text).unwrap().trim_end().to_owned());
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
                (b"half\n".to_vec(), Stream::Stderr),
                (b"d\n".to_vec(), Stream::Stdout)
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

    #[test]
    fn reads_the_short_form_packed_or_not() {
        use spec::image::LayerCompression;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let line = |second: u32, text: &[u8]| {
            let mut line = format!("2026-01-01T00:00:{second:02}Z stdout F ").into_bytes();
            line.extend_from_slice(text);
            line.push(b'\n');
            line
        };
        let compression = LayerCompression::Zstd;
        let mut packed =
            image::layer::compression::Compressor::new(compression, Vec::new()).unwrap();
        packed.write_all(&line(1, b"a\xff b ")).unwrap();
        fs::write(directory.path().join("log.9.zst"), packed.finish().unwrap()).unwrap();
        fs::write(directory.path().join("log.10"), line(2, b"c\r")).unwrap();
        fs::write(directory.path().join("log.11.zst.new"), "half").unwrap();
        fs::write(&path, b"2026-01-01T00:00:03Z stderr P d\nnonsense\n").unwrap();
        let mut read = Vec::new();
        read_back(&path, Form::Local, &LogsRequest::default(), &mut |entry| {
            read.extend_from_slice(&entry.text);
            Ok(())
        })
        .unwrap();
        assert_eq!(read, b"a\xff b \nc\r\nd");
    }
}
