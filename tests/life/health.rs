//! Health checks: run by the monitor inside the container, told in ps, inspect and events.

use black_box_tests::{BUSYBOX, Bed, ImageBuilder, bed, eventually};
use serde_json::json;

fn wait_for(bed: &Bed, name: &str, status: &str) {
    eventually(30, &format!("{name} to be {status}"), || {
        (bed.inspect(name, "{{if .State.Health}}{{.State.Health.Status}}{{end}}") == status)
            .then_some(())
    });
}

const FAST: [&str; 4] = ["--health-interval", "50ms", "--health-retries", "2"];

#[test]
fn a_container_turns_healthy_and_unhealthy() {
    bed!(|bed| {
        // Before the first check, which is far away, its health is not known.
        bed.start(&[
            "--name",
            "waits",
            "--health-cmd",
            "true",
            "--health-interval",
            "1h",
        ]);
        assert_eq!(bed.inspect("waits", "{{.State.Health.Status}}"), "starting");
        let text = bed.run(&["ps", "--format", "{{.Status}}"]).ok();
        assert!(text.ends_with(" (health: starting)"), "{text}");
        bed.run(&["rm", "-f", "waits"]).ok();
        let mut options = vec![
            "--name",
            "one",
            "--health-cmd",
            "echo said; test -e /tmp/ok",
        ];
        options.extend(FAST);
        bed.start(&options);
        wait_for(bed, "one", "unhealthy");
        assert!(bed.run(&["ps"]).ok().contains("(unhealthy)"));
        assert_eq!(
            bed.run(&["ps", "-q", "--filter", "health=unhealthy"])
                .ok()
                .len(),
            12
        );
        bed.run(&["exec", "one", "touch", "/tmp/ok"]).ok();
        wait_for(bed, "one", "healthy");
        let health = bed
            .run(&["inspect", "-f", "{{json .State.Health}}", "one"])
            .json();
        assert_eq!(health["FailingStreak"], 0);
        let last = health["Log"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["ExitCode"], 0);
        assert_eq!(last["Output"], "said\n");
        assert_eq!(
            bed.inspect("one", "{{json .Config.Healthcheck.Test}}"),
            r#"["CMD-SHELL","echo said; test -e /tmp/ok"]"#
        );
        // What stands still is not probed, so it does not turn unhealthy.
        bed.run(&["pause", "one"]).ok();
        std::thread::sleep(std::time::Duration::from_millis(300));
        bed.run(&["unpause", "one"]).ok();
        assert_eq!(bed.inspect("one", "{{.State.Health.Status}}"), "healthy");
    });
}

#[test]
fn the_images_check_is_used_and_can_be_refused() {
    bed!(|bed| {
        let image = ImageBuilder::busybox().set(
            "Healthcheck",
            json!({"Test": ["CMD", "false"], "Interval": 50_000_000, "Retries": 1}),
        );
        let archive = bed.file("image.tar", image.docker_archive("probed:latest"));
        bed.run(&["load", "-q", "-i", &archive]).ok();
        bed.run(&["run", "-d", "--name", "one", "probed", "sleep", "1000"])
            .ok();
        wait_for(bed, "one", "unhealthy");
        bed.run(&[
            "run",
            "-d",
            "--name",
            "two",
            "--no-healthcheck",
            "probed",
            "sleep",
            "1000",
        ])
        .ok();
        assert_eq!(bed.inspect("two", "{{if .State.Health}}probed{{end}}"), "");
        bed.run(&[
            "run",
            "--no-healthcheck",
            "--health-retries",
            "3",
            "probed",
            "true",
        ])
        .fails(125, &["--no-healthcheck"]);
        bed.run(&["run", "--health-on-failure", "stop", BUSYBOX, "true"])
            .fails(125, &["needs a health check"]);
        bed.run(&["run", "--health-interval", "soon", BUSYBOX, "true"])
            .fails(125, &["--health-interval", "soon"]);
    });
}

#[test]
fn a_check_that_hangs_or_cannot_run_fails() {
    bed!(|bed| {
        let mut options = vec![
            "--name",
            "one",
            "--health-timeout",
            "100ms",
            "--health-cmd",
            "sleep 77",
        ];
        options.extend(FAST);
        bed.start(&options);
        wait_for(bed, "one", "unhealthy");
        let log = bed.inspect("one", "{{(index .State.Health.Log 0).Output}}");
        assert!(log.contains("exceeded timeout"), "{log}");
        eventually(30, "no probe is left behind", || {
            let rows = bed.run(&["top", "one"]).ok();
            (rows.matches("sleep 77").count() <= 2).then_some(())
        });
        let image = ImageBuilder::busybox().set(
            "Healthcheck",
            json!({"Test": ["CMD", "/no/such/program"], "Interval": 50_000_000, "Retries": 1}),
        );
        let archive = bed.file("image.tar", image.docker_archive("wrong:latest"));
        bed.run(&["load", "-q", "-i", &archive]).ok();
        bed.run(&["run", "-d", "--name", "two", "wrong", "sleep", "1000"])
            .ok();
        wait_for(bed, "two", "unhealthy");
        let log = bed.inspect("two", "{{(index .State.Health.Log 0).Output}}");
        assert!(log.contains("/no/such/program"), "{log}");
    });
}

#[test]
fn an_unhealthy_container_is_restarted_or_stopped() {
    bed!(|bed| {
        let script = "echo run; trap 'exit 0' TERM; while :; do sleep 0.05; done";
        for action in ["restart", "stop"] {
            let mut arguments = vec![
                "run",
                "-d",
                "--name",
                action,
                "--health-cmd",
                "false",
                "--health-on-failure",
                action,
            ];
            arguments.extend(FAST);
            arguments.extend([BUSYBOX, "sh", "-c", script]);
            bed.run(&arguments).ok();
        }
        eventually(30, "a second run", || {
            (bed.run(&["logs", "restart"]).ok().lines().count() >= 2).then_some(())
        });
        assert_eq!(bed.run(&["wait", "stop"]).ok(), "0");
        assert_eq!(bed.run(&["logs", "stop"]).ok(), "run");
        let events = bed
            .run(&[
                "events",
                "--since",
                "1h",
                "--until",
                "0s",
                "--filter",
                "event=health_status",
            ])
            .ok();
        assert!(events.contains("health_status: unhealthy"), "{events}");
    });
}
