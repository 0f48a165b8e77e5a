//! Images through the whole store: receive, unpack, commit, save, load,
//! sweep. Needs root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::HashSet;
use std::fs;
use std::io::{self, Cursor, Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use image::layer::compression::Compressor;
use image::{
    CommitOptions, Image, ImportOptions, KeepAlive, LayerProgress, LayerToReceive, Limits, Store,
    archive, commit, import, receive_layer,
};
use spec::Reference;
use spec::image::{ContainerDefaults, Descriptor, LayerCompression, MediaType, Platform};
use state::{ContainerId, Layout, RootFs};
use support::{Scratch, listing};
use sys::{Error, ErrorKind, Result};

struct Home {
    scratch: Scratch,
    store: Store,
}

impl Home {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let scratch = Scratch::new();
        let layout = Layout::new(scratch.path().join("root"), scratch.path().join("run"));
        let store = Store::open(&layout, limits).unwrap();
        Self { scratch, store }
    }

    fn import(&self, tar: &[u8], name: &str) -> Image {
        let image = import(&self.store, tar, import_options(), &|_| {}).unwrap();
        let reference: Reference = name.parse().unwrap();
        self.store
            .references()
            .set(&reference, &image.manifest)
            .unwrap();
        self.store.find(name).unwrap()
    }

    fn snapshots(&self) -> std::path::PathBuf {
        self.scratch.path().join("root/snapshots")
    }

    /// Nothing half-done is left.
    fn assert_tidy(&self) {
        for directory in fs::read_dir(self.snapshots().join("staging")).unwrap() {
            let directory = directory.unwrap().path();
            if directory.is_dir() {
                let left: Vec<_> = fs::read_dir(&directory).unwrap().collect();
                assert!(left.is_empty(), "{left:?}");
            }
        }
    }
}

fn import_options() -> ImportOptions {
    ImportOptions {
        message: Some("imported".into()),
        config: ContainerDefaults::default(),
        platform: Platform::host(),
        compression: LayerCompression::Gzip,
    }
}

fn commit_options(config: ContainerDefaults) -> CommitOptions {
    CommitOptions {
        author: Some("me".into()),
        message: None,
        created_by: Some("sh".into()),
        config,
        compression: LayerCompression::Zstd,
        omit: HashSet::new(),
    }
}

/// A tree with something in it.
fn base_tree(home: &Home) -> Vec<u8> {
    let tree = home.scratch.directory("base");
    let script = r#"
        cd "$1"; mkdir -p etc/conf.d usr/bin tmp; chmod 1777 tmp; chmod 751 .; chown 5:6 .
        echo root > etc/passwd; echo a > etc/conf.d/a; echo b > etc/conf.d/b
        dd if=/dev/urandom of=usr/bin/tool bs=1k count=900 status=none; ln usr/bin/tool usr/bin/alias
        ln -s passwd etc/link; touch -d '2001-01-01' etc/passwd tmp .
    "#;
    run(script, &tree);
    let tar = support::pack(&tree);
    fs::remove_dir_all(&tree).unwrap();
    tar
}

fn run(script: &str, at: &Path) {
    let status = Command::new("sh")
        .args(["-ec", script, "sh"])
        .arg(at)
        .status()
        .unwrap();
    assert!(status.success());
}

/// Runs a script in the container's root, mounted in a namespace that ends
/// with it.
fn in_container(home: &Home, id: &ContainerId, image: &Image, script: &str) {
    let RootFs::Overlay(root) = home.store.snapshots().rootfs(id, &image.chain).unwrap() else {
        panic!("an overlay is wanted");
    };
    let lower: Vec<_> = root
        .lower
        .iter()
        .map(|path| path.to_str().unwrap())
        .collect();
    let mut options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        root.upper.display(),
        root.work.display()
    );
    for (key, value) in image::OVERLAY_OPTIONS {
        for part in [",", key, "=", value] {
            options.push_str(part);
        }
    }
    let mounted = home.scratch.path().join("mounted");
    fs::create_dir_all(&mounted).unwrap();
    let status = Command::new("unshare")
        .args(["-m", "sh", "-ec"])
        .arg(format!(
            "mount -t overlay -o '{options}' overlay \"$1\"; cd \"$1\"; {script}"
        ))
        .arg("sh")
        .arg(&mounted)
        .status()
        .unwrap();
    assert!(status.success());
}

