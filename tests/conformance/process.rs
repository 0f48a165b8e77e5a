//! `process` of config.md, and the Linux fields that are kept per process.

use black_box_tests::{Bundle, bed};
use serde_json::json;

#[test]
fn personality_is_what_uname_says() {
    bed!(|bed| {
        let mut bundle = Bundle::new(bed, &["uname", "-m"]);
        bundle.set("/linux/personality", json!({"domain": "LINUX32"}));
        assert_eq!(bundle.output(), "i686");
        bundle.set("/linux/personality", json!({"domain": "LINUX"}));
        assert_eq!(bundle.output(), "x86_64");
        bundle.set("/linux/personality", json!({"domain": "BSD"}));
        bundle.is_refused(&["linux.personality.domain", "BSD"]);
        bundle.set(
            "/linux/personality",
            json!({"domain": "LINUX", "flags": ["X"]}),
        );
        bundle.is_refused(&["linux.personality.flags", "X"]);
    });
}

#[test]
fn oom_score_is_set_and_bounded() {
    bed!(|bed| {
        let mut bundle = Bundle::new(bed, &["cat", "/proc/self/oom_score_adj"]);
        bundle.set("/process/oomScoreAdj", json!(321));
        assert_eq!(bundle.output(), "321");
        bundle.set("/process/oomScoreAdj", json!(1001));
        bundle.is_refused(&["process.oomScoreAdj", "1001"]);
        // Below what we may: it is said, and the container runs.
        bundle.set("/process/oomScoreAdj", json!(-999));
        bundle.run().ok();
    });
}

#[test]
fn security_modules_that_are_not_active_are_named() {
    bed!(|bed| {
        let active = |file: &str| std::path::Path::new(file).exists();
        let mut bundle = Bundle::new(bed, &["true"]);
        bundle.set("/process/apparmorProfile", json!(""));
        bundle.set("/process/selinuxLabel", json!(""));
        bundle.set("/linux/mountLabel", json!(""));
        bundle.output();
        bundle.set("/process/apparmorProfile", json!("unconfined"));
        bundle.output();
        if !active("/sys/kernel/security/apparmor") {
            bundle.set("/process/apparmorProfile", json!("docker-default"));
            bundle.is_refused(&["process.apparmorProfile", "AppArmor"]);
            bundle.set("/process/apparmorProfile", json!(null));
        }
        if !active("/sys/fs/selinux/enforce") {
            bundle.set("/process/selinuxLabel", json!("a:b:c:d"));
            bundle.is_refused(&["process.selinuxLabel", "SELinux"]);
            bundle.set("/process/selinuxLabel", json!(null));
            bundle.set("/linux/mountLabel", json!("a:b:c:d"));
            bundle.is_refused(&["linux.mountLabel", "SELinux"]);
        }
    });
}

/// Fields 40 and 41 of proc_pid_stat(5): priority and policy.
const SCHEDULING: &str = "cat /proc/self/stat | cut -d' ' -f19,40,41";

#[test]
fn scheduler_policies_are_in_force() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(bed, SCHEDULING);
        for (scheduler, seen) in [
            (json!({"policy": "SCHED_OTHER", "nice": 7}), "7 0 0"),
            (json!({"policy": "SCHED_BATCH", "nice": 3}), "3 0 3"),
            (json!({"policy": "SCHED_IDLE", "nice": 5}), " 0 5"),
            (json!({"policy": "SCHED_FIFO", "priority": 9}), "0 9 1"),
            (json!({"policy": "SCHED_RR", "priority": 4}), "0 4 2"),
        ] {
            bundle.set("/process/scheduler", scheduler.clone());
            let outcome = bundle.run();
            // A cgroup without real-time budget refuses the two of them; then it is said.
            if outcome.status.success() {
                // SCHED_IDLE keeps the nice value that it finds.
                assert!(
                    outcome.ok().ends_with(seen),
                    "{scheduler}: {}",
                    outcome.story()
                );
            } else {
                assert!(scheduler["priority"].is_u64(), "{}", outcome.story());
                outcome.fails(1, &["process.scheduler"]);
            }
        }
        for (scheduler, part) in [
            (json!({"policy": "SCHED_FAST"}), "SCHED_FAST"),
            (json!({"policy": "SCHED_FIFO", "priority": 100}), "100"),
            (json!({"policy": "SCHED_OTHER", "priority": 1}), "priority"),
            (json!({"policy": "SCHED_OTHER", "nice": 20}), "20"),
            (
                json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_X"]}),
                "SCHED_FLAG_X",
            ),
            (
                json!({"policy": "SCHED_OTHER", "runtime": 5}),
                "SCHED_DEADLINE",
            ),
            (json!({"policy": "SCHED_ISO"}), "process.scheduler"),
            (
                json!({"policy": "SCHED_DEADLINE", "runtime": 9, "deadline": 5}),
                "process.scheduler",
            ),
        ] {
            bundle.set("/process/scheduler", scheduler);
            bundle.is_refused(&["process.scheduler", part]);
        }
    });
}

