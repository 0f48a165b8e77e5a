//! `suspend` and `resume`: a state of its own, and a container like any other afterwards.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use black_box_tests::{BUSYBOX, Bed, bed, eventually};

use crate::{count, counter, counts_on, status};

#[test]
fn goes_on_where_it_was() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        let pids = bed
            .run(&["exec", "one", "sh", "-c", "echo /proc/[0-9]*/exe"])
            .ok();
        bed.run(&["suspend", "one"]).ok();
        // Nothing of it is in memory any more.
        bed.nothing_runs();
        assert!(status(bed, "one").starts_with("Suspended ("));
        assert_eq!(bed.run(&["ps", "-q"]).ok(), "");
        let stopped = count(bed, "one");
        bed.run(&["resume", "one"]).ok();
        assert!(status(bed, "one").starts_with("Up "));
        counts_on(bed, "one");
        assert!(count(bed, "one") > stopped);
        assert!(pids.contains("/proc/1/exe"), "{pids}");
        // And once more, and after that it is stopped as any.
        bed.run(&["suspend", "one"]).ok();
        bed.run(&["resume", "one"]).ok();
        counts_on(bed, "one");
        bed.run(&["stop", "-t", "0", "one"]).ok();
        assert_eq!(bed.inspect("one", "{{.State.ExitCode}}"), "137");
        assert!(
            !memory(bed, "one").exists(),
            "its memory is still on the disk"
        );
        // A start is a start again.
        bed.run(&["start", "one"]).ok();
        eventually(30, "it to begin anew", || {
            let log = bed.run(&["logs", "one"]).ok();
            (log.lines().filter(|line| *line == "1").count() == 2).then_some(())
        });
    });
}

#[test]
fn survives_the_end_of_everything_but_the_disk() {
    bed!(|bed| {
        counter(bed, "one", &["--restart", "always", "-v", "/data"]);
        bed.run(&[
            "exec",
            "one",
            "sh",
            "-c",
            "echo kept > /file; echo kept > /data/file",
        ])
        .ok();
        bed.run(&["suspend", "one"]).ok();
        fs::remove_dir_all(bed.runroot()).unwrap();
        // Whoever looks first repairs, and that is not for what is suspended.
        assert!(status(bed, "one").starts_with("Suspended ("));
        assert_eq!(
            bed.run(&["system", "boot"]).ok(),
            "",
            "nobody asked for it to go on"
        );
        bed.run(&["system", "repair"]).ok();
        bed.run(&["resume", "one"]).ok();
        counts_on(bed, "one");
        assert_eq!(
            bed.run(&["exec", "one", "cat", "/file", "/data/file"]).ok(),
            "kept\nkept"
        );
    });
}

#[test]
fn a_state_of_its_own() {
    bed!(|bed| {
        counter(bed, "one", &["--stop-timeout", "0"]);
        bed.run(&["resume", "one"]).fails(1, &["is not suspended"]);
        bed.run(&["suspend", "one"]).ok();
        for (verb, parts) in [
            (vec!["suspend", "one"], "is suspended already"),
            (
                vec!["stop", "one"],
                "resume it to stop it in order, or kill it",
            ),
            (vec!["restart", "one"], "resume it, or kill it"),
            (
                vec!["rm", "one"],
                "resume and stop it first, or force its removal",
            ),
            (vec!["exec", "one", "true"], "resume it first"),
            (vec!["attach", "one"], "resume it first"),
            (vec!["top", "one"], "resume it first"),
            (vec!["pause", "one"], "resume it first"),
            (vec!["wait", "one"], "it ends after it is resumed"),
        ] {
            bed.run(&verb).fails(1, &[parts]);
        }
        let state = bed.run(&["inspect", "-f", "{{json .State}}", "one"]).json();
        assert_eq!(state["Status"], "exited");
        assert_eq!(state["Running"], false);
        assert_eq!(state["Pid"], 0);
        assert!(state["Suspended"]["Size"].as_u64().unwrap() > 0);
        assert!(state["Suspended"]["Processes"].as_u64().unwrap() >= 1);
        for (filter, found) in [("suspended", "one"), ("exited", ""), ("running", "")] {
            let filter = format!("status={filter}");
            let format = "{{.Names}}";
            assert_eq!(
                bed.run(&["ps", "--filter", &filter, "--format", format])
                    .ok(),
                found
            );
        }
        assert_eq!(
            bed.run(&["ps", "-a", "--format", "{{.State}}"]).ok(),
            "suspended"
        );
        // What does not need its processes works, and nobody sweeps it away.
        bed.run(&["commit", "one", "kept"]).ok();
        bed.run(&["rename", "one", "two"]).ok();
        bed.run(&["container", "prune", "-f"]).ok();
        bed.run(&["system", "prune", "-f"]).ok();
        bed.run(&[
            "cp",
            "two:/bin/busybox",
            bed.dir().join("copied").to_str().unwrap(),
        ])
        .ok();
        bed.run(&["resume", "two"]).ok();
        counts_on(bed, "two");
        // Given up where it lies.
        bed.run(&["suspend", "two"]).ok();
        bed.run(&["kill", "two"]).ok();
        assert!(status(bed, "two").starts_with("Exited (137)"));
        assert!(!memory(bed, "two").exists());
        bed.run(&["start", "two"]).ok();
        bed.run(&["suspend", "two"]).ok();
        bed.run(&["rm", "-f", "two"]).ok();
        assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
    });
}

