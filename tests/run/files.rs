//! The file system of a container: writable layer, read-only root, volumes, binds, tmpfs, devices of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use black_box_tests::{BUSYBOX, bed};

#[test]
fn what_a_container_writes_is_its_own() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "--name",
            "writer",
            BUSYBOX,
            "sh",
            "-c",
            "echo new > /file; rm /etc/group; echo x >> /etc/passwd",
        ])
        .ok();
        assert_eq!(bed.shell(&[], "cat /file").code(1), "");
        assert_eq!(bed.shell(&[], "grep -c root /etc/group").ok(), "1");
        // Its layer was kept: what it removed is not there to be removed again.
        assert!(
            bed.run(&["start", "-a", "writer"])
                .error()
                .contains("/etc/group")
        );
    });
}

#[test]
fn read_only_root() {
    bed!(|bed| {
        let outcome = bed.shell(&["--read-only"], "touch /x");
        assert!(
            outcome.error().contains("Read-only file system"),
            "{}",
            outcome.story()
        );
        outcome.code(1);
        assert_eq!(
            bed.shell(
                &["--read-only", "--tmpfs", "/tmp"],
                "echo 1 > /tmp/x && cat /tmp/x"
            )
            .ok(),
            "1"
        );
        bed.shell(
            &["--read-only"],
            "echo 1 > /dev/shm/x && echo 2 > /dev/null",
        )
        .ok();
    });
}

#[test]
fn tmpfs_with_options() {
    bed!(|bed| {
        let script = "stat -c %a /t; df -k /t | tail -n 1 | tr -s ' ' | cut -d' ' -f2; grep ' /t ' /proc/mounts";
        let lines = bed
            .shell(&["--tmpfs", "/t:size=64k,mode=1750,noexec"], script)
            .ok();
        let mut lines = lines.lines();
        assert_eq!(lines.next(), Some("1750"));
        assert_eq!(lines.next(), Some("64"));
        let mount = lines.next().unwrap();
        for option in ["tmpfs", "nosuid", "nodev", "noexec"] {
            assert!(mount.contains(option), "{option} is missing in {mount}");
        }
        let by_mount = bed
            .shell(
                &[
                    "--mount",
                    "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700",
                ],
                script,
            )
            .ok();
        assert!(by_mount.starts_with("700\n1024\n"), "{by_mount}");
    });
}

#[test]
fn bind_mounts() {
    bed!(|bed| {
        let dir = bed.dir().join("shared");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("file"), "from host").unwrap();
        let source = dir.to_str().unwrap();
        let bind = format!("{source}:/data");
        assert_eq!(
            bed.shell(&["-v", &bind], "cat /data/file; echo back > /data/new")
                .ok(),
            "from host"
        );
        assert_eq!(fs::read_to_string(dir.join("new")).unwrap(), "back\n");

        let read_only = format!("{source}:/data:ro");
        let outcome = bed.shell(&["-v", &read_only], "echo > /data/no");
        assert!(outcome.error().contains("Read-only"), "{}", outcome.story());
        let long = format!("type=bind,source={source}/file,target=/etc/one-file,readonly");
        assert_eq!(
            bed.shell(&["--mount", &long], "cat /etc/one-file").ok(),
            "from host"
        );
        // As Docker: -v makes a missing source, --mount refuses.
        let made = format!("{source}/made:/data");
        bed.shell(&["-v", &made], "true").ok();
        assert!(dir.join("made").is_dir());
        let missing = format!("type=bind,source={source}/missing,target=/data");
        bed.run(&["run", "--rm", "--mount", &missing, BUSYBOX, "true"])
            .fails(125, &["missing", "does not exist"]);
        bed.run(&["run", "--rm", "-v", "relative/path:/data", BUSYBOX, "true"])
            .fails(125, &["relative/path"]);
        bed.run(&["run", "--rm", "-v", "/tmp:data", BUSYBOX, "true"])
            .fails(125, &["absolute"]);
    });
}

#[test]
fn a_read_only_bind_covers_the_mounts_below_it() {
    bed!(|bed| {
        let dir = bed.dir().join("outer");
        fs::create_dir_all(dir.join("inner")).unwrap();
        bed.host(
            "mount",
            &["-t", "tmpfs", "tmpfs", dir.join("inner").to_str().unwrap()],
        )
        .ok();
        let bind = format!("{}:/data:ro", dir.display());
        let outcome = bed.shell(&["-v", &bind], "touch /data/no; touch /data/inner/no");
        assert_eq!(
            outcome.error().matches("Read-only").count(),
            2,
            "{}",
            outcome.story()
        );
        bed.host("umount", &[dir.join("inner").to_str().unwrap()])
            .ok();
    });
}

#[test]
fn named_volumes_outlive_containers() {
    bed!(|bed| {
        bed.shell(&["-v", "store:/data"], "echo kept > /data/file")
            .ok();
        assert_eq!(
            bed.shell(&["-v", "store:/elsewhere"], "cat /elsewhere/file")
                .ok(),
            "kept"
        );
        let by_mount = "type=volume,source=store,target=/d,readonly";
        let outcome = bed.shell(&["--mount", by_mount], "cat /d/file; touch /d/x");
        assert_eq!(outcome.code(1), "kept");
    });
}

