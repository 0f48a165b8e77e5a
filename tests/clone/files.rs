//! Files: one moment with the memory, and nobody's but the clone's own.

use black_box_tests::{BUSYBOX, bed};

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
            let log = bed.run(&["logs", name]).ok();
            let first: u64 = log.lines().next().unwrap().parse().unwrap();
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
