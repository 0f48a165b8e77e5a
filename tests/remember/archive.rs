//! `checkpoint export` and `import`: one file that another host takes in, and what is refused of it.

use std::fs;

use black_box_tests::{BUSYBOX, Bed, Tar, bed, eventually, sha256};
use serde_json::{Value, json};

use crate::{counter, counts_on};

/// A checkpoint of a counter as an archive.
fn archive(bed: &Bed, options: &[&str]) -> Vec<u8> {
    counter(bed, "one", options);
    bed.run(&[
        "exec",
        "one",
        "sh",
        "-c",
        "echo kept > /file; mkdir /d; rm /bin/[",
    ])
    .ok();
    bed.run(&["checkpoint", "one", "kept"]).ok();
    let path = bed.dir().join("kept.tar");
    let path = path.to_str().unwrap();
    bed.run(&["checkpoint", "export", "kept", path]).ok();
    bed.run(&["checkpoint", "rm", "kept"]).ok();
    bed.run(&["rm", "one"]).ok();
    fs::read(path).unwrap()
}

fn import(bed: &Bed, archive: &[u8], options: &[&str]) -> black_box_tests::Outcome {
    let path = bed.file("given.tar", archive);
    let mut arguments = vec!["checkpoint", "import"];
    arguments.extend(options);
    arguments.push(&path);
    bed.run(&arguments)
}

