//! Terminals of the container's own, under the numbers that they had. That
//! which the container was made with is there already: it is what the blank
//! init has for its standard descriptors.

use sys::{Context as _, Error, ErrorKind, Result};

use super::files::open_path;
use super::pool::OPENED;
use super::{Puppet, Work};
use crate::image::hex;
use crate::image::schema::{Master, Process, Terminal};
use crate::inject::{Arg, Program};

const CLOSE: u32 = 3;
const IOCTL: u32 = 16;
const FCNTL: u32 = 72;
const FCHOWNAT: u32 = 260;
const FCHMODAT: u32 = 268;
const DUP3: u32 = 292;
const CLOSE_RANGE: u32 = 436;
const AT_FDCWD: i32 = -100;
const F_SETFL: u32 = 4;
/// What fcntl(2) can set.
const SETTABLE: u32 = 0o66_000;
const O_RDWR: u32 = 2;
const O_NOCTTY: u32 = 0o400;

const TIOCSCTTY: u32 = 0x540e;
const TIOCSPGRP: u32 = 0x5410;
const TIOCSWINSZ: u32 = 0x5414;
const TIOCPKT: u32 = 0x5420;
const TIOCNOTTY: u32 = 0x5422;
const TIOCGPTPEER: u32 = 0x5441;
const TCSETS2: u32 = 0x402c_542b;
const TIOCSPTLCK: u32 = 0x4004_5431;
const TIOCGPTN: u32 = 0x8004_5430;
const TIOCGDEV: u32 = 0x8004_5432;

const PTMX: &str = "/dev/pts/ptmx";

/// Makes them, in the pool: their masters, and the slave of the one whose
/// master is outside.
pub(super) fn make(puppet: &Puppet, work: &Work<'_>) -> Result<()> {
    let terminals = &work.checkpoint.terminals;
    let console = console(puppet, work)?;
    let own = terminals.iter().position(|it| it.master == Master::Outside);
    let first = work.checkpoint.processes.first();
    if let Some(number) = console {
        let wanted = own.and_then(|own| terminals.get(own));
        let is_taken = terminals.iter().any(|it| it.number == number);
        if wanted.map_or(is_taken, |wanted| wanted.number != number) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "process.terminal: /dev/pts/{number} is another terminal in the checkpoint; \
                     restore it as it was made"
                ),
            ));
        }
        let mut program = Program::default();
        let stdin = work.pool.stdio(0);
        if let Some(own) = own {
            let place = work.pool.terminal(own);
            program.call(
                "take the terminal",
                DUP3,
                &[stdin.into(), place.into(), 0.into()],
            );
        }
        if first.and_then(|first| first.terminal) != Some(number) {
            let arguments = [stdin.into(), TIOCNOTTY.into()];
            program.call("give the terminal up", IOCTL, &arguments);
        }
        puppet.run(&program)?;
    } else if own.is_some() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the checkpoint is of a container with a terminal; restore it with process.terminal",
        ));
    }
    open_masters(puppet, console, work).context(|| "make terminals again")
}

/// The number of the terminal that the container was made with.
fn console(puppet: &Puppet, work: &Work<'_>) -> Result<Option<u32>> {
    if !work.has_console {
        return Ok(None);
    }
    let mut program = Program::default();
    let device = program.room(8);
    let arguments = [work.pool.stdio(0).into(), TIOCGDEV.into(), device.into()];
    program.call("look at the terminal", IOCTL, &arguments);
    let device = puppet.run(&program)?.number(device, 0);
    let device = u32::try_from(device & 0xffff_ffff).unwrap_or(0);
    Ok(Some(device & 0xff | device >> 12 & 0xf_ff00))
}

