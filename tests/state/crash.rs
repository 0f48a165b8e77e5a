//! Sudden deaths: of the command line, of the monitor, of both at any system call that changes something, of the
//! whole machine. The next command repairs, and nothing is left.

use std::fs;

use black_box_tests::{BUSYBOX, Bed, bed, crash_everywhere, eventually};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn the_command_line_dies_the_container_lives() {
    bed!(|bed| {
        let running = bed
            .command(&[
                "run",
                "--name",
                "orphan",
                BUSYBOX,
                "sh",
                "-c",
                "echo ready; sleep 1000",
            ])
            .start();
        running.wait_for("ready");
        running.signal(Signal::KILL);
        running.finish();
        assert_eq!(bed.inspect("orphan", "{{.State.Running}}"), "true");
        assert_eq!(bed.run(&["exec", "orphan", "echo", "alive"]).ok(), "alive");
        bed.run(&["stop", "-t", "0", "orphan"]).ok();
        bed.nothing_runs();
    });
}

#[test]
fn the_command_line_dies_and_rm_still_removes() {
    bed!(|bed| {
        let running = bed
            .command(&[
                "run",
                "--rm",
                "--name",
                "orphan",
                "-p",
                "127.0.0.1:7001:1",
                BUSYBOX,
                "sh",
                "-c",
                "echo ready; sleep 1",
            ])
            .start();
        running.wait_for("ready");
        running.signal(Signal::KILL);
        running.finish();
        eventually(15, "the container to be removed by its monitor", || {
            bed.run(&["ps", "-aq"]).ok().is_empty().then_some(())
        });
        bed.nothing_runs();
    });
}

#[test]
fn the_monitor_dies() {
    bed!(|bed| {
        let id = bed.start(&["--name", "lost", "-p", "127.0.0.1:7002:1"]);
        let init: i32 = bed.inspect(&id, "{{.State.Pid}}").parse().unwrap();
        kill_process(Pid::from_raw(parent_of(init)).unwrap(), Signal::KILL).unwrap();
        // The container goes with its monitor; the next command tells the truth, and cleans up.
        eventually(15, "the truth", || {
            (bed.inspect("lost", "{{.State.Running}}") == "false").then_some(())
        });
        bed.run(&["ps", "-a"]).ok();
        bed.nothing_runs();
        bed.run(&["start", "lost"]).ok();
        assert_eq!(bed.run(&["exec", "lost", "echo", "again"]).ok(), "again");
    });
}

#[test]
fn the_container_is_killed_from_outside() {
    bed!(|bed| {
        let id = bed.start(&["--name", "hit"]);
        let init: i32 = bed.inspect(&id, "{{.State.Pid}}").parse().unwrap();
        kill_process(Pid::from_raw(init).unwrap(), Signal::KILL).unwrap();
        assert_eq!(bed.run(&["wait", "hit"]).ok(), "137");
        bed.nothing_runs();
    });
}

#[test]
fn a_reboot_leaves_stopped_containers() {
    bed!(|bed| {
        bed.start(&["--name", "server", "-p", "127.0.0.1:7003:1"]);
        bed.run(&["exec", "server", "sh", "-c", "echo kept > /kept"])
            .ok();
        bed.run(&["run", "--name", "job", BUSYBOX, "sh", "-c", "exit 4"])
            .code(4);
        power_cut(bed);
        assert_eq!(bed.inspect("server", "{{.State.Status}}"), "exited");
        assert_eq!(
            bed.inspect("job", "{{.State.Status}} {{.State.ExitCode}}"),
            "exited 4"
        );
        bed.nothing_runs();
        bed.run(&["start", "server"]).ok();
        assert_eq!(bed.run(&["exec", "server", "cat", "/kept"]).ok(), "kept");
        bed.run(&["rm", "-f", "server", "job"]).ok();
        bed.host("umount", &["/proc/sys/kernel/random/boot_id"])
            .ok();
    });
}

