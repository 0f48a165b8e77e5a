//! Limits: memory, processes, CPU, rlimits. Read where the kernel enforces them.

use std::fs;
use std::path::Path;

use black_box_tests::{BUSYBOX, Bed, bed};

/// The value of a controller's file for a running container, seen from the host.
fn cgroup_file(bed: &Bed, id: &str, legacy: &str, unified: &str) -> String {
    let candidates = [
        format!("/sys/fs/cgroup/{legacy}"),
        format!("/sys/fs/cgroup/{unified}"),
    ];
    let found = candidates
        .iter()
        .map(|path| path.replace("{}", &format!("wharf/{id}")))
        .find_map(|path| fs::read_to_string(path).ok());
    found
        .unwrap_or_else(|| {
            panic!(
                "none of {candidates:?} for {id}: {}",
                bed.inspect(id, "{{.State.Status}}")
            )
        })
        .trim()
        .to_owned()
}

#[test]
fn memory() {
    bed!(|bed| {
        let id = bed.start(&["-m", "64m"]);
        assert_eq!(
            cgroup_file(bed, &id, "memory/{}/memory.limit_in_bytes", "{}/memory.max"),
            (64 << 20).to_string()
        );
        assert_eq!(
            bed.inspect(&id, "{{.HostConfig.Memory}}"),
            (64 << 20).to_string()
        );
    });
}

#[test]
fn out_of_memory_is_told() {
    bed!(|bed| {
        let eat = "head -c 200m /dev/zero | tail > /dev/null; echo survived";
        bed.run(&[
            "run",
            "--name",
            "fat",
            "-m",
            "32m",
            BUSYBOX,
            "sh",
            "-c",
            "exec tail /dev/zero",
        ])
        .code(137);
        assert_eq!(
            bed.inspect("fat", "{{.State.OOMKilled}} {{.State.ExitCode}}"),
            "true 137"
        );
        bed.run(&[
            "run", "--name", "slim", "-m", "512m", BUSYBOX, "sh", "-c", eat,
        ])
        .ok();
        assert_eq!(bed.inspect("slim", "{{.State.OOMKilled}}"), "false");
    });
}

#[test]
fn a_memory_limit_too_small_to_start() {
    bed!(|bed| {
        bed.run(&["run", "--rm", "-m", "1m", BUSYBOX, "true"])
            .fails(125, &["memory"]);
        bed.run(&["run", "--rm", "-m", "lots", BUSYBOX, "true"])
            .fails(125, &["lots"]);
    });
}

#[test]
fn number_of_processes() {
    bed!(|bed| {
        let outcome = bed.shell(
            &["--pids-limit", "5"],
            "for i in 1 2 3 4 5 6 7 8; do sleep 0.3 & done; wait",
        );
        assert!(
            outcome.error().contains("can't fork"),
            "{}",
            outcome.story()
        );
        let id = bed.start(&["--pids-limit", "17"]);
        assert_eq!(
            cgroup_file(bed, &id, "pids/{}/pids.max", "{}/pids.max"),
            "17"
        );
    });
}

#[test]
fn cpu() {
    bed!(|bed| {
        let id = bed.start(&["--cpus", "0.5"]);
        let quota = cgroup_file(bed, &id, "cpu/{}/cpu.cfs_quota_us", "{}/cpu.max");
        assert!(quota == "50000" || quota == "50000 100000", "{quota}");
        bed.run(&["run", "--rm", "--cpus", "-1", BUSYBOX, "true"])
            .fails(125, &["-1"]);
    });
}

#[test]
fn rlimits() {
    bed!(|bed| {
        let options = ["--ulimit", "nofile=100:200", "--ulimit", "core=0"];
        assert_eq!(
            bed.shell(&options, "ulimit -n; ulimit -Hn; ulimit -c").ok(),
            "100\n200\n0"
        );
        bed.run(&["run", "--rm", "--ulimit", "nofile=200:100", BUSYBOX, "true"])
            .fails(125, &["nofile"]);
        bed.run(&["run", "--rm", "--ulimit", "nonsense=1", BUSYBOX, "true"])
            .fails(125, &["nonsense"]);
        // More than the caller may give is clamped, and said, but never a failed start.
        bed.shell(&["--ulimit", "nofile=1000000000:1000000000"], "true")
            .ok();
    });
}

