//! `checkpoint` and `restore`: one container at one instant, as often as wanted, under other names and ports.

use std::fs;

use black_box_tests::{BUSYBOX, Bed, ImageBuilder, bed, eventually};
use serde_json::json;

use crate::{count, counter, counts_on, status};

/// The lowest and the highest number in a container's log, which has to be without gaps.
fn span(bed: &Bed, name: &str) -> (u64, u64) {
    let log = bed.run(&["logs", name]).ok();
    let first = log.lines().next().map_or(0, |line| line.parse().unwrap());
    (first, count(bed, name))
}

#[test]
fn one_checkpoint_many_containers() {
    bed!(|bed| {
        counter(
            bed,
            "one",
            &["-v", "/data", "--label", "a=b", "--hostname", "host"],
        );
        bed.run(&[
            "exec",
            "one",
            "sh",
            "-c",
            "echo layer > /file; rm /bin/[; echo volume > /data/file",
        ])
        .ok();
        assert_eq!(
            bed.run(&["checkpoint", "--leave-running", "one", "first"])
                .ok(),
            "first"
        );
        counts_on(bed, "one");
        let before = count(bed, "one");
        bed.run(&[
            "exec",
            "one",
            "sh",
            "-c",
            "echo later > /file; echo later > /data/file",
        ])
        .ok();
        for name in ["two", "three"] {
            let id = bed.run(&["restore", "first", "--name", name]).ok();
            assert_eq!(bed.inspect(name, "{{.Id}}"), id);
            counts_on(bed, name);
            let (first, last) = span(bed, name);
            assert!(
                first > 2 && first <= before && last >= first,
                "{first} {last} {before}"
            );
            assert_eq!(
                bed.run(&["exec", name, "cat", "/file", "/data/file"]).ok(),
                "layer\nvolume"
            );
            bed.run(&["exec", name, "test", "!", "-e", "/bin/["]).ok();
            assert_eq!(bed.run(&["exec", name, "hostname"]).ok(), "host");
            assert_eq!(bed.inspect(name, "{{.Config.Labels.a}}"), "b");
            // Its own: what one writes the others do not see.
            bed.run(&[
                "exec",
                name,
                "sh",
                "-c",
                "echo $0 > /file; echo $0 > /data/file",
                name,
            ])
            .ok();
        }
        for name in ["two", "three"] {
            assert_eq!(
                bed.run(&["exec", name, "cat", "/file", "/data/file"]).ok(),
                format!("{name}\n{name}")
            );
        }
        assert_eq!(
            bed.run(&["exec", "one", "cat", "/file", "/data/file"]).ok(),
            "later\nlater"
        );
        // Like any other: taken along again, suspended, stopped, started, committed, removed.
        bed.run(&["checkpoint", "two", "second"]).ok();
        assert!(
            status(bed, "two").starts_with("Exited (0)"),
            "{}",
            status(bed, "two")
        );
        assert!(status(bed, "two").ends_with(", checkpointed"));
        assert_eq!(bed.inspect("two", "{{.State.Checkpointed}}"), "true");
        bed.run(&["restore", "second", "--name", "four"]).ok();
        counts_on(bed, "four");
        assert_eq!(bed.run(&["exec", "four", "cat", "/file"]).ok(), "two");
        bed.run(&["suspend", "three"]).ok();
        bed.run(&["resume", "three"]).ok();
        counts_on(bed, "three");
        bed.run(&["commit", "three", "committed"]).ok();
        assert_eq!(
            bed.run(&[
                "run",
                "--rm",
                "--network",
                "none",
                "committed",
                "cat",
                "/file"
            ])
            .ok(),
            "three"
        );
        bed.run(&["stop", "-t", "0", "three"]).ok();
        assert!(status(bed, "three").starts_with("Exited (137)"));
        bed.run(&["start", "two"]).ok();
        eventually(30, "it to begin anew", || {
            bed.run(&["logs", "two"])
                .ok()
                .lines()
                .any(|line| line == "1")
                .then_some(())
        });
        bed.run(&["checkpoint", "rm", "first", "second"]).ok();
        assert_eq!(bed.run(&["checkpoint", "ls", "-q"]).ok(), "");
        counts_on(bed, "four");
    });
}

