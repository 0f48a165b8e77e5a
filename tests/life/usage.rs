//! stats and top: what containers use, and which processes they have.

use black_box_tests::{BUSYBOX, bed, eventually};
use serde_json::Value;

#[test]
fn stats_of_what_runs() {
    bed!(|bed| {
        let id = bed.start(&["--name", "idle", "-m", "64m"]);
        bed.run(&[
            "run",
            "-d",
            "--name",
            "busy",
            BUSYBOX,
            "sh",
            "-c",
            "while :; do :; done",
        ])
        .ok();
        bed.run(&["create", "--name", "new", BUSYBOX]).ok();
        let table = bed.run(&["stats", "--no-stream"]).ok();
        assert_eq!(table.lines().count(), 3, "{table}");
        assert_eq!(
            table
                .lines()
                .next()
                .unwrap()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
            "CONTAINER ID NAME CPU % MEM USAGE / LIMIT MEM % NET I/O BLOCK I/O PIDS"
        );
        let of = |name: &str| -> Value {
            bed.run(&[
                "stats",
                "--no-stream",
                "--no-trunc",
                "--format",
                "json",
                name,
            ])
            .json()
        };
        let idle = of("idle");
        assert_eq!(idle["ID"], id);
        assert_eq!(idle["PIDs"], "1");
        assert!(
            idle["MemUsage"].as_str().unwrap().ends_with(" / 64MiB"),
            "{idle}"
        );
        assert_eq!(idle["CPUPerc"], "0.00%");
        let busy = of("busy");
        assert_ne!(busy["CPUPerc"], "0.00%", "{busy}");
        let all = bed.run(&["stats", "--no-stream", "--all"]).ok();
        let new = all.lines().find(|line| line.contains("new")).unwrap();
        assert!(new.contains("--"), "{all}");
        bed.run(&["stats", "--no-stream", "nobody"])
            .fails(1, &["no such container"]);
    });
}

#[test]
fn stats_stream() {
    bed!(|bed| {
        bed.start(&["--name", "one"]);
        let mut stats = bed
            .command(&["stats", "--format", "{{.Name}} {{.PIDs}}"])
            .start();
        eventually(30, "three looks", || {
            (stats.stdout_so_far().matches("one 1\n").count() >= 3).then_some(())
        });
        assert!(stats.is_running());
        stats.signal(rustix::process::Signal::INT);
        stats.finish();
    });
}

#[test]
fn top_shows_processes_as_the_host_sees_them() {
    bed!(|bed| {
        bed.start(&["--name", "one", "-u", "1000"]);
        let table = bed.run(&["top", "one"]).ok();
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[0],
            ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        );
        assert_eq!(lines.len(), 2, "{table}");
        assert_eq!(lines[1][1], bed.inspect("one", "{{.State.Pid}}"));
        assert_eq!(&lines[1][7..], ["sleep", "1000"]);
        if bed
            .host("sh", &["-c", "command -v ps || true"])
            .text()
            .contains("ps")
        {
            let own = bed.run(&["top", "one", "-o", "pid,args"]).ok();
            assert_eq!(own.lines().count(), 2, "{own}");
            assert!(own.ends_with("sleep 1000"), "{own}");
            bed.run(&["top", "one", "-o", "nonsense"])
                .fails(1, &["ps refused"]);
            bed.run(&["top", "one", "-o", "args"]).fails(1, &["PID"]);
        }
        bed.run(&["stop", "-t", "0", "one"]).ok();
        bed.run(&["top", "one"]).fails(1, &["not running"]);
    });
}
