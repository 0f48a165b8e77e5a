//! `pull`, `push`, `login`: against a real registry, open, with a password, with tokens.

use black_box_tests::{
    Access, BUSYBOX, HostileRegistry, ImageBuilder, Layer, Registry, Tar, bed, plain_answers,
    sha256,
};

#[test]
fn push_and_pull() {
    bed!(|bed| {
        let registry = Registry::start(bed, Access::Open);
        let name = registry.name("team/app:1");
        let image = ImageBuilder::busybox()
            .tar(Tar::new().file("a", 0o644, "a"))
            .layer(Layer::zstd(&Tar::new().file("b", 0o644, "b").finish()));
        let file = bed.file("app.tar", image.oci_archive(&name));
        bed.run(&["load", "-i", &file]).ok();
        let id = bed.inspect(&name, "{{.Id}}");
        let pushed = bed.run(&["push", &name]).ok();
        assert!(pushed.contains("digest: sha256:"), "{pushed}");
        bed.run(&["rmi", &name]).ok();
        let pulled = bed.run(&["pull", &name]).ok();
        assert!(
            pulled.contains("Digest: sha256:") && pulled.contains("Downloaded newer image"),
            "{pulled}"
        );
        assert_eq!(bed.inspect(&name, "{{.Id}}"), id);
        assert_eq!(
            bed.run(&["run", "--rm", &name, "cat", "/a", "/b"]).ok(),
            "ab"
        );
        assert!(bed.run(&["pull", &name]).ok().contains("up to date"));
        assert_eq!(bed.run(&["pull", "-q", &name]).ok(), name);
        // By digest.
        let digest = bed.inspect(&name, "{{index .RepoDigests 0}}");
        assert!(
            digest.starts_with(&registry.name("team/app@sha256:")),
            "{digest}"
        );
        bed.run(&["rmi", "-f", &id]).ok();
        bed.run(&["pull", &digest]).ok();
        assert_eq!(bed.run(&["run", "--rm", &digest, "cat", "/a"]).ok(), "a");
        bed.run(&["rmi", "-f", &id]).ok();
        let quiet = bed.run(&["run", "--quiet", "--rm", &digest, "cat", "/a"]);
        assert_eq!((quiet.ok(), quiet.error()), ("a".into(), String::new()));
    });
}

#[test]
fn every_tag_of_a_repository() {
    bed!(|bed| {
        let registry = Registry::start(bed, Access::Open);
        let name = registry.name("team/app");
        let (one, two, other) = (
            format!("{name}:1"),
            format!("{name}:2"),
            registry.name("team/other:1"),
        );
        for tag in [&one, &two, &other] {
            bed.run(&["tag", BUSYBOX, tag]).ok();
        }
        assert_eq!(
            bed.run(&["push", "-q", "--all-tags", &name]).ok(),
            format!("{one}\n{two}")
        );
        bed.run(&["rmi", &one, &two, &other]).ok();
        bed.run(&["pull", "-q", "-a", &name]).ok();
        let tags = bed
            .run(&[
                "images",
                "--format",
                "{{.Tag}}",
                "--filter",
                &format!("reference={name}"),
            ])
            .ok();
        let mut tags: Vec<&str> = tags.lines().collect();
        tags.sort_unstable();
        assert_eq!(tags, ["1", "2"]);
        bed.run(&["pull", &other]).fails(1, &[]);
        bed.run(&["push", "-a", &one])
            .fails(1, &["leave out --all-tags or the tag"]);
        bed.run(&["push", "-a", &registry.name("nobody")])
            .fails(1, &["no such image"]);
    });
}

#[test]
fn run_pulls_what_is_missing() {
    bed!(|bed| {
        let registry = Registry::start(bed, Access::Open);
        let name = registry.name("app");
        bed.run(&["tag", BUSYBOX, &name]).ok();
        bed.run(&["push", &name]).ok();
        bed.run(&["rmi", &name, BUSYBOX]).ok();
        let outcome = bed.run(&["run", "--rm", &name, "echo", "pulled"]);
        assert_eq!(outcome.ok(), "pulled", "progress goes to standard error");
        assert!(
            outcome.error().contains("Unable to find image"),
            "{}",
            outcome.story()
        );
        bed.run(&["run", "--rm", "--pull", "always", &name, "true"])
            .ok();
    });
}

