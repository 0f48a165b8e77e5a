//! What a dump leaves that was killed: TCP connections that hear nothing. All
//! else of it the kernel undoes.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use state::ProcessRef;
use sys::{Result, socket};

use crate::check::tree;
use crate::procfs;
use crate::tcp::{REPAIR_OFF, TCP, TCP_REPAIR};

/// Lets connections of the processes below `init` go on that stand still
/// though nobody holds them; says how many there were. To be called when no
/// dump of them is under way.
pub fn mend(init: ProcessRef) -> Result<usize> {
    let mut mended = 0;
    if !init.is_alive() {
        return Ok(0);
    }
    for pid in tree(init.pid) {
        // One that ended meanwhile has no connections.
        for socket in sockets(pid).unwrap_or_default() {
            if socket::is_deaf(socket.as_fd())? {
                socket::set_number(socket.as_fd(), TCP, TCP_REPAIR, REPAIR_OFF)?;
                socket::hear(socket.as_fd())?;
                mended += 1;
            }
        }
    }
    Ok(mended)
}

/// Copies of all sockets that a process has.
fn sockets(pid: i32) -> Option<Vec<OwnedFd>> {
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let path = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&path).ok()?.flatten();
    let numbers = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let link = procfs::link(&format!("{path}/{name}")).ok()?;
        link.starts_with("socket:").then_some(name.parse().ok()?)
    });
    let sockets = numbers.filter_map(|fd| pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty()).ok());
    Some(sockets.collect())
}
