//! pause, restart, rename, update, port, stop, kill: what changes, and what is refused.

use black_box_tests::{BUSYBOX, Bed, bed, eventually};

fn status(bed: &Bed, name: &str) -> String {
    bed.run(&[
        "ps",
        "-a",
        "--filter",
        &format!("name=^{name}$"),
        "--format",
        "{{.Status}}",
    ])
    .ok()
}

/// How often the container's program has gone round.
fn rounds(bed: &Bed, name: &str) -> usize {
    bed.run(&["logs", name]).ok().lines().count()
}

#[test]
fn a_paused_container_stands_still() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "-d",
            "--name",
            "one",
            BUSYBOX,
            "sh",
            "-c",
            "trap 'exit 0' TERM; while :; do echo x; sleep 0.01; done",
        ])
        .ok();
        eventually(30, "output", || (rounds(bed, "one") > 3).then_some(()));
        assert_eq!(bed.run(&["pause", "one"]).ok(), "one");
        assert!(status(bed, "one").ends_with("(Paused)"));
        assert_eq!(
            bed.inspect(
                "one",
                "{{.State.Status}} {{.State.Paused}} {{.State.Running}}"
            ),
            "paused true true"
        );
        assert_eq!(
            bed.run(&["ps", "-q", "--filter", "status=paused"])
                .ok()
                .len(),
            12
        );
        // Its output may still be on the way for a moment.
        std::thread::sleep(std::time::Duration::from_millis(100));
        let before = rounds(bed, "one");
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(rounds(bed, "one"), before, "it goes on");
        bed.run(&["pause", "one"]).fails(1, &["paused already"]);
        bed.run(&["exec", "one", "true"]).fails(1, &["is paused"]);
        bed.run(&["attach", "one"]).fails(1, &["is paused"]);
        bed.run(&["start", "one"]).fails(1, &["is paused"]);
        // A commit stands still, too, and does not let it go on afterwards.
        bed.run(&["commit", "one", "image"]).ok();
        assert!(status(bed, "one").ends_with("(Paused)"));
        bed.run(&["unpause", "one"]).ok();
        assert!(!status(bed, "one").contains("Paused"));
        eventually(30, "it goes on", || {
            (rounds(bed, "one") > before).then_some(())
        });
        bed.run(&["unpause", "one"]).fails(1, &["not paused"]);
        // What there is no such thing of changes nothing.
        bed.run(&["rm", "-f", "--link", "one"])
            .fails(1, &["wharf network disconnect"]);
        bed.run(&["stop", "one"]).ok();
        bed.run(&["pause", "one"]).fails(1, &["not running"]);
        bed.run(&["pause", "nobody"])
            .fails(1, &["no such container"]);
    });
}

#[test]
fn a_paused_container_can_be_ended() {
    bed!(|bed| {
        for (verb, code) in [
            (vec!["stop"], "0"),
            (vec!["kill"], "137"),
            (vec!["restart"], "0"),
            (vec!["rm", "-f"], ""),
        ] {
            bed.run(&[
                "run",
                "-d",
                "--name",
                "one",
                BUSYBOX,
                "sh",
                "-c",
                "trap 'exit 0' TERM; while :; do sleep 0.05; done",
            ])
            .ok();
            bed.run(&["exec", "one", "true"]).ok();
            bed.run(&["pause", "one"]).ok();
            let mut arguments = verb.clone();
            arguments.push("one");
            bed.run(&arguments).ok();
            match verb[0] {
                "rm" => continue,
                "restart" => assert_eq!(bed.inspect("one", "{{.State.Status}}"), "running"),
                _ => assert_eq!(bed.inspect("one", "{{.State.ExitCode}}"), code, "{verb:?}"),
            }
            bed.run(&["rm", "-f", "one"]).ok();
        }
        bed.nothing_runs();
    });
}

