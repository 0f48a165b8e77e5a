//! Files: one moment with the memory, and nobody's but the clone's own.

use black_box_tests::{BUSYBOX, bed, eventually};

use crate::{counter, counts_on, inside, templates};

#[test]
fn layer_and_volumes_are_each_ones_own() {
    bed!(|bed| {
        let shared = bed.dir().join("shared");
        std::fs::create_dir(&shared).unwrap();
        let bind = format!("{}:/host", shared.display());
        counter(
            bed,
            "one",
            &["-v", "/anonymous", "-v", "named:/named", "-v", &bind],
        );
        let places = "/file /anonymous/file /named/file";
        let write = |name: &str, text: &str| {
            inside(
                bed,
                name,
                &format!("for f in {places}; do echo {text} > $f; done"),
            );
        };
        let read = |name: &str| inside(bed, name, &format!("cat {places}")).replace('\n', " ");
        write("one", "first");
        inside(bed, "one", "rm /bin/[; echo host > /host/file");
        bed.run(&["clone", "--name-prefix", "c", "one", "2"]).ok();
        write("one", "later");
        for name in ["c-1", "c-2"] {
            counts_on(bed, name);
            assert_eq!(read(name), "first first first");
            inside(bed, name, "test ! -e /bin/[");
            write(name, name);
        }
        assert_eq!(read("c-1"), "c-1 c-1 c-1");
        assert_eq!(read("c-2"), "c-2 c-2 c-2");
        assert_eq!(read("one"), "later later later");
        // Whoever has the volume by its name has the container's.
        let said = bed.shell(&["-v", "named:/x"], "cat /x/file");
        assert_eq!(said.ok(), "later");
        // Directories of the host are everybody's.
        inside(bed, "c-1", "echo clone > /host/file");
        assert_eq!(inside(bed, "one", "cat /host/file"), "clone");
        // They keep theirs while they do not run.
        bed.run(&["stop", "-t", "0", "c-1"]).ok();
        bed.run(&["start", "c-1"]).ok();
        assert_eq!(read("c-1"), "c-1 c-1 c-1");
        bed.run(&["rm", "-f", "-v", "one", "c-1", "c-2"]).ok();
        assert_eq!(bed.run(&["volume", "ls", "-q"]).ok(), "named");
        bed.run(&["volume", "rm", "named"]).ok();
        assert_eq!(templates(bed), 0);
    });
}

#[test]
fn what_lies_below_stays_as_it_was_and_is_seen_by_all_verbs() {
    bed!(|bed| {
        counter(
            bed,
            "one",
            &[
                "-v",
                "data:/data",
                "--mount",
                "type=volume,source=parts,target=/part",
            ],
        );
        inside(
            bed,
            "one",
            "mkdir -p /data/deep /part/a; echo 1 > /data/deep/x; echo 2 > /data/gone; chown 70:70 /data; chmod 750 /data",
        );
        bed.run(&["clone", "--name", "two", "one"]).ok();
        assert_eq!(inside(bed, "two", "stat -c '%u:%g %a' /data"), "70:70 750");
        inside(
            bed,
            "two",
            "rm /data/gone; echo 3 > /data/deep/y; rm -r /part/a; mkdir /part/a",
        );
        // A clone of the clone has both layers of it.
        bed.run(&["clone", "--name", "three", "two"]).ok();
        bed.run(&["rm", "-f", "one"]).ok();
        for name in ["two", "three"] {
            assert_eq!(
                inside(bed, name, "cat /data/deep/x /data/deep/y; ls /data /part/a"),
                "1\n3\n/data:\ndeep\n\n/part/a:"
            );
            assert_eq!(inside(bed, name, "stat -c '%u:%g %a' /data"), "70:70 750");
        }
        // cp sees it whether the clone runs or not; a checkpoint has it.
        bed.run(&["stop", "-t", "0", "three"]).ok();
        let file = bed.file("file", "4");
        bed.run(&["cp", &file, "three:/data/deep/z"]).ok();
        let out = bed.dir().join("out");
        bed.run(&["cp", "three:/data", out.to_str().unwrap()]).ok();
        let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
        assert_eq!((read("deep/x"), read("deep/z")), ("1\n".into(), "4".into()));
        assert!(!out.join("gone").exists());
        bed.run(&["checkpoint", "two", "kept"]).ok();
        bed.run(&["rm", "two"]).ok();
        bed.run(&["restore", "kept", "--name", "four"]).ok();
        assert_eq!(
            inside(bed, "four", "cat /data/deep/x /data/deep/y; ls /data"),
            "1\n3\ndeep"
        );
        bed.run(&["run", "--rm", "--volumes-from", "three", "busybox", "true"])
            .fails(125, &["are its own"]);
        bed.run(&["rm", "-f", "-v", "three", "four"]).ok();
        bed.run(&["volume", "rm", "data", "parts"]).ok();
        assert_eq!(bed.run(&["volume", "ls", "-q"]).ok(), "");
        assert_eq!(templates(bed), 0);
    });
}

