//! On the real kernel, whichever version it has; they need root, and say
//! nothing without. The same program runs on other kernels, see
//! `tests/kernels/`.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spec::runtime::{Cpu, DeviceRule, Memory, Pids, Resources};
use sys::ErrorKind;

use super::hierarchy::Version;
use super::*;

/// A group of a test, gone at its end.
struct Made {
    cgroup: Cgroup,
    hierarchies: Hierarchies,
    children: Vec<Child>,
}

impl Made {
    fn new(name: &str, resources: &Resources) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let hierarchies = Hierarchies::find().unwrap();
        let path = CgroupPath::parse(&format!("/wharf-test-{name}-{}", std::process::id()));
        let (cgroup, _) = prepare(
            &path.unwrap(),
            CgroupManager::Cgroupfs,
            resources,
            &hierarchies,
        )
        .unwrap();
        Some(Self {
            cgroup,
            hierarchies,
            children: Vec::new(),
        })
    }

    /// Runs a command of the shell in the group.
    fn run(&mut self, script: &str) {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for hierarchy in &self.hierarchies.all {
            let directory = hierarchy.mountpoint().join(self.path().relative());
            std::fs::write(directory.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        // What it is told last is that it may begin.
        drop(child.stdin.take());
        self.children.push(child);
    }

    fn path(&self) -> &CgroupPath {
        self.cgroup.path().unwrap()
    }

    /// The content of a file, in the version that there is.
    fn read(&self, controller: &str, v1: &str, v2: &str) -> String {
        let (version, directory) = self.cgroup.directory_of(controller).unwrap();
        let file = directory.join(if version == Version::V1 { v1 } else { v2 });
        std::fs::read_to_string(file).unwrap().trim().to_owned()
    }

    fn version_of(&self, controller: &str) -> Option<Version> {
        setup::serves(&self.hierarchies, controller)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let removed = self.cgroup.remove();
        for child in &mut self.children {
            let _ = child.wait();
        }
        if !std::thread::panicking() {
            removed.unwrap();
            for hierarchy in &self.hierarchies.all {
                let directory = hierarchy.mountpoint().join(self.path().relative());
                assert!(!directory.exists(), "{} is left", directory.display());
            }
        }
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn memory(limit: i64) -> Resources {
    Resources {
        memory: Some(Memory {
            limit: Some(limit),
            swap: Some(limit),
            ..Memory::default()
        }),
        ..Resources::default()
    }
}

fn bandwidth(quota: i64, period: Option<u64>, burst: Option<u64>) -> Resources {
    Resources {
        cpu: Some(Cpu {
            quota: Some(quota),
            period,
            burst,
            ..Cpu::default()
        }),
        ..Resources::default()
    }
}

#[test]
fn limits_change_in_whatever_order_the_kernel_wants() {
    let Some(made) = Made::new("order", &memory(64 << 20)) else {
        return;
    };
    let now = |made: &Made| made.read("memory", "memory.limit_in_bytes", "memory.max");
    // Memory and swap together bound memory, from above and from below.
    for limit in [128 << 20, 32 << 20, 256 << 20] {
        made.cgroup.update(&memory(limit)).unwrap();
        assert_eq!(now(&made), limit.to_string());
    }
    made.cgroup.update(&memory(-1)).unwrap();
    assert_eq!(made.cgroup.memory_limit(), None);
    let quota = |made: &Made| made.read("cpu", "cpu.cfs_quota_us", "cpu.max");
    for resources in [
        bandwidth(50_000, Some(100_000), Some(20_000)),
        bandwidth(10_000, Some(100_000), Some(5_000)),
        bandwidth(200_000, Some(200_000), Some(100_000)),
    ] {
        made.cgroup.update(&resources).unwrap();
        let cpu = resources.cpu.unwrap();
        assert!(
            quota(&made).starts_with(&cpu.quota.unwrap().to_string()),
            "{}",
            quota(&made)
        );
    }
    // A period alone leaves the quota as it is.
    let period = Resources {
        cpu: Some(Cpu {
            period: Some(400_000),
            ..Cpu::default()
        }),
        ..Resources::default()
    };
    made.cgroup.update(&period).unwrap();
    assert!(quota(&made).starts_with("200000"), "{}", quota(&made));
}

#[test]
fn a_refused_update_changes_nothing_and_says_why() {
    let Some(mut made) = Made::new("refused", &memory(256 << 20)) else {
        return;
    };
    let cpus = Resources {
        pids: Some(Pids { limit: Some(17) }),
        cpu: Some(Cpu {
            cpus: Some("4000".to_owned()),
            ..Cpu::default()
        }),
        memory: memory(128 << 20).memory,
        ..Resources::default()
    };
    let error = made.cgroup.update(&cpus).unwrap_err().to_string();
    assert!(
        error.contains("linux.resources.cpu.cpus: \"4000\""),
        "{error}"
    );
    assert!(error.contains("within what the group above has"), "{error}");
    assert_eq!(made.cgroup.memory_limit(), Some(256 << 20));
    assert_eq!(made.read("pids", "pids.max", "pids.max"), "max");
    // Less than what is in use, with the check that version 2 lacks.
    made.run("a=$(head -c 40000000 /dev/zero | tr '\\0' x); sleep 1000");
    until("memory is used", || {
        made.cgroup.stats().unwrap().memory.usage.usage > 38_000_000
    });
    let mut small = memory(4 << 20);
    if let Some(memory) = &mut small.memory {
        memory.check_before_update = Some(true);
    }
    let error = made.cgroup.update(&small).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = error.to_string();
    assert!(
        error.contains("memory.limit: 4 MiB is less than what is in use now"),
        "{error}"
    );
    assert_eq!(made.cgroup.memory_limit(), Some(256 << 20));
}

#[test]
fn version_one_refuses_a_limit_below_the_use_by_itself() {
    let Some(mut made) = Made::new("busy", &memory(256 << 20)) else {
        return;
    };
    if made.version_of("memory") != Some(Version::V1) {
        return;
    }
    made.run("a=$(head -c 40000000 /dev/zero | tr '\\0' x); sleep 1000");
    until("memory is used", || {
        made.cgroup.stats().unwrap().memory.usage.usage > 38_000_000
    });
    let error = made
        .cgroup
        .update(&memory(4 << 20))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("4 MiB is less than what is in use now, "),
        "{error}"
    );
    assert_eq!(made.cgroup.memory_limit(), Some(256 << 20));
}

#[test]
fn who_is_frozen_stands_still_and_is_killed_all_the_same() {
    let Some(mut made) = Made::new("freeze", &Resources::default()) else {
        return;
    };
    made.run("while :; do :; done");
    made.run("sleep 1000 & sleep 1000 & wait");
    until("all run", || made.cgroup.pids().unwrap().len() == 4);
    let used = |made: &Made| made.cgroup.stats().unwrap().cpu.usage.total;
    until("time passes", || used(&made) > 0);
    assert!(!made.cgroup.is_frozen().unwrap());
    made.cgroup.freeze().unwrap();
    assert!(made.cgroup.is_frozen().unwrap());
    let before = used(&made);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(used(&made), before);
    made.cgroup.thaw().unwrap();
    until("time passes again", || used(&made) > before);
    made.cgroup.freeze().unwrap();
    made.cgroup.kill_all().unwrap();
    made.cgroup.thaw().unwrap();
    for child in &mut made.children {
        child.wait().unwrap();
    }
    until("nobody is left", || made.cgroup.pids().unwrap().is_empty());
}

#[test]
fn statistics_tell_what_is_used() {
    let resources = Resources {
        pids: Some(Pids { limit: Some(50) }),
        cpu: bandwidth(10_000, Some(100_000), None).cpu,
        ..memory(64 << 20)
    };
    let Some(mut made) = Made::new("stats", &resources) else {
        return;
    };
    made.run("a=$(head -c 4000000 /dev/zero | tr '\\0' x); while :; do :; done");
    until("it is throttled and has memory", || {
        let stats = made.cgroup.stats().unwrap();
        stats.cpu.throttling.throttled_time > 0 && stats.memory.usage.usage > 3_000_000
    });
    until("it is alone", || made.cgroup.pids().unwrap().len() == 1);
    let stats = made.cgroup.stats().unwrap();
    assert!(stats.cpu.usage.total > 0 && stats.cpu.throttling.periods > 0);
    // The kernel counts one that has ended until it is quite gone.
    assert!(
        (1..=3).contains(&stats.pids.current),
        "{}",
        stats.pids.current
    );
    assert_eq!(stats.pids.limit, 50);
    assert_eq!(stats.memory.usage.limit, 64 << 20);
    assert!(!stats.memory.raw.is_empty() && !stats.cpuset.cpus.is_empty());
    // As runc spells it.
    let json = serde_json::to_value(&stats).unwrap();
    assert!(json["cpu"]["throttling"]["throttledTime"].as_u64() > Some(0));
    assert_eq!(json["pids"]["limit"], 50);
    assert!(json["memory"]["kernelTCP"]["usage"].is_u64());
}

#[test]
fn a_watch_hears_of_a_kill_and_of_the_end() {
    let Some(mut made) = Made::new("oom", &memory(8 << 20)) else {
        return;
    };
    let mut watch = made.cgroup.watch_oom().unwrap();
    assert_eq!(watch.look().unwrap(), OomNews::Killed(0));
    made.run("tail /dev/zero; sleep 1000");
    wait_for(&watch);
    assert!(matches!(watch.look().unwrap(), OomNews::Killed(1..)));
    until("it is counted", || made.cgroup.oom_kills() > 0);
    made.cgroup.remove().unwrap();
    wait_for(&watch);
    assert_eq!(watch.look().unwrap(), OomNews::Gone);
}

fn wait_for(watch: &OomWatch) {
    let minute = Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(watch, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&minute)).unwrap(), 1, "no news");
}

