//! Warm images: containers of them go on where one was, or say why they begin from the beginning.

use black_box_tests::{Access, BUSYBOX, Bed, Registry, bed, eventually};

use crate::{count, counter, counts_on, inside, templates};

/// The first number that a container said.
fn first(bed: &Bed, name: &str) -> u64 {
    let log = eventually(30, "it to count", || {
        let log = bed.run(&["logs", name]).ok();
        (!log.is_empty()).then_some(log)
    });
    log.lines().next().unwrap().parse().unwrap()
}

/// Makes one of a container that has counted for a while, and removes that; gives how far it was.
fn warm_image(bed: &Bed, name: &str) -> u64 {
    counter(bed, "one", &["-v", "/data", "-e", "A=b"]);
    inside(bed, "one", "echo kept > /data/file; echo layer > /file");
    counts_on(bed, "one");
    let before = count(bed, "one");
    bed.run(&["commit", "--memory", "one", name]).ok();
    counts_on(bed, "one");
    bed.run(&["rm", "-f", "-v", "one"]).ok();
    assert_eq!(templates(bed), 0);
    before
}

/// Runs one more container of the image, in the background; gives what is said besides its id.
fn run(bed: &Bed, name: &str, more: &[&str]) -> String {
    let mut arguments = vec!["run", "-d", "--network", "none", "--name", name];
    arguments.extend(more);
    let outcome = bed.run(&arguments);
    outcome.ok();
    String::from_utf8_lossy(&outcome.stderr).into_owned()
}

#[test]
fn it_goes_on_as_often_as_wanted() {
    bed!(|bed| {
        let before = warm_image(bed, "warm");
        for name in ["two", "three"] {
            assert_eq!(run(bed, name, &["warm"]), "");
            assert!(first(bed, name) > before, "{} {before}", first(bed, name));
            counts_on(bed, name);
            assert_eq!(inside(bed, name, "cat /data/file /file"), "kept\nlayer");
            let id = bed.inspect(name, "{{.Id}}");
            assert_eq!(inside(bed, name, "hostname"), id[..12]);
            // Nobody sees where the memory is.
            assert_eq!(inside(bed, name, "ls -a / | grep -c wharf || true"), "0");
            inside(bed, name, "echo mine > /data/file");
        }
        // A container that ran once starts its program.
        bed.run(&["stop", "-t", "0", "two"]).ok();
        bed.run(&["start", "two"]).ok();
        eventually(30, "it to begin anew", || {
            let log = bed.run(&["logs", "two"]).ok();
            log.lines().any(|line| line == "1").then_some(())
        });
        // What is committed from one without its memory is an image like any other.
        bed.run(&["commit", "three", "plain"]).ok();
        assert_eq!(run(bed, "four", &["plain"]), "");
        assert_eq!(first(bed, "four"), 1);
        // And with it, warm again.
        let before = count(bed, "three");
        bed.run(&["commit", "--memory", "three", "warmer"]).ok();
        assert_eq!(run(bed, "five", &["warmer"]), "");
        assert!(first(bed, "five") > before);
        assert_eq!(inside(bed, "five", "cat /data/file"), "mine");
        // As a clone's parent, and in the foreground.
        bed.run(&["clone", "--name", "six", "five"]).ok();
        counts_on(bed, "six");
        let shown = bed
            .command(&[
                "run",
                "--rm",
                "--network",
                "none",
                "--name",
                "seven",
                "warm",
            ])
            .start();
        eventually(30, "it to count on", || {
            let log = bed.run(&["logs", "seven"]);
            let lines = String::from_utf8_lossy(&log.stdout).lines().count();
            (log.status.success() && lines > 3).then_some(())
        });
        bed.run(&["stop", "-t", "0", "seven"]).ok();
        let shown = shown.finish();
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        let number: u64 = text.lines().next().unwrap().parse().unwrap();
        assert!(number > 5, "{text}");
        bed.run(&["rm", "-f", "-v", "two", "three", "four", "five", "six"])
            .ok();
        assert_eq!(bed.run(&["volume", "ls", "-q"]).ok(), "");
    });
}

#[test]
fn what_does_not_fit_starts_cold_and_says_so() {
    bed!(|bed| {
        warm_image(bed, "warm");
        let other = run(bed, "two", &["warm", "sh", "-c", "echo 7; sleep 100"]);
        assert!(
            other.contains("warm starts cold: it is to run another command"),
            "{other}"
        );
        assert_eq!(first(bed, "two"), 7);
        for (name, options, words) in [
            (
                "three",
                &["-e", "A=c"][..],
                "environment, user, directory or terminal",
            ),
            (
                "four",
                &["--tmpfs", "/more"],
                "something else is to be mounted",
            ),
            (
                "five",
                &["-v", "named:/data"],
                "a volume is to be another one",
            ),
        ] {
            let said = run(bed, name, &[options, &["warm"]].concat());
            assert!(
                said.contains("warm starts cold: ") && said.contains(words),
                "{said}"
            );
            assert_eq!(first(bed, name), 1);
        }
        // Its volume is the image's all the same.
        assert_eq!(inside(bed, "three", "cat /data/file"), "kept");
        // Memory that cannot be read.
        let find = [
            "-c",
            "find \"$0\" -path '*.wharf-memory/memory/pages'",
            bed.root().to_str().unwrap(),
        ];
        let pages = bed.host("sh", &find).ok();
        assert_eq!(pages.lines().count(), 1, "{pages}");
        std::fs::write(&pages, "").unwrap();
        let said = run(bed, "six", &["warm"]);
        assert!(
            said.contains("it starts cold: ") && said.lines().count() == 1,
            "{said}"
        );
        assert_eq!(first(bed, "six"), 1);
        assert_eq!(inside(bed, "six", "cat /data/file"), "kept");
        bed.run(&["rm", "-f", "-v", "two", "three", "four", "five", "six"])
            .ok();
        bed.run(&["volume", "rm", "named"]).ok();
    });
}