#[test]
fn a_part_of_a_volume_and_one_that_is_mounted_twice() {
    bed!(|bed| {
        bed.run(&["volume", "create", "data"]).ok();
        bed.shell(
            &["-v", "data:/data"],
            "mkdir -p /data/a/b; echo 1 > /data/a/b/x",
        )
        .ok();
        let part = "type=volume,source=data,target=/part,volume-subpath=a/b";
        counter(bed, "one", &["--mount", part]);
        bed.run(&["clone", "--name", "two", "one"]).ok();
        inside(bed, "two", "echo 2 > /part/x");
        assert_eq!(inside(bed, "one", "cat /part/x"), "1");
        assert_eq!(inside(bed, "two", "cat /part/x"), "2");
        bed.run(&["stop", "-t", "0", "two"]).ok();
        let out = bed.dir().join("out");
        bed.run(&["cp", "two:/part/x", out.to_str().unwrap()]).ok();
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "2\n");
        counter(bed, "twice", &["-v", "data:/a", "-v", "data:/b"]);
        bed.run(&["clone", "twice"])
            .fails(125, &["volume data is mounted in two places"]);
        counts_on(bed, "twice");
        bed.run(&["rm", "-f", "one", "two", "twice"]).ok();
        bed.run(&["volume", "rm", "data"]).ok();
    });
}

#[test]
fn what_the_process_wrote_last_is_there() {
    bed!(|bed| {
        // What is in its memory and what is in the file are the same number, in every clone.
        let script = "i=0; while :; do i=$((i+1)); echo $i > /v/n; cp /v/n /n; echo $i; done";
        bed.run(&[
            "run",
            "-d",
            "--name",
            "one",
            "--network",
            "none",
            "-v",
            "vv:/v",
            BUSYBOX,
            "sh",
            "-c",
            script,
        ])
        .ok();
        for number in 0..5 {
            let name = &format!("c{number}");
            // It reads what was written before it goes on.
            let hook = "cat /v/n > /seen; cat /n >> /seen";
            bed.run(&["clone", "--name", name, "--hook", hook, "one"])
                .ok();
            let first: u64 = eventually(10, "the clone's first line", || {
                let log = bed.run(&["logs", name]).ok();
                Some(log.split_once('\n')?.0.parse().unwrap())
            });
            let seen = inside(bed, name, "cat /seen");
            for text in seen.lines() {
                // A file is empty for a moment while the shell rewrites it.
                let there: u64 = text.parse().unwrap();
                assert!(there == first || there + 1 == first, "{first}: {seen}");
            }
        }
        let mut arguments = vec!["rm", "-f", "one", "c0", "c1", "c2", "c3", "c4"];
        arguments.push("-v");
        bed.run(&arguments).ok();
        bed.run(&["volume", "rm", "vv"]).ok();
    });
}

#[test]
fn output_goes_to_the_log_although_the_shell_had_it_put_aside() {
    bed!(|bed| {
        // While a command of its own is redirected, a shell keeps standard output under another number.
        let script = "{ sleep 1; while :; do test -e /go && break; sleep 0.1; done; } > /aside 2>&1; echo after; sleep 1000";
        let how = ["run", "-d", "--name", "one", "--network", "none"];
        bed.run(&[&how[..], &[BUSYBOX, "sh", "-c", script]].concat())
            .ok();
        eventually(10, "the redirection", || {
            let output = inside(bed, "one", "readlink /proc/1/fd/1");
            (output == "/aside").then_some(())
        });
        bed.run(&["clone", "--name", "two", "one"]).ok();
        bed.run(&["suspend", "one"]).ok();
        bed.run(&["resume", "one"]).ok();
        for name in ["one", "two"] {
            inside(bed, name, "touch /go");
            eventually(10, "its word", || {
                (bed.run(&["logs", name]).ok() == "after").then_some(())
            });
        }
        bed.run(&["rm", "-f", "one", "two"]).ok();
    });
}
