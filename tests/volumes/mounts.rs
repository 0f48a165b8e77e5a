//! What `-v` and `--mount` put into a container.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use black_box_tests::{BUSYBOX, bed};

#[test]
fn options_of_a_volume_are_mounted_in_the_container() {
    bed!(|bed| {
        bed.run(&[
            "volume",
            "create",
            "-o",
            "type=tmpfs",
            "-o",
            "o=size=64k,mode=700",
            "mem",
        ])
        .ok();
        let mounts = bed
            .shell(&["-v", "mem:/m"], "grep ' /m ' /proc/mounts")
            .ok();
        assert!(
            mounts.starts_with("tmpfs /m tmpfs")
                && mounts.contains("size=64k")
                && mounts.contains("mode=700"),
            "{mounts}"
        );
        fs::create_dir(bed.dir().join("there")).unwrap();
        let device = format!("device={}", bed.dir().join("there").display());
        bed.run(&[
            "volume",
            "create",
            "-o",
            "type=none",
            "-o",
            "o=bind",
            "-o",
            &device,
            "other",
        ])
        .ok();
        bed.shell(&["-v", "other:/o"], "echo here > /o/f").ok();
        assert_eq!(
            fs::read_to_string(bed.dir().join("there/f")).unwrap(),
            "here\n"
        );
        bed.run(&["volume", "export", "mem"])
            .fails(1, &["mount for themselves"]);
        // Removing the volume leaves what is not its own.
        bed.run(&["volume", "rm", "other", "mem"]).ok();
        assert!(bed.dir().join("there/f").exists());
        // The mount says what a new volume is made with.
        let mount = "type=volume,source=made,target=/m,volume-opt=type=tmpfs,volume-label=a=b,\"volume-opt=o=size=1m,uid=5\"";
        assert_eq!(bed.shell(&["--mount", mount], "stat -c %u /m").ok(), "5");
        assert_eq!(
            bed.run(&["volume", "ls", "-q", "-f", "label=a=b"]).ok(),
            "made"
        );
        bed.run(&["volume", "rm", "made"]).ok();
    });
}

#[test]
fn a_part_of_a_volume() {
    bed!(|bed| {
        bed.shell(
            &["-v", "data:/d"],
            "mkdir -p /d/a/b; echo in > /d/a/b/f; echo out > /d/secret",
        )
        .ok();
        let mount = "type=volume,source=data,target=/x,volume-subpath=a/b";
        assert_eq!(
            bed.shell(&["--mount", mount], "ls /x; cat /x/f").ok(),
            "f\nin"
        );
        let file = "type=volume,source=data,target=/x,volume-subpath=a/b/f,readonly";
        assert_eq!(bed.shell(&["--mount", file], "cat /x").ok(), "in");
        bed.shell(&["--mount", file], "echo no > /x")
            .fails(1, &["Read-only"]);
        let missing = "type=volume,source=data,target=/x,volume-subpath=a/c";
        bed.shell(&["--mount", missing], "true")
            .fails(125, &["a/c", "no such file"]);
        bed.run(&["run", "--name", "c", "--mount", mount, BUSYBOX, "true"])
            .ok();
        let copied = bed.dir().join("copied");
        bed.run(&["cp", "c:/x/f", copied.to_str().unwrap()]).ok();
        assert_eq!(fs::read_to_string(copied).unwrap(), "in\n");
        bed.run(&["rm", "c"]).ok();
        bed.run(&["volume", "rm", "data"]).ok();
    });
}

#[test]
fn the_files_of_an_image() {
    bed!(|bed| {
        // A second image with a layer more.
        bed.run(&[
            "run",
            "--name",
            "c",
            BUSYBOX,
            "sh",
            "-c",
            "mkdir /content; echo hello > /content/f",
        ])
        .ok();
        bed.run(&["commit", "c", "content"]).ok();
        bed.run(&["rm", "c"]).ok();
        let all = "type=image,source=content,target=/i";
        assert_eq!(
            bed.shell(&["--mount", all], "cat /i/content/f; ls /i/bin/sh")
                .ok(),
            "hello\n/i/bin/sh"
        );
        bed.shell(&["--mount", all], "touch /i/x")
            .fails(1, &["Read-only"]);
        let part = "type=image,source=content,target=/i,image-subpath=content";
        assert_eq!(
            bed.shell(&["--mount", part], "ls /i; cat /i/f").ok(),
            "f\nhello"
        );
        let single = "type=image,source=busybox,target=/i,image-subpath=bin";
        bed.shell(&["--mount", single], "ls /i/sh").ok();
        bed.shell(
            &[
                "--mount",
                "type=image,source=content,target=/i,image-subpath=none",
            ],
            "true",
        )
        .fails(125, &["none"]);
        bed.shell(&["--mount", "type=image,source=nowhere,target=/i"], "true")
            .fails(125, &["nowhere"]);
        // The image is kept for the container that mounts it.
        bed.run(&[
            "create",
            "--name",
            "user",
            "--mount",
            all,
            BUSYBOX,
            "cat",
            "/i/content/f",
        ])
        .ok();
        bed.run(&["rmi", "content"]).fails(1, &["user"]);
        bed.run(&["rmi", "-f", "content"]);
        assert_eq!(bed.run(&["start", "-a", "user"]).ok(), "hello");
        assert_eq!(
            bed.inspect(
                "user",
                "{{range .Mounts}}{{.Type}} {{.Source}} {{.RW}}{{end}}"
            ),
            "image content false"
        );
        bed.run(&["rm", "user"]).ok();
        bed.run(&["rmi", "-f", "content"]);
    });
}

