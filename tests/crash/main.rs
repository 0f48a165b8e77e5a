//! Every verb that changes the store, killed with all that it started at each system call that changes something: what
//! is left is the state before or the state after, and `system check --repair` makes the store whole.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod networks;

use black_box_tests::counter::{counter, counts_on};
use black_box_tests::{BUSYBOX, Bed, bed, crash_everywhere};

/// Nothing runs, nothing is strange, nothing is missing.
fn whole(bed: &Bed) {
    bed.run(&["system", "check", "--repair"]).ok();
    assert_eq!(bed.run(&["ps", "-q"]).ok(), "");
    bed.nothing_runs();
}

/// A container that does not run, with a file, a volume and a name.
fn make(bed: &Bed) {
    let script = "test -e /data/f || echo 1 > /data/f; echo 1 > /mine";
    bed.run(&[
        "run",
        "--name",
        "one",
        "--network",
        "none",
        "-v",
        "/data",
        BUSYBOX,
        "sh",
        "-c",
        script,
    ])
    .ok();
}

fn remove(bed: &Bed) {
    bed.run(&["rm", "-f", "-v", "one", "two"]);
    assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
    bed.run(&["volume", "prune", "-f"]).ok();
    assert_eq!(bed.run(&["volume", "ls", "-q"]).ok(), "");
}

#[test]
fn create() {
    bed!(|bed| {
        let create = [
            "create", "--name", "one", "-v", "/data", "-v", "/bin", BUSYBOX, "true",
        ];
        crash_everywhere(bed, &create, |bed| {
            whole(bed);
            // There is a container that can be started, or none.
            if !bed.run(&["ps", "-aq"]).ok().is_empty() {
                bed.run(&["start", "-a", "one"]).ok();
            }
            remove(bed);
        });
    });
}

#[test]
fn start() {
    bed!(|bed| {
        make(bed);
        crash_everywhere(bed, &["start", "one"], |bed| {
            bed.run(&["ps", "-a"]).ok();
            bed.run(&["stop", "-t", "0", "one"]).ok();
            whole(bed);
            bed.run(&["start", "-a", "one"]).ok();
        });
        remove(bed);
    });
}

#[test]
fn stop() {
    bed!(|bed| {
        let run = [
            "run",
            "-d",
            "--name",
            "one",
            "-p",
            "127.0.0.1:7010:1",
            BUSYBOX,
            "sleep",
            "1000",
        ];
        bed.run(&run).ok();
        crash_everywhere(bed, &["stop", "-t", "0", "one"], |bed| {
            bed.run(&["stop", "-t", "0", "one"]).ok();
            assert_eq!(bed.inspect("one", "{{.State.Status}}"), "exited");
            whole(bed);
            bed.run(&["start", "one"]).ok();
        });
    });
}

#[test]
fn restart() {
    bed!(|bed| {
        // It ends by itself: strace waits for all that the command started.
        let run = [
            "run",
            "-d",
            "--name",
            "one",
            "--network",
            "none",
            BUSYBOX,
            "sleep",
            "0.5",
        ];
        bed.run(&run).ok();
        crash_everywhere(bed, &["restart", "-t", "0", "one"], |bed| {
            bed.run(&["ps", "-a"]).ok();
            bed.run(&["stop", "-t", "0", "one"]).ok();
            whole(bed);
            bed.run(&["start", "one"]).ok();
        });
    });
}

#[test]
fn remove_with_volumes() {
    bed!(|bed| {
        make(bed);
        crash_everywhere(bed, &["rm", "-v", "one"], |bed| {
            whole(bed);
            // With it goes its volume, or neither.
            let containers = bed.run(&["ps", "-aq"]).ok().lines().count();
            assert_eq!(
                bed.run(&["volume", "ls", "-q"]).ok().lines().count(),
                containers
            );
            if containers == 0 {
                make(bed);
            }
        });
        remove(bed);
    });
}

#[test]
fn rename() {
    bed!(|bed| {
        make(bed);
        crash_everywhere(bed, &["rename", "one", "two"], |bed| {
            whole(bed);
            let name = bed.run(&["ps", "-a", "--format", "{{.Names}}"]).ok();
            assert!(name == "one" || name == "two", "{name:?}");
            bed.run(&["start", "-a", &name]).ok();
            // The other name is free.
            if name == "two" {
                bed.run(&["rename", "two", "one"]).ok();
            }
        });
        remove(bed);
    });
}

#[test]
fn update() {
    bed!(|bed| {
        make(bed);
        crash_everywhere(
            bed,
            &["update", "-m", "64m", "-e", "A=1", "-v", "/more", "one"],
            |bed| {
                whole(bed);
                let state = bed.inspect("one", "{{.HostConfig.Memory}} {{len .Mounts}}");
                assert!(state == "0 1" || state == "67108864 2", "{state}");
                bed.run(&["start", "-a", "one"]).ok();
                remove(bed);
                make(bed);
            },
        );
        remove(bed);
    });
}

