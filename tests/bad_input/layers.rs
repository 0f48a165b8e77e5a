//! Layers that try to get out of the root file system, or to be too much.

use std::path::Path;

use black_box_tests::{Bed, ImageBuilder, Layer, Member, Tar, bed};

/// Loads an image with this layer on top; gives whether it was taken, and asserts that the host was not touched.
fn attack(bed: &Bed, tar: Tar) -> bool {
    let victim = Path::new("/run/victim");
    std::fs::create_dir_all(victim).unwrap();
    std::fs::write(victim.join("file"), "untouched").unwrap();
    let file = bed.file(
        "attack.tar",
        ImageBuilder::busybox().tar(tar).docker_archive("attack:1"),
    );
    let outcome = bed.run(&["load", "-q", "-i", &file]);
    if outcome.status.success() {
        bed.run(&["run", "--rm", "--network", "none", "attack:1", "true"]);
        bed.run(&["rmi", "-f", "attack:1"]).ok();
    } else {
        outcome.fails(1, &["layer"]);
    }
    assert_eq!(
        std::fs::read_to_string(victim.join("file")).unwrap(),
        "untouched"
    );
    assert_eq!(
        std::fs::read_dir(victim).unwrap().count(),
        1,
        "something was put into the host's directory"
    );
    outcome.status.success()
}

#[test]
fn names_that_lead_outside() {
    bed!(|bed| {
        let up = "../".repeat(20);
        assert!(!attack(
            bed,
            Tar::new().file(&format!("{up}run/victim/new"), 0o644, "x")
        ));
        assert!(!attack(
            bed,
            Tar::new().file("a/../../../../../../../../../../run/victim/new", 0o644, "x")
        ));
        // An absolute name means a name in the image, as everywhere.
        attack(bed, Tar::new().file("/run/victim/new", 0o644, "x"));
        attack(bed, Tar::new().file("..", 0o644, "x"));
        attack(bed, Tar::new().file("", 0o644, "x"));
    });
}

#[test]
fn symlinks_that_lead_outside() {
    bed!(|bed| {
        attack(
            bed,
            Tar::new()
                .symlink("out", "/run/victim")
                .file("out/new", 0o644, "x"),
        );
        attack(
            bed,
            Tar::new()
                .symlink("out", "../../../../../../../../../../run/victim")
                .file("out/new", 0o644, "x"),
        );
        attack(
            bed,
            Tar::new()
                .symlink("out", "/run/victim/file")
                .file("out", 0o644, "overwritten"),
        );
        attack(
            bed,
            Tar::new()
                .symlink("a", "b")
                .symlink("b", "a")
                .file("a/x", 0o644, "x"),
        );
        attack(
            bed,
            Tar::new()
                .symlink("out", "/run/victim")
                .directory("out", 0o777),
        );
        attack(
            bed,
            Tar::new()
                .symlink("out", "/proc/self/root/run/victim")
                .file("out/new", 0o644, "x"),
        );
        // Whiteouts and metadata through a symlink.
        attack(
            bed,
            Tar::new()
                .symlink("out", "/run/victim")
                .file("out/.wh.file", 0o644, ""),
        );
        attack(
            bed,
            Tar::new()
                .symlink("out", "/run/victim")
                .file("out/.wh..wh..opq", 0o644, ""),
        );
        attack(
            bed,
            Tar::new().symlink("out", "/run/victim").member(&Member {
                name: "out/file",
                mode: 0o777,
                owner: 1000,
                content: b"x",
                ..Member::default()
            }),
        );
    });
}

#[test]
fn a_symlink_of_a_lower_layer_is_not_followed_outside() {
    bed!(|bed| {
        std::fs::create_dir_all("/run/victim").unwrap();
        std::fs::write("/run/victim/file", "untouched").unwrap();
        let image = ImageBuilder::busybox()
            .tar(Tar::new().symlink("out", "/run/victim"))
            .tar(
                Tar::new()
                    .file("out/new", 0o644, "x")
                    .file("out/.wh.file", 0o644, ""),
            );
        let file = bed.file("attack.tar", image.docker_archive("attack:1"));
        if bed.run(&["load", "-q", "-i", &file]).status.success() {
            bed.run(&["run", "--rm", "attack:1", "ls", "/out/new"]);
        }
        assert_eq!(std::fs::read_dir("/run/victim").unwrap().count(), 1);
    });
}

#[test]
fn hard_links_to_outside() {
    bed!(|bed| {
        let up = "../".repeat(20);
        assert!(!attack(
            bed,
            Tar::new().hard_link("linked", &format!("{up}run/victim/file"))
        ));
        attack(
            bed,
            Tar::new()
                .hard_link("linked", "/run/victim/file")
                .file("linked", 0o644, "overwritten"),
        );
        attack(
            bed,
            Tar::new()
                .symlink("out", "/run/victim")
                .hard_link("linked", "out/file")
                .file("linked", 0o644, "overwritten"),
        );
        assert!(!attack(bed, Tar::new().hard_link("linked", "no/such/file")));
    });
}

