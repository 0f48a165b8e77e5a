//! Names, `--rm`, `--cidfile`, labels, and the verbs that end a container.

use std::time::Instant;

use black_box_tests::{BUSYBOX, bed, eventually};

#[test]
fn rm_removes_at_the_end() {
    bed!(|bed| {
        bed.run(&["run", "--rm", "--name", "short", BUSYBOX, "true"])
            .ok();
        assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
        // The name is free at once, a hundred times in a row.
        for _ in 0..20 {
            bed.run(&[
                "run",
                "--rm",
                "--name",
                "short",
                "--network",
                "none",
                BUSYBOX,
                "true",
            ])
            .ok();
        }
        bed.nothing_runs();
        bed.run(&[
            "run", "--rm", "-d", "--name", "detached", BUSYBOX, "sleep", "0.2",
        ])
        .ok();
        eventually(10, "the detached container to be removed", || {
            bed.run(&["ps", "-aq"]).ok().is_empty().then_some(())
        });
    });
}

#[test]
fn names() {
    bed!(|bed| {
        let id = bed.start(&["--name", "mine"]);
        bed.run(&["run", "--name", "mine", BUSYBOX, "true"])
            .fails(125, &["mine", "already in use", &id[..12]]);
        for bad in ["-x", "a/b", "a b", ".hidden", "ä"] {
            let option = format!("--name={bad}");
            bed.run(&["run", &option, BUSYBOX, "true"])
                .fails(125, &["name"]);
        }
        let other = bed.start(&[]);
        let name = bed.inspect(&other, "{{.Name}}");
        assert!(
            name.starts_with('/') && name.contains('_'),
            "a made-up name like /brave_heron, not {name}"
        );
    });
}

#[test]
fn ids_may_be_shortened() {
    bed!(|bed| {
        let id = bed.start(&[]);
        assert_eq!(bed.inspect(&id[..4], "{{.Id}}"), id);
        bed.run(&["inspect", "0123456789abcdef"])
            .fails(1, &["0123456789abcdef"]);
        bed.run(&["stop", "-t", "0", "no-such"])
            .fails(1, &["no such container", "no-such"]);
    });
}

#[test]
fn cidfile() {
    bed!(|bed| {
        let path = bed.dir().join("cid");
        let text = path.to_str().unwrap();
        let id = bed.start(&["--cidfile", text]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), id);
        bed.run(&["run", "--rm", "--cidfile", text, BUSYBOX, "true"])
            .fails(125, &["cid", "exist"]);
        assert_eq!(bed.run(&["ps", "-aq"]).ok().lines().count(), 1);
    });
}