#[test]
fn io_priority_is_checked_and_set() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(bed, "ionice -p 1");
        std::os::unix::fs::symlink("busybox", bundle.root().join("bin/ionice")).unwrap();
        for (class, level, seen) in [
            ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
            ("IOPRIO_CLASS_RT", 2, "realtime: prio 2"),
            ("IOPRIO_CLASS_IDLE", 0, "idle"),
        ] {
            bundle.set(
                "/process/ioPriority",
                json!({"class": class, "priority": level}),
            );
            assert!(bundle.output().contains(seen), "{class}");
        }
        bundle.set(
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_X", "priority": 0}),
        );
        bundle.is_refused(&["process.ioPriority.class", "IOPRIO_CLASS_X"]);
        bundle.set(
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
        );
        bundle.is_refused(&["process.ioPriority.priority", "8"]);
    });
}

#[test]
fn memory_policy_is_in_force() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(bed, "grep -m1 stack /proc/self/numa_maps | cut -d' ' -f2");
        bundle.set(
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "0"}),
        );
        assert_eq!(bundle.output(), "bind:0");
        bundle.set(
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
        );
        assert_eq!(bundle.output(), "interleave=static:0");
        for (policy, part) in [
            (json!({"mode": "MPOL_X", "nodes": "0"}), "MPOL_X"),
            (json!({"mode": "MPOL_BIND", "nodes": "0-"}), "nodes"),
            (
                json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_X"]}),
                "MPOL_F_X",
            ),
            (
                json!({"mode": "MPOL_BIND", "nodes": ""}),
                "linux.memoryPolicy",
            ),
        ] {
            bundle.set("/linux/memoryPolicy", policy);
            bundle.is_refused(&["linux.memoryPolicy", part]);
        }
    });
}

#[test]
fn limits_are_set_once_each() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(bed, "ulimit -n; ulimit -Hn; ulimit -c");
        bundle.set(
            "/process/rlimits",
            json!([
                {"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            ]),
        );
        assert_eq!(bundle.output(), "50\n60\n0");
        bundle.push(
            "/process/rlimits",
            json!({"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}),
        );
        bundle.is_refused(&["process.rlimits", "RLIMIT_NOFILE", "twice"]);
        bundle.set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_X", "soft": 1, "hard": 1}]),
        );
        bundle.is_refused(&["process.rlimits", "RLIMIT_X"]);
        bundle.set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
        );
        bundle.is_refused(&["process.rlimits", "soft"]);
    });
}

#[test]
fn capabilities_that_cannot_be_granted_are_a_warning() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(bed, "grep Cap /proc/self/status | tr -d '\\n\\t'");
        bundle.set(
            "/process/capabilities",
            json!({
                "bounding": ["CAP_KILL", "CAP_FLY"],
                "permitted": ["CAP_KILL"],
                "effective": ["CAP_KILL"],
                "inheritable": ["CAP_KILL"],
                "ambient": ["CAP_KILL"],
            }),
        );
        let outcome = bundle.run();
        let bits = "0000000000000020";
        assert_eq!(
            outcome.ok(),
            format!("CapInh:{bits}CapPrm:{bits}CapEff:{bits}CapBnd:{bits}CapAmb:{bits}")
        );
        assert!(outcome.error().contains("CAP_FLY"), "{}", outcome.story());
        bundle.set(
            "/process/capabilities",
            json!({"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"]}),
        );
        bundle.is_refused(&["process.capabilities", "permitted"]);
    });
}

#[test]
fn user_umask_and_groups() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(bed, "id -u; id -g; id -G; umask; cd; pwd");
        bundle.set(
            "/process/user",
            json!({"uid": 1000, "gid": 1001, "umask": 0o27, "additionalGids": [5, 4_294_967_290_u32]}),
        );
        bundle.set("/process/env", json!(["PATH=/bin", "HOME=/tmp"]));
        assert_eq!(bundle.output(), "1000\n1001\n1001 5 4294967290\n0027\n/tmp");
    });
}

