//! Snapshots of containers: sealed, not copied; compared, restored, removed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use black_box_tests::{BUSYBOX, Bed, Store, bed};

/// Runs a script in a container that was made, and waits for its end.
fn step(bed: &Bed, script: &str) -> String {
    fs::write(bed.dir().join("script"), script).unwrap();
    let path = bed.dir().join("script");
    bed.run(&["cp", "-q", path.to_str().unwrap(), "one:/script"])
        .ok();
    bed.run(&["start", "-a", "one"]).ok()
}

fn make(bed: &Bed) -> PathBuf {
    let id = bed
        .run(&[
            "create",
            "--name",
            "one",
            "-v",
            "data:/data",
            BUSYBOX,
            "sh",
            "/script",
        ])
        .ok();
    bed.root().join("snapshots/active").join(id)
}

#[test]
fn there_and_back() {
    bed!(|bed| {
        let active = make(bed);
        step(
            bed,
            "echo 1 > /a; mkdir /d; echo x > /d/x; chmod 700 /; rm /bin/vi; echo v > /data/v",
        );
        let inode = fs::metadata(active.join("upper/a")).unwrap().ino();
        assert_eq!(
            bed.run(&["snapshot", "create", "one", "first"]).ok(),
            "first"
        );
        // Sealed as it is, not copied.
        assert_eq!(
            fs::metadata(active.join("sealed/0/a")).unwrap().ino(),
            inode
        );
        assert!(fs::read_dir(active.join("upper")).unwrap().next().is_none());
        let text = step(
            bed,
            "cat /a /d/x; stat -c %a /; test ! -e /bin/vi; echo 2 > /a; rm -r /d; mkdir /d; echo y > /d/y; echo v2 > /data/v",
        );
        assert_eq!(text, "1\nx\n700");
        assert_eq!(bed.run(&["snapshot", "create", "one"]).ok(), "snap0");
        assert_eq!(
            bed.run(&["snapshot", "ls", "-q", "one"]).ok(),
            "first\nsnap0"
        );
        assert_eq!(step(bed, "cat /a; ls /d; echo 3 > /a"), "2\ny");
        // Back, forth, and back to where it was never overwritten.
        assert_eq!(
            bed.run(&["snapshot", "restore", "one", "first"]).ok(),
            "one"
        );
        assert_eq!(
            step(
                bed,
                "cat /a /d/x /data/v; stat -c %a /; ls /d; test ! -e /bin/vi; echo 4 > /a"
            ),
            "1\nx\nv2\n700\nx"
        );
        bed.run(&["snapshot", "restore", "one", "snap0"]).ok();
        assert_eq!(step(bed, "cat /a; ls /d"), "2\ny");
        // What no snapshot needs goes; what the container stands on stays.
        bed.run(&["snapshot", "rm", "one", "first"]).ok();
        assert_eq!(step(bed, "cat /a; ls /d"), "2\ny");
        assert_eq!(fs::read_dir(active.join("sealed")).unwrap().count(), 2);
        bed.run(&["snapshot", "rm", "one", "snap0"]).ok();
        assert_eq!(bed.run(&["snapshot", "ls", "one"]).ok().lines().count(), 1);
        assert_eq!(step(bed, "cat /a"), "2");
        bed.run(&["rm", "one"]).ok();
        assert!(!active.exists());
    });
}

#[test]
fn what_is_refused() {
    bed!(|bed| {
        bed.start(&["--name", "one"]);
        bed.run(&["exec", "one", "touch", "/a"]).ok();
        bed.run(&["snapshot", "create", "--restart", "one", "s"])
            .ok();
        bed.run(&["exec", "one", "sh", "-c", "test -e /a && touch /b"])
            .ok();
        bed.run(&["snapshot", "restore", "one", "s"])
            .fails(1, &["is running"]);
        let before = bed.inspect("one", "{{.State.Pid}}");
        bed.run(&["snapshot", "restore", "--restart", "one", "s"])
            .ok();
        assert_ne!(bed.inspect("one", "{{.State.Pid}}"), before);
        bed.run(&["exec", "one", "sh", "-c", "test -e /a && test ! -e /b"])
            .ok();
        bed.run(&["stop", "-t", "0", "one"]).ok();
        bed.run(&["snapshot", "create", "one", "s"])
            .fails(1, &["a snapshot s already"]);
        bed.run(&["snapshot", "create", "one", "../s"])
            .fails(1, &["../s"]);
        bed.run(&["snapshot", "restore", "one", "t"])
            .fails(1, &["no such snapshot: t"]);
        bed.run(&["snapshot", "rm", "one", "t"])
            .fails(1, &["no such snapshot: t"]);
        bed.run(&["snapshot", "ls", "nobody"])
            .fails(1, &["no such container"]);
        bed.run(&["update", "--snapshot", "-m", "64m", "one"]).ok();
        assert_eq!(bed.run(&["snapshot", "ls", "-q", "one"]).ok(), "s\nsnap0");
    });
}

