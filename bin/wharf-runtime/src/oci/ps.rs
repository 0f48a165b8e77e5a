//! `ps`: the processes of a container, as ps(1) shows them.

use std::process::Command;

use sys::{Error, ErrorKind, Result};

use super::args::{Global, ListFormat};
use super::container::Container;
use super::output::{json, print, table};

pub(super) fn ps(global: &Global, id: &str, format: ListFormat, options: &[String]) -> Result<()> {
    let container = Container::load(global, id)?;
    let pids = container.pids()?;
    if format == ListFormat::Json {
        return print(&json(&pids)?);
    }
    let all = match run_ps(options) {
        Ok(all) => all,
        // A machine without procps.
        Err(error) if options.is_empty() && error.kind() == ErrorKind::NotFound => {
            let rows: Vec<_> = pids
                .iter()
                .map(|pid| [pid.to_string(), name(*pid)])
                .collect();
            return print(&table(["PID", "COMMAND"], &rows));
        }
        Err(error) => return Err(error),
    };
    print(&lines_of(&all, &pids)?)
}

/// All processes of the machine, in the columns that were asked for.
fn run_ps(options: &[String]) -> Result<String> {
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() {
        &default
    } else {
        options
    };
    let output = Command::new("ps").args(options).output();
    let output = output.map_err(|error| Error::from(error).wrap("run ps"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("it failed").to_owned();
        return Err(Error::new(ErrorKind::InvalidInput, said).wrap("ps"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The header, and the lines of those that are in the container.
fn lines_of(all: &str, pids: &[i32]) -> Result<String> {
    let header = all.lines().next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            "ps: its options leave out the PID column, by which a container's processes are found",
        )
    })?;
    let is_ours = |line: &&str| {
        let field = line.split_whitespace().nth(column);
        let pid = field.and_then(|field| field.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    let mut text = format!("{header}\n");
    for line in all.lines().skip(1).filter(is_ours) {
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}

fn name(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_lines_of_the_container() {
        let all = "UID   PID CMD\nroot    1 init\nroot   12 sh -c 1\nroot  112 x\n";
        assert_eq!(
            lines_of(all, &[12, 7]).unwrap(),
            "UID   PID CMD\nroot   12 sh -c 1\n"
        );
        assert!(lines_of("UID CMD\nroot init\n", &[1]).is_err());
    }
}
