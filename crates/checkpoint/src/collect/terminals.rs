//! Terminals: pseudo-terminals of the container's own `/dev/pts`.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Stat, major, minor};
use sys::{Context as _, Error, Result, pty};

use super::Collection;
use super::descriptors::refuse;
use super::files::{Seen, must_be_in_the_container, must_be_there};
use crate::freeze::Stopped;
use crate::image::hex;
use crate::image::schema::{Kind, Master, Terminal};
use crate::procfs::{self, Status};

/// `/dev/tty` and `/dev/ptmx`.
const ALTERNATE: u32 = 5;
const PTMX: u32 = 2;
const SLAVES: u32 = 136;
const SLAVES_LAST: u32 = 143;

/// Whether a character device with this number is (an end of) one.
pub(crate) fn is_terminal(device: u64) -> bool {
    match (major(device), minor(device)) {
        (ALTERNATE, number) => number == 0 || number == PTMX,
        (kind, _) => (SLAVES..=SLAVES_LAST).contains(&kind),
    }
}

/// Which end of which terminal it is.
pub(super) fn collect(one: &Seen, stat: &Stat, all: &mut Collection) -> Result<Kind> {
    let is_master = (major(stat.st_rdev), minor(stat.st_rdev)) == (ALTERNATE, PTMX);
    let (path, number, is_gone) = if let Some(path) = one.link.strip_suffix(" (deleted)") {
        // Its other end was closed, which took its name away.
        must_be_in_the_container(one, all)?;
        (path, minor(stat.st_rdev), true)
    } else {
        must_be_there(one, stat, all)?;
        let Ok(device) = pty::device(&one.ours) else {
            return Err(refuse("is a terminal that was hung up; close it first"));
        };
        (one.link.as_str(), slave(device).ok_or_else(foreign)?, false)
    };
    let known = all.checkpoint.terminals.iter();
    let mut known = known.enumerate().filter(|(_, it)| it.number == number);
    let terminal = if let Some((place, _)) = known.next() {
        place
    } else {
        let terminal = read(one, number, is_gone).context(|| "read a terminal")?;
        all.checkpoint.terminals.push(terminal);
        all.checkpoint.terminals.len() - 1
    };
    if is_master {
        let into = &mut all.checkpoint.terminals[terminal];
        into.master = Master::Inside;
        into.is_locked = pty::is_locked(&one.ours)?;
        into.tells = pty::is_telling(&one.ours)?;
        into.is_deserted = is_deserted(&one.ours)?;
    }
    Ok(Kind::Terminal {
        terminal,
        is_master,
        path: path.to_owned(),
    })
}

fn read(one: &Seen, number: u32, is_gone: bool) -> Result<Terminal> {
    let mut terminal = Terminal {
        number,
        master: Master::Gone,
        settings: String::new(),
        size: [0; 4],
        mode: 0o620,
        uid: 0,
        gid: 0,
        is_locked: false,
        tells: false,
        is_deserted: false,
        foreground: None,
    };
    if is_gone {
        return Ok(terminal);
    }
    if pty::line_discipline(&one.ours)? != 0 {
        return Err(refuse(
            "is a terminal with a line discipline of its own, which is not carried; close it first",
        ));
    }
    terminal.master = Master::Outside;
    terminal.settings = hex::encode(&pty::settings(&one.ours)?);
    terminal.size = pty::size(&one.ours)?;
    let name = format!("/proc/{}/root/dev/pts/{number}", one.root);
    if let Ok(about) = std::fs::symlink_metadata(&name)
        && is_terminal(about.rdev())
    {
        terminal.mode = about.mode() & 0o7777;
        (terminal.uid, terminal.gid) = (about.uid(), about.gid());
    }
    Ok(terminal)
}

/// All slaves were closed.
fn is_deserted(master: &OwnedFd) -> Result<bool> {
    let master = master.as_fd();
    let mut fds = [PollFd::new(&master, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default()))?;
    Ok(fds[0].revents().contains(PollFlags::HUP))
}

/// Whose controlling terminals they are, once all descriptors are known.
pub(super) fn finish(stopped: &Stopped, all: &mut Collection) -> Result<()> {
    if all.checkpoint.terminals.is_empty() {
        return Ok(());
    }
    let outside = all.checkpoint.terminals.iter();
    let outside = outside.filter(|it| it.master == Master::Outside).count();
    if outside > 1 {
        return Err(Error::new(
            sys::ErrorKind::Unsupported,
            "more than one terminal of the container is held by somebody outside; close all but \
             its own",
        ));
    }
    let groups = groups(stopped)?;
    for process in stopped.processes.iter().filter(|it| !it.is_zombie()) {
        let stat = procfs::stat(process.pid)?;
        let field = |number| procfs::stat_field(&stat, number);
        let device = u32::try_from(field(7)).unwrap_or(0);
        let Some(number) = slave(device) else {
            continue;
        };
        let mut terminals = all.checkpoint.terminals.iter_mut();
        let Some(terminal) = terminals.find(|it| it.number == number) else {
            continue;
        };
        let foreground = i32::try_from(field(8)).unwrap_or(-1);
        terminal.foreground = groups.get(&foreground).copied();
        let mut processes = all.checkpoint.processes.iter_mut();
        if let Some(into) = processes.find(|it| it.pid == process.inner_pid) {
            into.terminal = Some(number);
        }
    }
    Ok(())
}

/// The processes' groups: as the container sees them, by how we do.
fn groups(stopped: &Stopped) -> Result<BTreeMap<i32, i32>> {
    let mut groups = BTreeMap::new();
    for process in &stopped.processes {
        let status = Status::read(&format!("/proc/{}", process.pid))?;
        let inner = status.innermost("NSpgid");
        if let Some(outer) = status.numbers("NSpgid").first() {
            groups.insert(outer.cast_signed(), inner);
        }
    }
    Ok(groups)
}

/// The number of a slave, from what the kernel encodes its device as.
fn slave(device: u32) -> Option<u32> {
    let kind = device >> 8 & 0xfff;
    let number = device & 0xff | device >> 12 & 0xf_ff00;
    (kind == SLAVES).then_some(number)
}

fn foreign() -> Error {
    refuse("is a terminal of the machine's; close it first")
}

#[cfg(test)]
mod tests {
    #[test]
    fn devices_are_understood() {
        assert_eq!(super::slave(0x8803), Some(3));
        assert_eq!(super::slave(0x10_8803), Some(0x103));
        assert_eq!(super::slave(0x0401), None);
    }
}
