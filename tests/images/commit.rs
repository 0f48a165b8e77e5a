//! `commit` and `diff`: only the difference, and all of it.

use black_box_tests::{Access, BUSYBOX, Bed, ImageBuilder, Registry, Tar, bed};

#[test]
fn diff_names_what_changed() {
    bed!(|bed| {
        let script = "echo x > /new; echo y >> /etc/passwd; rm /etc/group; mkdir -p /deep/er; rm -r /home; mkdir /home; echo z > /home/in; chmod 600 /etc/shadow";
        bed.run(&["run", "--name", "changed", BUSYBOX, "sh", "-c", script])
            .ok();
        let mut lines: Vec<_> = bed
            .run(&["diff", "changed"])
            .ok()
            .lines()
            .map(ToOwned::to_owned)
            .collect();
        lines.sort();
        for line in [
            "A /new",
            "C /etc",
            "C /etc/passwd",
            "D /etc/group",
            "A /deep",
            "A /deep/er",
            "A /home/in",
        ] {
            assert!(
                lines.iter().any(|found| found == line),
                "{line} is missing in {lines:?}"
            );
        }
        assert!(
            !lines.iter().any(|line| line.contains("/bin")
                || line.contains("/proc")
                || line.contains("/dev")),
            "{lines:?}"
        );
        assert!(
            !lines
                .iter()
                .any(|line| line.contains("resolv.conf") || line.contains("hostname")),
            "what we put in is no change: {lines:?}"
        );
    });
}

#[test]
fn commit_keeps_changes_and_configuration() {
    bed!(|bed| {
        let script = "echo x > /new; rm /etc/group; rm -r /home; mkdir /home; ln /new /linked; chown 33 /new; mkfifo /pipe; mkdir -m 1777 /shared";
        bed.run(&[
            "run", "--name", "changed", "-e", "A=1", "-w", "/usr", BUSYBOX, "sh", "-c", script,
        ])
        .ok();
        let id = bed
            .run(&[
                "commit",
                "-m",
                "a message",
                "-a",
                "somebody",
                "-c",
                "ENV B=2",
                "--change",
                r#"CMD ["cat", "/new"]"#,
                "changed",
                "made:v2",
            ])
            .ok();
        assert!(id.starts_with("sha256:"), "{id}");
        bed.run(&["rm", "changed"]).ok();
        assert_eq!(bed.run(&["run", "--rm", "made:v2"]).ok(), "x");
        let check = "pwd; echo $A $B; ls /etc/group 2>/dev/null; ls /home | wc -l; stat -c '%h %u' /linked; test -p /pipe && stat -c %a /shared";
        assert_eq!(
            bed.run(&["run", "--rm", "made:v2", "sh", "-c", check]).ok(),
            "/usr\n1 2\n0\n2 33\n1777"
        );
        let image = bed.run(&["inspect", "made:v2"]).json();
        assert_eq!(image[0]["Author"], "somebody");
        assert_eq!(image[0]["Comment"], "a message");
        assert_eq!(image[0]["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    });
}

#[test]
fn commit_of_a_running_container_and_again() {
    bed!(|bed| {
        let id = bed.start(&[]);
        for round in 1..=3 {
            bed.run(&["exec", &id, "sh", "-c", &format!("echo {round} > /round")])
                .ok();
            bed.run(&["commit", &id, &format!("snap:{round}")]).ok();
            assert_eq!(bed.inspect(&id, "{{.State.Running}}"), "true");
        }
        for round in 1..=3 {
            assert_eq!(
                bed.run(&["run", "--rm", &format!("snap:{round}"), "cat", "/round"])
                    .ok(),
                round.to_string()
            );
        }
    });
}

#[test]
fn only_the_difference_is_stored_and_pushed() {
    bed!(|bed| {
        let registry = Registry::start(bed, Access::Open);
        let base = registry.name("app:1");
        bed.run(&["tag", BUSYBOX, &base]).ok();
        bed.run(&["push", &base]).ok();
        let before = registry.stored_bytes();
        bed.run(&[
            "run",
            "--name",
            "changed",
            &base,
            "sh",
            "-c",
            "head -c 100000 /dev/urandom > /data",
        ])
        .ok();
        let next = registry.name("app:2");
        bed.run(&["commit", "changed", &next]).ok();
        bed.run(&["push", &next]).ok();
        let grown = registry.stored_bytes() - before;
        assert!(
            (100_000..120_000).contains(&grown),
            "{grown} bytes were added"
        );
        let sum = bed.run(&["run", "--rm", &next, "md5sum", "/data"]).ok();
        bed.run(&["rm", "changed"]).ok();
        bed.run(&["rmi", &base, &next, BUSYBOX]).ok();
        bed.run(&["pull", &next]).ok();
        assert_eq!(
            bed.run(&["run", "--rm", &next, "md5sum", "/data"]).ok(),
            sum
        );
    });
}

#[test]
fn what_was_made_to_mount_on_is_not_committed() {
    bed!(|bed| {
        // An image of one file has none of the places that every container mounts something on.
        let busybox = std::fs::read("/bin/busybox").unwrap();
        let tar = Tar::new()
            .directory("bin/", 0o755)
            .file("bin/busybox", 0o755, busybox);
        let bare = ImageBuilder::default().tar(tar);
        let file = bed.file("bare.tar", bare.docker_archive("bare:1"));
        bed.run(&["load", "-q", "-i", &file]).ok();
        bed.run(&[
            "run",
            "--name",
            "changed",
            "-v",
            "/srv/deep/volume",
            "--tmpfs",
            "/kept",
            "bare:1",
            "/bin/busybox",
            "sh",
            "-c",
            "echo x >/new",
        ])
        .ok();
        bed.run(&["commit", "changed", "bare:2"]).ok();
        assert_eq!(names_in_top_layer(bed, "bare:2"), ["./", "new"]);
        // And it runs all the same.
        let read = ["run", "--rm", "bare:2", "/bin/busybox", "cat", "/new"];
        assert_eq!(bed.run(&read).ok(), "x");
    });
}

/// The members of the image's last layer.
fn names_in_top_layer(bed: &Bed, image: &str) -> Vec<String> {
    let directory = bed.dir().join("saved");
    std::fs::create_dir(&directory).unwrap();
    let directory = directory.to_str().unwrap();
    let archive = format!("{directory}.tar");
    bed.run(&["save", "-o", &archive, image]).ok();
    bed.host("tar", &["-xf", &archive, "-C", directory]).ok();
    let archive = directory;
    let manifest = std::fs::read(format!("{archive}/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest[0]["Layers"].as_array().unwrap();
    let layer = format!("{archive}/{}", layers.last().unwrap().as_str().unwrap());
    let names = bed.host("tar", &["-tf", &layer]).ok();
    names.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn commit_errors() {
    bed!(|bed| {
        bed.run(&["commit", "nobody", "x"])
            .fails(1, &["no such container", "nobody"]);
        bed.run(&["create", "--name", "idle", BUSYBOX]).ok();
        bed.run(&["commit", "idle", "Not/A/Name"])
            .fails(1, &["not/a/name"]);
        bed.run(&["commit", "-c", "FLY away", "idle", "x"])
            .fails(1, &["fly"]);
    });
}
