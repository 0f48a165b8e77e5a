//! What the host's way down and up means for containers.

use black_box_tests::{BUSYBOX, Bed, bed};

fn up(bed: &Bed) -> Vec<String> {
    let mut names: Vec<String> = bed
        .run(&["ps", "--format", "{{.Names}}"])
        .ok()
        .lines()
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

fn prepare(bed: &Bed) {
    for (name, policy) in [
        ("always", "always"),
        ("unless", "unless-stopped"),
        ("stopped", "unless-stopped"),
        ("stopped-always", "always"),
        ("failure", "on-failure"),
        ("none", "no"),
    ] {
        bed.start(&["--name", name, "--restart", policy, "--stop-timeout", "0"]);
    }
    bed.run(&[
        "create",
        "--name",
        "never",
        "--restart",
        "always",
        BUSYBOX,
        "sleep",
        "1000",
    ])
    .ok();
    bed.run(&["stop", "-t", "0", "stopped", "stopped-always"])
        .ok();
}

const EXPECTED: [&str; 3] = ["always", "stopped-always", "unless"];

#[test]
fn what_the_host_stopped_runs_again() {
    bed!(|bed| {
        prepare(bed);
        bed.run(&["system", "halt"]).ok();
        assert!(up(bed).is_empty());
        bed.nothing_runs();
        let started = bed.run(&["system", "boot"]).ok();
        let mut started: Vec<&str> = started.lines().collect();
        started.sort_unstable();
        assert_eq!(started, EXPECTED);
        assert_eq!(up(bed), EXPECTED);
        // Nothing is started twice.
        assert_eq!(bed.run(&["system", "boot"]).ok(), "");
    });
}

#[test]
fn what_a_power_cut_ended_runs_again() {
    bed!(|bed| {
        prepare(bed);
        // Everything dies at once, and nothing is written down.
        for entry in std::fs::read_dir(bed.runroot().join("containers")).unwrap() {
            let facts = std::fs::read(entry.unwrap().path().join("facts.json")).unwrap();
            let facts: serde_json::Value = serde_json::from_slice(&facts).unwrap();
            bed.host("kill", &["-9", &facts["monitor"]["pid"].to_string()])
                .ok();
        }
        black_box_tests::eventually(30, "everything is gone", || {
            up(bed).is_empty().then_some(())
        });
        bed.run(&["system", "boot"]).ok();
        assert_eq!(up(bed), EXPECTED);
    });
}

#[test]
fn a_unit_is_printed() {
    bed!(|bed| {
        let unit = bed.run(&["system", "install", "--print"]).ok();
        let start = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="))
            .unwrap();
        // The command is right: it runs.
        bed.host("sh", &["-c", start]).ok();
        assert!(unit.contains("WantedBy=multi-user.target"), "{unit}");
    });
}

#[test]
fn one_that_cannot_start_is_told_and_the_others_run() {
    bed!(|bed| {
        let source = bed.dir().join("source");
        std::fs::create_dir(&source).unwrap();
        let mount = format!("type=bind,source={},target=/mnt", source.display());
        bed.start(&[
            "--name",
            "broken",
            "--restart",
            "always",
            "--stop-timeout",
            "0",
            "--mount",
            &mount,
        ]);
        bed.start(&[
            "--name",
            "whole",
            "--restart",
            "always",
            "--stop-timeout",
            "0",
        ]);
        bed.run(&["system", "halt"]).ok();
        std::fs::remove_dir(&source).unwrap();
        bed.run(&["system", "boot"])
            .fails(1, &["start broken", "does not exist"]);
        assert_eq!(up(bed), ["whole"]);
    });
}
