//! Naming a process so that a recycled pid is not taken for it.

use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
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

    /// As [`ProcessRef::is_alive`], for one whose number in pidfs is known:
    /// less than half the work, as the kernel need not count up what the
    /// process has used.
    pub fn is_alive_as(&self, inode: PidfsInode) -> bool {
        let Some(pid) = rustix::process::Pid::from_raw(self.pid) else {
            return false;
        };
        let Ok(fd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else {
            return false;
        };
        let is_it = rustix::fs::fstat(&fd).is_ok_and(|stat| stat.st_ino == inode.0);
        // Readable from its end on, before anybody reaps it.
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        let now = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        is_it && matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(0))
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

/// The number of a process in pidfs: no other process of this boot has it or
/// had it (Linux 6.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PidfsInode(u64);

/// `PID_FS_MAGIC` of linux/magic.h.
const PIDFS: u64 = 0x5049_4446;

impl PidfsInode {
    /// Of a child that was not waited for, so that its pid is its own.
    /// `None` where pidfds have no file system, and so no numbers.
    pub fn of_child(child: ProcessRef) -> Option<Self> {
        let pid = rustix::process::Pid::from_raw(child.pid)?;
        let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
        let kind = rustix::fs::fstatfs(&fd).ok()?.f_type;
        let stat = rustix::fs::fstat(&fd).ok()?;
        (kind.cast_unsigned() == PIDFS).then_some(Self(stat.st_ino))
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
    use rustix::process::{WaitId, WaitIdOptions};

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

    #[test]
    fn knows_them_by_their_numbers_in_pidfs() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let process = ProcessRef::of(child.id().cast_signed()).unwrap();
        let Some(inode) = PidfsInode::of_child(process) else {
            child.kill().unwrap();
            child.wait().unwrap();
            eprintln!("this kernel has no pidfs");
            return;
        };
        assert!(process.is_alive_as(inode));
        assert!(!process.is_alive_as(PidfsInode(inode.0 + 1)));
        child.kill().unwrap();
        // A zombie, until it is waited for.
        let pidfd = WaitId::Pid(rustix::process::Pid::from_raw(process.pid).unwrap());
        let stays = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(pidfd, stays).unwrap();
        assert!(!process.is_alive_as(inode));
        child.wait().unwrap();
        assert!(!process.is_alive_as(inode));
    }
}
