//! Tars that other programs made, and tars that nobody should make.
//! Needs root (owners, device nodes, trusted attributes).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::process::Command;

use image::layer::apply::apply;
use image::layer::tar::{Device, Entry, EntryKind, Reader, Timestamp, Writer};
use image::{Limits, layer};
use support::{Scratch, listing, unpack};

/// Packs `directory` with a program's own options.
fn pack(program: &str, options: &[&str], directory: &std::path::Path) -> Vec<u8> {
    let output = Command::new(program)
        .args(options)
        .arg("-C")
        .arg(directory)
        .arg(".")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn make_tree(at: &std::path::Path) {
    let script = r#"set -e
        cd "$1"
        mkdir -p usr/bin var/mail "$(printf 'n%.0s' $(seq 90))/$(printf 'm%.0s' $(seq 200))"
        echo hello > "$(printf 'n%.0s' $(seq 90))/$(printf 'm%.0s' $(seq 200))/deep"
        echo 1 > usr/bin/one; chmod 4755 usr/bin/one
        ln usr/bin/one usr/bin/two
        ln -s ../../etc/x usr/bin/link
        ln -s "$(printf 'l%.0s' $(seq 180))" usr/longlink
        chown 1000:8 var/mail; chmod 2775 var/mail
        echo m > var/mail/root; chown 123456789:4000000000 var/mail/root
        mkfifo usr/fifo; mknod usr/null c 1 3; mknod usr/sda b 8 0
        truncate -s 10M usr/sparse
        printf data | dd of=usr/sparse bs=1 seek=5000000 conv=notrunc status=none
        printf end | dd of=usr/sparse bs=1 seek=9000000 conv=notrunc status=none
        echo umlaut > "usr/größe"
        python3 - <<END
import os
os.setxattr('usr/bin/one', 'user.note', b'some value')
os.setxattr('usr/bin/one', 'security.capability', bytes.fromhex('0100000200200000000000000000000000000000'))
END
        : > usr/empty
        touch -d '2001-02-03 04:05:06.789' usr/empty
        touch -d '1960-02-03 04:05:06' usr/old
        touch -h -d '2002-02-03 04:05:06.789' usr/bin/link
        touch -d '2003-01-01' usr/bin usr var var/mail
    "#;
    let status = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(at)
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn unpacks_what_gnu_tar_packs() {
    let scratch = Scratch::new();
    let tree = scratch.directory("tree");
    make_tree(&tree);
    for (name, options) in [
        ("gnu", &["-c", "--format=gnu", "--numeric-owner"][..]),
        (
            "gnu-sparse",
            &["-c", "--format=gnu", "-S", "--numeric-owner"],
        ),
        (
            "pax",
            &["-c", "--format=pax", "--xattrs", "--xattrs-include=*"],
        ),
        (
            "pax-sparse-0.0",
            &["-c", "-S", "--format=pax", "--sparse-version=0.0"],
        ),
        (
            "pax-sparse-0.1",
            &["-c", "-S", "--format=pax", "--sparse-version=0.1"],
        ),
        (
            "pax-sparse-1.0",
            &[
                "-c",
                "-S",
                "--format=pax",
                "--sparse-version=1.0",
                "--xattrs",
                "--xattrs-include=*",
            ],
        ),
    ] {
        let tar = pack("tar", options, &tree);
        let into = scratch.directory(name);
        unpack(&tar, &into).unwrap();
        let mut wanted = listing(&tree);
        if name != "pax" && name != "pax-sparse-1.0" {
            for line in wanted.values_mut() {
                line.xattrs.clear();
            }
        }
        if name.starts_with("gnu") {
            // That format has whole seconds.
            for line in wanted.values_mut() {
                line.mtime.1 = 0;
            }
        }
        assert_eq!(listing(&into), wanted, "{name}");
        if name.contains("sparse") {
            let blocks = fs::metadata(into.join("usr/sparse")).unwrap().blocks();
            assert!(blocks < 1000, "{name}: {blocks} blocks");
        }
    }
}

#[test]
fn unpacks_what_python_packs() {
    let scratch = Scratch::new();
    let tree = scratch.directory("tree");
    make_tree(&tree);
    for format in ["GNU_FORMAT", "PAX_FORMAT"] {
        let script = format!(
            "import tarfile,sys\nt=tarfile.open(fileobj=sys.stdout.buffer,mode='w|',format=tarfile.{format})\nt.add(sys.argv[1],arcname='.')\nt.close()"
        );
        let output = Command::new("python3")
            .args(["-c", &script])
            .arg(&tree)
            .output()
            .unwrap();
        assert!(output.status.success());
        let into = scratch.directory(format);
        unpack(&output.stdout, &into).unwrap();
        let mut wanted = listing(&tree);
        let mut found = listing(&into);
        for line in wanted.values_mut().chain(found.values_mut()) {
            line.xattrs.clear();
            // Python keeps times as floating-point numbers.
            line.mtime.1 = 0;
        }
        assert_eq!(found, wanted, "{format}");
    }
}

#[test]
fn gnu_tar_reads_what_we_write() {
    let scratch = Scratch::new();
    let tree = scratch.directory("tree");
    make_tree(&tree);
    let tar = support::pack(&tree);
    let path = scratch.path().join("ours.tar");
    fs::write(&path, &tar).unwrap();
    let into = scratch.directory("theirs");
    let status = Command::new("tar")
        .args([
            "-x",
            "-p",
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-f",
        ])
        .arg(&path)
        .arg("-C")
        .arg(&into)
        .status()
        .unwrap();
    assert!(status.success());
    support::assert_same(&into, &tree);
    let again = scratch.directory("ours");
    unpack(&tar, &again).unwrap();
    support::assert_same(&again, &tree);
}

/// Its name, whether the layer is refused, and its entries.
type Case = (&'static str, bool, Vec<(Entry, &'static [u8])>);

fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry {
        path: path.into(),
        mode: if kind == EntryKind::Directory {
            0o755
        } else {
            0o644
        },
        kind,
        mtime: Timestamp {
            seconds: 1_000_000,
            nanoseconds: 5,
        },
        ..Entry::default()
    }
}

