//! kill -9 at every change, during every verb: afterwards the container runs on, or is on the disk whole.

use black_box_tests::{Bed, bed, eventually, kill_counts, killed_at};

use crate::{counter, counts_on, status};

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
        for count in kill_counts() {
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
        for count in kill_counts() {
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

#[test]
fn checkpoint_killed_at_every_change() {
    bed!(|bed| {
        counter(bed, "one", &["-v", "/data"]);
        for count in kill_counts() {
            let done = killed_at(
                bed,
                count,
                &["checkpoint", "--leave-running", "one", "kept"],
            );
            is_whole(bed, "one");
            // It is there whole, or not at all; a repair takes away what has no name yet.
            if bed.run(&["checkpoint", "ls", "-q"]).ok() == "kept" {
                if done || count % 8 == 0 {
                    bed.run(&["restore", "kept", "--name", "two"]).ok();
                    counts_on(bed, "two");
                    bed.run(&["rm", "-f", "-v", "two"]).ok();
                }
                bed.run(&["checkpoint", "rm", "kept"]).ok();
            }
            if done {
                assert!(count > 20, "too few changes were seen");
                bed.run(&["system", "repair"]).ok();
                let left = std::fs::read_dir(bed.root().join("checkpoints")).unwrap();
                assert_eq!(left.count(), 0);
                return;
            }
        }
        panic!("it never got through");
    });
}

#[test]
fn a_checkpoint_that_ends_it_killed_at_every_change() {
    bed!(|bed| {
        for count in kill_counts() {
            counter(bed, "one", &[]);
            let done = killed_at(bed, count, &["checkpoint", "one", "kept"]);
            let has = bed.run(&["checkpoint", "ls", "-q"]).ok() == "kept";
            if status(bed, "one").starts_with("Up ") {
                counts_on(bed, "one");
            } else {
                assert!(has, "it ended, and there is no checkpoint");
            }
            if has {
                bed.run(&["restore", "kept", "--name", "two"]).ok();
                counts_on(bed, "two");
                bed.run(&["rm", "-f", "two"]).ok();
                bed.run(&["checkpoint", "rm", "kept"]).ok();
            }
            bed.run(&["rm", "-f", "one"]).ok();
            if done {
                assert!(has && count > 20);
                bed.run(&["system", "repair"]).ok();
                return;
            }
        }
        panic!("it never got through");
    });
}

#[test]
fn restore_killed_at_every_change() {
    bed!(|bed| {
        counter(bed, "one", &["-v", "/data"]);
        bed.run(&["checkpoint", "one", "kept"]).ok();
        bed.run(&["rm", "-v", "one"]).ok();
        for count in kill_counts() {
            let done = killed_at(bed, count, &["restore", "kept", "--name", "two"]);
            // Whatever was left: its owner can be removed, or a repair takes it.
            bed.run(&["rm", "-f", "-v", "two"]);
            bed.run(&["system", "repair"]).ok();
            assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
            assert_eq!(
                bed.run(&["volume", "ls", "-q"]).ok(),
                "",
                "after {count} changes"
            );
            bed.nothing_runs();
            if done {
                assert!(count > 20, "too few changes were seen");
                bed.run(&["restore", "kept", "--name", "two"]).ok();
                counts_on(bed, "two");
                bed.run(&["rm", "-f", "-v", "two"]).ok();
                return;
            }
        }
        panic!("it never got through");
    });
}
