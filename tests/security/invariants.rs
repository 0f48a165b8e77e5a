//! What a container finds, and what it must not reach.

use black_box_tests::{BUSYBOX, ImageBuilder, Tar, bed, binary, sha256};
use serde_json::json;

#[test]
fn no_descriptor_of_ours_is_inside() {
    bed!(|bed| {
        let list = "ls -l /proc/self/fd/ | grep -o '[0-9]* -> .*' | grep -v '/proc/.*/fd'";
        for options in [
            &["--network", "none"][..],
            &["--network", "bridge", "-p", "127.0.0.1:7300:80"],
            &["--init"],
            &["--privileged"],
        ] {
            let fds = bed
                .shell(
                    options,
                    &format!("{list} | cut -d' ' -f1 | sort | tr '\\n' ' '"),
                )
                .ok();
            assert_eq!(fds.trim(), "0 1 2", "{options:?}");
        }
        let id = bed.start(&[]);
        let fds = bed
            .run(&[
                "exec",
                &id,
                "sh",
                "-c",
                &format!("{list} | cut -d' ' -f1 | sort | tr '\\n' ' '"),
            ])
            .ok();
        assert_eq!(fds.trim(), "0 1 2");
        assert_eq!(
            bed.run(&[
                "exec",
                &id,
                "sh",
                "-c",
                "ls /proc/1/fd | sort | tr '\\n' ' '"
            ])
            .ok()
            .trim(),
            "0 1 2"
        );
    });
}

/// CVE-2024-21626: a working directory through a leaked descriptor.
#[test]
fn a_working_directory_through_proc_is_refused() {
    bed!(|bed| {
        let id = bed.start(&[]);
        for fd in 3..20 {
            let path = format!("/proc/self/fd/{fd}");
            let outcome = bed.run(&[
                "run",
                "--rm",
                "--network",
                "none",
                "-w",
                &path,
                BUSYBOX,
                "pwd",
            ]);
            assert!(!outcome.status.success(), "{}", outcome.story());
            let outcome = bed.run(&["exec", "-w", &path, &id, "pwd"]);
            assert!(!outcome.status.success(), "{}", outcome.story());
        }
        // The same through a symlink of the image.
        let file = bed.file(
            "cwd.tar",
            ImageBuilder::busybox()
                .tar(Tar::new().symlink("cwd", "/proc/self/fd/8/../.."))
                .set("WorkingDir", json!("/cwd"))
                .docker_archive("cwd:1"),
        );
        bed.run(&["load", "-q", "-i", &file]).ok();
        let outcome = bed.run(&["run", "--rm", "--network", "none", "cwd:1", "ls"]);
        assert!(!outcome.text().contains("boot"), "{}", outcome.story());
    });
}

/// CVE-2019-5736: the runtime's binary overwritten from inside.
#[test]
fn our_binaries_cannot_be_overwritten() {
    bed!(|bed| {
        let sums = || {
            [
                sha256(&std::fs::read(binary("wharf")).unwrap()),
                sha256(&std::fs::read(binary("wharf-runtime")).unwrap()),
            ]
        };
        let before = sums();
        // A container whose program is whatever runs it.
        let image =
            ImageBuilder::busybox().tar(Tar::new().file("evil", 0o755, "#!/proc/self/exe\n"));
        let file = bed.file("evil.tar", image.docker_archive("evil:1"));
        bed.run(&["load", "-q", "-i", &file]).ok();
        bed.run(&["run", "--rm", "--network", "none", "evil:1", "/evil"]);
        bed.run(&[
            "run",
            "--rm",
            "--network",
            "none",
            "evil:1",
            "/proc/self/exe",
        ]);
        let script = "while :; do for exe in /proc/[0-9]*/exe; do case $exe in /proc/1/*|/proc/$$/*) ;; *) ( echo evil >> $exe ) 2>/dev/null && echo won >> /won;; esac; done; done";
        let id = bed
            .run(&[
                "run",
                "-d",
                "--cap-add",
                "SYS_PTRACE",
                "evil:1",
                "sh",
                "-c",
                script,
            ])
            .ok();
        for _ in 0..20 {
            bed.run(&["exec", &id, "/evil"]);
            bed.run(&["exec", &id, "true"]);
        }
        bed.run(&["rm", "-f", &id]).ok();
        assert_eq!(sums(), before);
    });
}