#[test]
fn differences() {
    bed!(|bed| {
        make(bed);
        step(
            bed,
            "mkdir /w; echo 1 > /w/kept; echo 1 > /w/changed; echo 1 > /w/gone; rm /bin/vi",
        );
        bed.run(&["snapshot", "create", "one", "a"]).ok();
        step(
            bed,
            "echo 2 > /w/changed; rm /w/gone; echo 1 > /w/new; echo 1 > /w/short",
        );
        bed.run(&["snapshot", "create", "one", "b"]).ok();
        step(bed, "rm /w/short; echo 1 > /w/late; echo back > /bin/vi");
        let diff = |words: &[&str]| {
            let mut arguments = vec!["snapshot", "diff", "one"];
            arguments.extend(words);
            let text = bed.run(&arguments).ok();
            let mut lines: Vec<String> = text
                .lines()
                .filter(|line| line.contains("/w/") || line.contains("/bin/"))
                .map(str::to_owned)
                .collect();
            lines.sort_by_key(|line| line[2..].to_owned());
            lines.join(" ")
        };
        assert_eq!(
            diff(&["a", "b"]),
            "C /w/changed D /w/gone A /w/new A /w/short"
        );
        assert_eq!(
            diff(&["b", "a"]),
            "C /w/changed A /w/gone D /w/new D /w/short"
        );
        assert_eq!(
            diff(&["a"]),
            "A /bin/vi C /w/changed D /w/gone A /w/late A /w/new"
        );
        assert_eq!(diff(&["b", "b"]), "");
        // Against the image it is all of it together.
        let whole = bed.run(&["diff", "one"]).ok();
        let of = |path: &str| {
            whole
                .lines()
                .find(|line| line.ends_with(path))
                .map(|line| line[..1].to_owned())
        };
        assert_eq!(of("/w/kept").as_deref(), Some("A"));
        assert_eq!(of("/w/changed").as_deref(), Some("A"));
        assert_eq!(of("/w/gone"), None);
        assert_eq!(of("/bin/vi").as_deref(), Some("C"));
        // And so it is in an image that is made of it.
        bed.run(&["commit", "one", "made:1"]).ok();
        let text = bed
            .run(&[
                "run",
                "--rm",
                "made:1",
                "sh",
                "-c",
                "ls /w; cat /w/changed /bin/vi",
            ])
            .ok();
        assert_eq!(text, "changed\nkept\nlate\nnew\n2\nback");
    });
}

#[test]
fn bytes_are_counted() {
    bed!(|bed| {
        make(bed);
        step(bed, "dd if=/dev/zero of=/big bs=1M count=2 2>&1");
        bed.run(&["snapshot", "create", "one"]).ok();
        step(bed, "dd if=/dev/zero of=/more bs=1M count=1 2>&1");
        let size = bed
            .run(&["snapshot", "ls", "--format", "{{.Size}}", "one"])
            .ok();
        let megabytes: f64 = size.strip_suffix("MB").unwrap().parse().unwrap();
        assert!((2.0..2.3).contains(&megabytes), "{size}");
        let both = bed.run(&["ps", "-a", "--format", "{{.Size}}"]).ok();
        let megabytes: f64 = both.split("MB").next().unwrap().parse().unwrap();
        assert!((3.1..3.5).contains(&megabytes), "{both}");
    });
}

/// As a crash between record and directories leaves it.
#[test]
fn half_a_snapshot_is_finished() {
    bed!(|bed| {
        let active = make(bed);
        step(bed, "echo 1 > /a");
        bed.run(&["snapshot", "create", "one", "s"]).ok();
        let (upper, sealed) = (active.join("upper"), active.join("sealed/0"));
        // The record was written, nothing was moved.
        fs::remove_dir(&upper).unwrap();
        fs::rename(&sealed, &upper).unwrap();
        assert_eq!(step(bed, "cat /a; echo 2 > /b"), "1");
        assert!(sealed.join("a").exists() && !upper.join("a").exists());
        // Moved, and nothing put on top.
        bed.run(&["snapshot", "create", "one", "t"]).ok();
        fs::remove_dir_all(&upper).unwrap();
        assert_eq!(step(bed, "cat /a /b"), "1\n2");
    });
}

