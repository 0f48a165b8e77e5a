//! Keeps containers from overwriting this program.
//!
//! A container's init begins as a copy of us, and a program of a container
//! can make us run inside it (`#!/proc/self/exe`). Either way /proc/PID/exe
//! leads to our file on the host. So whatever starts a process in a container
//! first starts itself again from a read-only mount of that file, unless it
//! runs from one already: that is one more execve, and the same pages. Where
//! no such mount can be made, a sealed copy in memory takes its place.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use sys::entry::arguments;
use sys::{Result, exe, inherited};

/// What protects the program; to be kept until the end.
#[derive(Debug)]
pub(crate) struct Guard {
    program: Option<OwnedFd>,
}

impl Guard {
    /// The descriptor that keeps the mount.
    pub(crate) fn program(&self) -> Option<&OwnedFd> {
        self.program.as_ref()
    }
}

/// The verbs that start a process in a container.
const STARTING: [&CStr; 6] = [
    c"monitor",
    c"template",
    c"create",
    c"run",
    c"exec",
    c"restore",
];

/// Returns if we are protected or will start nothing; starts us again if not.
/// To be called first of all: what was done before is done again, down to the
/// first byte of memory that was asked for.
pub(crate) fn protect() -> Result<Guard> {
    // The verb is one of the arguments; which one does not matter here, since
    // to protect once too often does no harm.
    if !arguments().any(|word| STARTING.contains(&word)) {
        return Ok(Guard { program: None });
    }
    if exe::is_protected()? {
        // Not ours if the file system itself is read-only.
        let program = inherited::take(exe::PLACE).ok();
        return Ok(Guard { program });
    }
    // Without the right to mount, or started from another mount namespace.
    let protected =
        exe::protect(Path::new(exe::SELF)).or_else(|_| exe::copy(Path::new(exe::SELF)))?;
    match exe::execute(&protected)? {}
}