#[test]
fn what_there_is_to_say_about_them() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        bed.run(&["checkpoint", "create", "--leave-running", "one", "kept"])
            .ok();
        assert_eq!(
            bed.run(&[
                "checkpoint",
                "ls",
                "--format",
                "{{.Name}} {{.Container}} {{.Image}}"
            ])
            .ok(),
            "kept one busybox"
        );
        let about = bed.run(&["checkpoint", "inspect", "kept"]).json();
        assert_eq!(about[0]["Container"]["Name"], "one");
        assert_eq!(about[0]["Image"]["Id"], bed.inspect("one", "{{.Image}}"));
        assert_eq!(about[0]["LeftRunning"], true);
        assert!(about[0]["MemorySize"].as_u64().unwrap() > 0);
        assert_eq!(
            bed.run(&["checkpoint", "inspect", "-f", "{{.Name}}", "kept"])
                .ok(),
            "kept"
        );
        bed.run(&["checkpoint", "one", "kept"])
            .fails(1, &["there is a checkpoint kept already"]);
        counts_on(bed, "one");
        bed.run(&["checkpoint", "one", "../out"])
            .fails(1, &["invalid"]);
        for verb in [
            vec!["checkpoint", "rm", "none"],
            vec!["checkpoint", "inspect", "none"],
        ] {
            bed.run(&verb).fails(1, &["no such checkpoint: none"]);
        }
        bed.run(&["restore", "none"])
            .fails(125, &["no such checkpoint: none"]);
        bed.run(&["restore", "kept", "--name", "one"])
            .fails(125, &["the name one is already in use"]);
        let usage = bed
            .run(&["system", "df", "--format", "{{.Type}} {{.TotalCount}}"])
            .ok();
        assert!(usage.contains("Checkpoints 1"), "{usage}");
        // It keeps its image, and nobody sweeps it away.
        bed.run(&["rm", "-f", "one"]).ok();
        bed.run(&["rmi", BUSYBOX])
            .fails(1, &["is used by checkpoint kept"]);
        bed.run(&["system", "prune", "-a", "-f"]).ok();
        bed.run(&["restore", "kept", "--name", "one"]).ok();
        counts_on(bed, "one");
        let events = bed
            .run(&[
                "events",
                "--since",
                "1h",
                "--until",
                "0s",
                "--format",
                "{{.Action}}",
            ])
            .ok();
        let seen: Vec<&str> = events
            .lines()
            .filter(|line| ["start", "checkpoint", "restore"].contains(line))
            .collect();
        assert_eq!(seen, ["start", "checkpoint", "restore"], "{events}");
    });
}

#[test]
fn a_failed_restore_leaves_nothing() {
    bed!(|bed| {
        counter(bed, "one", &["-p", "127.0.0.1:7041:80"]);
        bed.run(&["checkpoint", "one", "kept"]).ok();
        bed.run(&["rm", "one"]).ok();
        let taken = std::net::TcpListener::bind("127.0.0.1:7041").unwrap();
        bed.run(&["restore", "kept", "--name", "two"])
            .fails(125, &["port 7041 on 127.0.0.1 is already in use"]);
        assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
        bed.nothing_runs();
        // Other ports, and none are free; then it goes.
        bed.run(&[
            "restore",
            "kept",
            "--name",
            "two",
            "-p",
            "127.0.0.1:7042:80",
        ])
        .ok();
        counts_on(bed, "two");
        assert_eq!(bed.run(&["port", "two"]).ok(), "80/tcp -> 127.0.0.1:7042");
        assert!(
            !bed.inspect("two", "{{.NetworkSettings.IPAddress}}")
                .is_empty()
        );
        drop(taken);
        // Pages that are not there.
        let pages = bed.root().join("checkpoints/kept/memory/pages");
        fs::write(&pages, "").unwrap();
        bed.run(&[
            "restore",
            "kept",
            "--name",
            "three",
            "-p",
            "127.0.0.1:7043:80",
        ])
        .fails(125, &["checkpoint"]);
        fs::remove_file(&pages).unwrap();
        bed.run(&[
            "restore",
            "kept",
            "--name",
            "three",
            "-p",
            "127.0.0.1:7043:80",
        ])
        .fails(125, &["pages"]);
        bed.run(&["rm", "-f", "two"]).ok();
        assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
        bed.nothing_runs();
    });
}

#[test]
fn what_cannot_be_taken_along_runs_on() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        let held = bed
            .command(&["exec", "one", "sh", "-c", "echo ready; sleep 3"])
            .start();
        held.wait_for("ready");
        bed.run(&["checkpoint", "one", "kept"]).fails(
            1,
            &["was put into the container from outside (exec); end it first"],
        );
        held.finish().ok();
        counts_on(bed, "one");
        assert_eq!(bed.run(&["checkpoint", "ls", "-q"]).ok(), "");
        assert_eq!(
            fs::read_dir(bed.root().join("checkpoints"))
                .unwrap()
                .count(),
            0
        );
        bed.run(&["suspend", "one"]).ok();
        bed.run(&["checkpoint", "one", "kept"])
            .fails(1, &["resume it first"]);
    });
}

