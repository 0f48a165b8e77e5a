//! Images and registries that are not what they should be.

use black_box_tests::{
    Access, Answer, BUSYBOX, Bed, HostileRegistry, ImageBuilder, Layer, Registry, Tar, bed, sha256,
};

/// Busybox and one more layer, which no store has yet.
fn two_layers() -> ImageBuilder {
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(200_000)
    .collect();
    ImageBuilder::busybox().layer(Layer::plain(
        &Tar::new().file("noise", 0o644, noise).finish(),
    ))
}

/// Asserts that pulling from this registry fails with these words, and stores nothing that could be run.
fn pull_fails(bed: &Bed, registry: &HostileRegistry, words: &[&str]) {
    let name = format!("{}/bad:1", registry.address);
    bed.run(&["pull", &name]).fails(1, words);
    bed.run(&["run", "--rm", "--pull", "never", &name, "true"])
        .fails(125, &["no such image"]);
    assert_eq!(
        bed.run(&["images", "-aq"]).ok().lines().count(),
        1,
        "only busybox"
    );
}

#[test]
fn unknown_image_and_tag() {
    bed!(|bed| {
        let registry = Registry::start(bed, Access::Open);
        let name = registry.name("none/such:1");
        bed.run(&["pull", &name]).fails(1, &[&name]);
        bed.run(&["run", "--rm", &name, "true"])
            .fails(125, &[&name]);
        let known = registry.name("app:1");
        bed.run(&["tag", BUSYBOX, &known]).ok();
        bed.run(&["push", &known]).ok();
        let other = registry.name("app:2");
        bed.run(&["pull", &other]).fails(1, &[&other]);
        let digest = registry.name(&format!("app@{}", sha256(b"nothing")));
        bed.run(&["pull", &digest]).fails(1, &[&digest]);
    });
}

#[test]
fn malformed_names() {
    bed!(|bed| {
        for bad in [
            "foo/UPPER",
            "a:b:c",
            "a@sha256:12",
            "-x/y",
            "a//b",
            "127.0.0.1:99999/x",
            "x:.tag",
            "a/b@md5:aaaa",
        ] {
            let outcome = bed.run(&["pull", "--", bad]);
            let said = outcome.fails(1, &[]);
            assert!(!said.contains("connect"), "a registry was asked: {said}");
        }
    });
}

#[test]
fn a_registry_that_is_down() {
    bed!(|bed| {
        bed.run(&["pull", "127.0.0.1:1/app"])
            .fails(1, &["127.0.0.1:1", "refused"]);
        bed.run(&["pull", "no-such-host.invalid/app"])
            .fails(1, &["no-such-host.invalid"]);
        bed.run(&["tag", BUSYBOX, "127.0.0.1:1/app"]).ok();
        bed.run(&["push", "127.0.0.1:1/app"])
            .fails(1, &["127.0.0.1:1", "refused"]);
        bed.command(&["login", "-u", "a", "--password-stdin", "127.0.0.1:1"])
            .input("b")
            .run()
            .fails(1, &["127.0.0.1:1"]);
    });
}

#[test]
fn something_that_is_no_registry() {
    bed!(|bed| {
        let page = HostileRegistry::start("127.0.0.1:0", |_| {
            Answer::new(200).body("text/html", "<html>hello</html>")
        });
        pull_fails(bed, &page, &["manifest"]);
        let broken = HostileRegistry::start("127.0.0.1:0", |_| Answer::new(500));
        pull_fails(bed, &broken, &["500"]);
        let endless = HostileRegistry::start("127.0.0.1:0", |request| {
            Answer::new(307).header(
                "Location",
                &format!("http://{}{}", request.header("host").unwrap(), request.path),
            )
        });
        pull_fails(bed, &endless, &[]);
    });
}

#[test]
fn wrong_credentials() {
    bed!(|bed| {
        let registry = Registry::start(bed, Access::Basic);
        let login = bed
            .command(&["login", "-u", "wharf", "-p", "wrong", &registry.address])
            .run();
        login.fails(1, &["credentials"]);
        assert!(!login.error().contains("wrong"), "{}", login.story());
        bed.run(&["pull", &registry.name("app")])
            .fails(1, &["credentials"]);
    });
}

#[test]
fn a_manifest_of_another_architecture() {
    bed!(|bed| {
        let mut image = ImageBuilder::busybox();
        image.architecture = "s390x";
        let registry = HostileRegistry::serving(&image, |_, answer| answer);
        // As Docker it is taken (one may have an emulator), and said.
        let name = format!("{}/other:1", registry.address);
        let outcome = bed.run(&["pull", &name]);
        assert!(
            outcome.story().contains("linux/s390x"),
            "{}",
            outcome.story()
        );
        bed.run(&["rmi", "-f", &name]);
    });
}

#[test]
fn a_digest_that_does_not_match() {
    bed!(|bed| {
        let image = two_layers();
        let layer = image.layers[1].digest();
        // Other bytes of the same length under the layer's digest.
        let mut wrong = image.layers[1].blob.clone();
        let middle = wrong.len() / 2;
        wrong[middle] ^= 1;
        let path = layer.clone();
        let registry = HostileRegistry::serving(&image, move |request, answer| {
            if request.path.ends_with(&path) {
                Answer::new(200).body("application/octet-stream", wrong.clone())
            } else {
                answer
            }
        });
        let name = format!("{}/bad:1", registry.address);
        let said = bed.run(&["pull", &name]).fails(1, &[]);
        assert!(
            said.contains("digest") || said.contains("corrupt"),
            "{said}"
        );
        assert_eq!(bed.run(&["images", "-aq"]).ok().lines().count(), 1);
        drop(registry);

        // A manifest asked for by digest that is another one.
        let registry = HostileRegistry::serving(&image, |_, answer| answer);
        bed.run(&[
            "pull",
            &format!("{}/bad@{}", registry.address, sha256(b"another")),
        ])
        .fails(1, &["digest"]);
    });
}

