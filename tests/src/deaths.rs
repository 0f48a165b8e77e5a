//! Killing a command at each system call that changes something.

use crate::bed::{Bed, binary};

/// System calls after which a crash leaves another state behind.
const CHANGES: &str = "mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlinkat,unlink,unlinkat,rmdir,clone3,\
                       move_mount,mount,pivot_root,sendmsg,sendto,setns,bind,execve";

/// Runs the command again and again, killing it and what it started at the 1st, 2nd, … call that changes something,
/// until it gets through; after each crash `check` looks.
pub fn crash_everywhere(bed: &Bed, arguments: &[&str], check: impl Fn(&Bed)) {
    let wharf = binary("wharf");
    let calls: String = CHANGES.split_whitespace().collect();
    let mut next = 1;
    while next < 5000 {
        let count = next;
        // Every one of the first thirty, then farther apart: unpacking an image is hundreds of the same.
        next = if count < 30 {
            count + 1
        } else {
            count + count / 4
        };
        let inject = format!("inject={calls}:signal=KILL:when={count}");
        let mut words = vec![
            "-f",
            "-o",
            "/dev/null",
            "-e",
            &inject,
            wharf.to_str().unwrap(),
        ];
        words.extend([
            "--root",
            bed.root().to_str().unwrap(),
            "--runroot",
            bed.runroot().to_str().unwrap(),
        ]);
        words.extend(arguments);
        let outcome = bed.host("strace", &words);
        check(bed);
        if outcome.status.success() {
            return;
        }
    }
    panic!("{arguments:?} never got through");
}

/// As [`CHANGES`], of a command that is killed alone.
const CHANGES_OF_ONE: &str = "mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,clone3,clone,vfork,fsync,syncfs,\
                       sendmsg,sendto,execve,openat,write,fchmod,flock";

/// Runs the command and kills it, and nothing that it started, at its `count`th call that changes something; whether
/// it got through before.
pub fn killed_at(bed: &Bed, count: u32, arguments: &[&str]) -> bool {
    let wharf = binary("wharf");
    let calls: String = CHANGES_OF_ONE.split_whitespace().collect();
    let inject = format!("inject={calls}:signal=KILL:when={count}");
    let mut words = vec!["-o", "/dev/null", "-e", &inject, wharf.to_str().unwrap()];
    words.extend([
        "--root",
        bed.root().to_str().unwrap(),
        "--runroot",
        bed.runroot().to_str().unwrap(),
    ]);
    words.extend(arguments);
    bed.host("strace", &words).status.success()
}

/// Every one of the first thirty, then farther apart.
pub fn kill_counts() -> impl Iterator<Item = u32> {
    let next = |count: &u32| {
        Some(if *count < 30 {
            count + 1
        } else {
            count + count / 6
        })
    };
    std::iter::successors(Some(1), next).take_while(|count| *count < 2000)
}
