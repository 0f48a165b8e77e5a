//! Images on the road between a real registry and a store. Needs root: layers
//! keep their owners.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../registry/tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use engine::config::Programs;
use engine::images::{
    Force, ImportRequest, Prune, PullEvent, PullRequest, PullStatus, PushEvent, PushRequest,
    PushStep,
};
use engine::{Config, Engine, PullPolicy};
use image::LayerProgress;
use registry::{Upload, Uploaded};
use spec::Reference;
use spec::image::{Descriptor, LayerCompression, MediaType, Platform};
use state::Layout;
use support::fake::{Fake, Seen, raw, reply};
use support::real::{Guard, Registry};
use support::{anonymous, noise, reference, sha256};
use sys::ErrorKind;
use tempfile::TempDir;

struct Host {
    directory: TempDir,
    engine: Engine,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        let programs = Programs::beside(Path::new("/nonexistent/wharf"));
        let mut config = Config::new(layout, programs);
        config.settings.registry = support::config();
        Self {
            directory,
            engine: Engine::open(config).unwrap(),
        }
    }

    fn pull(&self, name: &Reference) -> sys::Result<(PullStatus, Vec<PullEvent>)> {
        let events = Mutex::new(Vec::new());
        let request = PullRequest::new(name.clone());
        let pulled = self
            .engine
            .images()
            .pull(&request, &|event| events.lock().unwrap().push(event))?;
        Ok((pulled.status, events.into_inner().unwrap()))
    }

    fn push(&self, name: &Reference) -> sys::Result<Vec<Uploaded>> {
        let done = Mutex::new(Vec::new());
        let request = PushRequest {
            reference: name.clone(),
            credentials: None,
        };
        self.engine.images().push(&request, &|event| {
            if let PushEvent::Layer {
                step: PushStep::Done(how),
                ..
            } = event
            {
                done.lock().unwrap().push(how);
            }
        })?;
        Ok(done.into_inner().unwrap())
    }

    /// Where the layers of an image are unpacked, lowest first.
    fn layers(&self, name: &Reference) -> Vec<PathBuf> {
        let images = self.engine.images();
        let image = images.find(&name.to_string()).unwrap();
        let store = images.store().unwrap();
        image
            .chain
            .iter()
            .map(|layer| store.snapshots().fs(layer))
            .collect()
    }

    fn names(&self) -> Vec<String> {
        let list = self.engine.images().list().unwrap();
        let names = list.iter().flat_map(|image| &image.tags);
        names.map(Reference::familiar).collect()
    }
}

/// An image of one small layer per file, as pushed.
#[derive(Clone)]
struct Made {
    manifest: (Descriptor, Vec<u8>),
    blobs: Vec<(Descriptor, Vec<u8>)>,
}

fn make(files: &[(&str, &[u8])]) -> Made {
    let directory = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{program} {arguments:?}");
        output.stdout
    };
    let mut diff_ids = Vec::new();
    let mut blobs = Vec::new();
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).unwrap();
        let tar = run("tar", &["-cf", "-", name]);
        diff_ids.push(sha256(&tar));
        std::fs::write(directory.path().join("tar"), &tar).unwrap();
        let gzip = run("gzip", &["-n", "-c", "tar"]);
        let kind = MediaType::DockerLayer(LayerCompression::Gzip);
        blobs.push((
            Descriptor::new(kind, sha256(&gzip), gzip.len() as u64),
            gzip,
        ));
    }
    let config = serde_json::to_vec(&serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
        "config": {"Env": ["A=b"], "Cmd": ["sh"], "Labels": {"l": "m"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "base"}, {"created_by": "ENV A=b", "empty_layer": true}],
    }))
    .unwrap();
    let kind = MediaType::DockerConfig;
    let config = (
        Descriptor::new(kind, sha256(&config), config.len() as u64),
        config,
    );
    let layers: Vec<_> = blobs.iter().map(|(layer, _)| layer).collect();
    let text = serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::DockerManifest.as_str(),
        "config": config.0, "layers": layers,
    }))
    .unwrap();
    let kind = MediaType::DockerManifest;
    let manifest = (
        Descriptor::new(kind, sha256(&text), text.len() as u64),
        text,
    );
    blobs.push(config);
    Made { manifest, blobs }
}

