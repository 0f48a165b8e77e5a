//! What layers may hold and what they mean when put on each other.

use black_box_tests::{Bed, ImageBuilder, Layer, Member, Tar, bed};

fn load(bed: &Bed, image: &ImageBuilder) {
    let file = bed.file("layers.tar", image.docker_archive("layers:1"));
    bed.run(&["load", "-q", "-i", &file]).ok();
}

fn shell(bed: &Bed, script: &str) -> String {
    bed.run(&[
        "run",
        "--rm",
        "--network",
        "none",
        "layers:1",
        "sh",
        "-c",
        script,
    ])
    .ok()
}

#[test]
fn whiteouts_and_opaque_directories() {
    bed!(|bed| {
        let image = ImageBuilder::busybox()
            .tar(
                Tar::new()
                    .directory("d", 0o755)
                    .file("d/gone", 0o644, "")
                    .file("d/stays", 0o644, "")
                    .directory("o", 0o755)
                    .file("o/old", 0o644, "")
                    .file("plain", 0o644, "1"),
            )
            .tar(
                Tar::new()
                    .file("d/.wh.gone", 0o644, "")
                    .directory("o", 0o700)
                    .file("o/.wh..wh..opq", 0o644, "")
                    .file("o/new", 0o644, "")
                    .directory("plain", 0o755)
                    .file("plain/now-a-directory", 0o644, ""),
            )
            .tar(Tar::new().file("d/back", 0o644, ""));
        load(bed, &image);
        assert_eq!(
            shell(bed, "ls d; ls o; stat -c %a o; ls plain"),
            "back\nstays\nnew\n700\nnow-a-directory"
        );
        assert_eq!(shell(bed, "ls -a d o | grep -c wh; true"), "0");
    });
}

#[test]
fn links_modes_owners_times_and_attributes() {
    bed!(|bed| {
        let tar = Tar::new()
            .member(&Member {
                name: "setuid",
                mode: 0o4755,
                owner: 33,
                content: b"x",
                ..Member::default()
            })
            .file("first", 0o640, "linked")
            .hard_link("second", "first")
            .symlink("away", "/etc/passwd")
            .symlink("up", "../../../../etc/passwd")
            .fifo("pipe")
            .directory("sticky", 0o1777)
            .pax(&[("SCHILY.xattr.user.color", b"blue")])
            .file("colored", 0o644, "c")
            .pax(&[(
                "SCHILY.xattr.security.capability",
                b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
            )])
            .file("capable", 0o755, "c")
            .pax(&[("mtime", b"1000000000.5")])
            .file("old", 0o644, "o");
        load(bed, &ImageBuilder::busybox().tar(tar));
        assert_eq!(
            shell(bed, "stat -c '%a %u %g' setuid first sticky"),
            "4755 33 33\n640 0 0\n1777 0 0"
        );
        assert_eq!(
            shell(
                bed,
                "stat -c '%h %i' first second | sort -u | wc -l; stat -c %h first"
            ),
            "1\n2"
        );
        assert_eq!(
            shell(
                bed,
                "head -n 1 away; head -n 1 up; test -p pipe && stat -c %Y old"
            ),
            "root:x:0:0:root:/root:/bin/sh\nroot:x:0:0:root:/root:/bin/sh\n1000000000"
        );
        let mut words = vec!["run", "-d", "--name", "holder", "layers:1", "sleep", "1000"];
        bed.run(&words).ok();
        let pid = bed.inspect("holder", "{{.State.Pid}}");
        words.clear();
        let path = format!("/proc/{pid}/root/colored");
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(&path, "user.color", &mut value).unwrap();
        assert_eq!(&value[..length], b"blue");
        let path = format!("/proc/{pid}/root/capable");
        let mut value = [0; 64];
        assert_eq!(
            rustix::fs::getxattr(&path, "security.capability", &mut value).unwrap(),
            20
        );
    });
}