#[test]
fn update_of_mounts_while_it_runs() {
    bed!(|bed| {
        bed.start(&["--name", "one", "--network", "none", "-v", "old:/old"]);
        let there = |bed: &Bed, place: &str| {
            let count = format!("grep -c ' {place} ' /proc/mounts; true");
            bed.run(&["exec", "one", "sh", "-c", &count]).ok()
        };
        let update = ["update", "-v", "new:/new", "--unmount", "/old", "one"];
        crash_everywhere(bed, &update, |bed| {
            bed.run(&["system", "check", "--repair"]).ok();
            assert_eq!(bed.inspect("one", "{{.State.Status}}"), "running");
            let known = bed.inspect("one", "{{range .Mounts}}{{.Destination}}{{end}}");
            assert!(known == "/old" || known == "/new", "{known}");
            // Both or none, whatever is known of it.
            let (old, new) = (there(bed, "/old"), there(bed, "/new"));
            assert!(
                matches!((&*old, &*new), ("1", "0") | ("0", "1")),
                "{old} {new}"
            );
            // And what was left stands in nobody's way.
            if known == "/new" {
                bed.run(&["update", "-v", "old:/old", "--unmount", "/new", "one"])
                    .ok();
                assert_eq!(
                    (there(bed, "/old"), there(bed, "/new")),
                    ("1".into(), "0".into())
                );
            }
        });
        bed.run(&["rm", "-f", "one"]).ok();
        bed.run(&["volume", "prune", "-af"]).ok();
    });
}

#[test]
fn snapshot() {
    bed!(|bed| {
        make(bed);
        let has = |bed: &Bed| bed.run(&["snapshot", "ls", "-q", "one"]).ok() == "s";
        crash_everywhere(bed, &["snapshot", "create", "one", "s"], |bed| {
            bed.run(&["start", "-a", "one"]).ok();
            assert_eq!(
                bed.run(&["cp", "-q", "one:/mine", "-"]).status.code(),
                Some(0)
            );
            whole(bed);
            if has(bed) {
                bed.run(&["snapshot", "rm", "one", "s"]).ok();
            }
        });
        bed.run(&["snapshot", "create", "one", "s"]).ok();
        crash_everywhere(bed, &["snapshot", "restore", "one", "s"], |bed| {
            bed.run(&["start", "-a", "one"]).ok();
            assert!(has(bed));
            whole(bed);
        });
        crash_everywhere(bed, &["snapshot", "rm", "one", "s"], |bed| {
            bed.run(&["start", "-a", "one"]).ok();
            whole(bed);
            if !has(bed) {
                bed.run(&["snapshot", "create", "one", "s"]).ok();
            }
        });
        remove(bed);
    });
}

#[test]
fn commit() {
    bed!(|bed| {
        make(bed);
        crash_everywhere(bed, &["commit", "one", "made:1"], |bed| {
            whole(bed);
            if bed.run(&["images", "-q", "made:1"]).ok().is_empty() {
                bed.run(&["image", "prune", "-f"]).ok();
                return;
            }
            let read = ["run", "--rm", "--network", "none", "made:1", "cat", "/mine"];
            assert_eq!(bed.run(&read).ok(), "1");
            bed.run(&["rmi", "made:1"]).ok();
        });
        remove(bed);
    });
}

#[test]
fn commit_of_one_that_runs() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        crash_everywhere(bed, &["commit", "one", "made:1"], |bed| {
            // It does not stay as still as it was made for that.
            counts_on(bed, "one");
            assert_eq!(bed.inspect("one", "{{.State.Status}}"), "running");
            bed.run(&["rmi", "made:1"]);
            bed.run(&["image", "prune", "-f"]).ok();
        });
        bed.run(&["rm", "-f", "one"]).ok();
    });
}

#[test]
fn remove_an_image() {
    bed!(|bed| {
        let archive = bed.dir().join("busybox.tar");
        let load = ["load", "-q", "-i", archive.to_str().unwrap()];
        crash_everywhere(bed, &["rmi", BUSYBOX], |bed| {
            whole(bed);
            if bed.run(&["images", "-q"]).ok().is_empty() {
                bed.run(&load).ok();
            }
            bed.run(&["run", "--rm", "--network", "none", BUSYBOX, "true"])
                .ok();
        });
    });
}

#[test]
fn snapshot_of_one_that_runs() {
    bed!(|bed| {
        let id = bed.start(&["--name", "one", "--network", "none"]);
        bed.run(&["exec", "one", "sh", "-c", "echo 1 > /mine"]).ok();
        let sealed = bed.root().join("snapshots/active").join(id).join("sealed");
        for count in black_box_tests::kill_counts() {
            let create = ["snapshot", "create", "one", "s"];
            let is_through = black_box_tests::killed_at(bed, count, &create);
            // Whoever dies while it stands still does not leave it so.
            assert_eq!(bed.run(&["exec", "one", "cat", "/mine"]).ok(), "1");
            let there = bed.run(&["snapshot", "ls", "-q", "one"]).ok();
            assert!(there == "s" || there.is_empty() && !is_through, "{there}");
            if there == "s" {
                bed.run(&["snapshot", "rm", "one", "s"]).ok();
            }
            if is_through {
                break;
            }
        }
        // The next one to take or remove a snapshot removes what was left.
        assert_eq!(std::fs::read_dir(&sealed).unwrap().count(), 0);
        bed.run(&["rm", "-f", "one"]).ok();
    });
}