fn tar_of(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        let mut entry = entry.clone();
        entry.size = data.len() as u64;
        writer.begin(&entry).unwrap();
        if !data.is_empty() {
            writer.data(data).unwrap();
        }
    }
    writer.finish().unwrap()
}

#[test]
fn nothing_outside_of_the_root_is_reached() {
    let file = || EntryKind::File;
    let link = |target: &str| EntryKind::Symlink(target.into());
    let hard = |target: &str| EntryKind::HardLink(target.into());
    // The second value: whether the layer is refused.
    let cases: Vec<Case> = vec![
        ("dot-dot", true, vec![(entry("../evil", file()), b"x")]),
        (
            "dot-dot inside",
            true,
            vec![(entry("a/../../evil", file()), b"x")],
        ),
        ("absolute", false, vec![(entry("/evil", file()), b"x")]),
        (
            "absolute dot-dot",
            false,
            vec![(entry("/../../evil", file()), b"x")],
        ),
        (
            "through a link",
            true,
            vec![
                (entry("out", link("..")), b""),
                (entry("out/missing/evil", link("x")), b""),
                (entry("l", hard("../victim")), b""),
            ],
        ),
        (
            "through an absolute link",
            true,
            vec![
                (entry("out", link("/outside")), b""),
                (entry("out/evil", file()), b"x"),
            ],
        ),
        (
            "hard link to outside",
            true,
            vec![(entry("l", hard("../victim")), b"")],
        ),
        (
            "hard link through a link",
            true,
            vec![
                (entry("out", link("../..")), b""),
                (entry("l", hard("out/victim")), b""),
            ],
        ),
        (
            "overwriting through a link",
            false,
            vec![
                (entry("l", link("../victim")), b""),
                (entry("l", file()), b"mine"),
            ],
        ),
        (
            "directory over a link",
            false,
            vec![
                (entry("l", link("../")), b""),
                (entry("l", EntryKind::Directory), b""),
                (entry("l/victim", file()), b"x"),
            ],
        ),
        ("root is a file", true, vec![(entry("./", link("x")), b"")]),
        (
            "whiteout of dot-dot",
            true,
            vec![(entry("a/.wh...", file()), b"")],
        ),
        (
            "whiteout of nothing",
            true,
            vec![(entry(".wh.", file()), b"")],
        ),
        (
            "whiteout outside",
            true,
            vec![(entry("../.wh.victim", file()), b"")],
        ),
        (
            "overlay attribute",
            true,
            vec![(
                Entry {
                    xattrs: vec![(b"trusted.overlay.redirect".to_vec(), b"/x".to_vec())],
                    ..entry("d", EntryKind::Directory)
                },
                b"",
            )],
        ),
        (
            "file as directory",
            true,
            vec![(entry("f", file()), b"x"), (entry("f/g", file()), b"y")],
        ),
        (
            "link loop",
            true,
            vec![
                (entry("a", link("b")), b""),
                (entry("b", link("a")), b""),
                (entry("a/x", file()), b""),
            ],
        ),
    ];
    for (name, refused, entries) in cases {
        let scratch = Scratch::new();
        let outer = scratch.directory("outer");
        fs::write(outer.join("victim"), "untouched").unwrap();
        fs::create_dir(outer.join("outside")).unwrap();
        fs::create_dir(outer.join("root")).unwrap();
        let result = unpack(&tar_of(&entries), &outer.join("root"));
        assert_eq!(result.is_err(), refused, "{name}: {result:?}");
        let mut names: Vec<_> = fs::read_dir(&outer)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["outside", "root", "victim"], "{name}");
        assert_eq!(
            fs::read_to_string(outer.join("victim")).unwrap(),
            "untouched",
            "{name}"
        );
        assert_eq!(
            fs::metadata(outer.join("victim")).unwrap().nlink(),
            1,
            "{name}"
        );
        assert_eq!(
            fs::read_dir(outer.join("outside")).unwrap().count(),
            0,
            "{name}"
        );
        if let Err(error) = result {
            assert!(error.to_string().starts_with("unpack"), "{name}: {error}");
        }
    }
}

