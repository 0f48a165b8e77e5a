//! Restart policies: carried out by the monitor, shown while it waits, changed live.

use black_box_tests::{BUSYBOX, bed, eventually};

#[test]
fn a_waiting_restart_is_shown_and_can_be_stopped() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "-d",
            "--name",
            "one",
            "--restart",
            "always",
            BUSYBOX,
            "sh",
            "-c",
            "exit 3",
        ])
        .ok();
        // The waits double, so it waits nearly all of the time soon.
        eventually(30, "it waits", || {
            (bed.inspect("one", "{{.State.Status}} {{.State.Restarting}}") == "restarting true")
                .then_some(())
        });
        eventually(30, "ps shows it", || {
            bed.run(&["ps", "--format", "{{.Status}}"])
                .ok()
                .starts_with("Restarting (3)")
                .then_some(())
        });
        assert_eq!(bed.inspect("one", "{{.State.ExitCode}}"), "3");
        bed.run(&["stop", "one"]).ok();
        assert_eq!(bed.inspect("one", "{{.State.Status}}"), "exited");
        bed.nothing_runs();
    });
}

#[test]
fn on_failure_gives_up() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "-d",
            "--name",
            "one",
            "--restart",
            "on-failure:2",
            BUSYBOX,
            "sh",
            "-c",
            "echo try; exit 3",
        ])
        .ok();
        assert_eq!(bed.run(&["wait", "one"]).ok(), "3");
        assert_eq!(bed.run(&["logs", "one"]).ok(), "try\ntry\ntry");
        bed.nothing_runs();
    });
}

#[test]
fn a_policy_can_be_given_and_taken_live() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "-d",
            "--name",
            "one",
            BUSYBOX,
            "sh",
            "-c",
            "echo run; sleep 1000",
        ])
        .ok();
        bed.run(&["update", "--restart", "on-failure:1", "one"])
            .ok();
        assert_eq!(
            bed.inspect("one", "{{.HostConfig.RestartPolicy.Name}}"),
            "on-failure"
        );
        let pid = bed.inspect("one", "{{.State.Pid}}");
        bed.host("kill", &["-9", &pid]).ok();
        eventually(30, "a second run", || {
            (bed.run(&["logs", "one"]).ok() == "run\nrun").then_some(())
        });
        assert_eq!(bed.inspect("one", "{{.RestartCount}}"), "1");
        bed.run(&["update", "--restart", "always", "one"]).ok();
        bed.run(&["update", "--restart", "no", "one"]).ok();
        let pid = bed.inspect("one", "{{.State.Pid}}");
        bed.host("kill", &["-9", &pid]).ok();
        assert_eq!(bed.run(&["wait", "one"]).ok(), "137");
        bed.start(&["--name", "two", "--rm"]);
        bed.run(&["update", "--restart", "always", "two"])
            .fails(1, &["--rm"]);
    });
}