#[test]
fn files_belong_to_the_user_outside() {
    bed!(|bed| {
        let home = bed.dir().join("home");
        fs::create_dir(&home).unwrap();
        fs::write(home.join("before"), "x").unwrap();
        for path in [home.clone(), home.join("before")] {
            std::os::unix::fs::chown(path, Some(1234), Some(4321)).unwrap();
        }
        let bind = format!("{}:/h:idmap", home.display());
        assert_eq!(
            bed.shell(
                &["-v", &bind],
                "stat -c %u:%g /h/before; echo new > /h/after; stat -c %u:%g /h/after"
            )
            .ok(),
            "0:0\n0:0"
        );
        let made = fs::metadata(home.join("after")).unwrap();
        assert_eq!((made.uid(), made.gid()), (1234, 4321));
        assert_eq!(
            bed.shell(
                &["-u", "70:71", "-v", &bind],
                "stat -c %u:%g /h/before; touch /h/third"
            )
            .ok(),
            "70:71"
        );
        let made = fs::metadata(home.join("third")).unwrap();
        assert_eq!((made.uid(), made.gid()), (1234, 4321));
        // Nobody else gets at the host through it.
        bed.shell(&["-v", &bind], "chown 5 /h/after")
            .fails(1, &["chown"]);
        bed.shell(
            &[
                "-u",
                "5:5",
                "-v",
                &format!("{}:/h:idmap=70@71", home.display()),
            ],
            "touch /h/no",
        )
        .fails(1, &["too large"]);
        bed.shell(&["-u", "nobody", "-v", &bind], "true")
            .fails(125, &["idmap=UID@GID"]);
        fs::remove_dir_all(home).unwrap();
    });
}

#[test]
fn what_is_mounted_below_a_read_only_bind() {
    bed!(|bed| {
        let top = bed.dir().join("top");
        fs::create_dir_all(top.join("below")).unwrap();
        let below = top.join("below");
        bed.host("mount", &["-t", "tmpfs", "tmpfs", below.to_str().unwrap()])
            .ok();
        let mount = |more: &str| {
            format!(
                "type=bind,source={},target=/t,readonly{more}",
                top.display()
            )
        };
        for (more, writable) in [
            ("", false),
            (",bind-recursive=writable", true),
            (",bind-recursive=readonly", false),
        ] {
            let outcome = bed.shell(&["--mount", &mount(more)], "touch /t/below/f");
            assert_eq!(
                outcome.status.success(),
                writable,
                "{more}: {}",
                outcome.story()
            );
            bed.shell(&["--mount", &mount(more)], "touch /t/f")
                .fails(1, &["Read-only"]);
        }
        bed.shell(
            &["--mount", &mount(",bind-recursive=disabled")],
            "! mountpoint -q /t/below",
        )
        .ok();
        bed.host("umount", &[below.to_str().unwrap()]).ok();
        bed.shell(&["--mount", "type=bind,source=/nowhere,target=/t"], "true")
            .fails(125, &["/nowhere"]);
        let made = bed.dir().join("made");
        let mount = format!(
            "type=bind,source={},target=/t,bind-create-src",
            made.display()
        );
        bed.shell(&["--mount", &mount], "touch /t/f").ok();
        assert!(made.join("f").exists());
    });
}