#[test]
fn links_on_the_way_resolve_inside_the_root() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    let tar = tar_of(&[
        (entry("usr/lib", EntryKind::Directory), b""),
        (entry("lib", EntryKind::Symlink("usr/lib".into())), b""),
        (
            entry("abs", EntryKind::Symlink("/usr/../../usr/./lib".into())),
            b"",
        ),
        (entry("lib/a", EntryKind::File), b"a"),
        (entry("abs/b", EntryKind::File), b"b"),
        (entry("c", EntryKind::HardLink("abs/a".into())), b""),
    ]);
    unpack(&tar, &root).unwrap();
    assert_eq!(fs::read(root.join("usr/lib/a")).unwrap(), b"a");
    assert_eq!(fs::read(root.join("usr/lib/b")).unwrap(), b"b");
    assert_eq!(fs::metadata(root.join("c")).unwrap().nlink(), 2);
}

#[test]
fn later_entries_replace_earlier_ones() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    let tar = tar_of(&[
        (entry("d/x", EntryKind::File), b"1"),
        (entry("d/x", EntryKind::File), b"2"),
        (entry("d/y", EntryKind::Directory), b""),
        (entry("d/y/z", EntryKind::File), b"3"),
        (entry("d/y", EntryKind::File), b"4"),
        (entry("d/l", EntryKind::Symlink("x".into())), b""),
        (entry("d/l", EntryKind::Directory), b""),
        (entry("d/f", EntryKind::Fifo), b""),
        (
            entry("d/f", EntryKind::CharDevice(Device { major: 1, minor: 3 })),
            b"",
        ),
        // A directory described after its children keeps them.
        (
            Entry {
                mode: 0o2750,
                uid: 7,
                gid: 8,
                ..entry("d", EntryKind::Directory)
            },
            b"",
        ),
    ]);
    unpack(&tar, &root).unwrap();
    assert_eq!(fs::read(root.join("d/x")).unwrap(), b"2");
    assert_eq!(fs::read(root.join("d/y")).unwrap(), b"4");
    assert!(fs::symlink_metadata(root.join("d/l")).unwrap().is_dir());
    assert!(
        fs::metadata(root.join("d/f"))
            .unwrap()
            .file_type()
            .is_char_device()
    );
    let metadata = fs::metadata(root.join("d")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (7, 8));
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o2750);
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000_000, 5));
}

