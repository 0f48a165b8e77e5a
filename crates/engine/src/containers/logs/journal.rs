//! Logs in the host's journal, read by `journalctl`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::event::{PollFd, PollFlags};
use serde_json::Value;
use state::channel::Stream;
use state::{Channel, ContainerConfig, ContainerId, Frame, FromMonitor, Timestamp, ToMonitor};
use sys::{Context as _, Error, ErrorKind, Result};

use super::{Back, LogEntry, Take, wanted};
use crate::containers::request::LogsRequest;

/// What each entry carries: Docker's fields.
pub(super) fn fields(
    config: &ContainerConfig,
    attributes: BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let tag = tag(config);
    let mut fields = vec![
        ("CONTAINER_ID".to_owned(), config.id.short()),
        ("CONTAINER_ID_FULL".to_owned(), config.id.to_string()),
        ("CONTAINER_NAME".to_owned(), config.name.to_string()),
        ("CONTAINER_TAG".to_owned(), tag.clone()),
        ("SYSLOG_IDENTIFIER".to_owned(), tag),
        ("IMAGE_NAME".to_owned(), config.image.name.clone()),
    ];
    for (name, value) in attributes {
        // The journal takes capitals, digits and underscores only.
        let name: String = name
            .chars()
            .map(|letter| match letter.to_ascii_uppercase() {
                upper @ ('A'..='Z' | '0'..='9') => upper,
                _ => '_',
            })
            .collect();
        let name = name.trim_start_matches(['_', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        if !name.is_empty() {
            fields.push((name.to_owned(), value));
        }
    }
    fields
}

/// `--log-opt tag=…` with Docker's words put in.
fn tag(config: &ContainerConfig) -> String {
    let Some(template) = &config.log.tag else {
        return config.id.short();
    };
    let image = config.image.id.to_string();
    let short_image = image.split_once(':').map_or("", |(_, hex)| &hex[..12]);
    [
        ("{{.ID}}", config.id.short().as_str()),
        ("{{.FullID}}", &config.id.to_string()),
        ("{{.Name}}", config.name.as_str()),
        ("{{.ImageName}}", &config.image.name),
        ("{{.ImageID}}", short_image),
        ("{{.ImageFullID}}", &image),
        ("{{.DaemonName}}", "wharf"),
    ]
    .into_iter()
    .fold(template.clone(), |text, (word, value)| {
        text.replace(word, value)
    })
}

pub(super) fn logs(
    id: &ContainerId,
    monitor: Option<Channel>,
    request: &LogsRequest,
    take: &mut Take<'_>,
) -> Result<()> {
    // Asked before anything is read, so that the end is not missed.
    if let Some(monitor) = &monitor {
        monitor.ask(&ToMonitor::Wait, &[])?;
    }
    synchronize();
    let mut back = Back::default();
    let mut cursor = None;
    let mut reader = Journalctl::start(id, &[])?;
    while let Some((entry, at)) = reader.next()? {
        cursor = Some(at);
        back.add(entry, request, take)?;
    }
    reader.finish()?;
    back.finish(take)?;
    match monitor {
        Some(monitor) => follow(id, cursor, &monitor, request, take),
        None => Ok(()),
    }
}

fn follow(
    id: &ContainerId,
    mut cursor: Option<String>,
    monitor: &Channel,
    request: &LogsRequest,
    take: &mut Take<'_>,
) -> Result<()> {
    let from = |cursor: &Option<String>| match cursor {
        Some(cursor) => format!("--after-cursor={cursor}"),
        None => "--since=1970-01-02".to_owned(),
    };
    let after = from(&cursor);
    let mut reader = Journalctl::start(id, &["--follow", "--lines=all", &after])?;
    let mut give = |reader: &mut Journalctl, cursor: &mut Option<String>| -> Result<bool> {
        let Some((entry, at)) = reader.next()? else {
            return Ok(false);
        };
        *cursor = Some(at);
        if request.until.is_some_and(|until| entry.time > until) {
            return Ok(false);
        }
        if wanted(&entry, request) {
            take(entry)?;
        }
        Ok(true)
    };
    loop {
        // What was read ahead is not seen by poll.
        if reader.output.buffer().contains(&b'\n') || wait(&reader, monitor)? == Heard::Journal {
            if !give(&mut reader, &mut cursor)? {
                return Ok(());
            }
            continue;
        }
        // The container is over; what it said last may be on its way.
        drop(reader);
        synchronize();
        let mut rest = Journalctl::start(id, &[&from(&cursor)])?;
        while give(&mut rest, &mut cursor)? {}
        return Ok(());
    }
}

#[derive(PartialEq, Eq)]
enum Heard {
    Journal,
    End,
}

fn wait(reader: &Journalctl, monitor: &Channel) -> Result<Heard> {
    loop {
        let mut fds = [
            PollFd::new(reader.output.get_ref(), PollFlags::IN),
            PollFd::from_borrowed_fd(monitor.as_fd(), PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno).context(|| "wait for the journal"),
        }
        if !fds[0].revents().is_empty() {
            return Ok(Heard::Journal);
        }
        let heard = monitor.receive::<FromMonitor>()?;
        if matches!(
            heard,
            None | Some((Frame::Message(FromMonitor::Exited(_)), _))
        ) {
            return Ok(Heard::End);
        }
    }
}

/// Has the journal write down what it was sent. An older one cannot; then the
/// newest lines may be missing.
fn synchronize() {
    let quiet = Command::new("journalctl")
        .arg("--sync")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    drop(quiet);
}

/// A `journalctl` that prints a container's entries as JSON; ended on drop.
struct Journalctl {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Journalctl {
    fn start(id: &ContainerId, more: &[&str]) -> Result<Self> {
        let mut child = Command::new("journalctl")
            .args(["--quiet", "--no-pager", "--all", "--output=json"])
            .args(more)
            .arg(format!("CONTAINER_ID_FULL={id}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context(|| "run journalctl, which reads the journal")?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "journalctl has no output"))?;
        Ok(Self {
            child,
            output: BufReader::new(output),
        })
    }

    /// The next entry and its place.
    fn next(&mut self) -> Result<Option<(LogEntry, String)>> {
        loop {
            let mut line = Vec::new();
            self.output
                .read_until(b'\n', &mut line)
                .context(|| "read the journal")?;
            if line.is_empty() {
                return Ok(None);
            }
            if let Some(found) = serde_json::from_slice(&line).ok().as_ref().and_then(entry) {
                return Ok(Some(found));
            }
        }
    }

    fn finish(mut self) -> Result<()> {
        let status = self.child.wait().context(|| "wait for journalctl")?;
        if status.success() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("journalctl could not read the journal ({status})"),
        ))
    }
}

impl Drop for Journalctl {
    fn drop(&mut self) {
        // Fails only if it is over.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn entry(json: &Value) -> Option<(LogEntry, String)> {
    let text = |name: &str| json.get(name)?.as_str();
    let mut message = match json.get("MESSAGE")? {
        Value::String(text) => text.clone().into_bytes(),
        // What is no UTF-8 comes as numbers.
        Value::Array(bytes) => bytes
            .iter()
            .map(|byte| u8::try_from(byte.as_u64()?).ok())
            .collect::<Option<_>>()?,
        _ => return None,
    };
    if text("CONTAINER_PARTIAL_MESSAGE").is_none() {
        message.push(b'\n');
    }
    let microseconds = || text("__REALTIME_TIMESTAMP")?.parse::<i64>().ok();
    let time: Timestamp = match text("SYSLOG_TIMESTAMP").and_then(|text| text.parse().ok()) {
        Some(time) => time,
        None => Timestamp::from_nanos(microseconds()?.checked_mul(1000)?),
    };
    let stream = match text("PRIORITY") {
        Some("3") => Stream::Stderr,
        _ => Stream::Stdout,
    };
    let entry = LogEntry {
        time,
        stream,
        text: message,
    };
    Some((entry, text("__CURSOR")?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_journalctl_prints() {
        let read = |json: &str| entry(&serde_json::from_str(json).unwrap()).unwrap();
        let (text, at) = read(
            r#"{"__CURSOR":"c1","__REALTIME_TIMESTAMP":"1000001","PRIORITY":"6","MESSAGE":"a"}"#,
        );
        assert_eq!(
            (text.text.as_slice(), text.stream),
            (b"a\n".as_slice(), Stream::Stdout)
        );
        assert_eq!(
            (text.time.to_string().as_str(), at.as_str()),
            ("1970-01-01T00:00:01.000001000Z", "c1")
        );
        let (bytes, _) = read(
            r#"{"__CURSOR":"c","PRIORITY":"3","MESSAGE":[255,10],"CONTAINER_PARTIAL_MESSAGE":"true",
                "SYSLOG_TIMESTAMP":"2026-01-01T00:00:00Z"}"#,
        );
        assert_eq!(
            (bytes.text.as_slice(), bytes.stream),
            (b"\xff\n".as_slice(), Stream::Stderr)
        );
    }

    #[test]
    fn attributes_become_fields_of_the_journal() {
        let mut config = crate::containers::test_config();
        config.log.tag = Some("{{.ImageName}}/{{.Name}}".into());
        let all = BTreeMap::from([("com.x-y".into(), "1".into()), ("_9".into(), "2".into())]);
        let fields = fields(&config, all);
        assert!(fields.contains(&("CONTAINER_TAG".into(), "img/test".into())));
        assert_eq!(fields.last().unwrap(), &("COM_X_Y".into(), "1".into()));
    }
}