#[test]
fn a_layer_whose_content_is_not_what_the_config_says() {
    bed!(|bed| {
        // The blob's digest is right; the digest of what is in it is not.
        let mut image = ImageBuilder::busybox().tar(Tar::new().file("a", 0o644, "a"));
        image.layers[1].diff_id = sha256(b"something else");
        let registry = HostileRegistry::serving(&image, |_, answer| answer);
        pull_fails(bed, &registry, &["layer"]);
        let file = bed.file("bad.tar", image.docker_archive("bad:1"));
        bed.run(&["load", "-i", &file]).fails(1, &["layer"]);
    });
}

#[test]
fn a_truncated_blob() {
    bed!(|bed| {
        let image = two_layers();
        let layer = image.layers[1].digest();
        let registry = HostileRegistry::serving(&image, move |request, answer| {
            if request.path.ends_with(&layer) {
                // What is asked for again does not come either.
                let more = request.header("range").is_some();
                answer.cut_after(if more { 0 } else { 1000 })
            } else {
                answer
            }
        });
        pull_fails(bed, &registry, &[]);
    });
}

#[test]
fn a_layer_that_is_no_archive() {
    bed!(|bed| {
        for content in [
            &b"not gzip at all"[..],
            b"",
            &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3],
        ] {
            let mut image = ImageBuilder::busybox().tar(Tar::new().file("a", 0o644, "a"));
            image.layers[1].blob = content.to_vec();
            let registry = HostileRegistry::serving(&image, |_, answer| answer);
            pull_fails(bed, &registry, &["layer"]);
        }
    });
}

#[test]
fn manifests_that_lie_about_sizes() {
    bed!(|bed| {
        let image = two_layers();
        let size = image.layers[1].blob.len();
        for lie in [size / 2, size * 2, 1 << 50] {
            let manifest = String::from_utf8(image.manifest())
                .unwrap()
                .replace(&format!("\"size\":{size}"), &format!("\"size\":{lie}"));
            let digest = sha256(manifest.as_bytes());
            let registry = HostileRegistry::serving(&image, move |request, answer| {
                if request.path.contains("/manifests/") {
                    return Answer::new(200)
                        .header("Docker-Content-Digest", &digest)
                        .body(
                            "application/vnd.oci.image.manifest.v1+json",
                            manifest.clone(),
                        );
                }
                answer
            });
            pull_fails(bed, &registry, &[]);
        }
    });
}

#[test]
fn manifests_that_are_no_manifests() {
    bed!(|bed| {
        let huge = vec![b' '; 64 << 20];
        let deep = "[".repeat(200_000);
        for body in [
            b"{}".to_vec(),
            b"null".to_vec(),
            b"{\"schemaVersion\":1}".to_vec(),
            deep.into_bytes(),
            huge,
        ] {
            let registry = HostileRegistry::start("127.0.0.1:0", move |request| {
                if request.path == "/v2/" {
                    return Answer::new(200).json(&serde_json::json!({}));
                }
                Answer::new(200).body("application/vnd.oci.image.manifest.v1+json", body.clone())
            });
            pull_fails(bed, &registry, &["manifest"]);
        }
    });
}

#[test]
fn archives_that_are_none() {
    bed!(|bed| {
        let missing_layer = {
            let image = ImageBuilder::busybox();
            let config = image.configuration();
            Tar::new()
                .file("config.json", 0o644, config)
                .file(
                    "manifest.json",
                    0o644,
                    r#"[{"Config":"config.json","RepoTags":["x:1"],"Layers":["gone/layer.tar"]}]"#,
                )
                .finish()
        };
        let outside = Tar::new()
            .file(
                "manifest.json",
                0o644,
                r#"[{"Config":"../../../etc/passwd","RepoTags":["x:1"],"Layers":["/etc/passwd"]}]"#,
            )
            .finish();
        let half = ImageBuilder::busybox().docker_archive("x:1");
        let half = half[..half.len() / 2].to_vec();
        for (index, archive) in [
            b"rubbish".to_vec(),
            Vec::new(),
            Tar::new().finish(),
            missing_layer,
            outside,
            half,
        ]
        .into_iter()
        .enumerate()
        {
            let file = bed.file(&format!("archive-{index}"), archive);
            bed.run(&["load", "-i", &file]).fails(1, &[]);
        }
        bed.run(&["load", "-i", "/no/such/file"])
            .fails(1, &["/no/such/file"]);
        assert_eq!(bed.run(&["images", "-aq"]).ok().lines().count(), 1);
    });
}

#[test]
fn a_blob_damaged_in_the_registry() {
    bed!(|bed| {
        let registry = Registry::start(bed, Access::Open);
        let name = registry.name("app:1");
        bed.run(&["tag", BUSYBOX, &name]).ok();
        bed.run(&["push", &name]).ok();
        bed.run(&["rmi", &name, BUSYBOX]).ok();
        let (largest, _) = registry
            .blobs()
            .into_iter()
            .max_by_key(|(_, size)| *size)
            .unwrap();
        registry.damage(&largest, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        });
        bed.run(&["pull", &name]).fails(1, &[]);
        assert_eq!(bed.run(&["images", "-aq"]).ok(), "");
    });
}