/// A script that lists everything below the working directory.
fn list_into(file: &Path) -> String {
    let file = file.display();
    let attributes = "import os\nfor d, ds, fs in sorted(os.walk('.')):\n for f in sorted(ds + fs):\n  p = os.path.join(d, f)\n  for a in os.listxattr(p, follow_symlinks=False):\n   print(p, a, os.getxattr(p, a, follow_symlinks=False))";
    format!(
        "find . -printf '%p %M %U %G %T@ %l %n\\n' | sort > {file}; find . -type f | sort | xargs -r sha256sum >> {file}; python3 -c \"{attributes}\" >> {file}"
    )
}

/// The merged tree of an image, as a listing.
fn merged(home: &Home, image: &Image) -> String {
    let id = ContainerId::random().unwrap();
    home.store.snapshots().prepare(&id, &image.chain).unwrap();
    let out = home.scratch.path().join("merged.txt");
    let script = list_into(&out);
    in_container(home, &id, image, &script);
    home.store.snapshots().remove(&id).unwrap();
    fs::read_to_string(out).unwrap()
}

const CHANGES: &str = r#"
    rm etc/conf.d/a; echo new > etc/new; chmod 700 usr; rm usr/bin/alias
    rm -r tmp; mkdir tmp; echo t > tmp/t
    rm etc/link; mkdir etc/link; echo x > etc/link/x
    python3 -c "import os; os.setxattr('etc/new', 'user.k', b'v')"
    truncate -s 5M etc/sparse
    mkdir -p a/b/c; echo deep > a/b/c/d; ln a/b/c/d a/e
"#;

#[test]
fn a_committed_image_is_what_the_container_was() {
    let home = Home::new();
    let base = home.import(&base_tree(&home), "base");
    assert_eq!(base.chain.len(), 1);
    let id = ContainerId::random().unwrap();
    let snapshots = home.store.snapshots();
    snapshots.prepare(&id, &base.chain).unwrap();
    assert!(snapshots.prepare(&id, &base.chain).is_err());
    assert_eq!(snapshots.changes(&id, &base.chain).unwrap(), []);
    let before = home.scratch.path().join("before");
    let list = list_into(&before);
    in_container(&home, &id, &base, &format!("{CHANGES}\n{list}"));

    let changes: Vec<String> = (snapshots.changes(&id, &base.chain).unwrap())
        .iter()
        .map(|change| format!("{:?} {}", change.kind, change.path.display()))
        .collect();
    for wanted in [
        "Deleted /etc/conf.d/a",
        "Added /etc/new",
        "Modified /etc",
        "Modified /etc/link",
        "Added /etc/link/x",
        "Modified /usr",
        "Deleted /usr/bin/alias",
        "Added /tmp/t",
        "Added /a/b/c/d",
    ] {
        assert!(
            changes.contains(&wanted.to_owned()),
            "{wanted}: {changes:#?}"
        );
    }
    assert!(snapshots.usage(&id).unwrap() > 0);

    let options = commit_options(base.config.config.clone());
    let image = commit(&home.store, &id, &base, options).unwrap();
    assert_eq!(image.chain.len(), 2);
    assert_eq!(
        image.parsed.layers[1].media_type,
        MediaType::OciLayer(LayerCompression::Zstd)
    );
    assert_eq!(merged(&home, &image), fs::read_to_string(before).unwrap());
    // The same again is the same layer.
    let options = commit_options(base.config.config.clone());
    let again = commit(&home.store, &id, &base, options).unwrap();
    assert_eq!(again.parsed.layers, image.parsed.layers);
    home.assert_tidy();
}

