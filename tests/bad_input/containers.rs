//! Containers that cannot be.

use black_box_tests::{BUSYBOX, ImageBuilder, bed};
use serde_json::json;

#[test]
fn a_missing_mount_source() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "--rm",
            "--mount",
            "type=bind,source=/no/such/dir,target=/x",
            BUSYBOX,
            "true",
        ])
        .fails(125, &["/no/such/dir"]);
        bed.run(&[
            "run",
            "--rm",
            "--mount",
            "type=nonsense,target=/x",
            BUSYBOX,
            "true",
        ])
        .fails(125, &["nonsense"]);
        bed.run(&[
            "run",
            "--rm",
            "--mount",
            "type=bind,source=/tmp",
            BUSYBOX,
            "true",
        ])
        .fails(125, &["target"]);
        bed.run(&[
            "run",
            "--rm",
            "--mount",
            "type=tmpfs,target=/x,flavor=mint",
            BUSYBOX,
            "true",
        ])
        .fails(125, &["flavor"]);
        bed.run(&[
            "run", "--rm", "-v", "one:/x", "-v", "two:/x", BUSYBOX, "true",
        ])
        .fails(125, &["/x", "two mounts"]);
        bed.run(&["run", "--rm", "-v", "/tmp:/", BUSYBOX, "true"])
            .fails(125, &["/"]);
    });
}

#[test]
fn options_that_make_no_sense() {
    bed!(|bed| {
        for (option, word) in [
            ("--memory=lots", "lots"),
            ("--memory=-5", "-5"),
            ("--cpus=many", "many"),
            ("--pids-limit=few", "few"),
            ("--env-file=/no/such", "/no/such"),
            ("--cap-add=FLY", "fly"),
            ("--device=/no/such", "/no/such"),
            ("--ulimit=nofile", "nofile"),
            ("--hostname=a_b c", "a_b c"),
            ("--stop-signal=SIGNOPE", "signope"),
            ("--security-opt=nope=1", "nope"),
            ("--network=container:", "container"),
            ("--tmpfs=relative", "relative"),
            ("--workdir=relative", "relative"),
            ("--add-host=nonsense", "nonsense"),
            ("--label==x", "label"),
            ("--env==x", "env"),
        ] {
            bed.run(&["run", "--rm", option, BUSYBOX, "true"])
                .fails(125, &[word]);
        }
        bed.run(&["run"]).fails(125, &["image"]);
        assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
    });
}

#[test]
fn a_run_that_cannot_start_leaves_nothing() {
    bed!(|bed| {
        let id_file = bed.dir().join("id");
        let id_file = id_file.to_str().unwrap();
        for option in ["--rm", "-d", "--tty=false"] {
            bed.run(&[
                "run",
                option,
                "--name",
                "broken",
                "--cidfile",
                id_file,
                "-v",
                "/made",
                BUSYBOX,
                "no-such-program",
            ])
            .fails(127, &["no-such-program"]);
            assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
            assert!(!std::path::Path::new(id_file).exists());
        }
        bed.run(&["run", "--name", "broken", BUSYBOX, "/etc/passwd"])
            .fails(126, &["/etc/passwd"]);
        // What was created on its own stays, and says why it did not start.
        bed.run(&["create", "--name", "broken", BUSYBOX, "no-such-program"])
            .ok();
        bed.run(&["start", "broken"]).fails(1, &["no-such-program"]);
        assert_eq!(
            bed.inspect("broken", "{{.State.Status}} {{.State.ExitCode}}"),
            "created 127"
        );
        bed.nothing_runs();
    });
}

#[test]
fn images_with_a_hostile_config() {
    bed!(|bed| {
        for (index, (field, value)) in [
            ("User", json!("0:0:0")),
            ("User", json!("-1")),
            ("User", json!("4294967296")),
            ("User", json!("+0")),
            ("User", json!(" 0")),
            ("WorkingDir", json!("relative")),
            ("WorkingDir", json!("/proc/self/fd/7")),
            ("StopSignal", json!("SIGNOPE")),
            ("Volumes", json!({ "relative/../..": {} })),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("hostile:{index}");
            let file = bed.file(
                "hostile.tar",
                ImageBuilder::busybox()
                    .set(field, value.clone())
                    .docker_archive(&name),
            );
            if bed.run(&["load", "-q", "-i", &file]).status.success() {
                bed.run(&["run", "--rm", "--network", "none", &name, "true"])
                    .refused(&[]);
            }
        }
        // A volume path is a path in the container, nothing else.
        let file = bed.file(
            "volume.tar",
            ImageBuilder::busybox()
                .set("Volumes", json!({ "/../../etc": {} }))
                .docker_archive("volume:1"),
        );
        bed.run(&["load", "-q", "-i", &file]).ok();
        let outcome = bed.run(&[
            "run",
            "--rm",
            "--network",
            "none",
            "volume:1",
            "sh",
            "-c",
            "test ! -e /etc/debian_version",
        ]);
        assert!(
            outcome.status.success() || outcome.status.code() == Some(125),
            "{}",
            outcome.story()
        );
    });
}
