//! Volumes whose files want out.

use std::fs;
use std::os::unix::fs::symlink;

use black_box_tests::{BUSYBOX, bed};

#[test]
fn a_subpath_does_not_lead_out_by_links() {
    bed!(|bed| {
        fs::write(bed.dir().join("secret"), "host").unwrap();
        bed.shell(
            &["-v", "data:/d"],
            "cd /d; ln -s / root; ln -s /etc absolute; ln -s ../../../../.. up; ln -s /proc/self/root magic; mkdir real; ln -s real fine",
        )
        .ok();
        for (path, word) in [
            ("root/etc", "leads out"),
            ("absolute", "leads out"),
            ("up/etc", "leads out"),
            ("magic/etc", "leads out"),
        ] {
            let mount = format!("type=volume,source=data,target=/x,volume-subpath={path}");
            bed.shell(&["--mount", &mount], "ls /x").fails(125, &[word]);
        }
        let mount = "type=volume,source=data,target=/x,volume-subpath=fine";
        bed.shell(&["--mount", mount], "ls /x").ok();
        bed.run(&["volume", "rm", "data"]).ok();
    });
}

#[test]
fn a_part_that_is_exchanged_for_a_link_meanwhile() {
    bed!(|bed| {
        let secret = bed.dir().join("outside");
        fs::create_dir(&secret).unwrap();
        fs::write(secret.join("secret"), "host").unwrap();
        bed.run(&["volume", "create", "data"]).ok();
        let data = bed
            .run(&["volume", "inspect", "-f", "{{.Mountpoint}}", "data"])
            .ok();
        let data = std::path::Path::new(&data);
        fs::create_dir(data.join("part")).unwrap();
        fs::write(data.join("part/mine"), "").unwrap();
        symlink(&secret, data.join("link")).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use rustix::fs::{CWD, RenameFlags, renameat_with};
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = renameat_with(
                        CWD,
                        data.join("part"),
                        CWD,
                        data.join("link"),
                        RenameFlags::EXCHANGE,
                    );
                }
            });
            let mount = "type=volume,source=data,target=/x,volume-subpath=part";
            let mut inside = 0;
            for _ in 0..30 {
                let outcome = bed.shell(&["--mount", mount], "ls /x");
                assert!(!outcome.text().contains("secret"), "{}", outcome.story());
                inside += usize::from(outcome.text().contains("mine"));
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(inside > 0, "the exchange never left the directory in place");
        });
        bed.run(&["volume", "rm", "data"]).ok();
    });
}

#[test]
fn an_archive_full_of_ways_out() {
    bed!(|bed| {
        let victim = bed.dir().join("victim");
        fs::create_dir(&victim).unwrap();
        let python = format!(
            r#"
import io, tarfile
def tar(name, *entries):
    with tarfile.open({dir:?} + "/" + name, "w") as out:
        for (path, kind, link, data) in entries:
            info = tarfile.TarInfo(path)
            info.type, info.linkname, info.size, info.mode = kind, link, len(data), 0o644
            out.addfile(info, io.BytesIO(data))
F, S, L = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
tar("up.tar", ("../../../../../../../../victim-up", F, "", b"x"))
tar("through.tar", ("way", S, {victim:?}, b""), ("way/pwned", F, "", b"x"))
tar("hard.tar", ("way", S, "/", b""), ("copy", L, "way/etc/passwd", b""))
tar("hardup.tar", ("copy", L, "../../../../../../../etc/passwd", b""))
tar("over.tar", ("way", S, {victim:?} + "/file", b""), ("way", F, "", b"x"))
tar("absolute.tar", ("/absolute", F, "", b"x"))
"#,
            dir = bed.dir().to_str().unwrap(),
            victim = victim.to_str().unwrap(),
        );
        bed.host("python3", &["-c", &python]).ok();
        for (name, goes) in [
            ("up", false),
            ("through", false),
            ("hard", false),
            ("hardup", false),
            ("over", true),
            ("absolute", true),
        ] {
            let archive = bed.dir().join(format!("{name}.tar"));
            let outcome = bed.run(&["volume", "import", name, archive.to_str().unwrap()]);
            assert_eq!(
                outcome.status.success(),
                goes,
                "{name}: {}",
                outcome.story()
            );
        }
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
        assert!(!std::path::Path::new("/absolute").exists());
        assert_eq!(
            bed.run(&["volume", "ls", "-q"]).ok(),
            "absolute\nover",
            "what failed left a volume"
        );
        assert_eq!(
            bed.run(&[
                "run",
                "--rm",
                "-v",
                "over:/d",
                "-v",
                "absolute:/a",
                BUSYBOX,
                "ls",
                "/a",
                "/d"
            ])
            .ok(),
            "/a:\nabsolute\n\n/d:\nway"
        );
        bed.run(&["volume", "prune", "-af"]).ok();
    });
}