#[test]
fn restart_keeps_what_it_is() {
    bed!(|bed| {
        let id = bed.start(&["--name", "one", "--rm", "-p", "127.0.0.1:8080:80"]);
        bed.run(&["exec", "one", "touch", "/mine"]).ok();
        let before = bed.inspect("one", "{{.State.Pid}}");
        assert_eq!(bed.run(&["restart", "-t", "0", "one"]).ok(), "one");
        assert_eq!(bed.inspect("one", "{{.Id}}"), id);
        assert_ne!(bed.inspect("one", "{{.State.Pid}}"), before);
        bed.run(&["exec", "one", "test", "-e", "/mine"]).ok();
        assert_eq!(bed.run(&["port", "one", "80"]).ok(), "127.0.0.1:8080");
        // Its own signal, or the one that is named.
        bed.run(&["create", "--name", "two", BUSYBOX, "true"]).ok();
        bed.run(&["restart", "two", "nobody"])
            .fails(1, &["restart nobody: no such container"]);
        bed.run(&["wait", "two"]).ok();
        bed.run(&[
            "run",
            "-d",
            "--name",
            "three",
            BUSYBOX,
            "sh",
            "-c",
            "trap 'echo usr1; exit 0' USR1; echo up; while :; do sleep 0.05; done",
        ])
        .ok();
        eventually(30, "start", || (rounds(bed, "three") == 1).then_some(()));
        bed.run(&["restart", "-s", "USR1", "three"]).ok();
        eventually(30, "restart", || (rounds(bed, "three") == 3).then_some(()));
        assert_eq!(bed.run(&["logs", "three"]).ok(), "up\nusr1\nup");
        bed.run(&["stop", "--signal", "SIGUSR1", "three"]).ok();
        assert_eq!(bed.inspect("three", "{{.State.ExitCode}}"), "0");
        bed.run(&["stop", "--signal", "nonsense", "three"])
            .fails(1, &["nonsense"]);
    });
}

#[test]
fn rename() {
    bed!(|bed| {
        let id = bed.start(&["--name", "one"]);
        bed.start(&["--name", "two"]);
        assert_eq!(bed.run(&["rename", "one", "three"]).ok(), "");
        assert_eq!(
            bed.inspect("three", "{{.Id}} {{.Name}}"),
            format!("{id} /three")
        );
        bed.run(&["inspect", "--type", "container", "one"])
            .fails(1, &["no such container"]);
        bed.run(&["rename", "three", "two"])
            .fails(1, &["already in use"]);
        bed.run(&["rename", "three", "a b"]).fails(1, &["a b"]);
        bed.start(&["--name", "one"]);
    });
}

#[test]
fn limits_change_live() {
    bed!(|bed| {
        bed.start(&["--name", "one", "-m", "64m"]);
        let group = |file: &str| {
            let find = format!("cat $(find /sys/fs/cgroup -path '*wharf/*/{file}' | head -1)");
            bed.host("sh", &["-c", &find]).ok()
        };
        let legacy = std::path::Path::new("/sys/fs/cgroup/memory").exists();
        let (memory, pids) = if legacy {
            ("memory.limit_in_bytes", "pids.max")
        } else {
            ("memory.max", "pids.max")
        };
        assert_eq!(group(memory), (64 << 20).to_string());
        let update = [
            "update",
            "-m",
            "128m",
            "--pids-limit",
            "50",
            "--cpus",
            "0.5",
            "one",
        ];
        assert_eq!(bed.run(&update).ok(), "one");
        assert_eq!(group(memory), (128 << 20).to_string());
        assert_eq!(group(pids), "50");
        assert_eq!(
            bed.inspect("one", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}"),
            "134217728 500000000"
        );
        // Smaller again, and no limit of processes.
        bed.run(&["update", "-m", "32m", "--pids-limit", "-1", "one"])
            .ok();
        assert_eq!(group(memory), (32 << 20).to_string());
        assert_eq!(group(pids), "max");
        bed.run(&["update", "--blkio-weight", "500", "one"]).ok();
        assert_eq!(bed.inspect("one", "{{.HostConfig.BlkioWeight}}"), "500");
        // What is impossible changes nothing.
        bed.run(&["update", "-m", "1k", "one"]).fails(1, &["6m"]);
        bed.run(&["update", "one"]).fails(1, &["nothing to change"]);
        assert_eq!(group(memory), (32 << 20).to_string());
        // The next start begins with it.
        bed.run(&["restart", "-t", "0", "one"]).ok();
        assert_eq!(group(memory), (32 << 20).to_string());
    });
}

#[test]
fn ports() {
    bed!(|bed| {
        bed.start(&[
            "--name",
            "one",
            "-p",
            "127.0.0.1:8080:80",
            "-p",
            "127.0.0.1:53:53/udp",
        ]);
        assert_eq!(
            bed.run(&["port", "one"]).ok(),
            "53/udp -> 127.0.0.1:53\n80/tcp -> 127.0.0.1:8080"
        );
        assert_eq!(bed.run(&["port", "one", "53/udp"]).ok(), "127.0.0.1:53");
        bed.run(&["port", "one", "81"])
            .fails(1, &["port 81/tcp of one is not published"]);
        bed.run(&["port", "nobody"])
            .fails(1, &["no such container"]);
    });
}

