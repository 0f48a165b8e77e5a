//! `volume create`, `ls`, `inspect`, `rm`, `prune`.

use black_box_tests::{BUSYBOX, bed};

#[test]
fn made_shown_and_removed() {
    bed!(|bed| {
        let volume = |arguments: &[&str]| {
            let mut all = vec!["volume"];
            all.extend(arguments);
            bed.run(&all)
        };
        assert_eq!(volume(&["create", "--label", "a=b", "data"]).ok(), "data");
        assert_eq!(volume(&["create", "-d", "local", "data"]).ok(), "data");
        let kept = volume(&["prune", "-a", "-f", "--filter", "label=other"]).ok();
        assert_eq!(kept, "Total reclaimed space: 0B");
        let anonymous = volume(&["create"]).ok();
        assert_eq!(anonymous.len(), 64);
        assert_eq!(
            volume(&["ls", "--filter", "name=data"]).ok(),
            "DRIVER    VOLUME NAME\nlocal     data"
        );
        assert_eq!(volume(&["ls", "-q", "-f", "label=a=b"]).ok(), "data");
        assert_eq!(
            volume(&[
                "ls",
                "--format",
                "{{.Name}} {{.Labels}} {{.Label \"a\"}}",
                "-f",
                "label=a"
            ])
            .ok(),
            "data a=b b"
        );
        let shown = volume(&["inspect", "data"]).json();
        assert_eq!(shown[0]["Name"], "data");
        assert_eq!(shown[0]["Driver"], "local");
        assert_eq!(shown[0]["Scope"], "local");
        assert_eq!(shown[0]["Labels"]["a"], "b");
        assert!(shown[0]["Options"].is_null());
        assert!(shown[0]["CreatedAt"].as_str().unwrap().contains('T'));
        let mountpoint = shown[0]["Mountpoint"].as_str().unwrap();
        assert!(std::path::Path::new(mountpoint).is_dir());
        assert_eq!(bed.inspect("data", "{{.Name}}"), "data");
        assert_eq!(volume(&["rm", "data"]).ok(), "data");
        assert!(!std::path::Path::new(mountpoint).exists());
        volume(&["rm", "data"]).fails(1, &["no such volume: data"]);
        volume(&["rm", "-f", "data"]).ok();
        volume(&["inspect", "data"]).fails(1, &["no such volume: data"]);
        volume(&["prune", "-f"]).ok();
        assert_eq!(volume(&["ls", "-q"]).ok(), "");
    });
}

#[test]
fn who_has_a_volume_keeps_it() {
    bed!(|bed| {
        bed.run(&[
            "create",
            "--name",
            "user",
            "-v",
            "data:/d",
            "-v",
            "/anonymous",
            BUSYBOX,
        ])
        .ok();
        bed.run(&["volume", "rm", "data"])
            .fails(1, &["volume data is in use by user"]);
        assert_eq!(
            bed.run(&["volume", "ls", "-q", "-f", "dangling=true"]).ok(),
            ""
        );
        bed.run(&["volume", "create", "free"]).ok();
        assert_eq!(
            bed.run(&["volume", "ls", "-q", "-f", "dangling=true"]).ok(),
            "free"
        );
        let nothing = bed.run(&["volume", "prune", "-f"]).ok();
        assert_eq!(nothing, "Total reclaimed space: 0B", "names are kept");
        bed.run(&["rm", "user"]).ok();
        let pruned = bed.run(&["volume", "prune", "-f"]).ok();
        assert!(pruned.starts_with("Deleted Volumes:\n"), "{pruned}");
        assert!(!pruned.contains("data"), "{pruned}");
        let pruned = bed.run(&["volume", "prune", "-a", "-f"]).ok();
        assert!(
            pruned.contains("data") && pruned.contains("free"),
            "{pruned}"
        );
        assert_eq!(bed.run(&["volume", "ls", "-q"]).ok(), "");
    });
}

#[test]
fn what_cannot_be_is_said_in_one_sentence() {
    bed!(|bed| {
        for (arguments, words) in [
            (&["create", "a/b"][..], "invalid volume name"),
            (&["create", "-d", "other", "x1"], "no volume driver"),
            (&["create", "-o", "type=ext4", "x1"], "device is missing"),
            (
                &["create", "-o", "nonsense=1", "x1"],
                "no option \"nonsense\"",
            ),
            (&["create", "-o", "noequals", "x1"], "KEY=VALUE"),
            (&["ls", "-f", "nonsense=1"], "invalid filter"),
            (&["rm", "../x"], "no such volume"),
        ] {
            let mut all = vec!["volume"];
            all.extend(arguments);
            let error = bed.run(&all).fails(1, &[words]);
            assert_eq!(error.trim_end().lines().count(), 1, "{error}");
        }
        bed.run(&["volume", "create", "-o", "type=tmpfs", "mem"])
            .ok();
        bed.run(&[
            "volume",
            "create",
            "-o",
            "type=tmpfs",
            "-o",
            "o=size=1m",
            "mem",
        ])
        .fails(1, &["with other options"]);
        assert_eq!(bed.run(&["volume", "ls", "-q"]).ok(), "mem");
        bed.run(&["volume", "rm", "mem"]).ok();
    });
}

#[test]
fn a_limit_needs_a_file_system_that_can() {
    bed!(|bed| {
        // Of tmpfs and of kernels without quotas this is the outcome; where
        // the disk has project quotas both succeed.
        let volume = bed.run(&["volume", "create", "-o", "size=1m", "small"]);
        let layer = bed.run(&["create", "--storage-opt", "size=10m", BUSYBOX]);
        if volume.status.success() {
            bed.run(&[
                "run",
                "--rm",
                "-v",
                "small:/d",
                BUSYBOX,
                "dd",
                "if=/dev/zero",
                "of=/d/f",
                "bs=1M",
                "count=2",
            ])
            .fails(1, &["No space left"]);
            layer.ok();
            return;
        }
        volume.fails(1, &["prjquota"]);
        layer.refused(&["prjquota"]);
        assert_eq!(bed.run(&["volume", "ls", "-q"]).ok(), "");
        assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
        bed.run(&["create", "--storage-opt", "what=1", BUSYBOX])
            .refused(&["use size=SIZE"]);
    });
}
