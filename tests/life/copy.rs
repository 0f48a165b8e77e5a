//! cp and export: what goes where, whose it is, and what a hostile container cannot reach.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use black_box_tests::{BUSYBOX, Bed, Tar, bed};

/// A running and a stopped container with the same files.
fn both(bed: &Bed, check: impl Fn(&str)) {
    let script = "mkdir -p /d/sub; echo one >/d/a; echo two >/d/sub/b; ln -s a /d/link; \
                  chown 1000:1000 /d/a; chmod 640 /d/a; ln /d/a /d/hard";
    bed.start(&["--name", "runs"]);
    bed.run(&["exec", "runs", "sh", "-c", script]).ok();
    bed.run(&[
        "run",
        "--name",
        "stopped",
        "--network",
        "none",
        BUSYBOX,
        "sh",
        "-c",
        script,
    ])
    .ok();
    for name in ["runs", "stopped"] {
        check(name);
    }
    assert_eq!(bed.inspect("stopped", "{{.State.Status}}"), "exited");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn out_of_a_container() {
    bed!(|bed| {
        both(bed, |name| {
            let dir = bed.dir().join(format!("out-{name}"));
            fs::create_dir(&dir).unwrap();
            let to = |path: &str| dir.join(path).to_str().unwrap().to_owned();
            let cp = |options: &[&str], from: &str, target: &str| {
                let mut arguments = vec!["cp"];
                arguments.extend(options);
                let from = format!("{name}:{from}");
                let target = to(target);
                arguments.extend([from.as_str(), target.as_str()]);
                bed.run(&arguments)
            };
            assert_eq!(cp(&[], "/d/a", "").ok(), "");
            assert_eq!(read(&dir.join("a")), "one\n");
            let about = fs::metadata(dir.join("a")).unwrap();
            assert_eq!((about.uid(), about.gid()), (0, 0), "the caller's");
            assert_eq!(about.permissions().mode() & 0o7777, 0o640);
            cp(&["-a"], "/d/a", "mine").ok();
            assert_eq!(fs::metadata(dir.join("mine")).unwrap().uid(), 1000);
            // A directory that is not there is made; one that is gets it inside.
            cp(&[], "/d", "new").ok();
            assert_eq!(read(&dir.join("new/sub/b")), "two\n");
            assert_eq!(fs::read_link(dir.join("new/link")).unwrap(), Path::new("a"));
            let inode = |path: &str| fs::metadata(dir.join(path)).unwrap().ino();
            assert_eq!(inode("new/a"), inode("new/hard"));
            cp(&[], "/d", "new").ok();
            assert_eq!(read(&dir.join("new/d/a")), "one\n");
            cp(&[], "d/.", "new/sub").ok();
            assert_eq!(read(&dir.join("new/sub/a")), "one\n");
            // Links are copied as what they are, unless they are to be followed.
            cp(&[], "/d/link", "link").ok();
            assert!(fs::symlink_metadata(dir.join("link")).unwrap().is_symlink());
            cp(&["-L"], "/d/link", "followed").ok();
            assert_eq!(read(&dir.join("followed")), "one\n");
            // Over what is there.
            fs::write(dir.join("a"), "old and longer").unwrap();
            cp(&[], "/d/a", "a").ok();
            assert_eq!(read(&dir.join("a")), "one\n");
            cp(&[], "/d", "a").fails(1, &["is a file"]);
            cp(&[], "/d/a", "none/").fails(1, &["none/"]);
            cp(&[], "/d/a", "none/a").fails(1, &["none"]);
            cp(&[], "/nothing", "x").fails(1, &["/nothing"]);
            cp(&[], "/d/a/", "x").fails(1, &["/d/a/"]);
        });
    });
}

#[test]
fn into_a_container() {
    bed!(|bed| {
        let dir = bed.dir().join("in");
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::write(dir.join("file"), "hello\n").unwrap();
        fs::write(dir.join("sub/deep"), "deep\n").unwrap();
        fs::set_permissions(dir.join("file"), fs::Permissions::from_mode(0o751)).unwrap();
        rustix::fs::chown(
            dir.join("file"),
            Some(rustix::fs::Uid::from_raw(33)),
            Some(rustix::fs::Gid::from_raw(33)),
        )
        .unwrap();
        let file = dir.join("file").to_str().unwrap().to_owned();
        let all = dir.to_str().unwrap().to_owned();
        both(bed, |name| {
            bed.run(&["cp", &file, &format!("{name}:/d")]).ok();
            bed.run(&["cp", "-a", &file, &format!("{name}:/d/kept")])
                .ok();
            bed.run(&["cp", &format!("{all}/."), &format!("{name}:/d/sub")])
                .ok();
            bed.run(&["cp", &file, &format!("{name}:/d/link")]).ok();
            bed.run(&["cp", &file, &format!("{name}:/no/such/dir/x")])
                .fails(1, &["/no/such/dir"]);
        });
        bed.run(&["start", "stopped"]).ok();
        bed.run(&["wait", "stopped"]).ok();
        // Seen from inside, and with the container's names of its users.
        let script = "cat /d/file /d/sub/sub/deep; stat -c '%u %a' /d/file /d/kept; cat /d/link";
        let seen = bed.run(&["exec", "runs", "sh", "-c", script]).ok();
        assert_eq!(seen, "hello\ndeep\n0 751\n33 751\nhello");
        let tar = bed.run(&["cp", "stopped:/d/sub/sub/deep", "-"]).text();
        assert!(tar.contains("deep\n"), "{tar:?}");
        // The link was followed: what it leads to was replaced, not the link.
        assert_eq!(bed.run(&["exec", "runs", "readlink", "/d/link"]).ok(), "a");
        bed.run(&["create", "--name", "closed", "--read-only", BUSYBOX])
            .ok();
        bed.run(&["cp", &file, "closed:/x"])
            .fails(1, &["read-only"]);
    });
}

#[test]
fn what_was_only_created_stays_so_and_has_its_volumes() {
    bed!(|bed| {
        bed.run(&[
            "create",
            "--name",
            "new",
            "-v",
            "vol:/data/deep",
            BUSYBOX,
            "cat",
            "/data/deep/f",
            "/g",
        ])
        .ok();
        let file = bed.file("f", "content\n");
        bed.run(&["cp", &file, "new:/data/deep"]).ok();
        bed.run(&["cp", &file, "new:/g"]).ok();
        assert_eq!(bed.inspect("new", "{{.State.Status}}"), "created");
        assert_eq!(read(&bed.root().join("volumes/vol/_data/f")), "content\n");
        assert_eq!(bed.run(&["start", "-a", "new"]).ok(), "content\ncontent");
    });
}

#[test]
fn as_a_tar() {
    bed!(|bed| {
        both(bed, |name| {
            let tar = bed.dir().join("d.tar");
            let script = "cat >\"$1\"; busybox tar tvf \"$1\"";
            let wharf = black_box_tests::binary("wharf");
            let pipe = format!(
                "{} --root {} --runroot {} cp {name}:/d - | sh -c '{script}' sh {}",
                wharf.display(),
                bed.root().display(),
                bed.runroot().display(),
                tar.display()
            );
            let list = bed.host("sh", &["-c", &pipe]).ok();
            for part in ["d/a", "d/sub/b", "d/link -> a", "d/hard"] {
                assert!(list.contains(part), "{part} is missing:\n{list}");
            }
            bed.run(&["exec", "runs", "mkdir", "-p", "/copy"]).ok();
            bed.command(&["cp", "-", "runs:/copy"])
                .input(fs::read(&tar).unwrap())
                .run()
                .ok();
            let script = "cat /copy/d/sub/b; stat -c '%u %a' /copy/d/a; readlink /copy/d/link";
            assert_eq!(
                bed.run(&["exec", "runs", "sh", "-c", script]).ok(),
                "two\n1000 640\na"
            );
            bed.run(&["exec", "runs", "rm", "-r", "/copy"]).ok();
        });
        let evil = |tar: Tar, word: &str| {
            bed.command(&["cp", "-", "runs:/d"])
                .input(tar.finish())
                .run()
                .fails(1, &[word]);
        };
        evil(Tar::new().file("../x", 0o644, "x"), "leads out");
        evil(
            Tar::new().symlink("out", "/etc").file("out/x", 0o644, "x"),
            "no directory of its own",
        );
        evil(Tar::new().hard_link("x", "../../etc/passwd"), "leads out");
        bed.command(&["cp", "-", "runs:/d"])
            .input("no tar at all")
            .run()
            .fails(1, &["tar"]);
    });
}

#[test]
fn export_has_everything_but_what_is_mounted() {
    bed!(|bed| {
        both(bed, |name| {
            let tar = bed.dir().join(format!("{name}.tar"));
            bed.run(&["export", "-o", tar.to_str().unwrap(), name]).ok();
            let list = bed
                .host("busybox", &["tar", "tf", tar.to_str().unwrap()])
                .ok();
            let has = |path: &str| list.lines().any(|line| line.trim_end_matches('/') == path);
            assert!(
                has("bin/busybox") && has("d/sub/b") && has("proc"),
                "{list}"
            );
            assert!(!list.contains("proc/1"), "proc was packed");
            bed.run(&["import", tar.to_str().unwrap(), &format!("from-{name}")])
                .ok();
            assert_eq!(
                bed.run(&["run", "--rm", &format!("from-{name}"), "cat", "/d/a"])
                    .ok(),
                "one"
            );
        });
        bed.run(&["export", "nobody"])
            .fails(1, &["no such container"]);
    });
}

/// CVE-2018-15664: a container exchanges a directory and a link to the host's while files are copied.
#[test]
fn a_link_that_is_swapped_in_leads_nowhere() {
    bed!(|bed| {
        let trap = bed.dir().join("trap");
        fs::create_dir_all(trap.join("sub")).unwrap();
        fs::write(trap.join("sub/secret"), "of the host").unwrap();
        // The same path leads to the container's own files, and outside to ours.
        let path = trap.display();
        let script = format!(
            "mkdir -p {path}/sub /real/sub; echo mine >/real/sub/secret; \
             while :; do mv /real /x; ln -s {path} /real; rm /real; mv /x /real; done"
        );
        bed.run(&["run", "-d", "--name", "evil", BUSYBOX, "sh", "-c", &script])
            .ok();
        let payload = bed.file("payload", "attack");
        let out = bed.dir().join("stolen");
        for _ in 0..150 {
            // Whether it finds anything is the race's affair.
            bed.run(&["cp", &payload, "evil:/real/sub/planted"]);
            let _ = fs::remove_dir_all(&out);
            bed.run(&["cp", "-L", "evil:/real/sub/.", out.to_str().unwrap()]);
            let stolen = fs::read_to_string(out.join("secret")).unwrap_or_default();
            assert_ne!(stolen, "of the host");
        }
        assert!(
            !trap.join("sub/planted").exists(),
            "it was planted on the host"
        );
        // A link without a race stays inside, too.
        bed.start(&["--name", "quiet"]);
        bed.run(&["exec", "quiet", "ln", "-s", "/../../../../etc", "/escape"])
            .ok();
        bed.run(&["cp", &payload, "quiet:/escape/planted"]).ok();
        assert!(!Path::new("/etc/planted").exists());
        bed.run(&["exec", "quiet", "cat", "/etc/planted"]).ok();
        bed.run(&["cp", "quiet:/proc/1/root/etc/passwd", out.to_str().unwrap()])
            .fails(1, &["/proc/1/root"]);
    });
}

#[test]
fn arguments() {
    bed!(|bed| {
        bed.run(&["cp", "a", "b"]).fails(1, &["CONTAINER:PATH"]);
        bed.run(&["cp", "a:b", "c:d"])
            .fails(1, &["between a container and the host"]);
        bed.run(&["cp", "nobody:/a", "b"])
            .fails(1, &["no such container"]);
        bed.run(&["cp", ":/a", "b"]).fails(1, &["no name"]);
    });
}
