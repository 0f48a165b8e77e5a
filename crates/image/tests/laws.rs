//! What holds for every tree and every tar. Needs root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use image::Limits;
use image::layer::apply::apply;
use image::layer::compression::{Compressor, decoder};
use image::layer::tar::{Device, Entry, EntryKind, Reader, Segment, Timestamp, Writer};
use proptest::prelude::*;
use spec::image::LayerCompression;
use support::{Scratch, assert_same, pack, unpack};

/// What a tree is made of.
#[derive(Clone, Debug)]
enum Node {
    File(Vec<u8>),
    /// Length, and where it has data.
    Sparse(u32, Vec<u16>),
    Link(String),
    /// To the file that was made last.
    HardLink,
    Fifo,
    Device(u8),
    Whiteout,
    Directory(bool, BTreeMap<String, Made>),
}

#[derive(Clone, Debug)]
struct Made {
    node: Node,
    mode: u32,
    owner: (u32, u32),
    time: (i32, u32),
    attribute: Option<Vec<u8>>,
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]",
        "[a-zäß ._-]{1,8}".prop_filter("a name", |name| {
            name != "." && name != ".." && !name.starts_with(".wh.")
        }),
        "[a-z]{90,140}",
    ]
}

fn made(node: impl Strategy<Value = Node>) -> impl Strategy<Value = Made> {
    let owner = (
        prop_oneof![Just(0), 0..u32::MAX],
        prop_oneof![Just(0), 0..u32::MAX],
    );
    let attribute = proptest::option::weighted(0.2, proptest::collection::vec(any::<u8>(), 0..40));
    (
        node,
        0..0o10000_u32,
        owner,
        (any::<i32>(), 0..1_000_000_000_u32),
        attribute,
    )
        .prop_map(|(node, mode, owner, time, attribute)| Made {
            node,
            mode,
            owner,
            time,
            attribute,
        })
}

fn tree() -> impl Strategy<Value = Made> {
    let leaf = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..3000).prop_map(Node::File),
        1 => (1..10_000_000_u32, proptest::collection::vec(any::<u16>(), 0..4))
            .prop_map(|(length, data)| Node::Sparse(length, data)),
        1 => "[a-z/.]{1,150}".prop_map(Node::Link),
        1 => Just(Node::HardLink),
        1 => Just(Node::Fifo),
        1 => (1..255_u8).prop_map(Node::Device),
        1 => Just(Node::Whiteout),
    ];
    made(leaf)
        .prop_recursive(4, 40, 6, |inner| {
            let members = proptest::collection::btree_map(name(), inner, 0..6);
            made(
                (any::<bool>(), members)
                    .prop_map(|(opaque, members)| Node::Directory(opaque, members)),
            )
        })
        .prop_filter("a directory", |made| {
            matches!(made.node, Node::Directory(..))
        })
}