#[test]
fn devices_can_be_allowed_and_denied_while_it_runs() {
    let rule = |allow, minor| DeviceRule {
        allow,
        kind: Some("c".to_owned()),
        major: Some(1),
        minor: Some(minor),
        access: Some("rwm".to_owned()),
    };
    let devices = |rules: &[DeviceRule]| Resources {
        devices: rules.to_vec(),
        ..Resources::default()
    };
    let Some(mut made) = Made::new("devices", &devices(&[rule(true, 11)])) else {
        return;
    };
    if made.version_of("devices").is_none() && made.hierarchies.unified().is_none() {
        return;
    }
    // /dev/kmsg is 1:11; those that every container has cannot be denied.
    let can_open = |made: &mut Made, node: &str| {
        made.run(&format!("exec 3<{node}"));
        made.children.last_mut().unwrap().wait().unwrap().success()
    };
    assert!(can_open(&mut made, "/dev/kmsg"));
    made.cgroup.update(&devices(&[rule(false, 11)])).unwrap();
    assert!(!can_open(&mut made, "/dev/kmsg"));
    assert!(can_open(&mut made, "/dev/zero"));
    made.cgroup.update(&devices(&[rule(true, 11)])).unwrap();
    assert!(can_open(&mut made, "/dev/kmsg"));
    assert!(can_open(&mut made, "/dev/zero"));
}

#[test]
fn a_group_with_processes_is_nobody_elses() {
    let Some(mut made) = Made::new("taken", &Resources::default()) else {
        return;
    };
    made.run("exec sleep 1000");
    until("it runs", || made.cgroup.pids().unwrap().len() == 1);
    let error = prepare(
        made.path(),
        CgroupManager::Cgroupfs,
        &Resources::default(),
        &made.hierarchies,
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("has processes already"));
    assert_eq!(made.cgroup.pids().unwrap().len(), 1, "it was killed");
}

#[test]
fn without_a_group_the_sentence_says_so() {
    let none = Cgroup::made_by(CgroupManager::Cgroupfs, "").unwrap();
    for error in [
        none.freeze().unwrap_err(),
        none.stats().unwrap_err(),
        none.kill_all().unwrap_err(),
        none.update(&Resources::default()).unwrap_err(),
        none.watch_oom().unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("no cgroup of its own"),
            "{error}"
        );
    }
    none.remove().unwrap();
}
