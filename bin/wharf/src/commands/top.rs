//! `wharf top`.

use std::fmt::Write as _;
use std::process::Command;

use engine::containers::top::ProcessRow;
use state::Timestamp;
use sys::{Context as _, Error, ErrorKind, Result};

use super::{Call, DONE};
use crate::args::Given as _;
use crate::output;
use crate::output::table::align;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let words = call.given.texts("CONTAINER");
    let (name, options) = words.split_first().map_or(("", &[][..]), |(a, b)| (a, b));
    let engine = call.engine()?;
    if words.is_empty() {
        return crate::live::run(&engine);
    }
    let act = || format!("top of {name}");
    if options.is_empty() {
        let rows = engine.containers().top(name).context(act)?;
        output::print(&table(&rows))?;
        return Ok(DONE);
    }
    let pids = engine.containers().pids(name).context(act)?;
    output::print(&filtered(&ps(options, &pids)?, &pids)?)?;
    Ok(DONE)
}

/// As `ps -ef`.
fn table(rows: &[ProcessRow]) -> String {
    let mut text = "UID\tPID\tPPID\tC\tSTIME\tTTY\tTIME\tCMD".to_owned();
    for row in rows {
        let (hours, minutes, seconds) = (row.time / 3600, row.time / 60 % 60, row.time % 60);
        let _ = write!(
            text,
            "\n{}\t{}\t{}\t{}\t{}\t{}\t{hours:02}:{minutes:02}:{seconds:02}\t{}",
            row.user,
            row.pid,
            row.parent,
            row.usage,
            began(row.started),
            row.terminal,
            row.command,
        );
    }
    align(&text)
}

/// The time of a process of today, else the date.
fn began(started: Timestamp) -> String {
    let (text, now) = (started.to_string(), Timestamp::now().to_string());
    let part = if text.get(..10) == now.get(..10) {
        text.get(11..16)
    } else {
        text.get(..10)
    };
    part.unwrap_or_default().to_owned()
}

/// The host's ps with the user's options, about these processes if it knows
/// how to be asked for them.
fn ps(options: &[&str], pids: &[i32]) -> Result<String> {
    let list: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let run = |selection: &[&str]| {
        Command::new("ps")
            .args(selection)
            .args(options)
            .output()
            .context(|| "run the host's ps, which knows these options")
    };
    let mut output = run(&["-q", &list.join(",")])?;
    if !output.status.success() {
        output = run(&[])?;
    }
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let line = why.lines().find(|line| !line.trim().is_empty());
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "ps refused its options: {}",
                line.unwrap_or_default().trim()
            ),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Only the lines about these processes, with the header.
fn filtered(text: &str, pids: &[i32]) -> Result<String> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header
        .split_whitespace()
        .position(|word| word == "PID")
        .ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "ps shows no column PID with these options, by which processes are found",
            )
        })?;
    let columns = header.split_whitespace().count();
    let mut table = header.split_whitespace().collect::<Vec<_>>().join("\t");
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let pid = words.get(column).and_then(|word| word.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            // The last column may hold spaces.
            let (first, rest) = words.split_at(words.len().min(columns - 1));
            table.push('\n');
            table.push_str(&first.join("\t"));
            table.push('\t');
            table.push_str(&rest.join(" "));
        }
    }
    Ok(align(&table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_their_process() {
        let text = "  PID TTY  CMD\n  1 ?    init -x y\n 20 ?    sleep 9\n120 ?    other\n";
        assert_eq!(
            filtered(text, &[20, 1]).unwrap(),
            "PID       TTY       CMD\n1         ?         init -x y\n20        ?         sleep 9\n"
        );
        assert!(filtered("USER CMD\na b\n", &[1]).is_err());
    }
}