/// Makes it on disk, in overlayfs' form.
fn make(made: &Made, at: &Path, last_file: &mut Option<PathBuf>) {
    use rustix::fs::{AtFlags, CWD, FileType, Mode, XattrFlags};
    let node = |kind, device| rustix::fs::mknodat(CWD, at, kind, Mode::empty(), device).unwrap();
    match &made.node {
        Node::File(content) => fs::write(at, content).unwrap(),
        Node::Sparse(length, data) => {
            let file = fs::File::create(at).unwrap();
            file.set_len(u64::from(*length)).unwrap();
            for place in data {
                let offset = u64::from(*place) * 150 % u64::from(*length);
                file.write_at(b"x", offset).unwrap();
            }
        }
        Node::Link(target) => symlink(target, at).unwrap(),
        Node::HardLink => {
            if let Some(file) = last_file {
                fs::hard_link(file, at).unwrap();
            }
            return;
        }
        Node::Fifo => node(FileType::Fifo, 0),
        Node::Device(minor) => {
            node(
                FileType::CharacterDevice,
                rustix::fs::makedev(1, u32::from(*minor)),
            );
        }
        Node::Whiteout => {
            node(FileType::CharacterDevice, 0);
            return;
        }
        Node::Directory(opaque, members) => {
            fs::create_dir(at).unwrap();
            for (name, member) in members {
                make(member, &at.join(name), last_file);
            }
            if *opaque {
                let name = "trusted.overlay.opaque";
                rustix::fs::setxattr(at, name, b"y", XattrFlags::empty()).unwrap();
            }
        }
    }
    let (uid, gid) = made.owner;
    std::os::unix::fs::lchown(at, Some(uid), Some(gid)).unwrap();
    if !matches!(made.node, Node::Link(_)) {
        fs::set_permissions(at, fs::Permissions::from_mode(made.mode)).unwrap();
    }
    if let Some(value) = &made.attribute {
        // Links and devices cannot have those of users.
        rustix::fs::lsetxattr(at, "trusted.note", value, XattrFlags::empty()).unwrap();
    }
    let time = rustix::fs::Timespec {
        tv_sec: i64::from(made.time.0),
        tv_nsec: i64::from(made.time.1),
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    if matches!(made.node, Node::File(_)) {
        *last_file = Some(at.to_owned());
    }
}

fn entry() -> impl Strategy<Value = (Entry, Vec<Segment>)> {
    let text = || proptest::collection::vec(1..=255_u8, 1..300);
    let device = || (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| Device { major, minor });
    let kind = prop_oneof![
        Just(EntryKind::File),
        Just(EntryKind::Directory),
        text().prop_map(EntryKind::Symlink),
        text().prop_map(EntryKind::HardLink),
        Just(EntryKind::Fifo),
        device().prop_map(EntryKind::CharDevice),
        device().prop_map(EntryKind::BlockDevice),
    ];
    let xattrs = proptest::collection::btree_map(
        // A key ends at the first equals sign.
        "[a-z.]{1,20}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..100),
        0..3,
    );
    let runs = proptest::collection::vec((0..2000_u64, 1..2000_u64), 0..5);
    let ids = (0..0o10000_u32, 0..u32::MAX, 0..u32::MAX);
    // Pax has no negative times before the year 1 worth testing.
    let time = (-(1_i64 << 40)..1 << 40, 0..1_000_000_000_u32);
    (text(), kind, ids, time, xattrs, runs).prop_map(
        |(mut path, kind, (mode, uid, gid), (seconds, nanoseconds), xattrs, runs)| {
            while path.last() == Some(&b'/') {
                path.pop();
            }
            path.insert(0, b'p');
            let mut at = 0;
            let mut segments = Vec::new();
            for (gap, length) in runs {
                segments.push(Segment {
                    offset: at + gap,
                    length,
                });
                at += gap + length;
            }
            let size = if kind == EntryKind::File { at + 7 } else { 0 };
            let entry = Entry {
                path,
                mode,
                uid,
                gid,
                size,
                mtime: Timestamp {
                    seconds,
                    nanoseconds,
                },
                xattrs: xattrs.into_iter().collect(),
                kind,
            };
            (entry, segments)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn unpacking_undoes_packing(made in tree()) {
        let scratch = Scratch::new();
        let tree = scratch.path().join("tree");
        make(&made, &tree, &mut None);
        let again = scratch.directory("again");
        // The opaque mark of the root has no place in overlayfs.
        let _ = rustix::fs::removexattr(&tree, "trusted.overlay.opaque");
        let tar = pack(&tree);
        unpack(&tar, &again).unwrap();
        assert_same(&tree, &again);
        prop_assert_eq!(tar, pack(&again));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_undoes_writing(entries in proptest::collection::vec(entry(), 0..6)) {
        let mut writer = Writer::new(Vec::new());
        for (entry, segments) in &entries {
            if entry.kind == EntryKind::File && !segments.is_empty() {
                writer.begin_sparse(entry, segments).unwrap();
                for segment in segments {
                    writer.data(&vec![7; usize::try_from(segment.length).unwrap()]).unwrap();
                }
            } else {
                writer.begin(entry).unwrap();
                writer.data(&vec![0; usize::try_from(entry.size).unwrap()]).unwrap();
            }
        }
        let tar = writer.finish().unwrap();
        let mut reader = Reader::new(&tar[..]);
        for (wanted, segments) in &entries {
            let mut found = reader.next_entry().unwrap().unwrap();
            if found.kind == EntryKind::Directory {
                prop_assert_eq!(found.path.pop(), Some(b'/'));
            }
            prop_assert_eq!(&found, wanted);
            let mut content = vec![0; usize::try_from(found.size).unwrap()];
            while let Some(chunk) = reader.next_chunk().unwrap() {
                let at = usize::try_from(chunk.offset).unwrap();
                content[at..at + chunk.bytes.len()].copy_from_slice(chunk.bytes);
            }
            for (at, byte) in content.iter().enumerate() {
                let at = at as u64;
                let is_data = wanted.kind == EntryKind::File
                    && segments.iter().any(|run| (run.offset..run.offset + run.length).contains(&at));
                prop_assert_eq!(*byte, if is_data { 7 } else { 0 });
            }
        }
        prop_assert_eq!(reader.next_entry().unwrap(), None);
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_loop(
        mut tar in proptest::collection::vec(any::<u8>(), 0..4096),
        entries in proptest::collection::vec(entry(), 1..3),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut writer = Writer::new(Vec::new());
        for (entry, _) in &entries {
            writer.begin(entry).unwrap();
            writer.data(&vec![0; usize::try_from(entry.size).unwrap()]).unwrap();
        }
        let mut good = writer.finish().unwrap();
        for (at, byte) in flips {
            let at = at.index(good.len());
            good[at] = byte;
        }
        good.append(&mut tar);
        let mut reader = Reader::new(&good[..]);
        while let Ok(Some(_)) = reader.next_entry() {
            while let Ok(Some(_)) = reader.next_chunk() {}
        }
    }

    #[test]
    fn hostile_tars_stay_inside(
        steps in proptest::collection::vec(
            ("(/|\\.\\./|a/|b/|\\./){0,4}(a|b|\\.\\.|\\.wh\\.a|)", 0..5_u8, "(/|\\.\\./|a/|b/){0,4}(a|b|\\.\\.)"),
            1..12,
        )
    ) {
        let scratch = Scratch::new();
        let outer = scratch.directory("outer");
        let root = outer.join("root");
        fs::create_dir(&root).unwrap();
        fs::write(outer.join("a"), "victim").unwrap();
        let mut writer = Writer::new(Vec::new());
        for (path, kind, target) in steps {
            let kind = match kind {
                0 => EntryKind::Directory,
                1 => EntryKind::Symlink(target.into_bytes()),
                2 => EntryKind::HardLink(target.into_bytes()),
                _ => EntryKind::File,
            };
            writer.begin(&Entry { path: path.into_bytes(), mode: 0o755, kind, ..Entry::default() }).unwrap();
        }
        let tar = writer.finish().unwrap();
        // Refused or not: nothing outside changes.
        let _ = apply(&tar[..], support::open(&root), &Limits::default());
        let mut names: Vec<_> = fs::read_dir(&outer).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        prop_assert_eq!(names, ["a", "root"]);
        prop_assert_eq!(fs::read_to_string(outer.join("a")).unwrap(), "victim");
        prop_assert_eq!(fs::metadata(outer.join("a")).unwrap().nlink(), 1);
    }

    #[test]
    fn uncompressing_undoes_compressing(
        seed in proptest::collection::vec(any::<u8>(), 1..2000),
        times in 0..800_usize,
        gzip in any::<bool>(),
    ) {
        let plain = seed.repeat(times);
        let packing = if gzip { LayerCompression::Gzip } else { LayerCompression::Zstd };
        let mut compressor = Compressor::new(packing, Vec::new()).unwrap();
        std::io::Write::write_all(&mut compressor, &plain).unwrap();
        let packed = compressor.finish().unwrap();
        let mut found = Vec::new();
        decoder(&packed[..]).unwrap().read_to_end(&mut found).unwrap();
        prop_assert!(found == plain);
    }
}