#[test]
fn come_and_go_while_it_runs() {
    bed!(|bed| {
        let shared = bed.dir().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::write(shared.join("file"), "shared").unwrap();
        let file = bed.file("single", "of the host");
        bed.start(&["--name", "one", "--restart", "always", "-v", "/anonymous"]);
        let pid = bed.inspect("one", "{{.State.Pid}}");
        let sh = |script: &str| bed.run(&["exec", "one", "sh", "-c", script]).ok();
        let update = |words: &[&str]| {
            let mut arguments = vec!["update"];
            arguments.extend(words);
            arguments.push("one");
            let outcome = bed.run(&arguments);
            outcome.ok();
            outcome.error()
        };
        let (read_only, single) = (
            format!("{}:/a/b:ro", shared.display()),
            format!("{file}:/etc/single"),
        );
        let words = [
            "-v",
            &read_only,
            "-v",
            &single,
            "-v",
            "data:/data",
            "--tmpfs",
            "/scratch",
        ];
        assert_eq!(update(&words), "");
        assert_eq!(
            sh(
                "cat /a/b/file /etc/single; touch /a/b/x || echo refused; echo kept > /data/x; grep -c ' /scratch tmpfs' /proc/mounts"
            ),
            "sharedof the hostrefused\n1"
        );
        // Nothing of it is mounted on the host, and what it writes is in the volume.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains("/a/b"), "{mounts}");
        assert_eq!(
            fs::read(bed.root().join("volumes/data/_data/x")).unwrap(),
            b"kept\n"
        );
        // One for another in the same place; one goes that somebody is in.
        let writable = format!("{}:/a/b", shared.display());
        let inside = ["exec", "-d", "one", "sh", "-c", "cd /data; sleep 1000"];
        bed.run(&inside).ok();
        assert_eq!(
            update(&[
                "-v",
                &writable,
                "--unmount",
                "/data",
                "--unmount",
                "/etc/single"
            ]),
            ""
        );
        let seen = "touch /a/b/x; grep -c ' /a/b ' /proc/mounts; ls /data; test -s /etc/single || echo gone";
        assert_eq!(sh(seen), "1\ngone");
        assert_eq!(bed.inspect("one", "{{len .Mounts}}"), "3");
        assert_eq!(bed.inspect("one", "{{.State.Pid}}"), pid);
        // What has to wait is said, with the reason.
        let image = ["--mount", "type=image,source=busybox,target=/image"];
        for (words, target, why) in [
            (["--unmount", "/scratch"], "", "is lost with it"),
            (["-v", "data:/a"], "/a", "/a/b is mounted below /a"),
            (["-v", "data:/etc"], "/etc", "is mounted below /etc"),
            (["-v", "data:/proc/x"], "/proc/x", "what the kernel shows"),
            (image, "/image", "at a start only"),
        ] {
            let said = update(&words);
            let begin = "mounts of one change when it is started again";
            assert!(said.starts_with(begin) && said.contains(why), "{said}");
            if !target.is_empty() {
                update(&["--unmount", target]);
            }
        }
        // Every start makes the same.
        bed.run(&["restart", "-t", "0", "one"]).ok();
        assert_eq!(sh("cat /a/b/file; ls /anonymous; ls /data"), "shared");
        bed.run(&["rm", "-f", "-v", "one"]).ok();
        bed.run(&["volume", "rm", "data"]).ok();
    });
}

/// A container that swaps directories for links gets nothing mounted elsewhere, and what failed changed nothing.
#[test]
fn a_link_in_the_way_of_a_mount() {
    bed!(|bed| {
        let shared = bed.dir().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::write(shared.join("file"), "shared").unwrap();
        let at = |target: &str| format!("{}:{target}", shared.display());
        bed.start(&["--name", "one", "-v", &at("/old")]);
        let sh = |script: &str| bed.run(&["exec", "one", "sh", "-c", script]).ok();
        sh("mkdir /real; ln -s /real /link; ln -s /proc /p");
        let before = (
            sh("cat /proc/self/mountinfo | wc -l"),
            bed.inspect("one", "{{json .Mounts}}"),
        );
        for target in ["/link", "/link/x", "/p/sys"] {
            // Another one is made, and one taken away, before that one.
            let words = [
                "update",
                "-v",
                &at("/first"),
                "-v",
                &at(target),
                "--unmount",
                "/old",
                "one",
            ];
            bed.run(&words).fails(1, &["symlink"]);
            assert_eq!(
                sh("cat /old/file; ls /real /first"),
                "shared/first:\n\n/real:"
            );
            let after = (
                sh("cat /proc/self/mountinfo | wc -l"),
                bed.inspect("one", "{{json .Mounts}}"),
            );
            assert_eq!(after, before);
        }
        // It took the mount away by itself.
        bed.run(&["update", "--unmount", "/old", "one"]).ok();
        assert_eq!(bed.inspect("one", "{{len .Mounts}}"), "0");
    });
}
