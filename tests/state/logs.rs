//! `logs`: all of it, the end of it, since when, following; and that it never fills a disk.

use black_box_tests::{BUSYBOX, bed, eventually};
use rustix::process::Signal;

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

/// Prints so much that several files get full.
const MUCH: &str = "i=0; while [ $i -lt 3000 ]; do echo \"line $i of the log\"; i=$((i+1)); done; printf 'no \\377 end'";

#[test]
fn the_local_driver_packs_full_files() {
    bed!(|bed| {
        let options = [
            "--log-driver",
            "local",
            "--log-opt",
            "max-size=20k",
            "--log-opt",
            "max-file=4",
        ];
        let mut arguments = vec!["run", "-d", "--name", "job"];
        arguments.extend(options);
        arguments.extend([BUSYBOX, "sh", "-c", MUCH]);
        let id = bed.run(&arguments).ok();
        bed.run(&["wait", "job"]).ok();
        let directory = bed.root().join("containers").join(&id);
        let names = || {
            let mut names: Vec<String> = std::fs::read_dir(&directory)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.starts_with("log"))
                .collect();
            names.sort();
            names
        };
        // 3000 lines of 60 bytes and more are nine full files.
        eventually(30, "full files to be packed", || {
            let names = names();
            (names.len() == 4 && names[1..].iter().all(|name| name.contains(".zst"))).then_some(())
        });
        let text = bed.run(&["logs", "job"]).stdout;
        assert!(text.ends_with(b"line 2999 of the log\nno \xff end"));
        let lines = String::from_utf8_lossy(&text).lines().count();
        assert!((800..1500).contains(&lines), "{lines} lines are kept");
        assert_eq!(
            bed.run(&["logs", "-n", "2", "job"]).stdout,
            b"line 2999 of the log\nno \xff end"
        );
        assert_eq!(
            bed.inspect("job", "{{.HostConfig.LogConfig.Type}}"),
            "local"
        );
        // Started again, it goes on with numbers that are free.
        bed.run(&["start", "job"]).ok();
        bed.run(&["wait", "job"]).ok();
        eventually(30, "full files to be packed again", || {
            let names = names();
            (names.len() == 4 && names[1..].iter().all(|name| name.contains(".zst"))).then_some(())
        });
        assert!(
            bed.run(&["logs", "job"])
                .stdout
                .ends_with(b"line 2999 of the log\nno \xff end")
        );
    });
}

#[test]
fn the_local_driver_is_followed() {
    bed!(|bed| {
        let script = "echo one; while ! test -e /go; do sleep 0.05; done; seq 1 2000; echo last";
        bed.run(&[
            "run",
            "-d",
            "--name",
            "job",
            "--log-driver",
            "local",
            "--log-opt",
            "max-size=9k",
            BUSYBOX,
            "sh",
            "-c",
            script,
        ])
        .ok();
        let follow = bed.command(&["logs", "-f", "job"]).start();
        follow.wait_for("one\n");
        bed.run(&["exec", "job", "touch", "/go"]).ok();
        let text = follow.finish().ok();
        assert!(text.ends_with("2000\nlast"), "{} bytes", text.len());
    });
}

#[test]
fn no_log_at_all() {
    bed!(|bed| {
        let id = bed
            .run(&[
                "run",
                "-d",
                "--name",
                "job",
                "--log-driver",
                "none",
                BUSYBOX,
                "echo",
                "one",
            ])
            .ok();
        bed.run(&["wait", "job"]).ok();
        bed.run(&["logs", "job"])
            .fails(1, &["keeps no log", "--log-driver none"]);
        assert!(!bed.root().join("containers").join(id).join("log").exists());
        bed.run(&["run", "--rm", "--log-driver", "splunk", BUSYBOX, "true"])
            .fails(125, &["splunk", "json-file, local, journald or none"]);
        bed.run(&["run", "--rm", "--log-opt", "nonsense=1", BUSYBOX, "true"])
            .fails(125, &["nonsense"]);
    });
}