#[test]
fn files_on_snapshots_are_taken_along() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        bed.run(&[
            "exec",
            "one",
            "sh",
            "-c",
            "mkdir -p /d/e /g; echo below > /d/e/x; echo old > /f; echo gone > /g/x",
        ])
        .ok();
        bed.run(&["snapshot", "create", "--restart", "one"]).ok();
        bed.run(&[
            "exec",
            "one",
            "sh",
            "-c",
            "rm -r /g; mkdir /g; echo new > /f; echo above > /d/y",
        ])
        .ok();
        bed.run(&["checkpoint", "one", "kept"]).ok();
        bed.run(&["restore", "kept", "--name", "two"]).ok();
        assert_eq!(
            bed.run(&["exec", "two", "sh", "-c", "cat /d/e/x /d/y /f; ls -A /g"])
                .ok(),
            "below\nabove\nnew"
        );
    });
}

#[test]
fn a_volume_of_the_image_is_each_ones_own() {
    bed!(|bed| {
        let image = ImageBuilder::busybox().set("Volumes", json!({"/var/data": {}}));
        let archive = bed.file("image.tar", image.docker_archive("data:latest"));
        bed.run(&["load", "-q", "-i", &archive]).ok();
        let count = "i=0; while :; do i=$((i+1)); echo $i >> /var/data/n; sleep 0.02; done";
        bed.run(&[
            "run",
            "-d",
            "--name",
            "one",
            "--network",
            "none",
            "data",
            "sh",
            "-c",
            count,
        ])
        .ok();
        eventually(30, "it to write", || {
            bed.run(&["exec", "one", "test", "-s", "/var/data/n"])
                .status
                .success()
                .then_some(())
        });
        bed.run(&["checkpoint", "one", "kept"]).ok();
        bed.run(&["rm", "-v", "one"]).ok();
        for name in ["two", "three"] {
            bed.run(&["restore", "kept", "--name", name]).ok();
        }
        for name in ["two", "three"] {
            eventually(30, "it to write on", || {
                let text = bed.run(&["exec", name, "cat", "/var/data/n"]).ok();
                let numbers: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
                for pair in numbers.windows(2) {
                    assert_eq!(pair[0] + 1, pair[1], "{name}: {text}");
                }
                (numbers.len() > 5 && numbers[0] == 1).then_some(())
            });
        }
        bed.run(&["rm", "-f", "-v", "two", "three"]).ok();
        assert_eq!(bed.run(&["volume", "ls", "-q"]).ok(), "");
    });
}

#[test]
fn a_check_names_what_is_in_the_way_and_touches_nothing() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        let check = |options: &[&str]| {
            let mut arguments = vec!["checkpoint", "--check"];
            arguments.extend(options);
            arguments.push("one");
            bed.run(&arguments)
        };
        assert_eq!(check(&[]).ok(), "");
        // A process from outside, and one that is traced: by us, as a debugger would.
        let held = bed
            .command(&[
                "exec",
                "one",
                "sh",
                "-c",
                "exec 5</dev/null; echo ready; sleep 4",
            ])
            .start();
        held.wait_for("ready");
        let init = bed.inspect("one", "{{.State.Pid}}");
        let tracer = bed
            .program("strace", &["-o", "/dev/null", "-p", &init])
            .start();
        eventually(30, "it to be traced", || {
            let status = fs::read_to_string(format!("/proc/{init}/status")).unwrap();
            (!status.contains("TracerPid:\t0\n")).then_some(())
        });
        let found = check(&[]).code(1);
        assert!(found.contains("(exec); end it first"), "{found}");
        assert!(
            found.contains("process 1 (sh) is traced by process"),
            "{found}"
        );
        assert!(found.contains("end the debugger"), "{found}");
        for line in found.lines() {
            assert!(line.starts_with("process "), "{line}");
        }
        tracer.signal(rustix::process::Signal::TERM);
        tracer.finish();
        held.finish().ok();
        eventually(30, "it to be clear", || {
            check(&[]).status.success().then_some(())
        });
        counts_on(bed, "one");
        assert_eq!(bed.run(&["checkpoint", "ls", "-q"]).ok(), "");
        assert!(
            !bed.root().join("checkpoints").exists() || {
                fs::read_dir(bed.root().join("checkpoints"))
                    .unwrap()
                    .count()
                    == 0
            }
        );
        // What it finds is what the checkpoint finds, and after it there is one.
        bed.run(&["checkpoint", "one", "kept"]).ok();
        check(&[]).fails(1, &["is not running"]);
    });
}