#[test]
fn the_reason_of_an_end_is_told() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "--name",
            "hungry",
            "-m",
            "16m",
            BUSYBOX,
            "tail",
            "/dev/zero",
        ])
        .code(137);
        let text = status(bed, "hungry");
        assert!(
            text.contains("Exited (137)") && text.ends_with("OOM-killed at 16 MiB"),
            "{text}"
        );
        assert_eq!(bed.inspect("hungry", "{{.State.OOMKilled}}"), "true");
        bed.start(&["--name", "one"]);
        bed.run(&["kill", "-s", "KILL", "one"]).ok();
        assert!(status(bed, "one").ends_with("killed by SIGKILL"));
        bed.run(&["run", "--name", "two", BUSYBOX, "sh", "-c", "exit 3"])
            .code(3);
        assert!(status(bed, "two").ends_with("ago"));
    });
}

#[test]
fn history() {
    bed!(|bed| {
        bed.start(&["--name", "one"]);
        bed.run(&["commit", "-m", "my words", "one", "image:v1"])
            .ok();
        let id = bed.inspect("image:v1", "{{.Id}}");
        let table = bed.run(&["history", "image:v1"]).ok();
        assert!(table.starts_with("IMAGE "), "{table}");
        let first = table.lines().nth(1).unwrap();
        assert!(first.starts_with(&id["sha256:".len()..][..12]), "{table}");
        assert!(
            first.contains("sleep 1000") && first.ends_with("my words"),
            "{table}"
        );
        assert!(
            table.lines().nth(2).unwrap().starts_with("<missing>"),
            "{table}"
        );
        let quiet = bed.run(&["history", "-q", "--no-trunc", "image:v1"]).ok();
        assert_eq!(quiet.lines().next(), Some(id.as_str()));
        let exact = bed
            .run(&[
                "history",
                "--human=false",
                "--format",
                "{{.Size}} {{.CreatedAt}}",
                BUSYBOX,
            ])
            .ok();
        assert!(
            exact.split(' ').next().unwrap().parse::<u64>().unwrap() > 1_000_000,
            "{exact}"
        );
    });
}

#[test]
fn of_two_that_remove_it_one_says_so() {
    bed!(|bed| {
        for _ in 0..8 {
            bed.start(&["--name", "one", "--network", "none"]);
            let removals = [(); 2].map(|()| bed.command(&["rm", "-f", "one"]).start());
            let said = removals.map(|removal| removal.finish().ok());
            let mut said: Vec<&str> = said.iter().map(|text| text.trim()).collect();
            said.sort_unstable();
            assert_eq!(said, ["", "one"]);
        }
    });
}

/// A removal that was cut off after its first step is finished by whoever comes across what is left.
#[test]
fn a_removal_that_was_cut_off_is_finished_by_the_next_command() {
    bed!(|bed| {
        let cut_off = || {
            let id = bed.run(&["create", "--name", "one", BUSYBOX]).ok();
            let directory = bed.root().join("containers").join(&id);
            std::fs::rename(
                directory.join("config.json"),
                directory.join("removing.json"),
            )
            .unwrap();
            directory
        };
        let left = cut_off();
        bed.run(&["inspect", "one"]).fails(1, &["one"]);
        assert!(!left.exists());
        let left = cut_off();
        let id = left.file_name().unwrap().to_str().unwrap();
        bed.run(&["start", &id[..12]])
            .fails(1, &["no such container"]);
        assert!(!left.exists());
        let left = cut_off();
        bed.run(&["create", "--name", "one", BUSYBOX]).ok();
        assert!(!left.exists());
    });
}

#[test]
fn a_slip_of_the_fingers() {
    bed!(|bed| {
        for (words, meant) in [
            (&["container", "lss"][..], "did you mean ls?"),
            (&["container", "lsit"], "did you mean list?"),
            (&["netwrok", "ls"], "did you mean network?"),
            (&["volume", "inspcet", "v"], "did you mean inspect?"),
            (&["volume", "zzzzz"], "wharf volume --help"),
            (&["rnu"], "did you mean run?"),
        ] {
            bed.run(words).fails(1, &["there is no command", meant]);
        }
    });
}
