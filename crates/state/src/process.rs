//! Naming a process so that a recycled pid is not taken for it.

use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use sys::{Context as _, Error, ErrorKind, Result};

/// A process by pid and start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessRef {
    pub pid: i32,
    /// Clock ticks after boot (proc(5), `/proc/PID/stat` field 22).
    pub start_time: u64,
}

impl ProcessRef {
    /// The process that has `pid` now.
    pub fn of(pid: i32) -> Result<Self> {
        match stat(pid)? {
            Some((_, start_time)) => Ok(Self { pid, start_time }),
            None => Err(Error::new(ErrorKind::NotFound, format!("no process {pid}"))),
        }
    }

    /// True while it runs; a zombie does not.
    pub fn is_alive(&self) -> bool {
        matches!(stat(self.pid), Ok(Some((state, start_time)))
            if start_time == self.start_time && !matches!(state, b'Z' | b'X' | b'x'))
    }

    /// A pidfd of it; `None` if it is gone.
    pub fn open(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = rustix::process::Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            // The number may be another process's by now.
            Ok(fd) => Ok(self.is_alive().then_some(fd)),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// State letter and start time, `None` if there is no such process.
fn stat(pid: i32) -> Result<Option<(u8, u64)>> {
    // One read gets all of it; the standard library would ask for a size that
    // the kernel does not know, and read twice.
    let mut text = [0; 2048];
    let read =
        fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut text));
    let text = match read {
        Ok(length) => &text[..length],
        // ESRCH: it went away between open and read.
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound
                || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error).context(|| format!("read /proc/{pid}/stat")),
    };
    // The name may hold anything, parentheses and spaces included.
    let fields = text.iter().rposition(|byte| *byte == b')').and_then(|end| {
        let mut fields = text.get(end + 2..)?.split(|byte| *byte == b' ');
        let state = *fields.next()?.first()?;
        let start_time = std::str::from_utf8(fields.nth(18)?).ok()?.parse().ok()?;
        Some((state, start_time))
    });
    match fields {
        Some(fields) => Ok(Some(fields)),
        None => Err(Error::new(
            ErrorKind::Internal,
            format!("/proc/{pid}/stat has an unknown form"),
        )),
    }
}

/// Which boot of the machine a fact belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(String);

impl BootId {
    /// The boot that we run in.
    pub fn current() -> Result<Self> {
        let path = "/proc/sys/kernel/random/boot_id";
        let text = fs::read_to_string(path).context(|| format!("read {path}"))?;
        Ok(Self(text.trim().to_owned()))
    }

    /// As the kernel writes it: hex digits and dashes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_living_and_the_dead() {
        let me = ProcessRef::of(std::process::id().cast_signed()).unwrap();
        assert!(me.is_alive());
        let other = ProcessRef {
            start_time: me.start_time + 1,
            ..me
        };
        assert!(!other.is_alive());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let zombie = ProcessRef::of(child.id().cast_signed());
        child.wait().unwrap();
        assert!(zombie.is_err() || !zombie.unwrap().is_alive());
    }
}