#[test]
fn a_start_resumes_and_says_so() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        bed.run(&["suspend", "one"]).ok();
        let started = bed.run(&["start", "one"]);
        assert_eq!(started.ok(), "one");
        assert!(
            started
                .story()
                .contains("one was suspended and goes on where it was")
        );
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
            .filter(|line| ["start", "suspend", "resume"].contains(line))
            .collect();
        assert_eq!(seen, ["start", "suspend", "resume"], "{events}");
    });
}

#[test]
fn who_is_attached_is_told() {
    bed!(|bed| {
        let attached = bed
            .command(&[
                "run",
                "--rm",
                "--name",
                "one",
                "--network",
                "none",
                BUSYBOX,
                "sh",
                "-c",
                crate::COUNTER,
            ])
            .start();
        attached.wait_for("5\n");
        bed.run(&["suspend", "one"]).ok();
        let outcome = attached.finish();
        assert_eq!(outcome.status.code(), Some(0));
        assert!(
            outcome.story().contains("the container was suspended"),
            "{}",
            outcome.story()
        );
        assert!(
            status(bed, "one").starts_with("Suspended ("),
            "--rm is for its end"
        );
        let attached = bed.command(&["start", "-a", "one"]).start();
        counts_on(bed, "one");
        bed.run(&["kill", "one"]).ok();
        assert_eq!(attached.finish().status.code(), Some(137));
        assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
    });
}

#[test]
fn ports_and_addresses_come_back() {
    bed!(|bed| {
        let serve = "while :; do nc -l -p 80 -e echo hello; done";
        bed.run(&[
            "run",
            "-d",
            "--name",
            "one",
            "-p",
            "127.0.0.1:7031:80",
            BUSYBOX,
            "sh",
            "-c",
            crate::COUNTER,
        ])
        .ok();
        counts_on(bed, "one");
        let address = bed.inspect("one", "{{.NetworkSettings.IPAddress}}");
        bed.run(&["suspend", "one"]).ok();
        // Somebody else may have the port meanwhile; then it stays suspended.
        let taken = std::net::TcpListener::bind("127.0.0.1:7031").unwrap();
        bed.run(&["resume", "one"])
            .fails(1, &["port 7031 on 127.0.0.1 is already in use"]);
        assert!(status(bed, "one").starts_with("Suspended ("));
        drop(taken);
        bed.run(&["resume", "one"]).ok();
        assert_eq!(
            bed.inspect("one", "{{.NetworkSettings.IPAddress}}"),
            address
        );
        assert!(bed.run(&["port", "one"]).ok().contains("127.0.0.1:7031"));
        bed.run(&["exec", "-d", "one", "sh", "-c", serve]).ok();
        let answer = eventually(30, "an answer through the published port", || {
            let mut stream = TcpStream::connect("127.0.0.1:7031").ok()?;
            let _ = stream.write_all(b"x");
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            answer.contains("hello").then_some(answer)
        });
        assert_eq!(answer, "hello\n");
        counts_on(bed, "one");
    });
}