/// CVE-2016-3697, CVE-2026-46680: a number is a number.
#[test]
fn a_numeric_user_is_not_looked_up_by_name() {
    bed!(|bed| {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0:trap:/:/bin/sh\n4294967296:x:0:0:trap:/:/bin/sh\n";
        let image = ImageBuilder::busybox().tar(Tar::new().file("etc/passwd", 0o644, passwd).file(
            "etc/group",
            0o644,
            "1000:x:0:\n",
        ));
        let file = bed.file("users.tar", image.docker_archive("users:1"));
        bed.run(&["load", "-q", "-i", &file]).ok();
        assert_eq!(
            bed.run(&["run", "--rm", "-u", "1000", "users:1", "id", "-u"])
                .ok(),
            "1000"
        );
        assert_eq!(
            bed.run(&["run", "--rm", "-u", "1000:1000", "users:1", "id", "-g"])
                .ok(),
            "1000"
        );
        for bad in ["4294967296", "-1", "1000:-1", "99999999999999999999"] {
            let option = format!("--user={bad}");
            bed.run(&["run", "--rm", &option, "users:1", "id", "-u"])
                .refused(&[]);
        }
        let id = bed.run(&["run", "-d", "users:1", "sleep", "1000"]).ok();
        assert_eq!(
            bed.run(&["exec", "-u", "1000", &id, "id", "-u"]).ok(),
            "1000"
        );
        // CVE-2026-30892: what cannot be parsed is not root.
        for bad in ["1:", "+1", " 1", "1abc", "0x0"] {
            let option = format!("--user={bad}");
            let outcome = bed.run(&["exec", &option, &id, "id", "-u"]);
            assert!(
                !outcome.status.success() || outcome.text().trim() != "0",
                "{}",
                outcome.story()
            );
        }
    });
}

/// CVE-2024-9676: files of the image that never answer.
#[test]
fn account_files_that_are_no_files() {
    bed!(|bed| {
        let pipes = Tar::new()
            .file("etc/.wh.passwd", 0o644, "")
            .file("etc/.wh.group", 0o644, "");
        let cases = [
            ("pipe", Tar::new().fifo("etc/passwd").fifo("etc/group")),
            (
                "device",
                Tar::new()
                    .symlink("etc/passwd", "/dev/zero")
                    .symlink("etc/group", "/dev/zero"),
            ),
            (
                "host",
                Tar::new()
                    .symlink("etc/passwd", "/proc/1/root/etc/passwd")
                    .symlink("etc/group", "../../../../../etc/group"),
            ),
            ("directory", Tar::new().directory("etc/passwd", 0o755)),
            (
                "huge",
                Tar::new().file("etc/passwd", 0o644, "x:".repeat(6 << 20)),
            ),
        ];
        for (name, tar) in cases {
            let reference = format!("accounts:{name}");
            let file = bed.file(
                "accounts.tar",
                ImageBuilder::busybox()
                    .tar(pipes.clone())
                    .tar(tar)
                    .docker_archive(&reference),
            );
            bed.run(&["load", "-q", "-i", &file]).ok();
            // A number needs no file; a name finds none. Neither may hang.
            let words = [
                "run",
                "--rm",
                "--network",
                "none",
                "-u",
                "1000:1000",
                &reference,
                "grep",
                "Uid",
                "/proc/self/status",
            ];
            let outcome = bed.command(&words).limit(20).run();
            if name == "huge" {
                outcome.refused(&["/etc/passwd", "larger"]);
            } else {
                assert_eq!(outcome.ok(), "Uid:\t1000\t1000\t1000\t1000", "{name}");
            }
            bed.command(&[
                "run",
                "--rm",
                "--network",
                "none",
                "-u",
                "app",
                &reference,
                "true",
            ])
            .limit(20)
            .run()
            .refused(&[if name == "huge" { "larger" } else { "app" }]);
        }
    });
}