#[test]
fn of_one_that_runs() {
    bed!(|bed| {
        let script = "i=0; while :; do i=$((i+1)); echo $i > /w/a; echo $i > /w/b; done";
        let run = ["run", "-d", "--name", "one", BUSYBOX, "sh", "-c"];
        let made = "mkdir /w /d; echo 1 > /d/x; rm /bin/vi; chmod 700 /d";
        let script = format!("{made}; touch /ready; {script}");
        bed.run(&[&run[..], &[&script]].concat()).ok();
        let sh = |script: &str| bed.run(&["exec", "one", "sh", "-c", script]).ok();
        black_box_tests::eventually(30, "files", || {
            bed.run(&["exec", "one", "test", "-e", "/w/b"])
                .status
                .success()
                .then_some(())
        });
        let before = bed.inspect("one", "{{.State.Pid}} {{.State.StartedAt}}");
        assert_eq!(
            bed.run(&["snapshot", "create", "one", "first"]).ok(),
            "first"
        );
        sh("echo 2 > /d/x; echo 1 > /d/y");
        // It goes on, and nothing of it stands still.
        assert_eq!(
            bed.inspect("one", "{{.State.Pid}} {{.State.StartedAt}}"),
            before
        );
        let count = sh("cat /w/a");
        black_box_tests::eventually(30, "another number", || {
            (sh("cat /w/a") != count).then_some(())
        });
        assert_eq!(
            bed.run(&["update", "--snapshot", "-m", "64m", "one"]).ok(),
            "one"
        );
        bed.run(&["pause", "one"]).ok();
        assert_eq!(bed.run(&["snapshot", "create", "one"]).ok(), "snap1");
        assert_eq!(bed.inspect("one", "{{.State.Status}}"), "paused");
        bed.run(&["unpause", "one"]).ok();
        bed.run(&["snapshot", "create", "one", "first"])
            .fails(1, &["a snapshot first already"]);
        assert_eq!(
            bed.run(&["snapshot", "ls", "-q", "one"]).ok(),
            "first\nsnap0\nsnap1"
        );
        let diff = bed.run(&["snapshot", "diff", "one", "first", "snap0"]).ok();
        assert!(diff.contains("C /d/x") && diff.contains("A /d/y"), "{diff}");
        assert!(!diff.contains("/bin/vi"), "{diff}");
        bed.run(&["snapshot", "restore", "one", "first"])
            .fails(1, &["is running", "--restart"]);
        // Back: all of it is of one moment.
        bed.run(&["stop", "-t", "0", "one"]).ok();
        bed.run(&["snapshot", "restore", "one", "first"]).ok();
        let at = |path: &str| {
            let file = bed.dir().join("file");
            bed.run(&["cp", "-q", &format!("one:{path}"), file.to_str().unwrap()])
                .ok();
            fs::read_to_string(&file).unwrap()
        };
        assert_eq!(at("/d/x"), "1\n");
        bed.run(&["cp", "-q", "one:/d/y", "-"]).fails(1, &["/d/y"]);
        bed.run(&["cp", "-q", "one:/bin/vi", "-"])
            .fails(1, &["/bin/vi"]);
        let number = |path: &str| at(path).trim().parse::<u64>();
        if let (Ok(a), Ok(b)) = (number("/w/a"), number("/w/b")) {
            assert!(a == b || a == b + 1, "{a} {b}");
        }
        for name in ["snap0", "snap1", "first"] {
            bed.run(&["snapshot", "rm", "one", name]).ok();
        }
        let id = bed.inspect("one", "{{.Id}}");
        let active = bed.root().join("snapshots/active").join(id);
        assert_eq!(fs::read_dir(active.join("sealed")).unwrap().count(), 1);
    });
}

/// More snapshots of what runs than would fit, if each had blocks of its own.
#[test]
fn of_one_that_runs_share_blocks() {
    bed!(|bed| {
        let store = Store::on(bed, "512M", &["mkfs.xfs", "-q"]);
        store.load_busybox().ok();
        let wharf = |words: &[&str]| store.run(words);
        let run = ["run", "-d", "--name", "one", "--network", "none", BUSYBOX];
        wharf(&[&run[..], &["sleep", "1000"]].concat()).ok();
        let fill = "dd if=/dev/urandom of=/big bs=1M count=120 2>&1 && md5sum /big";
        let sum = wharf(&["exec", "one", "sh", "-c", fill]).ok();
        for name in ["a", "b", "c", "d"] {
            wharf(&["snapshot", "create", "one", name]).ok();
        }
        wharf(&["exec", "one", "sh", "-c", "echo other > /big"]).ok();
        wharf(&["snapshot", "restore", "--restart", "one", "c"]).ok();
        let seen = wharf(&["exec", "one", "md5sum", "/big"]).ok();
        assert!(sum.ends_with(&seen), "{sum} {seen}");
        wharf(&["rm", "-f", "one"]).ok();
        store.remove();
    });
}
