//! eventfd, timerfd, signalfd, pidfd.

use std::os::fd::OwnedFd;

use sys::{Error, ErrorKind, Result};

use super::descriptors::refuse;
use super::files::Seen;
use crate::freeze::Stopped;
use crate::image::schema::{Kind, TimerDescriptor};

pub(super) fn event(one: &Seen) -> Result<Kind> {
    let count = one.info.hex("eventfd-count");
    let semaphore = match one.info.get("eventfd-semaphore") {
        Some(flag) => flag == "1",
        // Linux before 6.5 does not say.
        None => counts_down(&one.ours, count)?,
    };
    Ok(Kind::Event { count, semaphore })
}

/// Whether a read takes one, or all of it. It is tried, and put back: nobody
/// moves who could notice.
fn counts_down(event: &OwnedFd, count: u64) -> Result<bool> {
    if count > u64::MAX - 3 {
        return Ok(false); // more would not fit, and nobody counts so far
    }
    let add = |number: u64| rustix::io::write(event, &number.to_ne_bytes());
    let take = || -> rustix::io::Result<u64> {
        let mut number = [0; 8];
        rustix::io::read(event, &mut number)?;
        Ok(u64::from_ne_bytes(number))
    };
    add(2)?;
    let by_one = take()? == 1;
    if by_one {
        take()?;
    } else if count > 0 {
        add(count)?;
    }
    Ok(by_one)
}

pub(super) fn timer(one: &Seen) -> Result<Kind> {
    let time = |name: &str| {
        let value = one.info.get(name)?;
        let (seconds, nanoseconds) = value
            .strip_prefix('(')?
            .strip_suffix(')')?
            .split_once(", ")?;
        let seconds: u64 = seconds.parse().ok()?;
        Some(seconds * 1_000_000_000 + nanoseconds.parse::<u64>().ok()?)
    };
    let (Some(value), Some(interval)) = (time("it_value"), time("it_interval")) else {
        return Err(Error::new(ErrorKind::Internal, "a timer of unknown form"));
    };
    Ok(Kind::Timer(TimerDescriptor {
        clock: i32::try_from(one.info.number("clockid")).unwrap_or(1),
        ticks: one.info.number("ticks"),
        flags: u32::try_from(one.info.hex("settime flags")).unwrap_or(0),
        value,
        interval,
    }))
}

pub(super) fn signals(one: &Seen) -> Kind {
    Kind::Signals {
        mask: one.info.hex("sigmask"),
    }
}

pub(super) fn process(one: &Seen, stopped: &Stopped) -> Result<Kind> {
    let outer: i32 = one
        .info
        .get("Pid")
        .and_then(|pid| pid.parse().ok())
        .unwrap_or(-1);
    let known = stopped
        .processes
        .iter()
        .find(|process| process.pid == outer);
    match known {
        Some(process) => Ok(Kind::Process {
            pid: process.inner_pid,
        }),
        // It has ended and was waited for.
        None if outer == -1 => Ok(Kind::Process { pid: -1 }),
        None => Err(refuse(
            "is of a process outside of the container; close it first",
        )),
    }
}