#[test]
fn whiteouts_become_overlay_marks() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    let tar = tar_of(&[
        (entry("a/.wh.gone", EntryKind::File), b""),
        (entry("b/.wh..wh..opq", EntryKind::File), b""),
        (entry("b/kept", EntryKind::File), b"k"),
        (entry("c/.wh.new", EntryKind::File), b""),
        (entry("c/new", EntryKind::Directory), b""),
        (entry("e/own", EntryKind::Directory), b""),
        (entry("e/.wh.own", EntryKind::File), b""),
        (entry("f/own", EntryKind::File), b"f"),
        (entry("f/.wh.own", EntryKind::File), b""),
        (entry("g/.wh..wh.plnk", EntryKind::Directory), b""),
    ]);
    let unfinished = unpack(&tar, &root).unwrap();
    assert_eq!(
        unfinished.implied,
        [
            b"a".to_vec(),
            b"b".to_vec(),
            b"c".to_vec(),
            b"e".to_vec(),
            b"f".to_vec()
        ]
    );
    assert!(unfinished.implied_root && !unfinished.opaque_root);
    let marks = listing(&root);
    let opaque = (b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
    for (path, is_opaque) in [("a", false), ("b", true), ("c/new", true), ("e/own", true)] {
        assert_eq!(
            marks[std::path::Path::new(path)].xattrs.contains(&opaque),
            is_opaque,
            "{path}"
        );
    }
    let gone = fs::metadata(root.join("a/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert_eq!(fs::read(root.join("f/own")).unwrap(), b"f");
    assert!(!root.join("g").exists());
}

#[test]
fn limits_stop_bombs() {
    let scratch = Scratch::new();
    let many: Vec<_> = (0..100)
        .map(|n| (entry(&format!("f{n}"), EntryKind::File), &b""[..]))
        .collect();
    let root = scratch.directory("many");
    let limits = Limits {
        max_entries: 50,
        ..Limits::default()
    };
    let error = apply(&tar_of(&many)[..], support::open(&root), &limits).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("more entries than the limit of 50"),
        "{error}"
    );

    let root = scratch.directory("large");
    let limits = Limits {
        max_layer_bytes: 1000,
        ..Limits::default()
    };
    let tar = tar_of(&[(entry("large", EntryKind::File), &[0; 2000])]);
    let error = apply(&tar[..], support::open(&root), &limits).unwrap_err();
    assert!(error.to_string().starts_with("unpack large: "), "{error}");
}

#[test]
fn broken_tars_are_refused() {
    let scratch = Scratch::new();
    let good = tar_of(&[(entry("file", EntryKind::File), &[7; 3000])]);
    for (name, tar) in [
        ("cut in the data", &good[..2000]),
        ("cut in the header", &good[..100]),
        (
            "no tar",
            &b"this is no tar at all, but it is long enough to be taken for one".repeat(20)[..],
        ),
    ] {
        let root = scratch.directory(name);
        let error = unpack(tar, &root).unwrap_err();
        assert_eq!(error.kind(), sys::ErrorKind::Corrupt, "{name}: {error}");
    }
    let mut bad_sum = good.clone();
    bad_sum[0] ^= 1;
    assert!(Reader::new(&bad_sum[..]).next_entry().is_err());
    assert_eq!(layer::whiteout::PREFIX, b".wh.");
}
