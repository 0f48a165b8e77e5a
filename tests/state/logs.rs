//! `logs`: all of it, the end of it, since when, following; and that it never fills a disk.

use black_box_tests::{BUSYBOX, bed, eventually};

#[test]
fn both_streams_apart() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "-d",
            "--name",
            "job",
            BUSYBOX,
            "sh",
            "-c",
            "echo out; echo err >&2; printf 'no end'",
        ])
        .ok();
        bed.run(&["wait", "job"]).ok();
        let logs = bed.run(&["logs", "job"]);
        assert_eq!(logs.text(), "out\nno end");
        assert_eq!(logs.error(), "err\n");
    });
}

#[test]
fn tail_since_and_times() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "--name",
            "job",
            BUSYBOX,
            "sh",
            "-c",
            "seq 1 10; sleep 1.5; seq 11 20",
        ])
        .ok();
        assert_eq!(bed.run(&["logs", "--tail", "3", "job"]).ok(), "18\n19\n20");
        assert_eq!(bed.run(&["logs", "-n", "0", "job"]).ok(), "");
        assert_eq!(
            bed.run(&["logs", "--tail", "all", "job"])
                .ok()
                .lines()
                .count(),
            20
        );
        let stamped = bed.run(&["logs", "-t", "job"]).ok();
        let (time, word) = stamped.lines().nth(10).unwrap().split_once(' ').unwrap();
        assert_eq!(word, "11");
        assert!(time.ends_with('Z') && time.contains('T'), "{time}");
        assert_eq!(
            bed.run(&["logs", "--since", time, "job"])
                .ok()
                .lines()
                .count(),
            10
        );
        assert_eq!(
            bed.run(&["logs", "--until", time, "job"])
                .ok()
                .lines()
                .next(),
            Some("1")
        );
        assert_eq!(
            bed.run(&["logs", "--since", "1h", "job"])
                .ok()
                .lines()
                .count(),
            20
        );
        bed.run(&["logs", "--since", "yesterdayish", "job"])
            .fails(1, &["yesterdayish"]);
        bed.run(&["logs", "--tail", "many", "job"])
            .fails(1, &["many"]);
        bed.run(&["logs", "nobody"])
            .fails(1, &["no such container", "nobody"]);
    });
}

#[test]
fn following_until_the_end() {
    bed!(|bed| {
        let script = "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.2; done";
        bed.run(&["run", "-d", "--name", "job", BUSYBOX, "sh", "-c", script])
            .ok();
        let following = bed.command(&["logs", "-f", "job"]).start();
        following.wait_for("line 3");
        assert_eq!(following.finish().ok().lines().count(), 6);
    });
}

#[test]
fn long_lines_and_bytes_of_any_kind() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "--name",
            "job",
            BUSYBOX,
            "sh",
            "-c",
            "head -c 300000 /dev/zero | tr '\\0' x; echo; printf '\\377\\376\\000\\n'",
        ])
        .ok();
        let logs = bed.run(&["logs", "job"]).stdout;
        // As in Docker, what is no UTF-8 comes back as the sign for that.
        assert_eq!(logs.len(), 300_001 + 8);
        assert_eq!(&logs[300_001..], "\u{fffd}\u{fffd}\0\n".as_bytes());
    });
}

#[test]
fn logs_are_rotated() {
    bed!(|bed| {
        // 60 MB into a log that keeps three files of 10 MB.
        let script = "yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -c 60000000; printf '\\nthe end\\n'";
        bed.run(&["run", "-d", "--name", "chatty", BUSYBOX, "sh", "-c", script])
            .ok();
        bed.command(&["wait", "chatty"]).limit(120).run().ok();
        let mut size = 0;
        for entry in std::fs::read_dir(bed.root().join("containers"))
            .unwrap()
            .flatten()
        {
            for file in std::fs::read_dir(entry.path())
                .into_iter()
                .flatten()
                .flatten()
            {
                size += file.metadata().unwrap().len();
            }
        }
        assert!(size <= 33 << 20, "{size} bytes");
        assert!(size >= 15 << 20, "{size} bytes: the newest part is kept");
        assert_eq!(bed.run(&["logs", "--tail", "1", "chatty"]).ok(), "the end");
    });
}

#[test]
fn rotation_loses_no_line_for_a_follower() {
    bed!(|bed| {
        let script = "sleep 0.5; seq 1 250000";
        bed.run(&[
            "run", "-d", "--name", "counter", BUSYBOX, "sh", "-c", script,
        ])
        .ok();
        let outcome = bed.command(&["logs", "-f", "counter"]).limit(120).run();
        let text = outcome.text();
        // About 20 MB of log: two turns, and nothing of it is old enough to go.
        assert_eq!(text.lines().count(), 250_000);
        for (expected, line) in (1..).zip(text.lines()) {
            assert_eq!(line, expected.to_string());
        }
    });
}

#[test]
fn logs_after_the_end_and_of_a_created_container() {
    bed!(|bed| {
        bed.run(&["create", "--name", "new", BUSYBOX, "echo", "x"])
            .ok();
        assert_eq!(bed.run(&["logs", "new"]).ok(), "");
        bed.run(&["start", "new"]).ok();
        eventually(10, "the line", || {
            (bed.run(&["logs", "new"]).ok() == "x").then_some(())
        });
    });
}