/// Nothing came of it, and nothing is left.
fn nothing_is_there(bed: &Bed) {
    assert_eq!(bed.run(&["checkpoint", "ls", "-q"]).ok(), "");
    let left: Vec<_> = fs::read_dir(bed.root().join("checkpoints"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The members of a plain tar: name and content.
fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while archive.get(at).is_some_and(|byte| *byte != 0) {
        let header = &archive[at..at + 512];
        let text = |range: std::ops::Range<usize>| {
            let field = &header[range];
            let end = field
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(field.len());
            String::from_utf8(field[..end].to_vec()).unwrap()
        };
        let size = usize::from_str_radix(text(124..136).trim(), 8).unwrap();
        found.push((text(0..100), archive[at + 512..at + 512 + size].to_vec()));
        at += 512 + size.next_multiple_of(512);
    }
    found
}

/// The same archive with other members, and digests that fit.
fn rebuilt(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Tar::new();
    let mut sums = serde_json::Map::new();
    for (name, content) in members.iter().filter(|(name, _)| name != "sums.json") {
        sums.insert(name.clone(), json!(sha256(content)));
        tar = tar.file(name, 0o600, content);
    }
    tar.file(
        "sums.json",
        0o600,
        serde_json::to_vec(&Value::Object(sums)).unwrap(),
    )
    .finish()
}

fn with_record(archive: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut members = members(archive);
    let record = members
        .iter_mut()
        .find(|(name, _)| name == "checkpoint.json")
        .unwrap();
    let mut value: Value = serde_json::from_slice(&record.1).unwrap();
    change(&mut value);
    record.1 = serde_json::to_vec(&value).unwrap();
    rebuilt(&members)
}

#[test]
fn goes_on_elsewhere() {
    bed!(|bed| {
        let plain = archive(bed, &["-v", "/data"]);
        assert_eq!(import(bed, &plain, &[]).ok(), "kept");
        bed.run(&["restore", "kept", "--name", "two"]).ok();
        counts_on(bed, "two");
        assert_eq!(bed.run(&["exec", "two", "cat", "/file"]).ok(), "kept");
        bed.run(&["exec", "two", "test", "!", "-e", "/bin/["]).ok();
        bed.run(&["restore", "--rm", "kept", "--name", "short"])
            .ok();
        bed.run(&["kill", "short"]).ok();
        eventually(5, "its removal", || {
            let all = bed.run(&["ps", "-a", "--format", "{{.Names}}"]).ok();
            (!all.contains("short")).then_some(())
        });
        // Packed, by way of a pipe, under another name.
        bed.run(&["checkpoint", "two", "again"]).ok();
        let packed = bed.dir().join("again.tar.zst");
        bed.run(&[
            "checkpoint",
            "export",
            "--zstd",
            "again",
            packed.to_str().unwrap(),
        ])
        .ok();
        let packed = fs::read(&packed).unwrap();
        assert!(packed.len() < plain.len());
        let taken = bed
            .command(&["checkpoint", "import", "-", "other"])
            .input(&packed)
            .run();
        assert_eq!(taken.ok(), "other");
        bed.run(&["restore", "other", "--name", "three"]).ok();
        counts_on(bed, "three");
        import(bed, &plain, &[]).fails(1, &["there is a checkpoint kept already"]);
        // Without its image it says which one is missing, and takes no tag for it.
        bed.run(&["rm", "-f", "-v", "two", "three"]).ok();
        bed.run(&["checkpoint", "rm", "kept", "again", "other"])
            .ok();
        bed.run(&["rmi", BUSYBOX]).ok();
        import(bed, &plain, &[]).ok();
        assert_eq!(bed.run(&["images", "-q"]).ok(), "");
        bed.run(&["restore", "kept"]).fails(
            125,
            &["the image that the container was made from is not here"],
        );
        assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
    });
}

#[test]
fn damaged_ones_are_refused() {
    bed!(|bed| {
        let whole = archive(bed, &[]);
        for end in [0, 100, 512, 2000, whole.len() / 2, whole.len() - 2048] {
            import(bed, &whole[..end], &[]).fails(1, &["import"]);
            nothing_is_there(bed);
        }
        // A byte of a page.
        let mut changed = whole.clone();
        let all = members(&whole);
        let (_, pages) = all.iter().find(|(name, _)| name == "memory/pages").unwrap();
        let mut places = whole.windows(4096);
        let page = places.position(|bytes| bytes == &pages[..4096]).unwrap();
        changed[page + 2000] ^= 1;
        import(bed, &changed, &[]).fails(1, &["import"]);
        nothing_is_there(bed);
        let mut twice = members(&whole);
        twice.insert(1, twice[0].clone());
        import(bed, &rebuilt(&twice), &[]).fails(1, &["where checkpoint.json belongs"]);
        let mut less = members(&whole);
        less.retain(|(name, _)| name != "memory/pages");
        import(bed, &rebuilt(&less), &[]).fails(1, &["where memory/pages belongs"]);
        import(
            bed,
            b"no archive at all, but long enough to be looked at",
            &[],
        )
        .fails(1, &["import"]);
        nothing_is_there(bed);
    });
}

#[test]
fn hostile_ones_are_refused() {
    bed!(|bed| {
        let whole = archive(bed, &[]);
        let replaced = |name: &str, content: Vec<u8>| {
            let mut all = members(&whole);
            all.iter_mut().find(|(one, _)| one == name).unwrap().1 = content;
            rebuilt(&all)
        };
        let header = |text: &str| replaced("wharf-checkpoint", text.as_bytes().to_vec());
        import(bed, &header(r#"{"format":2,"name":"kept"}"#), &[]).fails(1, &["form 2"]);
        import(bed, &header(r#"{"format":1,"name":"../kept"}"#), &[]).fails(1, &["invalid"]);
        import(
            bed,
            &with_record(&whole, |record| record["version"] = json!(9)),
            &[],
        )
        .fails(1, &["another version"]);
        // Members that are no files, and names that lead out.
        let first = members(&whole).remove(0);
        for tar in [
            Tar::new()
                .symlink("wharf-checkpoint", "/etc/passwd")
                .finish(),
            Tar::new()
                .file("wharf-checkpoint", 0o600, &first.1)
                .symlink("checkpoint.json", "/etc/passwd")
                .finish(),
            Tar::new()
                .file("../wharf-checkpoint", 0o600, &first.1)
                .finish(),
        ] {
            import(bed, &tar, &[]).fails(1, &["where", "belongs"]);
        }
        // A layer that wants out stays in.
        let layer = Tar::new()
            .directory(".", 0o755)
            .symlink("out", "/var/tmp")
            .file("out/escaped", 0o644, "x")
            .finish();
        import(bed, &replaced("layer.tar", layer), &[]);
        let layer = Tar::new()
            .directory(".", 0o755)
            .file("../../escaped", 0o644, "x")
            .finish();
        import(bed, &replaced("layer.tar", layer), &[]).fails(1, &["layer"]);
        assert!(!std::path::Path::new("/var/tmp/escaped").exists());
        assert!(
            !bed.root().join("escaped").exists()
                && !bed.root().join("checkpoints/escaped").exists()
        );
        bed.run(&["checkpoint", "rm", "kept"]);
        nothing_is_there(bed);
    });
}

#[test]
fn more_than_is_granted_is_refused() {
    bed!(|bed| {
        let whole = archive(bed, &["--network", "bridge", "-p", "127.0.0.1:7051:80"]);
        let bind =
            json!([{"target": "/host", "read_only": false, "kind": {"bind": {"source": "/"}}}]);
        let volume = json!([{"target": "/v", "read_only": false, "kind": {"volume": {"name": "db", "anonymous": false}}}]);
        for (field, value, said) in [
            (
                "/confinement/privileged",
                json!(true),
                "every privilege (--privileged)",
            ),
            (
                "/confinement/cap_add",
                json!(["SYS_ADMIN"]),
                "capability SYS_ADMIN",
            ),
            ("/network", json!("host"), "the host's network"),
            ("/mounts", bind, "the host's /"),
            ("/mounts", volume, "volume db"),
            (
                "/devices",
                json!([{"host": "/dev/sda", "container": "/dev/sda", "access": "rwm"}]),
                "device /dev/sda",
            ),
        ] {
            let asked = with_record(&whole, |record| {
                *record["config"].pointer_mut(field).unwrap() = value.clone();
            });
            import(bed, &asked, &[]).fails(1, &[said, "--trust"]);
            nothing_is_there(bed);
        }
        // An image that is here under a digest that is not its own.
        let other = with_record(&whole, |record| {
            record["config"]["image"]["id"] = json!(format!("sha256:{}", "0".repeat(64)));
        });
        import(bed, &other, &[]).ok();
        bed.run(&["restore", "kept"])
            .fails(125, &["digests do not belong together"]);
        bed.run(&["checkpoint", "rm", "kept"]).ok();
        // Which ports are published is not for the archive to say, unless it is trusted.
        import(bed, &whole, &[]).ok();
        bed.run(&["restore", "kept", "--name", "two"]).ok();
        assert_eq!(bed.run(&["port", "two"]).ok(), "");
        bed.run(&["rm", "-f", "two"]).ok();
        bed.run(&["checkpoint", "rm", "kept"]).ok();
        import(bed, &whole, &["--trust"]).ok();
        bed.run(&["restore", "kept", "--name", "two"]).ok();
        assert_eq!(bed.run(&["port", "two"]).ok(), "80/tcp -> 127.0.0.1:7051");
    });
}