#[test]
fn health_restarts_and_the_exit_are_as_before() {
    bed!(|bed| {
        counter(
            bed,
            "one",
            &[
                "--health-cmd",
                "true",
                "--health-interval",
                "50ms",
                "--restart",
                "always",
            ],
        );
        let healthy = || bed.inspect("one", "{{.State.Health.Status}}") == "healthy";
        eventually(30, "it to be healthy", || healthy().then_some(()));
        // Probes come and go all the time: none is in the way, and none is taken along.
        for _ in 0..3 {
            bed.run(&["suspend", "one"]).ok();
            bed.run(&["resume", "one"]).ok();
            counts_on(bed, "one");
        }
        eventually(30, "it to be healthy", || healthy().then_some(()));
        // Its policy starts it anew when it ends, and not from memory.
        let pid = bed.inspect("one", "{{.State.Pid}}");
        bed.host("kill", &["-9", &pid]).ok();
        eventually(30, "it to be started again", || {
            (bed.inspect("one", "{{.RestartCount}}") == "1").then_some(())
        });
        eventually(30, "it to begin anew", || {
            let log = bed.run(&["logs", "one"]).ok();
            (log.lines().filter(|line| *line == "1").count() == 2).then_some(())
        });
    });
}

#[test]
fn what_cannot_be_written_down_runs_on() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        let held = bed
            .command(&["exec", "one", "sh", "-c", "echo ready; sleep 1000"])
            .start();
        held.wait_for("ready");
        bed.run(&["suspend", "one"]).fails(
            1,
            &["was put into the container from outside (exec); end it first"],
        );
        held.signal(rustix::process::Signal::KILL);
        held.finish();
        counts_on(bed, "one");
        bed.run(&["pause", "one"]).ok();
        bed.run(&["suspend", "one"])
            .fails(1, &["it is paused: unpause it first"]);
        bed.run(&["unpause", "one"]).ok();
        counts_on(bed, "one");
        assert!(
            !memory(bed, "one").exists(),
            "a refused suspension left its memory"
        );
        bed.run(&[
            "create",
            "--name",
            "two",
            "--network",
            "none",
            BUSYBOX,
            "true",
        ])
        .ok();
        bed.run(&["suspend", "two"]).fails(1, &["is not running"]);
    });
}

/// Where a suspended container's memory lies.
fn memory(bed: &Bed, name: &str) -> std::path::PathBuf {
    let id = bed.inspect(name, "{{.Id}}");
    bed.root().join("containers").join(id).join("memory")
}

/// Says something and hears it back.
fn talk(stream: &mut BufReader<TcpStream>, text: &str) {
    stream.get_mut().write_all(text.as_bytes()).unwrap();
    hear(stream, text);
}

fn hear(stream: &mut BufReader<TcpStream>, text: &str) {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert_eq!(line, text);
}

#[test]
fn connections_go_on_if_asked_to() {
    bed!(|bed| {
        let run = [
            "run",
            "-d",
            "--name",
            "one",
            "-p",
            "127.0.0.1:7033:80",
            BUSYBOX,
        ];
        let echo = ["nc", "-l", "-p", "80", "-e", "cat"];
        bed.run(&[&run[..], &echo].concat()).ok();
        let stream = eventually(30, "a connection", || {
            TcpStream::connect("127.0.0.1:7033").ok()
        });
        stream
            .set_read_timeout(Some(std::time::Duration::from_secs(30)))
            .unwrap();
        let mut stream = BufReader::new(stream);
        talk(&mut stream, "before\n");
        for _ in 0..2 {
            bed.run(&["suspend", "--tcp-established", "one"]).ok();
            // It finds nobody, again and again, also while its connection is put together.
            stream.get_mut().write_all(b"meanwhile\n").unwrap();
            bed.run(&["resume", "one"]).ok();
            hear(&mut stream, "meanwhile\n");
            talk(&mut stream, "after\n");
        }
        drop(stream);
        eventually(30, "its end", || {
            status(bed, "one").starts_with("Exited (0)").then_some(())
        });
        // Without being asked for, they are reset.
        bed.run(&["start", "one"]).ok();
        let address = bed.inspect("one", "{{.NetworkSettings.IPAddress}}");
        let stream = eventually(30, "a connection", || {
            TcpStream::connect((address.as_str(), 80)).ok()
        });
        let mut stream = BufReader::new(stream);
        talk(&mut stream, "before\n");
        bed.run(&["suspend", "one"]).ok();
        let mut line = String::new();
        assert!(matches!(stream.read_line(&mut line), Ok(0) | Err(_)));
    });
}