fn publish(made: &Made, name: &Reference) {
    let client = anonymous();
    for (descriptor, bytes) in &made.blobs {
        let copy = bytes.clone();
        let upload = Upload {
            descriptor,
            mount_from: &[],
            open: &move || Ok(Box::new(std::io::Cursor::new(copy.clone()))),
            progress: &|_| {},
        };
        client.upload_blob(name, &upload).unwrap();
    }
    client
        .put_manifest(name, &made.manifest.0, &made.manifest.1)
        .unwrap();
}

#[test]
fn pulls_what_is_missing_and_pushes_it_as_it_came() {
    let registry = Registry::start(&Guard::Open);
    let name = reference(&format!("{}/app:v1", registry.host()));
    let made = make(&[("one", b"1"), ("two", &noise(100_000)), ("one", b"3")]);
    publish(&made, &name);

    let host = Host::new();
    let (status, events) = host.pull(&name).unwrap();
    assert_eq!(status, PullStatus::Downloaded);
    let resolved = PullEvent::Resolved {
        digest: made.manifest.0.digest,
        layers: made.blobs[..3]
            .iter()
            .map(|(layer, _)| engine::images::LayerInfo {
                digest: layer.digest,
                size: layer.size,
            })
            .collect(),
    };
    assert!(events.contains(&resolved));
    let complete = |event: &&PullEvent| {
        matches!(
            event,
            PullEvent::Layer {
                progress: LayerProgress::Complete,
                ..
            }
        )
    };
    assert_eq!(events.iter().filter(complete).count(), 3);
    let layers = host.layers(&name);
    assert_eq!(std::fs::read(layers[0].join("one")).unwrap(), b"1");
    assert_eq!(
        std::fs::read(layers[1].join("two")).unwrap(),
        noise(100_000)
    );
    assert_eq!(std::fs::read(layers[2].join("one")).unwrap(), b"3");

    // Once more costs no blob; a snapshot that is gone comes from its blob.
    std::fs::remove_dir_all(layers[1].parent().unwrap()).unwrap();
    let (status, events) = host.pull(&name).unwrap();
    assert_eq!(status, PullStatus::UpToDate);
    assert!(events.iter().all(|event| !matches!(
        event,
        PullEvent::Layer {
            progress: LayerProgress::Received(_),
            ..
        }
    )));
    assert_eq!(
        std::fs::read(layers[1].join("two")).unwrap(),
        noise(100_000)
    );

    // The same registry mounts, another one gets everything; the manifest
    // keeps its Docker type and digest.
    let images = host.engine.images();
    let beside = reference(&format!("{}/other/app:v2", registry.host()));
    images.tag(&name.to_string(), &beside.to_string()).unwrap();
    assert_eq!(host.push(&beside).unwrap(), [Uploaded::Mounted; 3]);
    assert_eq!(host.push(&beside).unwrap(), [Uploaded::Existed; 3]);
    let second = Registry::start(&Guard::Open);
    let there = reference(&format!("{}/app:v1", second.host()));
    images.tag(&name.to_string(), &there.to_string()).unwrap();
    assert_eq!(host.push(&there).unwrap(), [Uploaded::Sent; 3]);
    assert_eq!(anonymous().manifest(&there).unwrap(), made.manifest);

    let unknown = reference(&format!("{}/unknown:v1", second.host()));
    let error = host.push(&unknown).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("no such image: {}", unknown.familiar())
    );
}