/// CVE-2023-27561, CVE-2026-41579 and their kin: an image that is prepared for our mounts.
#[test]
fn an_image_with_symlinks_where_we_mount() {
    bed!(|bed| {
        std::fs::create_dir_all("/run/victim").unwrap();
        for place in [
            "proc",
            "sys",
            "dev",
            "etc/hosts",
            "etc/resolv.conf",
            "etc/hostname",
            "dev/shm",
            "dev/pts",
        ] {
            let name = place.replace(['/', '.'], "-");
            let hidden = Tar::new().file(
                &match place.rsplit_once('/') {
                    Some((dir, base)) => format!("{dir}/.wh.{base}"),
                    None => format!(".wh.{place}"),
                },
                0o644,
                "",
            );
            let image = ImageBuilder::busybox()
                .tar(hidden)
                .tar(Tar::new().symlink(place, "../../../../../../run/victim"));
            let file = bed.file("links.tar", image.docker_archive(&format!("links:{name}")));
            bed.run(&["load", "-q", "-i", &file]).ok();
            let outcome = bed.run(&[
                "run",
                "--rm",
                &format!("links:{name}"),
                "sh",
                "-c",
                "cat /proc/self/mounts",
            ]);
            assert_eq!(
                std::fs::read_dir("/run/victim").unwrap().count(),
                0,
                "{place}: {}",
                outcome.story()
            );
            if outcome.status.success() {
                assert!(
                    outcome.text().contains(" /proc proc "),
                    "{place}: {}",
                    outcome.story()
                );
            }
        }
    });
}

#[test]
fn inheritable_capabilities_are_empty() {
    bed!(|bed| {
        let read = "grep CapInh /proc/self/status | cut -f2";
        let id = bed.start(&["--cap-add", "NET_ADMIN"]);
        assert_eq!(
            bed.shell(&["--cap-add", "NET_ADMIN"], read).ok(),
            "0000000000000000"
        );
        assert_eq!(
            bed.run(&["exec", &id, "sh", "-c", read]).ok(),
            "0000000000000000"
        );
        assert_eq!(
            bed.run(&["exec", "--privileged", &id, "sh", "-c", read])
                .ok(),
            "0000000000000000"
        );
    });
}

#[test]
fn the_host_cannot_be_seen() {
    bed!(|bed| {
        let secret = bed.file("secret", "hidden");
        bed.shell(&[], &format!("test ! -e {secret}")).ok();
        bed.shell(&[], &format!("test ! -e {}", bed.root().display()))
            .ok();
        assert!(
            !bed.shell(&[], "cat /proc/self/mountinfo")
                .ok()
                .contains(" - tmpfs tmpfs rw,mode=755 / "),
            "no mount of the host"
        );
        // No way to the old root.
        let mounts = bed.shell(&[], "cat /proc/self/mountinfo | wc -l").ok();
        assert!(mounts.parse::<u32>().unwrap() < 60, "{mounts} mounts");
        // Another container's processes and sockets.
        bed.start(&["--name", "other"]);
        assert_eq!(bed.shell(&[], "ls -d /proc/[0-9]*").ok(), "/proc/1");
        // No abstract socket of ours is reachable from a container in the host's network.
        assert_eq!(
            bed.shell(
                &["--network", "host"],
                "grep -c '@.*wharf' /proc/net/unix; true"
            )
            .ok(),
            "0"
        );
    });
}

#[test]
fn a_volume_over_proc_is_no_way_around_confinement() {
    bed!(|bed| {
        // CVE-2019-16884: a fake /proc swallows what the runtime writes there.
        std::fs::create_dir_all(bed.dir().join("fake/self/attr")).unwrap();
        let bind = format!("{}/fake:/proc", bed.dir().display());
        // Refused, or confined all the same.
        let outcome = bed.shell(
            &["-v", &bind],
            "! mount -t tmpfs tmpfs /tmp && ! chroot / unshare -m true && echo confined",
        );
        assert!(
            !outcome.status.success() || outcome.ok() == "confined",
            "{}",
            outcome.story()
        );
    });
}

#[test]
fn the_environment_of_the_host_stays_outside() {
    bed!(|bed| {
        let outcome = bed
            .command(&["run", "--rm", "--network", "none", BUSYBOX, "env"])
            .variable("SECRET_OF_HOST", "1")
            .run();
        assert!(!outcome.ok().contains("SECRET_OF_HOST"));
        let id = bed.start(&[]);
        let outcome = bed
            .command(&["exec", &id, "sh", "-c", "env; cat /proc/1/environ"])
            .variable("SECRET_OF_HOST", "1")
            .run();
        assert!(!outcome.ok().contains("SECRET_OF_HOST"));
    });
}