#[test]
fn long_names_and_many_files() {
    bed!(|bed| {
        let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
        let mut tar = Tar::new()
            .directory(&format!("{}/", "d".repeat(120)), 0o755)
            .file(&long, 0o644, "long");
        for number in 0..2000 {
            tar = tar.file(&format!("many/{number}"), 0o644, "x");
        }
        load(bed, &ImageBuilder::busybox().tar(tar));
        assert_eq!(
            shell(bed, &format!("cat /{long}; ls /many | wc -l")),
            "long2000"
        );
    });
}

#[test]
fn members_in_any_form_of_name() {
    bed!(|bed| {
        let tar = Tar::new()
            .directory("./", 0o755)
            .file("./dot", 0o644, "1")
            .file("/absolute", 0o644, "2")
            .file("made/on/the/way", 0o644, "3")
            .file("a//b/./c", 0o644, "4");
        load(bed, &ImageBuilder::busybox().tar(tar));
        assert_eq!(
            shell(bed, "cat /dot /absolute /made/on/the/way /a/b/c"),
            "1234"
        );
    });
}

#[test]
fn an_image_of_many_layers() {
    bed!(|bed| {
        let mut image = ImageBuilder::busybox();
        for number in 0..100 {
            image = image.tar(
                Tar::new()
                    .file(&format!("layer-{number}"), 0o644, "x")
                    .file("last", 0o644, number.to_string()),
            );
        }
        load(bed, &image);
        assert_eq!(shell(bed, "ls -d /layer-* | wc -l; cat /last"), "100\n99");
    });
}

#[test]
fn two_images_share_their_layers() {
    bed!(|bed| {
        let base = ImageBuilder::busybox().tar(Tar::new().file("big", 0o644, vec![7; 4 << 20]));
        load(bed, &base);
        let before = size(bed);
        let file = bed.file(
            "derived.tar",
            base.tar(Tar::new().file("small", 0o644, "s"))
                .docker_archive("derived:1"),
        );
        bed.run(&["load", "-q", "-i", &file]).ok();
        let grown = size(bed) - before;
        assert!(
            grown < 1 << 20,
            "{grown} bytes for a small layer on a shared base"
        );
        bed.run(&["rmi", "layers:1"]).ok();
        assert_eq!(
            bed.run(&[
                "run",
                "--rm",
                "derived:1",
                "sh",
                "-c",
                "wc -c < /big; cat /small"
            ])
            .ok(),
            format!("{}\ns", 4 << 20)
        );
        bed.run(&["rmi", "derived:1"]).ok();
        let left = size(bed);
        assert!(
            left + (4 << 20) <= before,
            "what nothing uses is freed: {before} bytes before, {left} now"
        );
    });
}

fn size(bed: &Bed) -> u64 {
    let text = bed
        .host("du", &["-s", "-B1", bed.root().to_str().unwrap()])
        .ok();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn sparse_and_zstd_layers() {
    bed!(|bed| {
        let dir = bed.dir().join("tree");
        std::fs::create_dir(&dir).unwrap();
        bed.host(
            "truncate",
            &["-s", "64M", dir.join("sparse").to_str().unwrap()],
        )
        .ok();
        bed.host(
            "sh",
            &["-c", &format!("echo end >> {}/sparse", dir.display())],
        )
        .ok();
        for format in ["gnu", "pax"] {
            let out = bed.dir().join("tree.tar");
            bed.host(
                "tar",
                &[
                    "-C",
                    dir.to_str().unwrap(),
                    "-S",
                    &format!("--format={format}"),
                    "-cf",
                    out.to_str().unwrap(),
                    "sparse",
                ],
            )
            .ok();
            let tar = std::fs::read(&out).unwrap();
            assert!(tar.len() < 1 << 20);
            load(bed, &ImageBuilder::busybox().layer(Layer::zstd(&tar)));
            assert_eq!(
                shell(
                    bed,
                    "stat -c %s sparse; tail -c 4 sparse; test $(stat -c %b sparse) -lt 1000 && echo sparse"
                ),
                format!("{}\nend\nsparse", (64 << 20) + 4),
                "{format}"
            );
        }
    });
}
