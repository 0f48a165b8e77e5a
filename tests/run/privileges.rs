//! What a container may do: capabilities, seccomp, no-new-privileges, privileged.

use black_box_tests::{BUSYBOX, bed};

/// Docker's fourteen.
const DEFAULT: &str = "00000000a80425fb";

fn caps(set: &str) -> String {
    format!("grep Cap{set} /proc/self/status | cut -f2")
}

#[test]
fn dockers_default_capabilities() {
    bed!(|bed| {
        assert_eq!(bed.shell(&[], &caps("Eff")).ok(), DEFAULT);
        assert_eq!(bed.shell(&[], &caps("Bnd")).ok(), DEFAULT);
        assert_eq!(bed.shell(&[], &caps("Inh")).ok(), "0000000000000000");
        assert_eq!(bed.shell(&[], &caps("Amb")).ok(), "0000000000000000");
        assert_eq!(
            bed.shell(&["-u", "app"], &caps("Eff")).ok(),
            "0000000000000000"
        );
    });
}

#[test]
fn capabilities_added_and_dropped() {
    bed!(|bed| {
        assert_eq!(
            bed.shell(&["--cap-drop", "ALL"], &caps("Bnd")).ok(),
            "0000000000000000"
        );
        assert_eq!(
            bed.shell(&["--cap-drop", "all", "--cap-add", "chown"], &caps("Eff"))
                .ok(),
            "0000000000000001"
        );
        assert_eq!(
            bed.shell(
                &["--cap-drop=ALL", "--cap-add=CAP_NET_BIND_SERVICE"],
                &caps("Eff")
            )
            .ok(),
            "0000000000000400"
        );
        assert_eq!(
            bed.shell(&["--cap-add", "NET_ADMIN"], &caps("Eff")).ok(),
            "00000000a80435fb"
        );
        bed.run(&["run", "--rm", "--cap-add", "FLY", BUSYBOX, "true"])
            .fails(125, &["fly"]);
    });
}

#[test]
fn the_default_seccomp_profile_holds() {
    bed!(|bed| {
        assert_eq!(
            bed.shell(&[], "grep Seccomp: /proc/self/status | cut -f2")
                .ok(),
            "2"
        );
        bed.shell(&[], "unshare -m true").code(1);
        // With the capability but the default profile: still no new user namespace for the unprivileged.
        bed.shell(&["-u", "app"], "unshare -U true").code(1);
        bed.shell(
            &["--security-opt", "seccomp=unconfined", "-u", "app"],
            "grep Seccomp: /proc/self/status | cut -f2",
        )
        .ok();
        let free = bed.shell(
            &["--security-opt", "seccomp=unconfined"],
            "grep Seccomp: /proc/self/status | cut -f2",
        );
        assert_eq!(free.ok(), "0");
    });
}

#[test]
fn a_seccomp_profile_of_ones_own() {
    bed!(|bed| {
        let profile = bed.file(
            "profile.json",
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#,
        );
        let option = format!("seccomp={profile}");
        let outcome = bed.shell(&["--security-opt", &option], "touch /file && mkdir /dir");
        assert!(
            outcome.error().contains("Function not implemented"),
            "{}",
            outcome.story()
        );
        bed.run(&[
            "run",
            "--rm",
            "--security-opt",
            "seccomp=/no/such",
            BUSYBOX,
            "true",
        ])
        .fails(125, &["/no/such"]);
        let broken = bed.file("broken.json", "{");
        let option = format!("seccomp={broken}");
        bed.run(&["run", "--rm", "--security-opt", &option, BUSYBOX, "true"])
            .fails(125, &["broken.json"]);
    });
}

#[test]
fn no_new_privileges() {
    bed!(|bed| {
        let read = "grep NoNewPrivs /proc/self/status | cut -f2";
        assert_eq!(bed.shell(&[], read).ok(), "0");
        assert_eq!(
            bed.shell(&["--security-opt", "no-new-privileges"], read)
                .ok(),
            "1"
        );
        assert_eq!(
            bed.shell(&["--security-opt", "no-new-privileges:true"], read)
                .ok(),
            "1"
        );
        // Seccomp stays the last step either way.
        assert_eq!(
            bed.shell(
                &["--security-opt", "no-new-privileges", "-u", "app"],
                "grep Seccomp: /proc/self/status | cut -f2"
            )
            .ok(),
            "2"
        );
        bed.run(&["run", "--rm", "--security-opt", "nonsense", BUSYBOX, "true"])
            .fails(125, &["nonsense"]);
    });
}

#[test]
fn privileged() {
    bed!(|bed| {
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:\t"))
            .unwrap()
            .to_owned();
        assert_eq!(
            bed.shell(&["--privileged"], &caps("Eff")).ok(),
            own,
            "all that we have"
        );
        assert_eq!(
            bed.shell(
                &["--privileged"],
                "grep Seccomp: /proc/self/status | cut -f2"
            )
            .ok(),
            "0"
        );
        bed.shell(
            &["--privileged"],
            "mount -t tmpfs tmpfs /tmp && umount /tmp",
        )
        .ok();
        bed.shell(
            &["--privileged"],
            "test -c /dev/kmsg && grep ' /sys ' /proc/mounts | grep -q 'rw'",
        )
        .ok();
    });
}

#[test]
fn masked_and_read_only_paths() {
    bed!(|bed| {
        for file in ["/proc/kcore", "/proc/keys", "/proc/timer_list"] {
            let script = format!("test ! -e {file} || test $(head -c 10 {file} | wc -c) = 0");
            bed.shell(&[], &script).ok();
        }
        for dir in ["/proc/acpi", "/proc/scsi", "/sys/firmware"] {
            let script = format!("test ! -e {dir} || test $(ls {dir} | wc -l) = 0");
            bed.shell(&[], &script).ok();
        }
        for path in [
            "/proc/sys/kernel/hostname",
            "/proc/sysrq-trigger",
            "/proc/irq/default_smp_affinity",
        ] {
            let script = format!("test ! -e {path} || ! echo 1 > {path}");
            bed.shell(&[], &script).ok();
        }
        bed.shell(
            &[],
            "! mkdir /sys/fs/cgroup/x 2>/dev/null && ! mkdir /sys/fs/cgroup/memory/x 2>/dev/null",
        )
        .ok();
    });
}
