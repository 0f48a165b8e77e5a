//! `exec`: options, the container's id, the program. What follows the id is
//! the program's.

use std::path::PathBuf;

use sys::Result;

use super::bring::preserve_fds;
use super::words::{Word, Words, usage};
use super::{check_id, no_id};

/// A process to add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exec {
    pub(crate) id: String,
    /// A file that says all of it.
    pub(crate) process: Option<PathBuf>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) caps: Vec<String>,
    pub(crate) apparmor: Option<String>,
    pub(crate) process_label: Option<String>,
    pub(crate) tty: bool,
    pub(crate) detach: bool,
    pub(crate) no_new_privileges: bool,
    /// Wait in a paused container until it is resumed.
    pub(crate) ignore_paused: bool,
    /// Groups below the container's: `[CONTROLLER,…:]PATH`.
    pub(crate) cgroups: Vec<String>,
    pub(crate) preserve_fds: u32,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pidfd_socket: Option<PathBuf>,
}

pub(super) fn parse(words: &mut Words) -> Result<Exec> {
    let mut exec = Exec::default();
    loop {
        let name = match words.next()?.ok_or_else(no_id)? {
            Word::Option(name) => name,
            Word::Plain(id) => {
                exec.id = check_id(id)?;
                break;
            }
        };
        match name.as_str() {
            "process" | "p" => exec.process = Some(words.value()?.into()),
            "env" | "e" => exec.env.push(words.value()?),
            "cwd" => exec.cwd = Some(words.value()?),
            "user" | "u" => exec.user = Some(words.value()?),
            "additional-gids" | "g" => exec.additional_gids.push(words.number()?),
            "cap" | "c" => exec.caps.push(words.value()?),
            "apparmor" => exec.apparmor = Some(words.value()?),
            "process-label" => exec.process_label = Some(words.value()?),
            "tty" | "t" => exec.tty = words.flag()?,
            "detach" | "d" => exec.detach = words.flag()?,
            "no-new-privs" => exec.no_new_privileges = words.flag()?,
            "ignore-paused" => exec.ignore_paused = words.flag()?,
            "cgroup" => exec.cgroups.push(words.value()?),
            "preserve-fds" => exec.preserve_fds = preserve_fds(words)?,
            "pid-file" => exec.pid_file = Some(words.value()?.into()),
            "console-socket" => exec.console_socket = Some(words.value()?.into()),
            "pidfd-socket" => exec.pidfd_socket = Some(words.value()?.into()),
            // As for `run`.
            "no-subreaper" => drop(words.flag()?),
            _ => return Err(words.unknown()),
        }
    }
    exec.args = words.rest();
    if exec.args.first().is_some_and(|word| word == "--") {
        exec.args.remove(0);
    }
    match (&exec.process, exec.args.is_empty()) {
        (None, true) => Err(usage("no program to run".to_owned())),
        (Some(_), false) => Err(usage(
            "--process says what to run; a program beside it is one too many".to_owned(),
        )),
        _ => Ok(exec),
    }
}
