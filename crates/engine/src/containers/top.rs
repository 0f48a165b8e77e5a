//! `top CONTAINER`: its processes, as the host sees them. Nothing of the
//! container is run for it.

use std::fs;

use state::Timestamp;
use sys::{Context as _, Error, ErrorKind, Result};

use super::Containers;
use super::observe;
use super::stop::{no_such, suspended};
use crate::cgroup::Hierarchies;
use crate::runtime_spec::cgroup_path;

/// What `ps -ef` tells of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessRow {
    /// Name on the host, or the number.
    pub user: String,
    pub pid: i32,
    pub parent: i32,
    /// Percent of its life that it used a processor.
    pub usage: u64,
    pub started: Timestamp,
    /// `pts/0`, or `?`.
    pub terminal: String,
    /// Seconds of processor time.
    pub time: u64,
    pub command: String,
}

impl Containers<'_> {
    /// Process ids on the host, lowest first. `Conflict` if it does not run.
    pub fn pids(&self, container: &str) -> Result<Vec<i32>> {
        let id = self.resolve(container)?;
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        if observed.is_suspended() {
            return Err(suspended(container, "resume it first"));
        }
        if !observed.is_running() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("container {container} is not running"),
            ));
        }
        Hierarchies::find()?.pids(&cgroup_path(&observed.config))
    }

    /// Its processes.
    pub fn top(&self, container: &str) -> Result<Vec<ProcessRow>> {
        let pids = self.pids(container)?;
        let host = Host::look()?;
        // One that ends meanwhile is left out.
        Ok(pids.into_iter().filter_map(|pid| row(pid, &host)).collect())
    }
}

struct Host {
    passwd: String,
    /// Seconds since 1970.
    booted: i64,
    /// Per second.
    ticks: u64,
}

impl Host {
    fn look() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context(|| "read /proc/stat")?;
        let booted = text
            .lines()
            .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
            .unwrap_or(0);
        Ok(Self {
            passwd: fs::read_to_string("/etc/passwd").unwrap_or_default(),
            booted,
            ticks: rustix::param::clock_ticks_per_second().max(1),
        })
    }

    fn user(&self, uid: &str) -> String {
        let name = self.passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1) == Some(uid)).then(|| name.to_owned())
        });
        name.unwrap_or_else(|| uid.to_owned())
    }
}

fn row(pid: i32, host: &Host) -> Option<ProcessRow> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    // The name in brackets may hold anything, also brackets.
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let time = (number(11)? + number(12)?) / host.ticks;
    let started = host.booted + i64::try_from(number(19)? / host.ticks).ok()?;
    let started = Timestamp::from_nanos(started.saturating_mul(1_000_000_000));
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1))?;
    let words: Vec<_> = words
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    let command = if words.is_empty() {
        format!("[{name}]")
    } else {
        words.join(" ")
    };
    Some(ProcessRow {
        user: host.user(uid),
        pid,
        parent: fields.get(1)?.parse().ok()?,
        usage: time * 100 / started.elapsed().as_secs().max(1),
        started,
        terminal: terminal(number(4)?),
        time,
        command: command.replace(|letter: char| letter.is_control(), "?"),
    })
}

/// The device number of /proc/PID/stat in words.
fn terminal(device: u64) -> String {
    let device = u32::try_from(device).unwrap_or(0);
    let (major, minor) = (
        (device >> 8) & 0xfff,
        (device & 0xff) | ((device >> 12) & 0xfff00),
    );
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        5 => "console".to_owned(),
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_ourselves() {
        let host = Host::look().unwrap();
        let pid = std::process::id().cast_signed();
        let row = row(pid, &host).unwrap();
        assert_eq!(row.pid, pid);
        assert!(row.command.contains("engine"), "{row:?}");
        assert!(row.started.elapsed().as_secs() < 3600, "{row:?}");
    }

    #[test]
    fn terminals_have_names() {
        for (device, name) in [(0, "?"), (34816, "pts/0"), (34823, "pts/7"), (1025, "tty1")] {
            assert_eq!(terminal(device), name);
        }
    }
}
