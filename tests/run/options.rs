//! Options that no other topic has: each is seen where it takes effect.

use std::fs;

use black_box_tests::{BUSYBOX, Bed, Terminal, bed, eventually};

/// The first of these files below `/sys/fs/cgroup` that there is for the container.
fn group_file(id: &str, files: &[&str]) -> Option<String> {
    let path = |file: &&str| {
        format!(
            "/sys/fs/cgroup/{}",
            file.replace("{}", &format!("wharf/{id}"))
        )
    };
    let text = files
        .iter()
        .map(path)
        .find_map(|path| fs::read_to_string(path).ok())?;
    Some(text.trim().to_owned())
}

#[test]
fn processors_and_memory_in_detail() {
    bed!(|bed| {
        let id = bed.start(&[
            "--name",
            "one",
            "--cpu-period",
            "50000",
            "--cpu-quota",
            "25000",
            "--cpuset-cpus",
            "0",
            "--cpuset-mems",
            "0",
        ]);
        let quota = group_file(&id, &["cpu/{}/cpu.cfs_quota_us", "{}/cpu.max"]).unwrap();
        assert!(quota == "25000" || quota == "25000 50000", "{quota}");
        let allowed = bed
            .run(&["exec", "one", "grep", "_allowed_list", "/proc/self/status"])
            .ok();
        assert_eq!(
            allowed.split_whitespace().collect::<Vec<_>>(),
            ["Cpus_allowed_list:", "0", "Mems_allowed_list:", "0"]
        );
        let id = bed.start(&[
            "--name",
            "two",
            "-m",
            "64m",
            "--memory-reservation",
            "32m",
            "--memory-swap",
            "96m",
        ]);
        let soft = group_file(
            &id,
            &["memory/{}/memory.soft_limit_in_bytes", "{}/memory.low"],
        )
        .unwrap();
        assert_eq!(soft, (32 << 20).to_string());
        // Not every kernel accounts for swap.
        if let Some(both) = group_file(&id, &["memory/{}/memory.memsw.limit_in_bytes"]) {
            assert_eq!(both, (96 << 20).to_string());
        } else if let Some(swap) = group_file(&id, &["{}/memory.swap.max"]) {
            assert_eq!(swap, (32 << 20).to_string());
        }
        assert_eq!(
            bed.inspect("two", "{{.HostConfig.MemorySwap}}"),
            (96 << 20).to_string()
        );
        // All of it changes live.
        bed.run(&[
            "update",
            "--cpu-quota",
            "10000",
            "--cpu-period",
            "20000",
            "--cpu-shares",
            "512",
            "one",
        ])
        .ok();
        let quota = group_file(
            bed.inspect("one", "{{.Id}}").as_str(),
            &["cpu/{}/cpu.cfs_quota_us", "{}/cpu.max"],
        )
        .unwrap();
        assert!(quota == "10000" || quota == "10000 20000", "{quota}");
        bed.run(&["update", "--cpuset-cpus", "0", "--cpuset-mems", "0", "two"])
            .ok();
        let allowed = bed
            .run(&[
                "exec",
                "two",
                "grep",
                "Cpus_allowed_list",
                "/proc/self/status",
            ])
            .ok();
        assert!(allowed.ends_with("\t0"), "{allowed}");
        bed.run(&[
            "update",
            "--memory-reservation",
            "16m",
            "--memory-swap",
            "128m",
            "two",
        ])
        .ok();
        let soft = group_file(
            &id,
            &["memory/{}/memory.soft_limit_in_bytes", "{}/memory.low"],
        )
        .unwrap();
        assert_eq!(soft, (16 << 20).to_string());
        // Few kernels have groups of real-time processes: it is kept, and a start says what it cannot do.
        bed.run(&[
            "create",
            "--name",
            "three",
            "--cpu-rt-period",
            "1000000",
            "--cpu-rt-runtime",
            "950000",
            BUSYBOX,
        ])
        .ok();
        assert_eq!(
            bed.inspect(
                "three",
                "{{.HostConfig.CpuRealtimePeriod}} {{.HostConfig.CpuRealtimeRuntime}}"
            ),
            "1000000 950000"
        );
    });
}