#[test]
fn saved_images_load_elsewhere() {
    let home = Home::new();
    let base = home.import(&base_tree(&home), "localhost:5000/base:v1");
    let id = ContainerId::random().unwrap();
    home.store.snapshots().prepare(&id, &base.chain).unwrap();
    in_container(&home, &id, &base, CHANGES);
    let image = commit(
        &home.store,
        &id,
        &base,
        commit_options(base.config.config.clone()),
    )
    .unwrap();
    let name: Reference = "derived".parse().unwrap();
    home.store.references().set(&name, &image.manifest).unwrap();

    let pairs = [
        (base.clone(), base.references.clone()),
        (image.clone(), vec![name.clone()]),
    ];
    let saved = archive::save(&home.store, &pairs, Vec::new(), &|_| {}).unwrap();
    let again = archive::save(&home.store, &pairs, Vec::new(), &|_| {}).unwrap();
    assert_eq!(saved, again);

    for packing in [LayerCompression::None, LayerCompression::Gzip] {
        let mut packed = Compressor::new(packing, Vec::new()).unwrap();
        packed.write_all(&saved).unwrap();
        let packed = packed.finish().unwrap();
        let other = Home::new();
        let loaded = archive::load(&other.store, &packed[..], &|_| {}).unwrap();
        assert_eq!(loaded.len(), 2);
        let found = other.store.find("derived").unwrap();
        assert_eq!(
            (found.id, found.manifest.digest),
            (image.id, image.manifest.digest)
        );
        assert_eq!(merged(&other, &found), merged(&home, &image));
        assert_eq!(
            other.store.find("localhost:5000/base:v1").unwrap().id,
            base.id
        );
        assert_eq!(other.store.find(&base.id.short()).unwrap().id, base.id);
        assert_eq!(
            other.store.find("nothing").unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
    for end in [saved.len() / 2, 700, 0] {
        let other = Home::new();
        assert!(archive::load(&other.store, &saved[..end], &|_| {}).is_err());
        assert!(other.store.references().list().unwrap().is_empty());
    }
}

#[test]
fn other_programs_read_and_write_our_images() {
    let home = Home::new();
    let image = home.import(&base_tree(&home), "base");
    let root = home.scratch.path();
    // skopeo reads the store itself, and our archives; we read its.
    let archive_path = root.join("saved.tar");
    let pair = [(image.clone(), image.references.clone())];
    let saved = archive::save(&home.store, &pair, Vec::new(), &|_| {}).unwrap();
    fs::write(&archive_path, &saved).unwrap();
    let store = format!(
        "oci:{}:docker.io/library/base:latest",
        home.store.content().root().display()
    );
    for (source, target) in [
        (
            store.clone(),
            format!("docker-archive:{}/d.tar:base:latest", root.display()),
        ),
        (
            store.clone(),
            format!("oci-archive:{}/o.tar:base:latest", root.display()),
        ),
        (
            format!("docker-archive:{}", archive_path.display()),
            format!("dir:{}/dir", root.display()),
        ),
        (
            format!("oci-archive:{}", archive_path.display()),
            format!("dir:{}/dir2", root.display()),
        ),
        (store, format!("oci:{}/oci:base", root.display())),
    ] {
        let output = Command::new("skopeo")
            .args([
                "--insecure-policy",
                "--tmpdir",
                root.to_str().unwrap(),
                "copy",
                &source,
                &target,
            ])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{source} {target}: {told}");
    }
    for name in ["d.tar", "o.tar"] {
        let other = Home::new();
        let archive = fs::File::open(root.join(name)).unwrap();
        let loaded = archive::load(&other.store, archive, &|_| {}).unwrap();
        assert_eq!(loaded[0].image.config.rootfs, image.config.rootfs, "{name}");
        assert_eq!(
            merged(&other, &loaded[0].image),
            merged(&home, &image),
            "{name}"
        );
    }
    // umoci unpacks the same tree.
    let bundle = root.join("bundle");
    let output = Command::new("umoci")
        .args(["unpack", "--image", &format!("{}/oci:base", root.display())])
        .arg(&bundle)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let theirs = listing(&bundle.join("rootfs"));
    let ours = listing(&home.store.snapshots().fs(&image.chain[0]));
    assert_eq!(theirs, ours);
}

#[test]
fn a_sweep_keeps_what_is_used() {
    let home = Home::new();
    let base = home.import(&base_tree(&home), "base");
    let id = ContainerId::random().unwrap();
    home.store.snapshots().prepare(&id, &base.chain).unwrap();
    in_container(&home, &id, &base, "echo 1 > one");
    let image = commit(
        &home.store,
        &id,
        &base,
        commit_options(ContainerDefaults::default()),
    )
    .unwrap();
    let keep = || KeepAlive {
        manifests: vec![image.manifest.clone()],
        active: vec![id],
    };
    let wait = |home: &Home, keep: KeepAlive| home.store.sweep(|| Ok(keep)).unwrap();

    assert_eq!(wait(&home, keep()).blobs, 0);
    home.store
        .references()
        .remove_manifest(&image.manifest.digest)
        .unwrap();
    home.store
        .references()
        .remove(&"base".parse().unwrap())
        .unwrap();
    // A container still needs its image: the base's own manifest and config go.
    let freed = wait(&home, keep());
    assert_eq!((freed.blobs, freed.snapshots), (2, 0));
    assert!(home.store.read_image(&image.manifest).is_ok());
    assert!(
        image
            .chain
            .iter()
            .all(|chain| home.store.snapshots().has(chain))
    );

    let freed = wait(&home, KeepAlive::default());
    assert_eq!((freed.blobs, freed.snapshots), (4, 2));
    assert!(freed.bytes > 900 << 10);
    assert!(
        !home
            .snapshots()
            .join("active")
            .join(id.to_string())
            .exists()
    );
    home.assert_tidy();
    assert_eq!(wait(&home, KeepAlive::default()), image::Freed::default());
}

/// A layer with its compressed blob.
fn layer(tar: &[u8], packing: LayerCompression) -> (LayerToReceive, Vec<u8>) {
    let mut compressor = Compressor::new(packing, Vec::new()).unwrap();
    compressor.write_all(tar).unwrap();
    let blob = compressor.finish().unwrap();
    let digest = |bytes: &[u8]| image::digest::digest_of(spec::Algorithm::Sha256, bytes);
    let diff_id = spec::DiffId(digest(tar));
    let descriptor = Descriptor::new(
        MediaType::OciLayer(packing),
        digest(&blob),
        blob.len() as u64,
    );
    let layer = LayerToReceive {
        descriptor,
        diff_id,
        chain_id: image::chain_of(&[diff_id])[0],
    };
    (layer, blob)
}

#[allow(clippy::unnecessary_wraps, reason = "what a fetch gives")]
fn reader(bytes: Vec<u8>) -> Result<Box<dyn Read + Send>> {
    Ok(Box::new(Cursor::new(bytes)))
}

#[test]
fn layers_come_in_one_pass_and_go_on_where_they_stopped() {
    for packing in [
        LayerCompression::None,
        LayerCompression::Gzip,
        LayerCompression::Zstd,
    ] {
        let home = Home::new();
        let (layer, blob) = layer(&base_tree(&home), packing);
        let half = blob.len() / 2;
        let mut broken = |offset: u64| {
            assert_eq!(offset, 0);
            let failing = Failing;
            let start = Cursor::new(blob[..half].to_vec());
            Ok(Box::new(start.chain(failing)) as Box<dyn Read + Send>)
        };
        let error = receive_layer(&home.store, &layer, &mut broken, &|_| {}).unwrap_err();
        assert!(error.to_string().contains("the line is dead"), "{error}");
        home.assert_tidy();
        assert!(!home.store.content().contains(&layer.descriptor.digest));

        let offsets = Mutex::new(Vec::new());
        let last = Mutex::new(None);
        let mut rest = |offset: u64| {
            offsets.lock().unwrap().push(offset);
            reader(blob[usize::try_from(offset).unwrap()..].to_vec())
        };
        let note = |progress| *last.lock().unwrap() = Some(progress);
        receive_layer(&home.store, &layer, &mut rest, &note).unwrap();
        assert_eq!(*offsets.lock().unwrap(), [half as u64]);
        assert_eq!(*last.lock().unwrap(), Some(LayerProgress::Complete));
        home.store
            .finish_layers(std::slice::from_ref(&layer))
            .unwrap();
        assert!(home.store.snapshots().has(&layer.chain_id));
        home.assert_tidy();

        let mut never = |_| Err(Error::new(ErrorKind::Internal, "asked again"));
        receive_layer(&home.store, &layer, &mut never, &note).unwrap();
        assert_eq!(*last.lock().unwrap(), Some(LayerProgress::Present));
    }
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the line is dead"))
    }
}

#[test]
fn damaged_layers_are_refused_and_leave_nothing() {
    let home = Home::new();
    let tar = base_tree(&home);
    let (good, blob) = layer(&tar, LayerCompression::Gzip);
    let receive = |home: &Home, layer: &LayerToReceive, blob: &[u8]| {
        let mut fetch = |offset: u64| reader(blob[usize::try_from(offset).unwrap()..].to_vec());
        receive_layer(&home.store, layer, &mut fetch, &|_| {})
    };
    let mut flipped = blob.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let mut wrong_diff = good.clone();
    wrong_diff.diff_id = spec::DiffId(good.descriptor.digest);
    let mut longer = blob.clone();
    longer.extend_from_slice(b"more");
    for (name, layer, blob) in [
        ("flipped", &good, &flipped),
        ("truncated", &good, &blob[..middle].to_vec()),
        ("longer", &good, &longer),
        ("wrong diff id", &wrong_diff, &blob),
    ] {
        let home = Home::new();
        let error = receive(&home, layer, blob).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error}");
        assert!(
            error.to_string().starts_with("layer sha256:"),
            "{name}: {error}"
        );
        home.assert_tidy();
        assert!(!home.store.snapshots().has(&layer.chain_id));
        // A later attempt with good bytes works all the same.
        if name != "wrong diff id" {
            let good_blob = crate::layer(&tar, LayerCompression::Gzip).1;
            receive(&home, &good, &good_blob).unwrap();
        }
    }

    let home = Home::with(Limits {
        max_layer_bytes: 100_000,
        ..Limits::default()
    });
    let (bomb, blob) = crate::layer(&vec![0; 10 << 20], LayerCompression::Gzip);
    assert!(blob.len() < 100_000);
    let error = receive(&home, &bomb, &blob).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("larger than the limit of 100000 bytes"),
        "{error}"
    );
    home.assert_tidy();
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let scratch = Scratch::new();
    let mounted = scratch.directory("small");
    let mount = |arguments: &[&str]| {
        let output = Command::new(arguments[0])
            .args(&arguments[1..])
            .output()
            .unwrap();
        assert!(output.status.success());
    };
    mount(&[
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=4m",
        "tmpfs",
        mounted.to_str().unwrap(),
    ]);
    let result = std::panic::catch_unwind(|| {
        let layout = Layout::new(mounted.join("root"), mounted.join("run"));
        let store = Store::open(&layout, Limits::default()).unwrap();
        let tree = scratch.directory("tree");
        run("head -c 6000000 /dev/zero > \"$1/large\"", &tree);
        let (layer, blob) = layer(&support::pack(&tree), LayerCompression::Gzip);
        let mut fetch = |_| reader(blob.clone());
        let error = receive_layer(&store, &layer, &mut fetch, &|_| {}).unwrap_err();
        assert!(
            error.to_string().contains("unpack large: no space left"),
            "{error}"
        );
        let left = fs::read_dir(mounted.join("root/snapshots/staging")).unwrap();
        for boot in left {
            assert_eq!(fs::read_dir(boot.unwrap().path()).unwrap().count(), 0);
        }
    });
    mount(&["umount", mounted.to_str().unwrap()]);
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn layers_without_entries_for_their_parents_take_them_from_below() {
    let home = Home::new();
    let base = base_tree(&home);
    let (lower, lower_blob) = layer(&base, LayerCompression::Gzip);
    let output = Command::new("sh")
        .args(["-ec", "d=$(mktemp -d); cd $d; mkdir -p tmp etc/conf.d; echo x > tmp/x; echo c > etc/conf.d/c; tar -c tmp/x etc/conf.d/c; rm -r $d"])
        .output()
        .unwrap();
    let (mut upper, upper_blob) = layer(&output.stdout, LayerCompression::Gzip);
    upper.chain_id = image::chain_of(&[lower.diff_id, upper.diff_id])[1];
    // The upper one first: order does not matter.
    for (layer, blob) in [(&upper, upper_blob), (&lower, lower_blob)] {
        let mut fetch = |_| reader(blob.clone());
        receive_layer(&home.store, layer, &mut fetch, &|_| {}).unwrap();
    }
    assert!(!home.store.snapshots().has(&upper.chain_id));
    home.store
        .finish_layers(&[lower.clone(), upper.clone()])
        .unwrap();
    let below = listing(&home.store.snapshots().fs(&lower.chain_id));
    let above = listing(&home.store.snapshots().fs(&upper.chain_id));
    for path in ["", "tmp", "etc", "etc/conf.d"] {
        let path = Path::new(path);
        assert_eq!(above[path], below[path], "{}", path.display());
    }
}

#[test]
fn many_at_once_share_one_layer() {
    let home = Home::new();
    let (layer, blob) = layer(&base_tree(&home), LayerCompression::Gzip);
    let fetched = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut fetch = |_| {
                    fetched.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    reader(blob.clone())
                };
                receive_layer(&home.store, &layer, &mut fetch, &|_| {}).unwrap();
                home.store
                    .finish_layers(std::slice::from_ref(&layer))
                    .unwrap();
            });
        }
    });
    assert_eq!(fetched.into_inner(), 1);
    assert!(home.store.snapshots().has(&layer.chain_id));
    home.assert_tidy();
}
