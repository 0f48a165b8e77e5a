//! One kernel object after the other.

use black_box_tests::{Bed, bed};

use crate::Subject;

/// Through a checkpoint that leaves it running, then one that ends it, then
/// a restore, a checkpoint of what was restored, and one more restore.
fn survives(bed: &Bed, program: &str, options: &[&str]) {
    let subject = Subject::new(bed, program);
    subject.start();
    let (first, second, third) = (
        subject.image("first"),
        subject.image("second"),
        subject.image("third"),
    );
    let leave = [&["--leave-running"], options].concat();
    subject.checkpoint(&first, &leave).ok();
    assert_eq!(subject.bundle.status(), "running");
    subject.checkpoint(&second, options).ok();
    assert_eq!(subject.bundle.status(), "stopped");
    subject.bundle.delete();
    subject.restore(&second).ok();
    subject.checkpoint(&third, options).ok();
    subject.bundle.delete();
    subject.restore(&third).ok();
    assert_eq!(subject.verdict(), "ok", "{program}");
    subject.bundle.wait_stopped();
    subject.bundle.delete();
}

/// The original goes on unharmed, and is none the wiser.
fn goes_on(bed: &Bed, program: &str, options: &[&str]) {
    let subject = Subject::new(bed, program);
    subject.start();
    let image = subject.image("image");
    let leave = [&["--leave-running"], options].concat();
    subject.checkpoint(&image, &leave).ok();
    assert_eq!(subject.verdict(), "ok", "{program}");
    subject.bundle.wait_stopped();
    subject.bundle.delete();
}

macro_rules! programs {
    ($($name:ident)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn is_restored() {
                bed!(|bed| survives(bed, stringify!($name), &[]));
            }

            #[test]
            fn goes_on_unharmed() {
                bed!(|bed| goes_on(bed, stringify!($name), &[]));
            }
        }
    )*};
}

programs! { dontneed written shared_written memory generations heap threads tree shared pipes signals timers events files identity waiting registers filter unix_streams unix_messages unix_names network memory_files semaphores queues named_pipes terminals watching aio unattached odd_memory }

#[test]
fn connections_go_on() {
    bed!(|bed| survives(bed, "connected", &["--tcp-established"]));
}

/// A dump that is killed in the middle leaves connections that hear nothing; the next one mends that.
#[test]
fn connections_go_on_after_a_killed_dump() {
    const LEAVE: &str = r"
import ctypes, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
pid = int(sys.argv[1])
pidfd = libc.syscall(434, pid, 0)
drop = (ctypes.c_uint64 * 2)(0x7768617200000000, 6)
program = struct.pack('HxxxxxxQ', 2, ctypes.addressof(drop))
left = 0
for fd in os.listdir(f'/proc/{pid}/fd'):
    if not os.readlink(f'/proc/{pid}/fd/{fd}').startswith('socket:'): continue
    one = socket.socket(fileno=libc.syscall(438, pidfd, int(fd), 0))
    if one.family == socket.AF_UNIX or one.type != socket.SOCK_STREAM: continue
    try: one.getpeername()
    except OSError: continue
    one.setsockopt(socket.SOL_SOCKET, 26, program)
    one.setsockopt(socket.IPPROTO_TCP, 19, 1)
    left += 1
assert left > 1, left
";
    bed!(|bed| {
        let subject = Subject::new(bed, "connected");
        subject.start();
        let state = subject
            .bundle
            .runtime(&["state", subject.bundle.id()])
            .json();
        let pid = state["pid"].to_string();
        bed.host("python3", &["-c", LEAVE, &pid]).ok();
        let image = subject.image("image");
        subject
            .checkpoint(&image, &["--tcp-established", "--leave-running"])
            .ok();
        assert_eq!(subject.verdict(), "ok");
        subject.bundle.wait_stopped();
        subject.bundle.delete();
    });
}

#[test]
fn connections_are_unharmed() {
    bed!(|bed| goes_on(bed, "connected", &["--tcp-established"]));
    bed!(|bed| goes_on(bed, "connected", &["--tcp-close"]));
}

#[test]
fn connections_are_reset() {
    bed!(|bed| {
        let subject = Subject::new(bed, "disconnected");
        subject.start();
        let image = subject.image("image");
        subject.checkpoint(&image, &["--tcp-close"]).ok();
        subject.bundle.delete();
        subject.restore(&image).ok();
        assert_eq!(subject.verdict(), "ok");
        subject.bundle.wait_stopped();
        subject.bundle.delete();
    });
}
