//! system check: what nobody owns and what is missing is found; what was deleted is given back.

use std::collections::BTreeSet;
use std::fs;

use black_box_tests::{BUSYBOX, Bed, bed};

const WELL: &str = "every file is owned, every claim is backed";

/// Everything in the store with its size, but for the record of events and empty locks.
fn everything(bed: &Bed) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for root in [bed.root(), bed.runroot()] {
        let list = bed
            .host("find", &[root.to_str().unwrap(), "-printf", "%p %y %s\n"])
            .ok();
        for line in list.lines() {
            let empty = line.ends_with(" f 0");
            // A directory's own size says how many files it once had.
            let line = match line.split_once(" d ") {
                Some((path, _)) => path,
                None => line,
            };
            if !empty && !line.contains("/root/events") {
                all.insert(line.to_owned());
            }
        }
    }
    all
}

#[test]
fn what_is_deleted_is_given_back() {
    bed!(|bed| {
        let archive = bed.dir().join("image.tar");
        bed.run(&["save", "-o", archive.to_str().unwrap(), BUSYBOX])
            .ok();
        bed.run(&["rmi", BUSYBOX]).ok();
        let before = everything(bed);
        bed.run(&["load", "-q", "-i", archive.to_str().unwrap()])
            .ok();
        bed.start(&[
            "--name",
            "web",
            "-p",
            "127.0.0.1:8080:80",
            "-v",
            "/data",
            "--restart",
            "always",
            "--health-cmd",
            "true",
        ]);
        bed.start(&[
            "--name",
            "quiet",
            "--network",
            "none",
            "--log-driver",
            "local",
        ]);
        bed.run(&[
            "run",
            "--name",
            "job",
            BUSYBOX,
            "sh",
            "-c",
            "seq 1 1000; dd if=/dev/zero of=/f bs=1M count=3",
        ])
        .ok();
        bed.run(&["snapshot", "create", "job", "one"]).ok();
        bed.run(&["start", "-a", "job"]).ok();
        bed.run(&["snapshot", "create", "job"]).ok();
        bed.run(&["commit", "job", "made:1"]).ok();
        bed.run(&["run", "--rm", "made:1", "true"]).ok();
        bed.run(&["exec", "-d", "web", "sleep", "1"]).ok();
        bed.run(&["rename", "web", "shop"]).ok();
        bed.run(&["pause", "quiet"]).ok();
        assert!(bed.run(&["system", "check", "--full"]).ok().ends_with(WELL));
        bed.run(&["rm", "-f", "-v", "shop", "quiet", "job"]).ok();
        bed.run(&["rmi", "made:1", BUSYBOX]).ok();
        let after = everything(bed);
        let left: Vec<_> = after.difference(&before).collect();
        // What the first container on the bridge made for all stays: who owns it is checked below.
        let left: Vec<_> = left
            .iter()
            .filter(|path| !path.contains("/leases") && !path.contains("/network"))
            .collect();
        assert!(left.is_empty(), "{left:#?}");
        let lost: Vec<_> = before.difference(&after).collect();
        assert!(lost.is_empty(), "{lost:#?}");
        assert_eq!(
            bed.run(&["system", "check"]).ok(),
            format!("0 containers, 0 images, 0 volumes: {WELL}")
        );
    });
}

#[test]
fn what_nobody_owns_is_found_and_removed() {
    bed!(|bed| {
        let id = bed.start(&["--name", "one"]);
        assert!(
            bed.run(&["system", "check"])
                .ok()
                .starts_with("1 containers, 1 images, 0 volumes")
        );
        let root = bed.root();
        let strange = id.replace(|digit: char| digit.is_ascii_digit(), "a");
        let plant = |path: &str, content: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        plant(&format!("content/blobs/sha256/{}", "0".repeat(64)), "x");
        plant(&format!("snapshots/{}/fs/file", "1".repeat(64)), "x");
        plant(&format!("snapshots/active/{strange}/upper/file"), "x");
        plant(&format!("containers/{strange}/volume-x"), "");
        plant("names/nobody", &strange);
        plant("volumes/vol/.new-1/file", "x");
        let outcome = bed.run(&["system", "check"]);
        let text = outcome.code(1);
        for (path, why) in [
            ("content/blobs/sha256/000", "no image needs this blob"),
            ("snapshots/111", "no image needs this layer"),
            ("snapshots/active/", "no container has this writable layer"),
            ("containers/", "the creation of this container was cut off"),
            ("names/nobody", "no container has this name"),
            ("volumes/vol/.new-1", "a volume that was being filled"),
            ("1 containers, 1 images", "6 things are wrong"),
        ] {
            let found = text
                .lines()
                .any(|line| line.contains(path) && line.ends_with(why));
            assert!(found, "{path}: {why}\n{text}");
        }
        assert_eq!(text.lines().count(), 7, "{text}");
        assert!(outcome.error().contains("--repair"));
        assert!(
            bed.run(&["system", "check", "--repair"])
                .ok()
                .ends_with(WELL)
        );
        assert_eq!(bed.inspect("one", "{{.State.Status}}"), "running");
        // Not ours to remove.
        plant("strange", "x");
        let text = bed.run(&["system", "check", "--repair"]).code(1);
        assert!(
            text.contains("strange: nothing of Wharf's has this name"),
            "{text}"
        );
        fs::remove_file(root.join("strange")).unwrap();
    });
}

#[test]
fn what_is_missing_or_damaged_is_found() {
    bed!(|bed| {
        bed.run(&["create", "--name", "one", "-v", "vol:/v", BUSYBOX])
            .ok();
        let blobs = bed.root().join("content/blobs/sha256");
        let largest = fs::read_dir(&blobs)
            .unwrap()
            .map(|entry| entry.unwrap())
            .max_by_key(|entry| entry.metadata().unwrap().len())
            .unwrap()
            .path();
        let content = fs::read(&largest).unwrap();
        let mut damaged = content.clone();
        damaged[1000] ^= 1;
        fs::remove_file(&largest).unwrap();
        fs::write(&largest, &damaged).unwrap();
        bed.run(&["system", "check"]).ok();
        assert!(
            bed.run(&["system", "check", "--full"])
                .code(1)
                .contains("the content is not what the digest says")
        );
        fs::remove_file(&largest).unwrap();
        let text = bed.run(&["system", "check"]).code(1);
        assert!(
            text.contains("an image needs this blob, and it is missing"),
            "{text}"
        );
        fs::write(&largest, &content).unwrap();
        let name = bed.root().join("names/one");
        let holder = fs::read(&name).unwrap();
        fs::remove_file(&name).unwrap();
        fs::rename(bed.root().join("volumes/vol"), bed.dir().join("vol")).unwrap();
        let text = bed.run(&["system", "check", "--repair"]).code(1);
        assert!(
            text.contains("names/one: a container's name is not claimed"),
            "{text}"
        );
        assert!(
            text.contains("volumes/vol: a container's volume is missing"),
            "{text}"
        );
        fs::write(&name, holder).unwrap();
        fs::rename(bed.dir().join("vol"), bed.root().join("volumes/vol")).unwrap();
        assert!(bed.run(&["system", "check", "--full"]).ok().ends_with(WELL));
    });
}
