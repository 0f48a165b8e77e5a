//! `wharf logs`.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use engine::{LogsRequest, Streams, parse};
use state::Timestamp;
use state::channel::Stream;
use sys::{Context as _, Error, ErrorKind, Result};

use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::PIPE_CLOSED;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let name = given.text("CONTAINER").unwrap_or_default();
    let now = Timestamp::now();
    let time = |option: &str| {
        given
            .text(option)
            .map(|text| parse::time(text, now))
            .transpose()
    };
    let follow = given.on("follow");
    let request = LogsRequest {
        tail: tail(given.text("tail"))?,
        since: time("since")?,
        until: time("until")?,
        follow,
        streams: Streams::Both,
    };
    let timestamps = given.on("timestamps");
    let engine = call.engine()?;
    let details = if given.on("details") {
        details(&engine.containers().log_attributes(name)?)
    } else {
        String::new()
    };
    let mut out = Lines {
        stdout: BufWriter::with_capacity(64 << 10, io::stdout().lock()),
        stderr: BufWriter::with_capacity(64 << 10, io::stderr().lock()),
    };
    engine
        .containers()
        .logs(name, &request, &mut |entry| {
            let writer: &mut dyn Write = match entry.stream {
                Stream::Stderr => &mut out.stderr,
                _ => &mut out.stdout,
            };
            let stamp = if timestamps {
                format!("{} ", entry.time)
            } else {
                String::new()
            };
            let written = writer
                .write_all(stamp.as_bytes())
                .and_then(|()| writer.write_all(details.as_bytes()))
                .and_then(|()| writer.write_all(&entry.text))
                // Who follows wants to see each line at once.
                .and_then(|()| if follow { writer.flush() } else { Ok(()) });
            quiet_if_closed(written)
        })
        .context(|| format!("logs of {name}"))?;
    quiet_if_closed(out.stdout.flush().and_then(|()| out.stderr.flush()))?;
    Ok(DONE)
}

/// As Docker has them: `a=b,c=d ` in front of each line.
fn details(attributes: &BTreeMap<String, String>) -> String {
    let all: Vec<String> = attributes
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    all.join(",") + " "
}

struct Lines {
    stdout: BufWriter<io::StdoutLock<'static>>,
    stderr: BufWriter<io::StderrLock<'static>>,
}

fn quiet_if_closed(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            std::process::exit(PIPE_CLOSED.into());
        }
        other => other.context(|| "write the log"),
    }
}

/// A number of lines; `all` and what is negative are all of them.
fn tail(text: Option<&str>) -> Result<Option<usize>> {
    match text {
        None | Some("all" | "") => Ok(None),
        Some(text) => match text.parse::<i64>() {
            Ok(lines) => Ok(usize::try_from(lines).ok()),
            Err(_) => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("--tail takes a number of lines or all, not {text:?}"),
            )),
        },
    }
}
