//! What `run` exits with: 125 for an error of ours, 126 and 127 for the command, else the container's own code.

use black_box_tests::{BUSYBOX, bed};

#[test]
fn the_commands_own_code() {
    bed!(|bed| {
        bed.run(&["run", "--rm", BUSYBOX, "true"]).ok();
        for code in [1, 7, 255] {
            let script = format!("exit {code}");
            bed.run(&["run", "--rm", BUSYBOX, "sh", "-c", &script])
                .code(code);
        }
    });
}

#[test]
fn a_signal_counts_from_128() {
    bed!(|bed| {
        // Pid 1 is deaf to signals of its own namespace: let a child die and pass it on, then be killed from outside.
        bed.run(&[
            "run",
            "--rm",
            BUSYBOX,
            "sh",
            "-c",
            "sh -c 'kill -TERM $$'; exit $?",
        ])
        .code(143);
        let id = bed.start(&["--name", "victim"]);
        bed.run(&["kill", "victim"]).ok();
        assert_eq!(bed.run(&["wait", &id]).ok(), "137");
    });
}

#[test]
fn a_missing_command_is_127() {
    bed!(|bed| {
        bed.run(&["run", "--rm", BUSYBOX, "no-such-program"])
            .fails(127, &["no-such-program", "not found"]);
        bed.run(&["run", "--rm", BUSYBOX, "/no/such/program"])
            .fails(127, &["/no/such/program"]);
    });
}

#[test]
fn a_command_that_cannot_be_executed_is_126() {
    bed!(|bed| {
        bed.run(&["run", "--rm", BUSYBOX, "/etc/passwd"])
            .fails(126, &["/etc/passwd", "permission denied"]);
        bed.run(&["run", "--rm", BUSYBOX, "/etc"])
            .fails(126, &["/etc"]);
    });
}

#[test]
fn an_error_of_the_engine_is_125() {
    bed!(|bed| {
        bed.run(&["run", "--rm", "--no-such-flag", BUSYBOX])
            .fails(125, &["--no-such-flag"]);
        // Who forgets the command is not told that the container is missing.
        bed.run(&["exec", "nobody"])
            .fails(125, &["an argument is missing: the command to execute"]);
        bed.run(&["ps", "--filter", "colour=red"])
            .fails(1, &["colour=red", "ancestor", "publish or expose"]);
        bed.run(&[
            "run",
            "--rm",
            "--network",
            "container:nobody",
            BUSYBOX,
            "true",
        ])
        .fails(125, &["nobody"]);
    });
}

#[test]
fn a_detached_container_keeps_its_code() {
    bed!(|bed| {
        let id = bed.run(&["run", "-d", BUSYBOX, "sh", "-c", "exit 9"]).ok();
        assert_eq!(bed.run(&["wait", &id]).ok(), "9");
        assert_eq!(bed.inspect(&id, "{{.State.ExitCode}}"), "9");
        assert_eq!(bed.inspect(&id, "{{.State.Status}}"), "exited");
    });
}

#[test]
fn output_arrives_whole_and_apart() {
    bed!(|bed| {
        let outcome = bed.run(&["run", "--rm", BUSYBOX, "sh", "-c", "echo out; echo err >&2"]);
        assert_eq!(outcome.ok(), "out");
        assert_eq!(outcome.error(), "err\n");
        // 4 MB written just before the end: nothing of it may be lost.
        let outcome = bed.run(&["run", "--rm", BUSYBOX, "sh", "-c", "seq 1 600000"]);
        assert_eq!(outcome.ok().lines().count(), 600_000);
    });
}