#[test]
fn what_is_missing_or_malformed_is_named() {
    bed!(|bed| {
        let cases = [
            ("/process", json!(null), "process"),
            ("/process/args", json!([]), "process.args"),
            ("/process/cwd", json!("tmp"), "process.cwd"),
            ("/root", json!(null), "root"),
            ("/root/path", json!("missing"), "root.path"),
            ("/root/path", json!("config.json"), "root.path"),
            ("/ociVersion", json!("1.0"), "ociVersion"),
            ("/ociVersion", json!("2.0.0"), "ociVersion"),
            ("/vm", json!({"kernel": {"path": "/k"}}), "vm"),
            ("/windows", json!({}), "windows"),
            (
                "/linux/rootfsPropagation",
                json!("sideways"),
                "linux.rootfsPropagation",
            ),
        ];
        for (pointer, value, part) in cases {
            let mut bundle = Bundle::new(bed, &["true"]);
            bundle.set(pointer, value);
            bundle.is_refused(&[part]);
        }
    });
}

#[test]
fn unknown_properties_are_no_error() {
    bed!(|bed| {
        let mut bundle = Bundle::new(bed, &["true"]);
        bundle.set("/process/colour", json!("blue"));
        bundle.set("/extension", json!({"a": [1, 2]}));
        bundle.output();
    });
}

#[test]
fn affinity_of_processes_that_join() {
    bed!(|bed| {
        let mut bundle = Bundle::new(bed, &["sleep", "100"]);
        bundle.set(
            "/process/execCPUAffinity",
            json!({"initial": "1", "final": "0"}),
        );
        bundle.create().ok();
        bundle.runtime(&["start", bundle.id()]).ok();
        let list = "grep Cpus_allowed_list /proc/self/status | cut -f2";
        let exec = bundle.runtime(&["exec", bundle.id(), "sh", "-c", list]);
        assert_eq!(exec.ok(), "0");
        bundle.delete();
        bundle.set("/process/execCPUAffinity", json!({"initial": "x"}));
        bundle.is_refused(&["process.execCPUAffinity.initial"]);
    });
}

/// What cannot be executed says why, in one sentence, at `run` and at `exec` alike.
#[test]
fn a_program_that_cannot_run_says_why() {
    bed!(|bed| {
        let mut bundle = Bundle::new(bed, &["sleep", "100"]);
        let root = bundle.root();
        let write = |name: &str, content: &[u8], mode: u32| {
            let path = root.join("bin").join(name);
            std::fs::write(&path, content).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(path, mode).unwrap();
        };
        let busybox = std::fs::read("/bin/busybox").unwrap();
        let mut foreign = busybox.clone();
        foreign[18] = 243;
        write("foreign", &foreign, 0o755);
        write("script", b"#!/bin/lua\n", 0o755);
        write("text", b"echo hello\n", 0o755);
        write("empty", b"", 0o755);
        write("plain", b"x", 0o644);
        // A program of this host, which wants this host's loader.
        write("dynamic", &std::fs::read("/usr/bin/env").unwrap(), 0o755);
        let cases = [
            ("nothing", 127, "not found in PATH"),
            ("/bin/nothing", 127, "no such file"),
            ("/bin", 126, "directory"),
            ("plain", 126, "chmod +x"),
            ("foreign", 126, "riscv64"),
            ("script", 127, "/bin/lua"),
            ("text", 126, "no script that begins with #!"),
            ("empty", 126, "empty"),
            ("dynamic", 127, "ld-linux"),
            ("/data/sleep", 126, "noexec"),
        ];
        bundle.mount(
            "/data",
            "bind",
            root.join("bin").to_str().unwrap(),
            &["bind", "noexec"],
        );
        bundle.create().ok();
        bundle.runtime(&["start", bundle.id()]).ok();
        for (program, code, part) in cases {
            let mut other = Bundle::new(bed, &[program]);
            other.config["mounts"] = bundle.config["mounts"].clone();
            other.set("/root/path", json!(root.to_str().unwrap()));
            other.run().fails(code, &[program, part]);
            let exec = bundle.runtime(&["exec", bundle.id(), program]);
            exec.fails(code, &[program, part]);
        }
        bundle.delete();
    });
}
