//! `update` of environment, ports and mounts, `recreate`, and `generate`.

use std::fs;

use black_box_tests::{BUSYBOX, Bed, bed};

fn sh(bed: &Bed, name: &str, script: &str) -> String {
    bed.run(&["exec", name, "sh", "-c", script]).ok()
}

#[test]
fn at_once_and_with_the_next_start() {
    bed!(|bed| {
        let shared = bed.dir().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::write(shared.join("file"), "shared").unwrap();
        bed.start(&[
            "--name",
            "one",
            "-e",
            "A=1",
            "-e",
            "B=2",
            "-p",
            "127.0.0.1:8080:80",
            "-v",
            "/old",
            "--tmpfs",
            "/tmp",
        ]);
        sh(bed, "one", "echo kept > /mine");
        let bind = format!("{}:/shared:ro", shared.display());
        let update = [
            "update",
            "-e",
            "A=3",
            "-e",
            "C=4",
            "--unsetenv",
            "B",
            "-p",
            "127.0.0.1:9090:90",
            "-p",
            "127.0.0.1:8081:80",
            "-v",
            &bind,
            "-v",
            "data:/data",
            "--unmount",
            "/old",
            "one",
        ];
        let outcome = bed.run(&update);
        assert_eq!(outcome.ok(), "one");
        assert!(
            outcome
                .error()
                .starts_with("the environment of one changes when it is started again"),
            "{}",
            outcome.story()
        );
        // The environment is not true yet.
        let environ = sh(bed, "one", "tr '\\0' '\\n' < /proc/1/environ");
        assert!(
            environ.lines().any(|line| line == "A=1") && environ.contains("B=2"),
            "{environ}"
        );
        // But mounts and ports are.
        let mounts = "cat /shared/file /mine; touch /shared/x || echo refused; touch /data/x; mount | grep -c ' /old '; true";
        assert_eq!(sh(bed, "one", mounts), "sharedkept\nrefused\n0");
        let ports = "80/tcp -> 127.0.0.1:8081\n90/tcp -> 127.0.0.1:9090";
        assert_eq!(bed.run(&["port", "one"]).ok(), ports);
        bed.run(&["restart", "-t", "0", "one"]).ok();
        assert_eq!(
            sh(bed, "one", &format!("echo $A$B$C; {mounts}")),
            "34\nsharedkept\nrefused\n0"
        );
        assert_eq!(bed.run(&["port", "one"]).ok(), ports);
        // One that does not run has it at once.
        bed.run(&["stop", "-t", "0", "one"]).ok();
        let outcome = bed.run(&["update", "--unpublish", "90", "--unmount", "/shared", "one"]);
        outcome.ok();
        assert_eq!(outcome.error(), "");
        bed.run(&["start", "one"]).ok();
        assert_eq!(bed.run(&["port", "one"]).ok(), "80/tcp -> 127.0.0.1:8081");
        assert!(
            !bed.inspect("one", "{{json .HostConfig.Binds}}")
                .contains("/shared")
        );
        for (arguments, why) in [
            (["--unpublish", "99"], "port 99 is not published"),
            (["--unmount", "/none"], "nothing is mounted at /none"),
            (["--unsetenv", "A=1"], "--unsetenv takes a name"),
        ] {
            bed.run(&["update", arguments[0], arguments[1], "one"])
                .fails(1, &[why]);
        }
        // What was refused changed nothing.
        let missing = bed.dir().join("missing");
        let mount = format!("type=bind,source={},target=/m", missing.display());
        bed.run(&["update", "-e", "A=9", "--mount", &mount, "one"])
            .fails(1, &["does not exist"]);
        assert!(
            bed.inspect("one", "{{json .Config.Env}}")
                .contains("\"A=3\"")
        );
        bed.run(&["rm", "-f", "-v", "one"]).ok();
        bed.run(&["volume", "rm", "data"]).ok();
        bed.run(&["volume", "prune", "-f"]).ok();
        assert_eq!(bed.run(&["volume", "ls", "-q"]).ok(), "");
    });
}

#[test]
fn at_once_with_everything_kept() {
    bed!(|bed| {
        let id = bed.start(&["--name", "one", "-e", "A=1"]);
        sh(bed, "one", "echo kept > /mine");
        let before = bed.inspect("one", "{{.State.Pid}}");
        assert_eq!(
            bed.run(&["recreate", "--snapshot", "-e", "A=2", "-m", "64m", "one"])
                .ok(),
            "one"
        );
        assert_eq!(
            bed.inspect("one", "{{.Id}} {{.HostConfig.Memory}}"),
            format!("{id} 67108864")
        );
        assert_ne!(bed.inspect("one", "{{.State.Pid}}"), before);
        assert_eq!(sh(bed, "one", "echo $A; cat /mine"), "2\nkept");
        assert_eq!(bed.run(&["snapshot", "ls", "-q", "one"]).ok(), "snap0");
        // What cannot be is said, and it runs on.
        bed.run(&["recreate", "-m", "1k", "one"]).fails(1, &["6m"]);
        assert_eq!(bed.inspect("one", "{{.State.Status}}"), "running");
        // One that does not run stays so.
        bed.run(&["stop", "-t", "0", "one"]).ok();
        bed.run(&["recreate", "-e", "A=3", "one"]).ok();
        assert_eq!(bed.inspect("one", "{{.State.Status}}"), "exited");
        let variables = bed.file("variables", "A=4\n# none\nD=5\n");
        bed.run(&[
            "update",
            "--cpu-rt-period",
            "1000000",
            "--cpu-rt-runtime",
            "0",
            "--env-file",
            &variables,
            "--tmpfs",
            "/scratch",
            "one",
        ])
        .ok();
        bed.run(&["start", "one"]).ok();
        assert_eq!(
            sh(
                bed,
                "one",
                "echo $A $D; grep -c ' /scratch tmpfs' /proc/mounts"
            ),
            "4 5\n1"
        );
    });
}