#[test]
fn registries_and_archives_carry_it() {
    bed!(|bed| {
        let registry = Registry::start(bed, Access::Open);
        let name = registry.name("team/warm:1");
        let before = warm_image(bed, &name);
        bed.run(&["push", "-q", &name]).ok();
        let archive = bed.dir().join("warm.tar");
        bed.run(&["save", "-o", archive.to_str().unwrap(), &name])
            .ok();
        let empty = |bed: &Bed| {
            bed.run(&["rmi", "-f", &name]).ok();
            let found = [
                "-c",
                "find \"$0\" -name .wharf-memory -type d",
                bed.root().to_str().unwrap(),
            ];
            assert_eq!(bed.host("sh", &found).ok(), "");
        };
        empty(bed);
        bed.run(&["pull", "-q", &name]).ok();
        assert_eq!(run(bed, "two", &[&name]), "");
        assert!(first(bed, "two") > before);
        assert_eq!(inside(bed, "two", "cat /data/file"), "kept");
        bed.run(&["rm", "-f", "-v", "two"]).ok();
        empty(bed);
        bed.run(&["load", "-q", "-i", archive.to_str().unwrap()])
            .ok();
        assert_eq!(run(bed, "two", &[&name]), "");
        assert!(first(bed, "two") > before);
        bed.run(&["rm", "-f", "-v", "two"]).ok();
    });
}

/// Bytes of the files of that name that hold memory in images, on the disk.
fn memory_files(bed: &Bed, name: &str) -> Vec<u64> {
    let script = "find \"$0\" -path \"*.wharf-memory/memory/$1\" -exec stat -c %s {} +";
    let found = bed.host("sh", &["-c", script, bed.root().to_str().unwrap(), name]);
    let mut sizes: Vec<u64> = found
        .ok()
        .lines()
        .map(|size| size.parse().unwrap())
        .collect();
    sizes.sort_unstable();
    sizes
}

#[test]
fn only_what_differs_from_the_image_before_is_stored() {
    const LARGE: u64 = 8_000_000;
    bed!(|bed| {
        let program = format!(
            "A=$(head -c {LARGE} /dev/zero | tr '\\0' x); i=0; \
             while :; do i=$((i+1)); [ ${{#A}} = {LARGE} ] && echo $i; sleep 0.05; done"
        );
        let command = [BUSYBOX, "sh", "-c", &program];
        run(bed, "one", &command);
        counts_on(bed, "one");
        let mut before = count(bed, "one");
        let mut last = "one";
        for (name, image) in [("two", "first"), ("three", "second"), ("four", "third")] {
            bed.run(&["commit", "--memory", last, image]).ok();
            bed.run(&["rm", "-f", last]).ok();
            assert_eq!(run(bed, name, &[image]), "");
            assert!(first(bed, name) > before);
            counts_on(bed, name);
            before = count(bed, name);
            last = name;
        }
        let is_whole = |bed: &Bed| {
            let whole = memory_files(bed, "pages");
            assert!(whole.len() == 1 && whole[0] > LARGE, "{whole:?}");
            let changed = memory_files(bed, "changed");
            assert_eq!(changed.len(), 2, "{changed:?}");
            assert!(
                changed.iter().all(|size| (1..LARGE / 4).contains(size)),
                "{changed:?}"
            );
        };
        is_whole(bed);
        // What it stands on goes along.
        let archive = bed.dir().join("warm.tar");
        let archive = archive.to_str().unwrap();
        bed.run(&["save", "-o", archive, "third"]).ok();
        bed.run(&["rm", "-f", "four"]).ok();
        bed.run(&["rmi", "first", "second", "third"]).ok();
        assert_eq!(memory_files(bed, "*"), Vec::<u64>::new());
        bed.run(&["load", "-q", "-i", archive]).ok();
        is_whole(bed);
        assert_eq!(run(bed, "five", &["third"]), "");
        assert!(first(bed, "five") > 1);
        counts_on(bed, "five");
        bed.run(&["rm", "-f", "five"]).ok();
    });
}

#[test]
fn a_commit_that_cannot_be_leaves_nothing() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        let held = bed
            .command(&["exec", "one", "sh", "-c", "echo ready; sleep 2"])
            .start();
        held.wait_for("ready");
        bed.run(&["commit", "--memory", "one", "warm"])
            .fails(1, &["(exec); end it first"]);
        held.finish().ok();
        bed.run(&["stop", "-t", "0", "one"]).ok();
        bed.run(&["commit", "--memory", "one", "warm"])
            .fails(1, &["container one is not running"]);
        assert_eq!(bed.run(&["images", "-q"]).ok().lines().count(), 1);
        assert_eq!(templates(bed), 0);
        bed.run(&["run", "--rm", "--network", "none", BUSYBOX, "true"])
            .ok();
    });
}
