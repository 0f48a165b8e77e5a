//! `exec` with each of its options.

use std::fs;

use black_box_tests::{Bundle, bed};
use serde_json::json;

use super::sleeping;

/// `exec OPTION... ID PROGRAM...`
fn words<'a>(bundle: &'a Bundle<'_>, options: &[&'a str], program: &[&'a str]) -> Vec<&'a str> {
    [&["exec"], options, &[bundle.id()], program].concat()
}

#[test]
fn who_and_where_and_with_what() {
    bed!(|bed| {
        let bundle = sleeping(bed);
        let run = |options: &[&str], program: &[&str]| {
            bundle.runtime(&words(&bundle, options, program)).ok()
        };
        assert_eq!(run(&["--cwd", "/etc"], &["sh", "-c", "pwd"]), "/etc");
        assert_eq!(
            run(&["--env", "A=1", "-e", "B=2"], &["sh", "-c", "echo $A$B"]),
            "12"
        );
        assert_eq!(
            run(&["--user", "7:8"], &["sh", "-c", "echo $(id -u) $(id -g)"]),
            "7 8"
        );
        let groups = ["--user", "7:8", "--additional-gids", "9", "-g", "10"];
        assert_eq!(
            run(&groups, &["grep", "Groups", "/proc/self/status"]).trim_end(),
            "Groups:\t9 10"
        );
        let caps = run(
            &["--cap", "CAP_NET_RAW"],
            &["grep", "CapEff", "/proc/self/status"],
        );
        let caps = u64::from_str_radix(caps.trim_start_matches("CapEff:\t"), 16).unwrap();
        assert_ne!(caps & 1 << 13, 0, "{caps:x}");
        bundle
            .runtime(&words(&bundle, &[], &["sh", "-c", "exit 7"]))
            .code(7);
        bundle.delete();
    });
}

#[test]
fn no_new_privs() {
    bed!(|bed| {
        let mut bundle = Bundle::new(bed, &["sleep", "1000"]);
        bundle.set("/process/noNewPrivileges", json!(false));
        super::start(&bundle);
        for (options, value) in [(&[][..], "0"), (&["--no-new-privs"], "1")] {
            let line = bundle
                .runtime(&words(
                    &bundle,
                    options,
                    &["grep", "NoNewPrivs", "/proc/self/status"],
                ))
                .ok();
            assert_eq!(line, format!("NoNewPrivs:\t{value}"));
        }
        bundle.delete();
    });
}

#[test]
fn a_process_from_a_file() {
    bed!(|bed| {
        let bundle = sleeping(bed);
        let process = json!({"user": {"uid": 3, "gid": 4}, "args": ["sh", "-c", "echo $(id -u) $(pwd) $X"], "env": ["PATH=/bin", "X=y"], "cwd": "/tmp"});
        let file = bed.file("process.json", process.to_string());
        assert_eq!(
            bundle
                .runtime(&["exec", "--process", &file, bundle.id()])
                .ok(),
            "3 /tmp y"
        );
        bundle.delete();
    });
}

#[test]
fn a_detached_process_has_its_pid_in_a_file() {
    bed!(|bed| {
        let bundle = sleeping(bed);
        let file = bed.dir().join("pid");
        let name = file.to_str().unwrap();
        bundle
            .command(&words(
                &bundle,
                &["--detach", "--pid-file", name],
                &["sleep", "500"],
            ))
            .run_detached(&bed.dir().join("out"))
            .ok();
        let pid = fs::read_to_string(&file).unwrap();
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert_eq!(words, "sleep\x00500\x00");
        bundle.delete();
    });
}

#[test]
fn a_group_below_the_container() {
    bed!(|bed| {
        let bundle = sleeping(bed);
        let read = ["cat", "/proc/self/cgroup"];
        let own = bundle.runtime(&words(&bundle, &[], &read)).ok();
        let line = own
            .lines()
            .find(|line| line.contains("memory") || line.starts_with("0::"))
            .unwrap();
        let path = line.rsplit(':').next().unwrap().to_owned();
        let is_legacy = line.contains("memory");
        let root = if is_legacy {
            "/sys/fs/cgroup/memory"
        } else {
            "/sys/fs/cgroup"
        };
        let sub = format!("{root}{path}/sub");
        fs::create_dir(&sub).unwrap();
        let option = if is_legacy { "memory:sub" } else { "sub" };
        let there = bundle
            .runtime(&words(&bundle, &["--cgroup", option], &read))
            .ok();
        assert!(
            there
                .lines()
                .any(|line| line.ends_with(&format!("{path}/sub"))),
            "{there}"
        );
        for bad in ["nowhere", "../..", "memory:../x"] {
            bundle
                .runtime(&words(&bundle, &["--cgroup", bad], &read))
                .fails(1, &["cgroup"]);
        }
        bundle.delete();
        assert!(!fs::exists(&sub).unwrap());
    });
}

#[test]
fn a_paused_container_is_refused_or_waited_for() {
    bed!(|bed| {
        let bundle = sleeping(bed);
        bundle.runtime(&["pause", bundle.id()]).ok();
        assert_eq!(bundle.status(), "paused");
        bundle
            .runtime(&words(&bundle, &[], &["true"]))
            .fails(1, &["paused"]);
        let waiting = bundle
            .command(&words(&bundle, &["--ignore-paused"], &["echo", "went on"]))
            .start();
        std::thread::sleep(std::time::Duration::from_millis(100));
        bundle.runtime(&["resume", bundle.id()]).ok();
        assert_eq!(waiting.finish().ok(), "went on");
        assert_eq!(bundle.status(), "running");
        bundle.delete();
    });
}