#[test]
fn whiteouts_of_nothing_good() {
    bed!(|bed| {
        attack(bed, Tar::new().file(".wh...", 0o644, ""));
        attack(bed, Tar::new().file(".wh..", 0o644, ""));
        attack(bed, Tar::new().file(".wh.", 0o644, ""));
        attack(bed, Tar::new().file("a/.wh.../run/victim", 0o644, ""));
    });
}

#[test]
fn device_nodes_are_only_nodes() {
    bed!(|bed| {
        let image = ImageBuilder::busybox().tar(Tar::new().character_device("kmsg", 1, 11).member(
            &Member {
                name: "disk",
                kind: b'4',
                device: (254, 0),
                ..Member::default()
            },
        ));
        let file = bed.file("devices.tar", image.docker_archive("devices:1"));
        if bed.run(&["load", "-q", "-i", &file]).status.success() {
            // They may be there; they may not be opened.
            bed.run(&[
                "run",
                "--rm",
                "devices:1",
                "sh",
                "-c",
                "! head -c 1 /kmsg && ! head -c 1 /disk",
            ])
            .ok();
        }
        // What looks like a whiteout to the kernel hides what is below, in this container only.
        let image = ImageBuilder::busybox().tar(Tar::new().character_device("etc/passwd", 0, 0));
        let file = bed.file("whiteout.tar", image.docker_archive("whiteout:1"));
        bed.run(&["load", "-q", "-i", &file]);
    });
}

#[test]
fn headers_that_are_wrong() {
    bed!(|bed| {
        let member = |size| {
            Tar::new().member(&Member {
                name: "a",
                content: b"abc",
                size: Some(size),
                ..Member::default()
            })
        };
        assert!(!attack_raw(bed, &member(1 << 33).unfinished()));
        assert!(!attack_raw(
            bed,
            &Tar::new()
                .pax(&[("size", b"99999999999999999999")])
                .file("a", 0o644, "a")
                .finish()
        ));
        assert!(!attack_raw(
            bed,
            &Tar::new()
                .pax(&[("path", "x".repeat(100_000).as_bytes())])
                .file("a", 0o644, "a")
                .finish()
        ));
        attack_raw(
            bed,
            &Tar::new()
                .pax(&[("path", b"a\0b")])
                .file("a", 0o644, "a")
                .finish(),
        );
        attack_raw(
            bed,
            &Tar::new()
                .pax(&[("mtime", b"nan"), ("uid", b"-5")])
                .file("a", 0o644, "a")
                .finish(),
        );
        attack_raw(
            bed,
            &Tar::new()
                .member(&Member {
                    name: "a",
                    kind: b'Z',
                    ..Member::default()
                })
                .finish(),
        );
        let mut noise = Tar::new().file("a", 0o644, "a").finish();
        noise[148] ^= 7; // the checksum
        assert!(!attack_raw(bed, &noise));
    });
}

fn attack_raw(bed: &Bed, tar: &[u8]) -> bool {
    let file = bed.file(
        "attack.tar",
        ImageBuilder::busybox()
            .layer(Layer::gzip(tar))
            .docker_archive("attack:1"),
    );
    let outcome = bed.run(&["load", "-q", "-i", &file]);
    if outcome.status.success() {
        bed.run(&["rmi", "attack:1"]).ok();
        return true;
    }
    outcome.fails(1, &["layer"]);
    false
}

#[test]
fn a_decompression_bomb() {
    bed!(|bed| {
        let config = bed.file("limits.toml", "[limits]\nmax-layer-size = \"256m\"\n");
        // 4 GiB of zeros in a few MB, in a member that says so and in one sparse file that says less.
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let head = Tar::new()
            .member(&Member {
                name: "bomb",
                size: Some(2 << 30),
                ..Member::default()
            })
            .unfinished();
        std::io::Write::write_all(&mut encoder, &head).unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..2048 {
            std::io::Write::write_all(&mut encoder, &zeros).unwrap();
        }
        let blob = encoder.finish().unwrap();
        let mut image = ImageBuilder::busybox().tar(Tar::new());
        image.layers[1].blob = blob;
        let file = bed.file("bomb.tar", image.docker_archive("bomb:1"));
        bed.command(&["load", "-q", "-i", &file])
            .variable("WHARF_CONFIG", &config)
            .run()
            .fails(1, &["larger than the limit"]);
        let used = bed.host("du", &["-sm", bed.root().to_str().unwrap()]).ok();
        let used: u64 = used.split_whitespace().next().unwrap().parse().unwrap();
        assert!(used < 100, "{used} MB are left of the bomb");
    });
}

#[test]
fn a_million_empty_files() {
    bed!(|bed| {
        let config = bed.file("limits.toml", "[limits]\nmax-entries = 1000\n");
        let mut tar = Tar::new();
        for number in 0..5000 {
            tar = tar.file(&format!("empty/{number}"), 0o644, "");
        }
        let file = bed.file(
            "many.tar",
            ImageBuilder::busybox().tar(tar).docker_archive("many:1"),
        );
        bed.command(&["load", "-q", "-i", &file])
            .variable("WHARF_CONFIG", &config)
            .run()
            .fails(1, &["more entries than the limit of 1000"]);
        bed.run(&["load", "-q", "-i", &file]).ok();
    });
}