/// The kernel gives the lowest number that is free: all up to the highest
/// are opened, and those that nobody wants closed again.
fn open_masters(puppet: &Puppet, console: Option<u32>, work: &Work<'_>) -> Result<()> {
    let terminals = work.checkpoint.terminals.iter().enumerate();
    let wanted: Vec<(usize, &Terminal)> = terminals
        .filter(|(_, it)| it.master != Master::Outside)
        .collect();
    let Some(highest) = wanted.iter().map(|(_, it)| it.number).max() else {
        return Ok(());
    };
    let is_there = console.is_some_and(|console| console < highest);
    let count = i32::try_from(highest).unwrap_or(i32::MAX - 1) + 1 - i32::from(is_there);
    if count >= work.pool.lowest() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("/dev/pts/{highest} has a higher number than can be had again"),
        ));
    }
    let mut program = Program::default();
    let mut numbers = Vec::new();
    for fd in 0..count {
        open_path(&mut program, PTMX, O_RDWR);
        let number = program.room(8);
        let arguments = [fd.into(), TIOCGPTN.into(), number.into()];
        program.call("number a terminal", IOCTL, &arguments);
        numbers.push(number);
    }
    let opened = puppet.run(&program)?;
    let mut program = Program::default();
    for (place, terminal) in wanted {
        let number = u64::from(terminal.number);
        let mut fds = 0..count;
        let fd = fds.find(|fd| {
            let at = numbers.get(usize::try_from(*fd).unwrap_or(0)).copied();
            at.is_some_and(|at| opened.number(at, 0) & 0xffff_ffff == number)
        });
        let fd = fd.ok_or_else(|| {
            Error::new(
                ErrorKind::Conflict,
                format!("/dev/pts/{number} is taken by somebody else"),
            )
        })?;
        let place = work.pool.terminal(place);
        program.call(
            "take a terminal",
            DUP3,
            &[fd.into(), place.into(), 0.into()],
        );
        let unlocked = program.data(&[0; 4]);
        let arguments = [place.into(), TIOCSPTLCK.into(), unlocked.into()];
        program.call("unlock a terminal", IOCTL, &arguments);
    }
    program.call(
        "close descriptors",
        CLOSE_RANGE,
        &[0.into(), (count - 1).into()],
    );
    puppet.run(&program).map(drop)
}

pub(super) fn take_master(program: &mut Program, from: i32, place: i32, flags: u32) {
    program.call(
        "take a terminal",
        DUP3,
        &[from.into(), place.into(), 0.into()],
    );
    let arguments = [place.into(), F_SETFL.into(), (flags & SETTABLE).into()];
    program.call("set the flags of a terminal", FCNTL, &arguments);
}

/// Where a slave is opened. `/dev/tty` is the terminal of whoever opens it,
/// which is init.
pub(super) fn openable(work: &Work<'_>, terminal: usize, path: &str) -> String {
    let Some(terminal) = work.checkpoint.terminals.get(terminal) else {
        return path.to_owned();
    };
    let first = work.checkpoint.processes.first();
    let is_of_init = terminal.master == Master::Outside
        && first.and_then(|first| first.terminal) == Some(terminal.number);
    if path == "/dev/tty" && !is_of_init {
        return format!("/dev/pts/{}", terminal.number);
    }
    path.to_owned()
}

/// Once all of their ends that are in the pool are open.
pub(super) fn settle(puppet: &Puppet, work: &Work<'_>) -> Result<()> {
    for (place, terminal) in work.checkpoint.terminals.iter().enumerate() {
        let mut program = Program::default();
        let fd = work.pool.terminal(place);
        if terminal.master == Master::Gone {
            program.call("hang a terminal up", CLOSE, &[fd.into()]);
        } else {
            settle_one(&mut program, fd, terminal)?;
        }
        puppet
            .run(&program)
            .context(|| format!("make terminal {} again", terminal.number))?;
    }
    Ok(())
}