#[test]
fn what_the_process_sees() {
    bed!(|bed| {
        let options = [
            "--oom-score-adj",
            "500",
            "--shm-size",
            "8m",
            "--sysctl",
            "kernel.msgmax=1234",
            "--domainname",
            "example.org",
            "--group-add",
            "1234",
        ];
        let script = "cat /proc/self/oom_score_adj; df -k /dev/shm | tail -1 | awk '{print $2}'; cat /proc/sys/kernel/msgmax /proc/sys/kernel/domainname; id -G";
        let text = bed.shell(&options, script).ok();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..4], ["500", "8192", "1234", "example.org"]);
        assert!(lines[4].split(' ').any(|group| group == "1234"), "{text}");
        for (option, value) in [
            ("--oom-score-adj", "2000"),
            ("--shm-size", "much"),
            ("--sysctl", "nonsense"),
            ("--group-add", "no-such-group"),
        ] {
            bed.run(&["run", "--rm", option, value, BUSYBOX, "true"])
                .refused(&[]);
        }
    });
}

#[test]
fn what_is_written_down() {
    bed!(|bed| {
        let labels = bed.file("labels", "# a comment\na=1\n\nb=two words\n");
        let create = [
            "create",
            "--name",
            "one",
            "--label-file",
            &labels,
            "--annotation",
            "org.example=x",
            "--expose",
            "90/udp",
            "--platform",
            "linux/amd64",
            BUSYBOX,
        ];
        bed.run(&create).ok();
        assert_eq!(
            bed.inspect("one", "{{.Config.Labels.a}} {{.Config.Labels.b}}"),
            "1 two words"
        );
        assert!(
            bed.inspect("one", "{{json .Config.ExposedPorts}}")
                .contains("90/udp")
        );
        let config = bed
            .root()
            .join("containers")
            .join(bed.inspect("one", "{{.Id}}"))
            .join("config.json");
        assert!(fs::read_to_string(config).unwrap().contains("org.example"));
        let variables = bed.file("variables", "A=from the file\n");
        bed.start(&["--name", "two"]);
        assert_eq!(
            bed.run(&[
                "exec",
                "--env-file",
                &variables,
                "two",
                "sh",
                "-c",
                "echo $A"
            ])
            .ok(),
            "from the file"
        );
        let archive = bed.dir().join("root.tar");
        bed.run(&["export", "-o", archive.to_str().unwrap(), "two"])
            .ok();
        bed.run(&[
            "import",
            "--platform",
            "linux/arm64",
            archive.to_str().unwrap(),
            "foreign",
        ])
        .ok();
        assert_eq!(
            bed.inspect("foreign", "{{.Os}}/{{.Architecture}}"),
            "linux/arm64"
        );
        bed.run(&["rmi", "--no-prune", "foreign"]).ok();
    });
}

#[test]
fn health_in_the_start_period() {
    bed!(|bed| {
        let options = [
            "--name",
            "one",
            "--health-cmd",
            "test -e /ok",
            "--health-interval",
            "1h",
            "--health-retries",
            "1",
            "--health-start-period",
            "1h",
            "--health-start-interval",
            "50ms",
        ];
        bed.start(&options);
        let health = |field: &str| bed.inspect("one", &format!("{{{{.State.Health.{field}}}}}"));
        eventually(30, "checks that fail", || {
            (bed.inspect("one", "{{len .State.Health.Log}}") != "0").then_some(())
        });
        assert_eq!(health("Status"), "starting");
        bed.run(&["exec", "one", "touch", "/ok"]).ok();
        eventually(30, "health", || {
            (health("Status") == "healthy").then_some(())
        });
    });
}

