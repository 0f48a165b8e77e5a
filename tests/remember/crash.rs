//! kill -9 at every change, during every verb: afterwards the container runs on, or is on the disk whole.

use black_box_tests::{Bed, bed, eventually};

use crate::{counter, counts_on, status};

/// System calls after which a crash leaves another state behind.
const CHANGES: &str = "mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,clone3,clone,vfork,fsync,syncfs,\
                       sendmsg,sendto,execve,openat,write,fchmod,flock";

/// Runs the command and kills it, and nothing that it started, at its `count`th call that changes something; whether
/// it got through before.
fn killed_at(bed: &Bed, count: u32, arguments: &[&str]) -> bool {
    let wharf = black_box_tests::binary("wharf");
    let calls: String = CHANGES.split_whitespace().collect();
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

/// Running and well, or suspended and well; leaves it running.
fn is_whole(bed: &Bed, name: &str) {
    eventually(30, "it to be one or the other", || {
        let now = status(bed, name);
        assert!(
            !now.starts_with("Exited") && !now.starts_with("Created"),
            "it is lost: {now}"
        );
        if now.starts_with("Suspended") {
            // Its monitor may not have seen yet that nobody starts it any more.
            return bed.run(&["resume", name]).status.success().then_some(());
        }
        Some(())
    });
    counts_on(bed, name);
}

#[test]
fn suspend_killed_at_every_change() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        for count in 1..500 {
            let done = killed_at(bed, count, &["suspend", "one"]);
            is_whole(bed, "one");
            if done {
                assert!(count > 10, "too few changes were seen");
                return;
            }
        }
        panic!("it never got through");
    });
}

#[test]
fn resume_killed_at_every_change() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        for count in 1..500 {
            bed.run(&["suspend", "one"]).ok();
            let done = killed_at(bed, count, &["resume", "one"]);
            is_whole(bed, "one");
            if done {
                assert!(count > 10, "too few changes were seen");
                return;
            }
        }
        panic!("it never got through");
    });
}

#[test]
fn the_processes_beside_it_die() {
    bed!(|bed| {
        // With its monitor a container dies, as ever; suspended, it has none.
        counter(bed, "one", &[]);
        bed.run(&["suspend", "one"]).ok();
        assert_eq!(bed.run(&["ps", "-q"]).ok(), "");
        bed.nothing_runs();
        is_whole(bed, "one");
    });
}
