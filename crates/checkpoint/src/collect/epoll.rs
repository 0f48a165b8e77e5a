//! What an epoll descriptor watches.

use std::collections::BTreeMap;

use sys::{Error, ErrorKind, Result, kcmp};

use super::files::Seen;
use crate::freeze::Stopped;
use crate::image::schema::{Kind, Watched};

pub(super) fn collect(one: &Seen, seen: &[Seen], stopped: &Stopped) -> Result<Kind> {
    let mut watched = Vec::new();
    let mut met: BTreeMap<i32, u32> = BTreeMap::new();
    for line in one
        .info
        .text
        .lines()
        .filter(|line| line.starts_with("tfd:"))
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, fd, _, events, _, data, ..] = words[..] else {
            return Err(Error::new(ErrorKind::Internal, format!("unknown {line:?}")));
        };
        let fd: i32 = fd.parse().unwrap_or(-1);
        let index = met.entry(fd).or_default();
        watched.push(Watched {
            fd,
            description: target(one, seen, fd, *index)?,
            events: u32::from_str_radix(events, 16).unwrap_or(0),
            data: u64::from_str_radix(data, 16).unwrap_or(0),
        });
        *index += 1;
    }
    let owner = stopped.processes.iter().find(|it| it.pid == one.pid);
    Ok(Kind::Epoll {
        process: owner.map_or(1, |process| process.inner_pid),
        watched,
    })
}

/// Mostly the descriptor of that number; otherwise it was duplicated and
/// closed, or added before a fork.
fn target(one: &Seen, seen: &[Seen], fd: i32, index: u32) -> Result<usize> {
    let usual = seen
        .iter()
        .enumerate()
        .filter(|(_, other)| other.named.contains(&(one.pid, fd)));
    let unusual = seen.iter().enumerate();
    for (place, other) in usual.chain(unusual) {
        if kcmp::is_watched(other.pid, other.fd, one.pid, one.fd, fd, index)? {
            return Ok(place);
        }
    }
    Err(super::descriptors::refuse(&format!(
        "watches descriptor {fd}, which nobody has open any more; close it first"
    )))
}