#[test]
fn a_layer_that_is_there_is_not_sent_again() {
    bed!(|bed| {
        let registry = Registry::start(bed, Access::Open);
        let (one, two) = (registry.name("one"), registry.name("two"));
        for name in [&one, &two] {
            bed.run(&["tag", BUSYBOX, name]).ok();
        }
        bed.run(&["push", &one]).ok();
        let before = registry.stored_bytes();
        assert!(
            bed.run(&["push", &one])
                .ok()
                .contains("Layer already exists")
        );
        bed.run(&["push", &two]).ok();
        assert!(registry.stored_bytes() - before < 2000);
    });
}

#[test]
fn a_registry_with_a_password() {
    bed!(|bed| {
        let registry = Registry::start(bed, Access::Basic);
        let name = registry.name("app");
        bed.run(&["tag", BUSYBOX, &name]).ok();
        bed.run(&["push", &name]).fails(1, &[&registry.address]);
        bed.command(&[
            "login",
            "-u",
            "wharf",
            "--password-stdin",
            &registry.address,
        ])
        .input("wrong")
        .run()
        .fails(1, &["credentials"]);
        let login = bed
            .command(&[
                "login",
                "-u",
                "wharf",
                "--password-stdin",
                &registry.address,
            ])
            .input("secret\n")
            .run();
        assert!(login.ok().contains("Login Succeeded"));
        assert!(!login.story().contains("secret"));
        bed.run(&["push", &name]).ok();
        bed.run(&["rmi", &name]).ok();
        bed.run(&["pull", &name]).ok();
        bed.run(&["logout", &registry.address]).ok();
        bed.run(&["pull", &name]).fails(1, &[&registry.address]);
    });
}

#[test]
fn credentials_of_docker_are_used() {
    bed!(|bed| {
        let registry = Registry::start(bed, Access::Basic);
        let name = registry.name("app");
        bed.run(&["tag", BUSYBOX, &name]).ok();
        std::fs::create_dir(bed.dir().join(".docker")).unwrap();
        // wharf:secret
        bed.file(
            ".docker/config.json",
            format!(
                r#"{{"auths":{{"{}":{{"auth":"d2hhcmY6c2VjcmV0"}}}}}}"#,
                registry.address
            ),
        );
        bed.run(&["push", &name]).ok();
    });
}

#[test]
fn credential_helpers_are_asked() {
    bed!(|bed| {
        let registry = Registry::start(bed, Access::Basic);
        let name = registry.name("app");
        bed.run(&["tag", BUSYBOX, &name]).ok();
        std::fs::create_dir(bed.dir().join(".docker")).unwrap();
        bed.file(
            ".docker/config.json",
            format!(r#"{{"credHelpers":{{"{}":"test"}}}}"#, registry.address),
        );
        let helper = bed.file("docker-credential-test", "#!/bin/sh\ntest $1 = get && cat > $(dirname $0)/asked && echo '{\"Username\":\"wharf\",\"Secret\":\"secret\"}'\n");
        bed.host("chmod", &["755", &helper]).ok();
        let path = format!("{}:{}", bed.dir().display(), std::env::var("PATH").unwrap());
        bed.command(&["push", &name])
            .variable("PATH", &path)
            .run()
            .ok();
        assert!(
            std::fs::read_to_string(bed.dir().join("asked"))
                .unwrap()
                .contains(&registry.address)
        );
    });
}

#[test]
fn a_registry_with_tokens() {
    bed!(|bed| {
        let registry = Registry::start(bed, Access::Token);
        let name = registry.name("library/app:1");
        bed.run(&["tag", BUSYBOX, &name]).ok();
        bed.run(&["push", &name]).fails(1, &[&registry.address]);
        bed.command(&[
            "login",
            "-u",
            "wharf",
            "--password-stdin",
            &registry.address,
        ])
        .input("wrong")
        .run()
        .fails(1, &[]);
        bed.command(&[
            "login",
            "-u",
            "wharf",
            "--password-stdin",
            &registry.address,
        ])
        .input("secret")
        .run()
        .ok();
        bed.run(&["push", &name]).ok();
        bed.run(&["logout", &registry.address]).ok();
        bed.run(&["rmi", &name, BUSYBOX]).ok();
        // As from Docker Hub: pulled without an account.
        bed.run(&["pull", &name]).ok();
        bed.run(&["run", "--rm", &name, "true"]).ok();
    });
}

#[test]
fn an_index_gives_the_image_of_this_machine() {
    bed!(|bed| {
        let image = ImageBuilder::busybox();
        let manifest = image.manifest();
        let (own, other) = if image.architecture == "amd64" {
            ("amd64", "arm64")
        } else {
            ("arm64", "amd64")
        };
        let index = serde_json::to_vec(&serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": sha256(b"other"), "size": 5, "platform": { "os": "linux", "architecture": other } },
                { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": sha256(&manifest), "size": manifest.len(), "platform": { "os": "linux", "architecture": own } },
            ],
        }))
        .unwrap();
        let served = HostileRegistry::serving(&image, move |request, answer| {
            if request.path.ends_with("/manifests/multi") {
                return black_box_tests::Answer::new(200)
                    .body("application/vnd.oci.image.index.v1+json", index.clone());
            }
            answer
        });
        let name = format!("{}/app:multi", served.address);
        bed.run(&["pull", &name]).ok();
        bed.run(&["run", "--rm", &name, "true"]).ok();
        bed.run(&["pull", "--platform", "linux/s390x", &name])
            .fails(1, &["linux/s390x", own]);
    });
}