#[test]
fn labels() {
    bed!(|bed| {
        bed.start(&["--name", "one", "--label", "tier=db", "-l", "plain"]);
        bed.start(&["--name", "two", "-l", "tier=web"]);
        assert_eq!(
            bed.inspect("one", r#"{{index .Config.Labels "tier"}}"#),
            "db"
        );
        assert_eq!(
            bed.run(&["ps", "--filter", "label=tier=db", "--format", "{{.Names}}"])
                .ok(),
            "one"
        );
        assert_eq!(
            bed.run(&["ps", "--filter", "label=tier", "-q"])
                .ok()
                .lines()
                .count(),
            2
        );
        assert_eq!(
            bed.run(&[
                "ps",
                "--filter",
                "label=plain",
                "--format",
                r#"{{.Label "tier"}}"#
            ])
            .ok(),
            "db"
        );
    });
}

#[test]
fn stop_is_term_then_kill() {
    bed!(|bed| {
        let polite = [
            "run",
            "-d",
            "--name",
            "polite",
            BUSYBOX,
            "sh",
            "-c",
            "trap 'exit 5' TERM; while :; do sleep 0.05; done",
        ];
        bed.run(&polite).ok();
        let deaf = bed.start(&["--name", "deaf"]); // sleep as pid 1 ignores TERM
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(bed.run(&["stop", "polite"]).ok(), "polite");
        assert_eq!(bed.inspect("polite", "{{.State.ExitCode}}"), "5");
        let start = Instant::now();
        bed.run(&["stop", "-t", "1", &deaf]).ok();
        assert!(start.elapsed().as_millis() >= 900, "a second was granted");
        assert_eq!(bed.inspect("deaf", "{{.State.ExitCode}}"), "137");
        // A second time is no error.
        bed.run(&["stop", "deaf"]).ok();
        bed.nothing_runs();
    });
}

#[test]
fn stop_signal_of_ones_own() {
    bed!(|bed| {
        let script = "trap 'exit 9' USR2; while :; do sleep 0.05; done";
        bed.run(&[
            "run",
            "-d",
            "--name",
            "own",
            "--stop-signal",
            "USR2",
            BUSYBOX,
            "sh",
            "-c",
            script,
        ])
        .ok();
        std::thread::sleep(std::time::Duration::from_millis(200));
        bed.run(&["stop", "own"]).ok();
        assert_eq!(bed.inspect("own", "{{.State.ExitCode}}"), "9");
        bed.run(&["run", "--rm", "--stop-signal", "NOSUCH", BUSYBOX, "true"])
            .fails(125, &["nosuch"]);
    });
}

#[test]
fn kill_with_signals() {
    bed!(|bed| {
        let script =
            "trap 'echo hup' HUP; trap 'exit 4' USR1; echo ready; while :; do sleep 0.05; done";
        bed.run(&["run", "-d", "--name", "target", BUSYBOX, "sh", "-c", script])
            .ok();
        let logs = |what: &str| {
            eventually(10, what, || {
                bed.run(&["logs", "target"])
                    .ok()
                    .contains(what)
                    .then_some(())
            });
        };
        logs("ready");
        bed.run(&["kill", "-s", "HUP", "target"]).ok();
        logs("hup");
        bed.run(&["kill", "--signal", "SIGUSR1", "target"]).ok();
        assert_eq!(bed.run(&["wait", "target"]).ok(), "4");
        bed.run(&["kill", "target"])
            .fails(1, &["target", "not running"]);
        bed.run(&["kill", "-s", "NOPE", "target"])
            .fails(1, &["nope"]);
    });
}

#[test]
fn rm() {
    bed!(|bed| {
        let id = bed.start(&["--name", "busy"]);
        bed.run(&["rm", "busy"]).fails(1, &["busy", "running"]);
        assert_eq!(bed.run(&["rm", "-f", "busy"]).ok(), "busy");
        bed.run(&["rm", &id]).fails(1, &["no such container"]);
        let (first, second) = (bed.start(&[]), bed.start(&[]));
        let outcome = bed.run(&["rm", "-f", &first, "nobody", &second]);
        assert_eq!(
            outcome.text().lines().count(),
            2,
            "the others are removed all the same"
        );
        bed.nothing_runs();
    });
}

#[test]
fn a_stopped_container_starts_again() {
    bed!(|bed| {
        let id = bed
            .run(&[
                "run",
                "-d",
                "-p",
                "0:80",
                BUSYBOX,
                "sh",
                "-c",
                "echo run $(cat /count 2>/dev/null); echo again >> /count; sleep 1000",
            ])
            .ok();
        let runs = |count: usize| {
            eventually(10, "the line of this run", || {
                (bed.run(&["logs", &id]).ok().lines().count() == count).then_some(())
            });
        };
        for count in 1..=3 {
            runs(count);
            bed.run(&["stop", "-t", "0", &id]).ok();
            bed.nothing_runs();
            bed.run(&["start", &id]).ok();
            assert_eq!(bed.inspect(&id, "{{.State.Running}}"), "true");
        }
        runs(4);
        assert!(
            bed.run(&["logs", &id])
                .ok()
                .ends_with("run again again again")
        );
        bed.run(&["start", &id]).ok(); // running already: no error, as Docker
    });
}

#[test]
fn pull_policy_never() {
    bed!(|bed| {
        bed.run(&["run", "--rm", "--pull", "never", BUSYBOX, "true"])
            .ok();
        bed.run(&[
            "run",
            "--rm",
            "--pull",
            "never",
            "127.0.0.1:1/nothing",
            "true",
        ])
        .fails(125, &["no such image", "127.0.0.1:1/nothing"]);
        bed.run(&["run", "--rm", "--pull", "sometimes", BUSYBOX, "true"])
            .fails(125, &["sometimes"]);
    });
}