#[test]
fn tells_about_images() {
    let registry = Registry::start(&Guard::Open);
    let name = reference(&format!("{}/app:v1", registry.host()));
    let made = make(&[("one", &noise(50_000))]);
    publish(&made, &name);
    let host = Host::new();
    host.pull(&name).unwrap();
    let images = host.engine.images();
    let list = images.list().unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].tags, std::slice::from_ref(&name));
    assert_eq!(list[0].digests, [name.with_digest(made.manifest.0.digest)]);
    assert!(list[0].size >= 50_000);
    assert_eq!(images.list().unwrap(), list);
    let inspect = images.inspect(&list[0].id.short()).unwrap();
    let json = serde_json::to_value(&inspect).unwrap();
    assert_eq!(json["RepoTags"][0], name.familiar());
    assert_eq!(json["Config"]["Env"][0], "A=b");
    assert_eq!(json["Os"], "linux");
    assert_eq!(json["Id"], list[0].id.to_string());
    assert_eq!(json["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    let history = images.history(&name.to_string()).unwrap();
    let steps: Vec<_> = history
        .iter()
        .map(|step| step.created_by.as_str())
        .collect();
    assert_eq!(steps, ["ENV A=b", "base"]);
    assert_eq!(history[0].size, 0);
    assert!(history[1].size >= 50_000);
    assert_eq!(
        images.inspect("nothing").unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn a_policy_says_when_to_ask_the_registry() {
    let registry = Registry::start(&Guard::Open);
    let name = reference(&format!("{}/app:v1", registry.host()));
    publish(&make(&[("one", b"1")]), &name);
    let host = Host::new();
    let provide = |policy| {
        let asked = Mutex::new(false);
        let image = host
            .engine
            .images()
            .provide(&name.to_string(), policy, None, &|_| {
                *asked.lock().unwrap() = true;
            });
        image.map(|image| (image.id, asked.into_inner().unwrap()))
    };
    let error = provide(PullPolicy::Never).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let (first, asked) = provide(PullPolicy::Missing).unwrap();
    assert!(asked);
    assert_eq!(provide(PullPolicy::Missing).unwrap(), (first, false));
    publish(&make(&[("one", b"2")]), &name);
    assert_eq!(provide(PullPolicy::Never).unwrap(), (first, false));
    let (second, asked) = provide(PullPolicy::Always).unwrap();
    assert!(asked);
    assert_ne!(first, second);
    // The first one lost its name and is still here.
    let list = host.engine.images().list().unwrap();
    assert_eq!(list.iter().filter(|image| image.tags.is_empty()).count(), 1);
    let removed = host.engine.images().prune(Prune::Dangling, &[]).unwrap();
    assert_eq!(removed.deleted, [first]);
    assert_eq!(host.names(), [name.familiar()]);
    drop(registry);
    assert_eq!(provide(PullPolicy::Missing).unwrap(), (second, false));
    assert_eq!(
        provide(PullPolicy::Always).unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[test]
fn names_go_first_and_the_image_with_the_last() {
    let registry = Registry::start(&Guard::Open);
    let name = reference(&format!("{}/app:v1", registry.host()));
    publish(&make(&[("one", b"1")]), &name);
    let host = Host::new();
    host.pull(&name).unwrap();
    let layer = host.layers(&name).remove(0);
    let images = host.engine.images();
    images.tag(&name.to_string(), "second").unwrap();
    let id = images.find("second").unwrap().id;
    let error = images.remove(&id.short(), Force::No).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let removed = images.remove("second", Force::No).unwrap();
    assert_eq!(removed.untagged, ["second:latest"]);
    assert!(removed.deleted.is_empty());
    images.tag(&id.hex(), "third").unwrap();
    let removed = images.remove(&id.to_string(), Force::Yes).unwrap();
    assert_eq!(removed.untagged.len(), 2);
    assert_eq!(removed.deleted, [id]);
    assert!(host.names().is_empty());
    assert!(!layer.exists());
    assert_eq!(blobs(&host), 0);
    assert_eq!(
        images.remove("third", Force::No).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

fn blobs(host: &Host) -> usize {
    let path = host.directory.path().join("root/content/blobs/sha256");
    std::fs::read_dir(path).unwrap().count()
}

/// A registry that serves one image, but for one of its blobs.
fn serve(made: &Made, request: &Seen, broken: &dyn Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    if request.path.contains("/manifests/") {
        let headers = format!("Content-Type: {}\r\n", MediaType::DockerManifest);
        return reply("200 OK", &headers, &made.manifest.1);
    }
    for (number, (descriptor, bytes)) in made.blobs.iter().enumerate() {
        if request.path.ends_with(&descriptor.digest.to_string()) {
            return if number == 0 {
                broken(bytes)
            } else {
                reply("200 OK", "", bytes)
            };
        }
    }
    reply("200 OK", "", b"")
}

#[test]
fn a_layer_that_is_not_what_it_should_be_leaves_no_image() {
    let made = make(&[("one", &noise(40_000)), ("two", b"2")]);
    let served = made.clone();
    let server = Fake::start(move |request, _| {
        serve(&served, request, &|bytes| {
            let mut bytes = bytes.to_vec();
            bytes[20_000] ^= 1;
            reply("200 OK", "", &bytes)
        })
    });
    let name = reference(&format!("{}/app:v1", server.host()));
    let host = Host::new();
    let error = host.pull(&name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(
        error
            .to_string()
            .contains(&made.blobs[0].0.digest.to_string()),
        "{error}"
    );
    assert!(host.names().is_empty());
    host.engine.images().prune(Prune::Dangling, &[]).unwrap();
    assert_eq!(blobs(&host), 0);
}

#[test]
fn an_interrupted_pull_goes_on_where_it_was() {
    let made = make(&[("one", &noise(400_000)), ("two", b"2")]);
    let served = made.clone();
    let size = made.blobs[0].0.size;
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_broken = std::sync::Arc::clone(&broken);
    let server = Fake::start(move |request, _| {
        serve(&served, request, &|bytes| {
            let start: usize = request
                .header("range")
                .and_then(|range| {
                    range
                        .strip_prefix("bytes=")?
                        .strip_suffix('-')?
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            if !is_broken.load(std::sync::atomic::Ordering::SeqCst) {
                let range = format!(
                    "Content-Range: bytes {start}-{}/{}\r\n",
                    bytes.len() - 1,
                    bytes.len()
                );
                return reply("206 Partial Content", &range, &bytes[start..]);
            }
            if start > 0 {
                return reply("403 Forbidden", "", b"");
            }
            let length = format!("Content-Length: {}\r\n", bytes.len());
            raw("200 OK", &length, &bytes[..300_000])
        })
    });
    let name = reference(&format!("{}/app:v1", server.host()));
    let host = Host::new();
    assert!(host.pull(&name).is_err());
    broken.store(false, std::sync::atomic::Ordering::SeqCst);
    host.pull(&name).unwrap();
    let last = server
        .seen()
        .into_iter()
        .rfind(|seen| seen.header("range").is_some())
        .unwrap();
    let range = last.header("range").unwrap().to_owned();
    let start: u64 = range["bytes=".len()..range.len() - 1].parse().unwrap();
    assert!(start > 0 && start <= 300_000 && start < size, "{range}");
    let layer = &host.layers(&name)[0];
    assert_eq!(std::fs::read(layer.join("one")).unwrap(), noise(400_000));
}

#[test]
fn saves_what_loads_again() {
    let registry = Registry::start(&Guard::Open);
    let name = reference(&format!("{}/app:v1", registry.host()));
    publish(&make(&[("one", b"1")]), &name);
    let host = Host::new();
    host.pull(&name).unwrap();
    let images = host.engine.images();
    images.tag(&name.to_string(), "short").unwrap();
    let id = images.find("short").unwrap().id;
    let save = |text: &str| {
        images
            .save(&[text.to_owned()], Vec::new(), &|_| {})
            .unwrap()
    };

    for (text, names) in [
        ("short", vec!["short:latest".to_owned()]),
        (&format!("{}/app", registry.host()), vec![name.familiar()]),
        (&id.short(), vec![]),
    ] {
        let other = Host::new();
        let loaded = other
            .engine
            .images()
            .load(save(text).as_slice(), &|_| {})
            .unwrap();
        assert_eq!(loaded.len(), 1, "{text}");
        assert_eq!(loaded[0].image.id, id);
        assert_eq!(other.names(), names, "{text}");
    }
    let error = images
        .save(&["nothing".to_owned()], Vec::new(), &|_| {})
        .unwrap_err();
    assert_eq!(error.to_string(), "no such image: nothing");
}

#[test]
fn imports_a_root_file_system() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("hello"), b"x").unwrap();
    let tar = Command::new("tar")
        .args([
            "-C",
            directory.path().to_str().unwrap(),
            "-cf",
            "-",
            "hello",
        ])
        .output()
        .unwrap()
        .stdout;
    let host = Host::new();
    let request = ImportRequest {
        name: Some("imported".to_owned()),
        changes: vec!["CMD [\"sh\"]".to_owned()],
        ..ImportRequest::default()
    };
    let image = host
        .engine
        .images()
        .import(&request, tar.as_slice(), &|_| {})
        .unwrap();
    assert_eq!(image.config.config.cmd, Some(vec!["sh".to_owned()]));
    let layers = host.layers(&reference("imported"));
    assert_eq!(std::fs::read(layers[0].join("hello")).unwrap(), b"x");
}

#[test]
fn an_index_is_remembered_by_its_digest() {
    let registry = Registry::start(&Guard::Open);
    let name = reference(&format!("{}/app:v1", registry.host()));
    let made = make(&[("one", b"1")]);
    publish(&made, &name);
    let mut entry = made.manifest.0.clone();
    entry.platform = Some(Platform::host());
    let text = serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OciIndex.as_str(), "manifests": [entry],
    }))
    .unwrap();
    let index = Descriptor::new(MediaType::OciIndex, sha256(&text), text.len() as u64);
    anonymous().put_manifest(&name, &index, &text).unwrap();

    let host = Host::new();
    host.pull(&name).unwrap();
    let images = host.engine.images();
    let list = images.list().unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].tags, std::slice::from_ref(&name));
    assert!(list[0].digests.contains(&name.with_digest(index.digest)));
    let by_digest = name.with_digest(index.digest).to_string();
    assert_eq!(images.find(&by_digest).unwrap().id, list[0].id);
    assert_eq!(host.pull(&name).unwrap().0, PullStatus::UpToDate);
    let removed = images.remove(&name.to_string(), Force::No).unwrap();
    assert_eq!(removed.deleted, [list[0].id]);
    assert!(removed.freed.blobs >= 3);
    assert_eq!(blobs(&host), 0);
}

#[test]
fn the_documented_configuration_is_one() {
    let page = include_str!("../../../docs/registries.md");
    let example = page
        .split("```toml")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let settings = engine::Settings::parse(example).unwrap();
    let hosts = &settings.registry.registries;
    assert_eq!(hosts["docker.io"].mirrors.len(), 3);
    assert!(hosts["registry.example"].insecure);
    assert!(settings.registry.proxy.no_proxy.is_some());
}

#[test]
fn pulls_and_removals_at_once_do_no_harm() {
    let registry = Registry::start(&Guard::Open);
    let shared: (&str, &[u8]) = ("shared", &noise(200_000));
    let names: Vec<_> = (0..3)
        .map(|number| {
            let name = reference(&format!("{}/app:v{number}", registry.host()));
            publish(&make(&[shared, ("own", &[number])]), &name);
            name
        })
        .collect();
    let host = Host::new();
    std::thread::scope(|scope| {
        for name in &names {
            for _ in 0..2 {
                scope.spawn(|| host.pull(name).unwrap());
            }
        }
        scope.spawn(|| {
            for _ in 0..10 {
                host.engine.images().prune(Prune::Dangling, &[]).unwrap();
            }
        });
    });
    for (number, name) in names.iter().enumerate() {
        let layers = host.layers(name);
        assert_eq!(
            std::fs::read(layers[0].join("shared")).unwrap(),
            noise(200_000)
        );
        assert_eq!(
            std::fs::read(layers[1].join("own")).unwrap(),
            [u8::try_from(number).unwrap()]
        );
    }
    for name in &names {
        host.engine
            .images()
            .remove(&name.to_string(), Force::No)
            .unwrap();
    }
    assert_eq!(blobs(&host), 0);
}

#[test]
fn a_removal_does_not_wait_for_a_long_pull() {
    let registry = Registry::start(&Guard::Open);
    let name = reference(&format!("{}/app:v1", registry.host()));
    publish(&make(&[("one", b"1")]), &name);
    let host = Host::new();
    host.pull(&name).unwrap();
    let images = host.engine.images();
    let store = images.store().unwrap();
    let pulling = store.use_lock().unwrap();
    let removed = images.remove(&name.to_string(), Force::No).unwrap();
    assert_eq!(removed.freed.blobs, 0);
    assert!(host.names().is_empty());
    drop(pulling);
    images.prune(Prune::Dangling, &[]).unwrap();
    assert_eq!(blobs(&host), 0);
}