fn settle_one(program: &mut Program, fd: i32, terminal: &Terminal) -> Result<()> {
    let set = |program: &mut Program, request: u32, value: Arg| {
        program.call("set a terminal", IOCTL, &[fd.into(), request.into(), value]);
    };
    let settings = program.data(&hex::decode(&terminal.settings)?);
    set(program, TCSETS2, settings.into());
    let size = terminal.size.map(u16::to_ne_bytes).concat();
    let size = program.data(&size);
    set(program, TIOCSWINSZ, size.into());
    let name = program.text(format!("/dev/pts/{}", terminal.number).as_bytes());
    let (uid, gid, mode) = (terminal.uid, terminal.gid, terminal.mode);
    // In a user namespace some ids are nobody's.
    let arguments = [
        AT_FDCWD.into(),
        name.into(),
        uid.into(),
        gid.into(),
        0.into(),
    ];
    program.attempt(FCHOWNAT, &arguments);
    program.attempt(FCHMODAT, &[AT_FDCWD.into(), name.into(), mode.into()]);
    if terminal.master != Master::Inside {
        return Ok(());
    }
    if terminal.is_deserted {
        open_slave(program, fd);
        program.call("close a terminal", CLOSE, &[OPENED.into()]);
    }
    let tells = program.data(&u32::from(terminal.tells).to_ne_bytes());
    set(program, TIOCPKT, tells.into());
    let is_locked = program.data(&u32::from(terminal.is_locked).to_ne_bytes());
    set(program, TIOCSPTLCK, is_locked.into());
    Ok(())
}

/// As the lowest descriptor.
fn open_slave(program: &mut Program, master: i32) {
    let flags = O_RDWR | O_NOCTTY;
    let arguments = [master.into(), TIOCGPTPEER.into(), flags.into()];
    program.call("open a terminal", IOCTL, &arguments);
}

/// Does `ask` of the slave of a terminal of this number.
fn of_slave(
    program: &mut Program,
    number: u32,
    work: &Work<'_>,
    ask: impl FnOnce(&mut Program, i32),
) {
    let mut terminals = work.checkpoint.terminals.iter();
    let Some(place) = terminals.position(|it| it.number == number) else {
        return;
    };
    let fd = work.pool.terminal(place);
    if work.checkpoint.terminals[place].master == Master::Outside {
        return ask(program, fd);
    }
    open_slave(program, fd);
    ask(program, OPENED);
    program.call("close a terminal", CLOSE, &[OPENED.into()]);
}

/// The leader of a session, before all others of it, gets its terminal.
pub(super) fn control(puppet: &Puppet, what: &Process, work: &Work<'_>) -> Result<()> {
    let Some(number) = what.terminal else {
        return Ok(());
    };
    let mut program = Program::default();
    of_slave(&mut program, number, work, |program, fd| {
        let arguments = [fd.into(), TIOCSCTTY.into(), 0.into()];
        program.call(
            format!("make /dev/pts/{number} its terminal"),
            IOCTL,
            &arguments,
        );
    });
    puppet.run(&program).map(drop)
}

/// Whom the leader of the session lets read from its terminal.
pub(super) fn set_foreground(puppet: &Puppet, what: &Process, work: &Work<'_>) -> Result<()> {
    let Some(number) = what.terminal else {
        return Ok(());
    };
    let mut terminals = work.checkpoint.terminals.iter();
    let terminal = terminals.find(|it| it.number == number);
    let Some(group) = terminal.and_then(|it| it.foreground) else {
        return Ok(());
    };
    let mut program = Program::default();
    let group = program.data(&group.to_ne_bytes());
    of_slave(&mut program, number, work, |program, fd| {
        let arguments = [fd.into(), TIOCSPGRP.into(), group.into()];
        program.call("put a group into the foreground", IOCTL, &arguments);
    });
    puppet.run(&program).map(drop)
}

/// Of one that left its session's terminal alone.
pub(super) fn give_up(puppet: &Puppet, number: u32, work: &Work<'_>) -> Result<()> {
    let mut program = Program::default();
    of_slave(&mut program, number, work, |program, fd| {
        // It may have been made before its session had one.
        program.attempt(IOCTL, &[fd.into(), TIOCNOTTY.into()]);
    });
    puppet.run(&program).map(drop)
}