#[test]
fn a_unit_of_systemd() {
    bed!(|bed| {
        let script = "trap 'exit 5' TERM; while :; do sleep 0.05; done";
        let create = [
            "create",
            "--name",
            "web",
            "--stop-timeout",
            "20",
            BUSYBOX,
            "sh",
            "-c",
            script,
        ];
        bed.run(&create).ok();
        let unit = bed.run(&["generate", "systemd", "web"]).ok();
        for line in [
            "Description=Wharf container web",
            "Restart=no",
            "TimeoutStopSec=30",
            "WantedBy=multi-user.target",
        ] {
            assert!(
                unit.lines().any(|one| one == line),
                "{line} is missing:\n{unit}"
            );
        }
        // systemd itself finds nothing to complain about.
        let path = bed.file("wharf-web.service", &unit);
        let verified = bed.host("systemd-analyze", &["verify", "--man=no", &path]);
        let complaints: Vec<String> = verified
            .error()
            .lines()
            .filter(|line| line.contains("wharf-web"))
            .map(str::to_owned)
            .collect();
        assert!(complaints.is_empty(), "{complaints:?}");
        // And its command lines do what they say.
        let command = |key: &str| {
            unit.lines()
                .find_map(|line| line.strip_prefix(&format!("{key}=")))
                .unwrap()
                .to_owned()
        };
        let start = command("ExecStart");
        let words: Vec<&str> = start.split(' ').collect();
        let running = bed.program(words[0], &words[1..]).start();
        black_box_tests::eventually(30, "the start", || {
            (bed.inspect("web", "{{.State.Status}}") == "running").then_some(())
        });
        let stop = command("ExecStop");
        let words: Vec<&str> = stop.split(' ').collect();
        bed.host(words[0], &words[1..]).ok();
        running.finish().code(5);
        bed.run(&["update", "--restart", "always", "web"]).ok();
        let unit = bed.run(&["generate", "systemd", "web"]).ok();
        assert!(
            unit.contains("Restart=always") && unit.contains("# Give the container no policy"),
            "{unit}"
        );
    });
}

#[test]
fn a_pod_of_kubernetes() {
    bed!(|bed| {
        let health = [
            "--health-cmd",
            "test -e /ok",
            "--health-interval",
            "7s",
            "--health-retries",
            "4",
        ];
        let mut arguments = vec![
            "create",
            "--name",
            "My_web",
            "-p",
            "127.0.0.1:8080-8081:80-81",
            "-e",
            "A=yes",
            "-e",
            "B=x: y",
            "-m",
            "64m",
            "--cpus",
            "0.5",
            "-v",
            "/etc:/host:ro",
            "-v",
            "data:/data",
            "--tmpfs",
            "/tmp",
            "-u",
            "7:8",
            "--cap-drop",
            "ALL",
            "--cap-add",
            "CAP_CHOWN",
            "--read-only",
            "--restart",
            "always",
            "-l",
            "k=v",
            "-w",
            "/srv",
            "--entrypoint",
            "/bin/sh",
        ];
        arguments.extend(health);
        arguments.extend([BUSYBOX, "-c", "echo \"hi\""]);
        bed.run(&arguments).ok();
        let text = bed.run(&["generate", "kube", "My_web"]).ok();
        for lines in [
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: my-web\n  annotations:\n    k: v\nspec:\n  containers:\n  - name: my-web\n    image: busybox\n",
            "    args:\n    - \"-c\"\n    - \"echo \\\"hi\\\"\"\n",
            "    command:\n    - /bin/sh\n",
            "    - name: A\n      value: \"yes\"\n    - name: B\n      value: \"x: y\"\n",
            "      exec:\n        command:\n        - /bin/sh\n        - \"-c\"\n        - \"test -e /ok\"\n      periodSeconds: 7\n",
            "      failureThreshold: 4\n",
            "    - containerPort: 81\n      protocol: TCP\n      hostPort: 8081\n      hostIP: \"127.0.0.1\"\n",
            "      limits:\n        memory: \"67108864\"\n        cpu: \"500m\"\n",
            "      readOnlyRootFilesystem: true\n      runAsUser: 7\n      runAsGroup: 8\n      capabilities:\n        add:\n        - CHOWN\n        drop:\n        - ALL\n",
            "    - name: mount-0\n      mountPath: /host\n      readOnly: true\n",
            "  - hostPath:\n      path: /etc\n    name: mount-0\n  - persistentVolumeClaim:\n      claimName: data\n    name: mount-1\n",
            "  - emptyDir:\n      medium: Memory\n",
            "  restartPolicy: Always\n",
        ] {
            assert!(
                format!("{text}\n").contains(lines),
                "{lines}\nis missing in\n{text}"
            );
        }
        bed.run(&["generate", "kube", "nobody"])
            .fails(1, &["no such container"]);
        bed.run(&["rm", "My_web"]).ok();
        bed.run(&["volume", "rm", "data"]).ok();
    });
}