#[test]
fn run_killed_at_every_change() {
    bed!(|bed| {
        crash_everywhere(
            bed,
            &[
                "run",
                "--rm",
                "--name",
                "crash",
                "-p",
                "127.0.0.1:7004:1",
                BUSYBOX,
                "true",
            ],
            |bed| {
                // Whatever was left: the name is free or its owner can be removed.
                bed.run(&["ps", "-a"]).ok();
                bed.run(&["rm", "-f", "crash"]);
                bed.run(&["system", "repair"]).ok();
                assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
                bed.nothing_runs();
            },
        );
        bed.run(&[
            "run",
            "--rm",
            "--name",
            "crash",
            "-p",
            "127.0.0.1:7004:1",
            BUSYBOX,
            "true",
        ])
        .ok();
    });
}

#[test]
fn remove_killed_at_every_change() {
    bed!(|bed| {
        crash_everywhere(bed, &["rm", "-f", "crash"], |bed| {
            bed.run(&["ps", "-a"]).ok();
            bed.run(&["rm", "-f", "crash"]);
            bed.run(&["system", "repair"]).ok();
            bed.nothing_runs();
            bed.run(&["run", "-d", "--name", "crash", BUSYBOX, "sleep", "1000"])
                .ok();
        });
    });
}

#[test]
fn load_killed_at_every_change() {
    bed!(|bed| {
        bed.run(&["rmi", BUSYBOX]).ok();
        let archive = bed.dir().join("busybox.tar");
        let archive = archive.to_str().unwrap().to_owned();
        crash_everywhere(bed, &["load", "-q", "-i", &archive], |bed| {
            // Either the whole image is there or none of it.
            if bed.run(&["images", "-q"]).ok().is_empty() {
                return;
            }
            bed.run(&["run", "--rm", "--network", "none", BUSYBOX, "true"])
                .ok();
            bed.run(&["rmi", BUSYBOX]).ok();
        });
        bed.run(&["load", "-q", "-i", &archive]).ok();
        bed.run(&["run", "--rm", "--network", "none", BUSYBOX, "true"])
            .ok();
    });
}

#[test]
fn repair_says_what_it_did() {
    bed!(|bed| {
        let id = bed.start(&["--name", "lost"]);
        let init: i32 = bed.inspect(&id, "{{.State.Pid}}").parse().unwrap();
        kill_process(Pid::from_raw(parent_of(init)).unwrap(), Signal::KILL).unwrap();
        eventually(15, "the truth", || {
            (bed.inspect("lost", "{{.State.Running}}") == "false").then_some(())
        });
        bed.run(&["system", "repair"]).ok();
        bed.nothing_runs();
        bed.run(&["system", "repair"]).ok();
    });
}

/// What a power cut leaves: no process, nothing of `/run`, no network link of ours, no cgroup.
fn power_cut(bed: &Bed) {
    let own = std::process::id().cast_signed();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        if let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>()
            && pid != 1
            && pid != own
        {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }
    eventually(10, "all processes to be gone", || {
        (live_processes() <= 2).then_some(())
    });
    fs::remove_dir_all(bed.runroot()).unwrap();
    let groups = bed.host("sh", &["-c", "find /sys/fs/cgroup/*/wharf /sys/fs/cgroup/wharf -depth -type d -exec rmdir {} + 2>/dev/null; true"]);
    groups.ok();
    bed.host("sh", &["-c", "for link in $(ls /sys/class/net); do test $link = lo || busybox ip link del $link 2>/dev/null; done; nft flush ruleset"]).ok();
    // Another boot has another id.
    let boot = bed.file("boot_id", "11111111-2222-3333-4444-555555555555\n");
    bed.host(
        "mount",
        &["--bind", &boot, "/proc/sys/kernel/random/boot_id"],
    )
    .ok();
}

fn live_processes() -> usize {
    let stats = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            entry.file_name().to_string_lossy().parse::<u32>().ok()?;
            fs::read_to_string(entry.path().join("stat")).ok()
        });
    stats
        .filter(|stat| {
            !stat
                .rsplit(')')
                .next()
                .unwrap_or_default()
                .trim_start()
                .starts_with('Z')
        })
        .count()
}

fn parent_of(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:\t"))
        .unwrap()
        .parse()
        .unwrap()
}
