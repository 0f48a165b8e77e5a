//! A container that changes what we are about to use, while we use it.

use black_box_tests::{BUSYBOX, bed};

/// CVE-2021-30465 and CVE-2024-45310: a symlink swapped for a directory at a mount's destination in a shared volume.
#[test]
fn a_mount_destination_that_turns_into_a_symlink() {
    bed!(|bed| {
        std::fs::create_dir_all("/run/victim").unwrap();
        let shared = bed.dir().join("shared");
        std::fs::create_dir(&shared).unwrap();
        let shared = format!("{}:/shared", shared.display());
        let payload = bed.dir().join("payload");
        std::fs::create_dir(&payload).unwrap();
        std::fs::write(payload.join("marker"), "x").unwrap();
        let swap = "cd /shared; mkdir -p a; ln -s /../../../../../../run/victim b; while :; do mv -T a c 2>/dev/null; mv -T b a; mv -T a b; mv -T c a; done";
        let racer = bed
            .run(&["run", "-d", "-v", &shared, BUSYBOX, "sh", "-c", swap])
            .ok();
        let bind = format!("{}:/shared/a/deep", payload.display());
        for _ in 0..60 {
            // It may fail; it may not reach the host.
            bed.run(&[
                "run",
                "--rm",
                "--network",
                "none",
                "-v",
                &shared,
                "-v",
                &bind,
                BUSYBOX,
                "true",
            ]);
            assert_eq!(
                std::fs::read_dir("/run/victim").unwrap().count(),
                0,
                "it reached the host"
            );
        }
        bed.run(&["rm", "-f", &racer]).ok();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains("/run/victim"), "{mounts}");
    });
}

/// The same for what `exec` uses while the container pulls the rug.
#[test]
fn exec_into_a_container_that_replaces_its_own_files() {
    bed!(|bed| {
        let swap = "while :; do mv /etc/passwd /etc/p; ln -s /proc/1/root/../../../etc/shadow /etc/passwd; rm /etc/passwd; mkfifo /etc/passwd; rm /etc/passwd; mv /etc/p /etc/passwd; done";
        let id = bed.run(&["run", "-d", BUSYBOX, "sh", "-c", swap]).ok();
        for _ in 0..40 {
            let outcome = bed
                .command(&["exec", "-u", "app", &id, "grep", "Uid", "/proc/self/status"])
                .limit(20)
                .run();
            if outcome.status.success() {
                assert_eq!(outcome.ok(), "Uid:\t1000\t1000\t1000\t1000");
            }
        }
    });
}