#[test]
fn labels_and_variables_of_the_log() {
    bed!(|bed| {
        let options = [
            "-l",
            "a=1",
            "-l",
            "b=2",
            "-e",
            "C=3",
            "--log-opt",
            "labels=a,none",
            "--log-opt",
            "env=C",
        ];
        for driver in ["json-file", "local"] {
            let mut arguments = vec!["run", "--name", driver, "--log-driver", driver];
            arguments.extend(options);
            arguments.extend([BUSYBOX, "echo", "text"]);
            bed.run(&arguments).ok();
            assert_eq!(bed.run(&["logs", "--details", driver]).ok(), "C=3,a=1 text");
            assert_eq!(bed.run(&["logs", driver]).ok(), "text");
        }
        let path = bed.inspect("json-file", "{{.LogPath}}");
        let line = std::fs::read_to_string(path).unwrap();
        assert!(
            line.contains(r#""attrs":{"C":"3","a":"1"},"time""#),
            "{line}"
        );
    });
}

/// A real journald on this bed's empty /run.
#[test]
fn the_journal() {
    bed!(|bed| {
        bed.host("mkdir", &["-p", "/run/systemd/journal", "/run/log/journal"])
            .ok();
        bed.file("machine-id", "0123456789abcdef0123456789abcdef\n");
        let id = bed.dir().join("machine-id");
        if !std::path::Path::new("/etc/machine-id").exists() {
            std::fs::write("/etc/machine-id", "").unwrap();
        }
        bed.host(
            "mount",
            &["--bind", id.to_str().unwrap(), "/etc/machine-id"],
        )
        .ok();
        let mut journald = bed.program("/lib/systemd/systemd-journald", &[]).start();
        eventually(30, "the journal's socket", || {
            assert!(journald.is_running(), "journald ended");
            std::path::Path::new("/run/systemd/journal/socket")
                .exists()
                .then_some(())
        });
        let script = "echo out; echo err >&2; printf 'a\\377b\\n'; printf 'no end'";
        bed.run(&[
            "run",
            "--name",
            "job",
            "-l",
            "my.label=x",
            "--log-driver",
            "journald",
            "--log-opt",
            "labels=my.label",
            "--log-opt",
            "tag=the/{{.Name}}",
            BUSYBOX,
            "sh",
            "-c",
            script,
        ]);
        let logs = bed.run(&["logs", "job"]);
        assert_eq!(logs.stdout, b"out\na\xffb\nno end", "{}", logs.story());
        assert_eq!(logs.error(), "err\n");
        assert_eq!(
            bed.run(&["logs", "-n", "1", "--details", "job"]).ok(),
            "my.label=x no end"
        );
        let shown = bed.host(
            "journalctl",
            &[
                "-o",
                "cat",
                "--output-fields=MESSAGE",
                "CONTAINER_TAG=the/job",
                "MY_LABEL=x",
                "PRIORITY=3",
            ],
        );
        assert_eq!(shown.ok(), "err");
        // Followed until its end.
        let script = "echo one; while ! test -e /go; do sleep 0.05; done; seq 1 200; echo last";
        bed.run(&[
            "run",
            "-d",
            "--name",
            "two",
            "--log-driver",
            "journald",
            BUSYBOX,
            "sh",
            "-c",
            script,
        ])
        .ok();
        let follow = bed.command(&["logs", "-f", "two"]).start();
        follow.wait_for("one\n");
        bed.run(&["exec", "two", "touch", "/go"]).ok();
        let text = follow.finish().ok();
        assert!(
            text.starts_with("one\n1\n2\n") && text.ends_with("\n200\nlast"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 202);
        // Without a journal a container runs all the same.
        journald.signal(Signal::TERM);
        journald.finish();
        bed.run(&[
            "run",
            "--name",
            "three",
            "--log-driver",
            "journald",
            BUSYBOX,
            "echo",
            "lost",
        ])
        .ok();
        bed.host("umount", &["/etc/machine-id"]).ok();
    });
}