#[test]
fn waiting_for_memory_instead_of_being_killed() {
    bed!(|bed| {
        let run = bed.run(&[
            "run",
            "-d",
            "--oom-kill-disable",
            "-m",
            "64m",
            BUSYBOX,
            "sleep",
            "1000",
        ]);
        let id = run.ok();
        assert_eq!(bed.inspect(&id, "{{.HostConfig.OomKillDisable}}"), "true");
        if Path::new("/sys/fs/cgroup/memory").exists() {
            let control = cgroup_file(bed, &id, "memory/{}/memory.oom_control", "");
            assert!(control.starts_with("oom_kill_disable 1"), "{control}");
        } else {
            assert!(
                run.error().contains("--oom-kill-disable is discarded"),
                "{}",
                run.story()
            );
        }
    });
}

#[test]
fn share_of_block_devices() {
    bed!(|bed| {
        let id = bed.start(&["--blkio-weight", "300"]);
        assert_eq!(bed.inspect(&id, "{{.HostConfig.BlkioWeight}}"), "300");
        // Not every kernel has a scheduler that shares.
        let files = [
            "blkio/{}/blkio.bfq.weight",
            "blkio/{}/blkio.weight",
            "{}/io.weight",
        ];
        let path = |file: &str| {
            format!(
                "/sys/fs/cgroup/{}",
                file.replace("{}", &format!("wharf/{id}"))
            )
        };
        if let Some(found) = files
            .iter()
            .map(|file| path(file))
            .find(|path| Path::new(path).exists())
        {
            let weight = fs::read_to_string(found).unwrap();
            assert!(!weight.contains("100"), "{weight}");
        }
        for (wrong, why) in [
            ("5", "between 10 and 1000"),
            ("1001", "between 10 and 1000"),
            ("much", "--blkio-weight"),
        ] {
            bed.run(&["run", "--rm", "--blkio-weight", wrong, BUSYBOX, "true"])
                .fails(125, &[why]);
        }
    });
}

#[test]
fn a_control_group_of_ones_own() {
    bed!(|bed| {
        let id = bed.start(&[
            "--name",
            "one",
            "--cgroup-parent",
            "/of-mine/inner",
            "--pids-limit",
            "9",
        ]);
        let file = |top: &str| format!("/sys/fs/cgroup/{top}of-mine/inner/{id}/pids.max");
        let found = [file("pids/"), file("")]
            .into_iter()
            .find_map(|path| fs::read_to_string(path).ok());
        assert_eq!(found.unwrap().trim(), "9");
        assert_eq!(
            bed.inspect("one", "{{.HostConfig.CgroupParent}}"),
            "/of-mine/inner"
        );
        // Who looks into the group finds it there.
        assert!(bed.run(&["top", "one"]).ok().contains("sleep 1000"));
        bed.run(&["commit", "one"]).ok();
        let usage = bed
            .run(&["stats", "--no-stream", "--format", "{{.PIDs}}", "one"])
            .ok();
        assert_eq!(usage, "1");
        bed.run(&["pause", "one"]).ok();
        bed.run(&["rm", "-f", "one"]).ok();
        let left = bed.host("find", &["/sys/fs/cgroup", "-name", &id]).ok();
        assert_eq!(left, "");
        // Groups that were named stay, as somebody may have made them; here it was us.
        bed.host(
            "find",
            &[
                "/sys/fs/cgroup",
                "-depth",
                "-path",
                "*/of-mine*",
                "-type",
                "d",
                "-exec",
                "rmdir",
                "{}",
                ";",
            ],
        )
        .ok();
        bed.run(&["run", "--rm", "--cgroup-parent", "a/../b", BUSYBOX, "true"])
            .fails(125, &["a/../b"]);
    });
}
