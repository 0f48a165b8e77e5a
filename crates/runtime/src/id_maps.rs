//! Who is who in a new user namespace: written by us, or by newuidmap(1) and
//! newgidmap(1), which hand out what /etc/subuid and /etc/subgid grant.

use std::fs;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions};
use spec::runtime::IdMapping;
use sys::caps::Caps;
use sys::spawn::Spawn;
use sys::{Context as _, Error, ErrorKind, Result};

/// Where distributions put the helpers. PATH is not asked: they are trusted
/// with a right that we lack.
const DIRECTORIES: [&str; 3] = ["/usr/bin", "/bin", "/usr/local/bin"];
/// As much of a helper's complaint as is repeated.
const COMPLAINT_MAX: u64 = 1024;

/// Who writes the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// We may map any id.
    Privileged,
    /// We may map ourselves; the rest is what the helpers are for. They, and
    /// the kernel for our sake, refuse a process that hides its memory.
    Owner,
}

impl Writer {
    pub(crate) fn find() -> Result<Self> {
        let ours = sys::caps::permitted()?;
        Ok(if ours.contains(Caps::SETUID | Caps::SETGID) {
            Self::Privileged
        } else {
            Self::Owner
        })
    }

    /// Maps ids for process `pid`, which waits in its new user namespace.
    pub(crate) fn write(self, pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<()> {
        match self {
            Self::Privileged => {
                write_map(pid, &UIDS, uids)?;
                write_map(pid, &GIDS, gids)
            }
            Self::Owner => {
                let uid = rustix::process::geteuid().as_raw();
                let gid = rustix::process::getegid().as_raw();
                if is_only(uids, uid) {
                    write_map(pid, &UIDS, uids)?;
                } else {
                    run_helper(pid, &UIDS, uids)?;
                }
                if is_only(gids, gid) {
                    // Else a process could shed a group that takes rights
                    // away from it (user_namespaces(7)).
                    write(&format!("/proc/{pid}/setgroups"), "deny")?;
                    write_map(pid, &GIDS, gids)
                } else {
                    run_helper(pid, &GIDS, gids)
                }
            }
        }
    }
}

struct Kind {
    field: &'static str,
    file: &'static str,
    helper: &'static str,
    granted_in: &'static str,
}

const UIDS: Kind = Kind {
    field: "linux.uidMappings",
    file: "uid_map",
    helper: "newuidmap",
    granted_in: "/etc/subuid",
};
const GIDS: Kind = Kind {
    field: "linux.gidMappings",
    file: "gid_map",
    helper: "newgidmap",
    granted_in: "/etc/subgid",
};

fn is_only(map: &[IdMapping], id: u32) -> bool {
    matches!(map, [one] if one.host_id == id && one.size == 1)
}

fn write_map(pid: i32, kind: &Kind, map: &[IdMapping]) -> Result<()> {
    let lines: Vec<String> = map
        .iter()
        .map(|map| format!("{} {} {}", map.container_id, map.host_id, map.size))
        .collect();
    write(&format!("/proc/{pid}/{}", kind.file), &lines.join("\n")).context(|| kind.field)
}

fn write(path: &str, value: &str) -> Result<()> {
    fs::write(path, value).context(|| format!("write {path}"))
}

/// `newuidmap PID INSIDE OUTSIDE COUNT …`
fn run_helper(pid: i32, kind: &Kind, map: &[IdMapping]) -> Result<()> {
    let program = DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(kind.helper))
        .find(|path| path.exists())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{} maps more than the user's own id, which needs {}: install it (package \
                     uidmap or shadow-utils), or map a single id",
                    kind.field, kind.helper
                ),
            )
        })?;
    let (ours, theirs) =
        pipe_with(PipeFlags::CLOEXEC).context(|| format!("listen to {}", kind.helper))?;
    let mut helper = Spawn::new(&program)
        .fd(theirs.as_fd(), 2)
        .arg(pid.to_string());
    for map in map {
        for number in [map.container_id, map.host_id, map.size] {
            helper = helper.arg(number.to_string());
        }
    }
    let child = helper.start().context(|| kind.field)?;
    drop(theirs);
    let complaint = read_complaint(ours);
    let status = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED)
    })
    .context(|| format!("wait for {}", kind.helper))?;
    if status.is_some_and(|status| status.exit_status() == Some(0)) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Denied,
        format!(
            "{}: {} refused ({}); the user needs a line in {} that grants these ids",
            kind.field,
            program.display(),
            complaint.trim(),
            kind.granted_in
        ),
    ))
}

fn read_complaint(pipe: OwnedFd) -> String {
    let mut bytes = Vec::new();
    let mut pipe = fs::File::from(pipe);
    // What cannot be read is missing in the message only.
    let _ = (&mut pipe).take(COMPLAINT_MAX).read_to_end(&mut bytes);
    // It may not block on the rest.
    let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    String::from_utf8_lossy(&bytes).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ones_own_id_needs_no_helper() {
        let map = |host_id, size| IdMapping {
            container_id: 0,
            host_id,
            size,
        };
        assert!(is_only(&[map(1000, 1)], 1000));
        assert!(!is_only(&[map(1000, 2)], 1000));
        assert!(!is_only(&[map(100_000, 1)], 1000));
        assert!(!is_only(&[map(1000, 1), map(100_000, 65_536)], 1000));
    }
}