#[test]
fn sizes_and_digests_are_shown() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "--name",
            "one",
            BUSYBOX,
            "sh",
            "-c",
            "dd if=/dev/zero of=/f bs=1M count=2 2>/dev/null",
        ])
        .ok();
        let table = bed.run(&["ps", "-a", "-s"]).ok();
        assert!(
            table.lines().next().unwrap().ends_with("SIZE") && table.contains("2.1MB"),
            "{table}"
        );
        let size = bed.run(&["inspect", "-s", "-f", "{{.SizeRw}}", "one"]).ok();
        assert!(
            (2 << 20..3 << 20).contains(&size.parse::<u64>().unwrap()),
            "{size}"
        );
        let table = bed.run(&["images", "--digests"]).ok();
        assert!(
            table.lines().next().unwrap().contains("DIGEST") && table.contains(" sha256:"),
            "{table}"
        );
        bed.run(&[
            "commit",
            "--compression",
            "zstd",
            "-p=false",
            "one",
            "packed",
        ])
        .ok();
        let blobs = fs::read_dir(bed.root().join("content/blobs/sha256")).unwrap();
        let zstd = blobs.filter(|entry| {
            fs::read(entry.as_ref().unwrap().path())
                .unwrap()
                .starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        });
        assert_eq!(zstd.count(), 1);
        assert_eq!(bed.run(&["info", "-f", "{{.Containers}}"]).ok(), "1");
        let version = bed.run(&["version", "-f", "{{.Client.Version}}"]).ok();
        assert!(version.split('.').count() == 3, "{version}");
        let text = bed
            .run(&["system", "prune", "-f", "--filter", "until=1h"])
            .ok();
        assert!(!text.contains("Deleted Containers"), "{text}");
    });
}

fn on_a_terminal(bed: &Bed, words: &[&str]) -> Terminal {
    Terminal::start(&mut bed.command(words), 80, 24)
}

#[test]
fn keys_that_leave_it_running() {
    bed!(|bed| {
        bed.run(&["run", "-d", "-it", "--name", "one", BUSYBOX, "sh"])
            .ok();
        let attach = ["attach", "--detach-keys", "ctrl-a,d", "one"];
        let exec = ["exec", "-it", "--detach-keys", "ctrl-a,d", "one", "sh"];
        for words in [&attach[..], &exec[..]] {
            let mut terminal = on_a_terminal(bed, words);
            terminal.type_in("echo a$((1+1))b\n");
            terminal.wait_for("a2b");
            terminal.type_in("\u{1}d");
            terminal.finish();
            assert_eq!(
                bed.inspect("one", "{{.State.Running}}"),
                "true",
                "{words:?}"
            );
        }
        bed.run(&["create", "-it", "--name", "two", BUSYBOX, "sh"])
            .ok();
        let mut terminal = on_a_terminal(
            bed,
            &["start", "-a", "-i", "--detach-keys", "ctrl-a,d", "two"],
        );
        terminal.type_in("echo a$((1+1))b\n");
        terminal.wait_for("a2b");
        terminal.type_in("\u{1}d");
        terminal.finish();
        assert_eq!(bed.inspect("two", "{{.State.Running}}"), "true");
    });
}

#[test]
fn signals_that_are_not_passed_on() {
    bed!(|bed| {
        let script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done";
        bed.run(&["run", "-d", "--name", "one", BUSYBOX, "sh", "-c", script])
            .ok();
        for (words, lives) in [
            (["attach", "--sig-proxy=false", "one"], "true"),
            (["attach", "--sig-proxy=true", "one"], "false"),
        ] {
            let attached = bed.command(&words).start();
            // It takes part once its monitor knows it.
            std::thread::sleep(std::time::Duration::from_millis(300));
            attached.signal(rustix::process::Signal::TERM);
            attached.finish();
            eventually(30, "the signal's effect", || {
                (bed.inspect("one", "{{.State.Running}}") == lives).then_some(())
            });
        }
    });
}