#[test]
fn an_interrupted_pull_goes_on_where_it_was() {
    bed!(|bed| {
        let big = noise(6 << 20);
        let image = ImageBuilder::busybox()
            .layer(Layer::plain(&Tar::new().file("big", 0o644, &big).finish()));
        let digest = image.layers[1].digest();
        let cut = digest.clone();
        let dead = HostileRegistry::serving(&image, move |request, answer| {
            // It hangs up after 4 MB, whatever is asked.
            if request.path.ends_with(&cut) {
                answer.cut_after(4 << 20)
            } else {
                answer
            }
        });
        let address = dead.address.clone();
        let name = format!("{address}/app:1");
        let interrupted = bed.run(&["pull", &name]);
        drop(dead);
        if !interrupted.status.success() {
            interrupted.fails(1, &[]);
        }
        let whole = HostileRegistry::start(&address, plain_answers(&image));
        bed.run(&["pull", &name]).ok();
        let blob_requests: Vec<_> = whole
            .requests()
            .into_iter()
            .filter(|request| request.path.ends_with(&digest))
            .collect();
        assert!(
            blob_requests
                .iter()
                .all(|request| request.header("range").is_some()),
            "it started anew: {blob_requests:?}"
        );
        assert_eq!(
            bed.run(&["run", "--rm", &name, "wc", "-c", "/big"]).ok(),
            format!("{} /big", 6 << 20)
        );
    });
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(length)
    .collect()
}

#[test]
fn a_busy_registry_is_asked_again() {
    bed!(|bed| {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let served = HostileRegistry::serving(&ImageBuilder::busybox(), move |request, answer| {
            let turn = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if request.path.contains("/blobs/") && turn.is_multiple_of(2) {
                return black_box_tests::Answer::new(503).header("Retry-After", "0");
            }
            answer
        });
        bed.run(&["pull", &format!("{}/app:1", served.address)])
            .ok();
    });
}

#[test]
fn a_mirror_is_asked_first() {
    bed!(|bed| {
        let registry = Registry::start(bed, Access::Open);
        let name = registry.name("library/thing:1");
        bed.run(&["tag", BUSYBOX, &name]).ok();
        bed.run(&["push", &name]).ok();
        let config = bed.file(
            "wharf.toml",
            format!(
                "[registry.hosts.\"docker.io\"]\nmirrors = [\"http://{}\"]\n",
                registry.address
            ),
        );
        bed.command(&["pull", "thing:1"])
            .variable("WHARF_CONFIG", &config)
            .run()
            .ok();
        bed.run(&["run", "--rm", "thing:1", "true"]).ok();
    });
}
