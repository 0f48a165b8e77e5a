//! What can wait until the container runs quietly.

use std::fs;
use std::io::Write as _;
use std::path::Path;

/// The cgroup of all monitors.
const LEAF: &str = "wharf/monitors";

/// Leaves the cgroup of whoever started us where systemd would kill us with
/// it: at the end of a login (`.scope`) or with a unit (`.service`). It is
/// not worth an error: without it we live as long as the session.
///
/// On v1 only the named hierarchy of systemd matters, and `tasks` moves a
/// single thread without waiting for the kernel.
pub(crate) fn leave_session() {
    let Ok(own) = fs::read_to_string("/proc/self/cgroup") else {
        return;
    };
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if !belongs_to_session(path) {
            continue;
        }
        match controllers {
            "name=systemd" => join("/sys/fs/cgroup/systemd", "tasks"),
            "" if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() => {
                join("/sys/fs/cgroup", "cgroup.procs");
            }
            "" => join("/sys/fs/cgroup/unified", "cgroup.procs"),
            _ => {}
        }
    }
}

fn belongs_to_session(path: &str) -> bool {
    path.split('/').any(|part| {
        Path::new(part)
            .extension()
            .is_some_and(|kind| kind == "scope" || kind == "service")
    })
}

fn join(root: &str, file: &str) {
    let directory = Path::new(root).join(LEAF);
    // See above: a session's end is the worst that a failure can bring.
    let _ = fs::create_dir_all(&directory)
        .and_then(|()| {
            fs::OpenOptions::new()
                .write(true)
                .open(directory.join(file))
        })
        .and_then(|mut file| file.write_all(b"0"));
}

#[cfg(test)]
mod tests {
    #[test]
    fn knows_what_systemd_ends() {
        for (path, ends) in [
            ("/user.slice/user-0.slice/session-3.scope", true),
            ("/system.slice/ssh.service/deep", true),
            ("/", false),
            ("/wharf/monitors", false),
            ("/user.slice", false),
        ] {
            assert_eq!(super::belongs_to_session(path), ends, "{path}");
        }
    }
}
