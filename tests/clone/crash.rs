//! kill -9 at every change: the container runs on, and of clones there is all or what a repair takes away.

use black_box_tests::{bed, kill_counts, killed_at};

use crate::{counter, counts_on, templates};

#[test]
fn clone_killed_at_every_change() {
    bed!(|bed| {
        counter(bed, "one", &["-v", "/data"]);
        for count in kill_counts() {
            let done = killed_at(bed, count, &["clone", "--name", "two", "one"]);
            counts_on(bed, "one");
            if done {
                counts_on(bed, "two");
            }
            bed.run(&["rm", "-f", "-v", "two"]);
            bed.run(&["system", "check", "--repair"]).ok();
            assert_eq!(bed.run(&["ps", "-aq"]).ok().lines().count(), 1);
            assert_eq!(
                bed.run(&["volume", "ls", "-q"]).ok().lines().count(),
                1,
                "after {count} changes"
            );
            assert_eq!(templates(bed), 0, "after {count} changes");
            if done {
                assert!(count > 40, "too few changes were seen");
                bed.run(&["rm", "-f", "-v", "one"]).ok();
                return;
            }
        }
        panic!("it never got through");
    });
}

#[test]
fn clones_that_share_memory_killed_at_every_change() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        for count in kill_counts() {
            let clone = [
                "clone",
                "--keep-template=warm",
                "--name-prefix",
                "c",
                "one",
                "2",
            ];
            let done = killed_at(bed, count, &clone);
            counts_on(bed, "one");
            if done {
                counts_on(bed, "c-2");
            }
            bed.run(&["rm", "-f", "c-1", "c-2"]);
            bed.run(&["template", "rm", "warm"]);
            bed.run(&["system", "check", "--repair"]).ok();
            assert_eq!(bed.run(&["ps", "-aq"]).ok().lines().count(), 1);
            assert_eq!(templates(bed), 0, "after {count} changes");
            if done {
                assert!(count > 40, "too few changes were seen");
                return;
            }
        }
        panic!("it never got through");
    });
}

#[test]
fn commit_with_memory_killed_at_every_change() {
    bed!(|bed| {
        counter(bed, "one", &["-v", "/data"]);
        for count in kill_counts() {
            let done = killed_at(bed, count, &["commit", "--memory", "one", "warm"]);
            counts_on(bed, "one");
            if bed.run(&["images", "-q", "warm"]).ok().is_empty() {
                assert!(!done);
            } else {
                // What has the name is whole.
                bed.run(&["run", "-d", "--name", "two", "--network", "none", "warm"])
                    .ok();
                counts_on(bed, "two");
                bed.run(&["rm", "-f", "-v", "two"]).ok();
                bed.run(&["rmi", "warm"]).ok();
            }
            bed.run(&["system", "check", "--repair"]).ok();
            assert_eq!(templates(bed), 0, "after {count} changes");
            if done {
                assert!(count > 40, "too few changes were seen");
                bed.run(&["rm", "-f", "-v", "one"]).ok();
                return;
            }
        }
        panic!("it never got through");
    });
}