#[test]
fn a_new_volume_takes_what_the_image_has_there() {
    bed!(|bed| {
        let files = "cat /etc/passwd | head -n 1; stat -c %a /etc/shadow";
        assert_eq!(
            bed.shell(&["-v", "etc:/etc"], files).ok(),
            "root:x:0:0:root:/root:/bin/sh\n600"
        );
    });
}

#[test]
fn anonymous_volumes_go_with_rm() {
    bed!(|bed| {
        bed.shell(&["-v", "/data"], "touch /data/x").ok();
        let left = fs::read_dir(bed.root().join("volumes")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "--rm removes anonymous volumes");
    });
}

#[test]
fn default_devices_and_mounts() {
    bed!(|bed| {
        let listing = bed.shell(&[], "ls /dev").ok();
        for name in [
            "full", "null", "random", "tty", "urandom", "zero", "shm", "pts", "mqueue", "ptmx",
            "fd", "stdin", "stdout", "stderr",
        ] {
            assert!(
                listing.lines().any(|found| found == name),
                "/dev/{name} is missing: {listing}"
            );
        }
        assert!(
            !listing.contains("vda") && !listing.contains("kmsg") && !listing.contains("mem"),
            "{listing}"
        );
        bed.shell(&[], "echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom > /dev/null").ok();
        let mounts = bed.shell(&[], "cat /proc/mounts").ok();
        for start in [
            "proc /proc proc",
            "tmpfs /dev tmpfs",
            "devpts /dev/pts devpts",
            "sysfs /sys sysfs ro",
            "mqueue /dev/mqueue mqueue",
        ] {
            assert!(
                mounts.lines().any(|line| line.starts_with(start)),
                "{start} is missing:\n{mounts}"
            );
        }
    });
}

#[test]
fn a_device_of_the_host() {
    bed!(|bed| {
        // No default device is this one, so that what is allowed was allowed by the option.
        let fuse = bed.dir().join("fuse");
        let fuse = fuse.to_str().unwrap();
        bed.host("mknod", &[fuse, "c", "10", "229"]).ok();
        let (all, read) = (format!("{fuse}:/dev/mine"), format!("{fuse}:/dev/mine:r"));
        bed.shell(
            &["--device", &all],
            "test -c /dev/mine && true <> /dev/mine",
        )
        .ok();
        let outcome = bed.shell(
            &["--device", &read],
            "true < /dev/mine && true <> /dev/mine",
        );
        assert!(
            outcome.error().contains("not permitted"),
            "{}",
            outcome.story()
        );
        bed.shell(
            &["--device", "/dev/zero:/dev/nought"],
            "head -c 3 /dev/nought | wc -c",
        )
        .ok();
        bed.run(&["run", "--rm", "--device", "/dev/no-such", BUSYBOX, "true"])
            .fails(125, &["/dev/no-such"]);
        // What was not given cannot be made and used either.
        let outcome = bed.shell(&[], "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg");
        assert!(
            outcome.error().contains("not permitted"),
            "{}",
            outcome.story()
        );
    });
}

#[test]
fn modes_of_the_mask_are_kept() {
    bed!(|bed| {
        // Our own umask must not leak into what a container finds.
        let wharf = black_box_tests::binary("wharf");
        let line = format!(
            "umask 077; {} --root {} --runroot {} run --rm --network none -v {}/fresh:/fresh -w /made {BUSYBOX} sh -c 'umask; stat -c %a /made /fresh /tmp /dev/shm'",
            wharf.display(),
            bed.root().display(),
            bed.runroot().display(),
            bed.dir().display(),
        );
        assert_eq!(
            bed.host("sh", &["-c", &line]).ok(),
            "0022\n755\n755\n1777\n1777"
        );
    });
}

#[test]
fn the_store_is_closed_to_others() {
    bed!(|bed| {
        for dir in [bed.root(), bed.runroot()] {
            let found = fs::metadata(dir).unwrap();
            assert_eq!(
                found.permissions().mode() & 0o7777,
                0o700,
                "{}",
                dir.display()
            );
            assert_eq!(found.uid(), 0);
        }
    });
}

#[test]
fn a_container_takes_little_disk() {
    bed!(|bed| {
        let before = disk_usage(bed.root());
        let ids: Vec<_> = (0..4).map(|_| bed.start(&["--network", "none"])).collect();
        let each = (disk_usage(bed.root()) - before) / ids.len() as u64;
        assert!(
            each <= 64 << 10,
            "{each} bytes of disk for a container that wrote nothing"
        );
    });
}

fn disk_usage(dir: &std::path::Path) -> u64 {
    let mut total = 0;
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let found = entry.path().symlink_metadata().unwrap();
        total += found.blocks() * 512;
        if found.is_dir() {
            total += disk_usage(&entry.path());
        }
    }
    total
}
