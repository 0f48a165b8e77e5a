//! Images made on the spot: a small honest one around busybox, and whatever a test wants to put into a layer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::tar::Tar;

/// `sha256:…` of these bytes.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes)
        .iter()
        .fold(String::from("sha256:"), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A layer as a registry holds it, which is not always what its config says it is.
#[derive(Clone)]
pub struct Layer {
    pub media_type: &'static str,
    pub blob: Vec<u8>,
    pub diff_id: String,
}

impl Layer {
    pub fn gzip(tar: &[u8]) -> Self {
        Self {
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip",
            blob: gzip(tar),
            diff_id: sha256(tar),
        }
    }

    pub fn plain(tar: &[u8]) -> Self {
        Self {
            media_type: "application/vnd.oci.image.layer.v1.tar",
            blob: tar.to_vec(),
            diff_id: sha256(tar),
        }
    }

    pub fn zstd(tar: &[u8]) -> Self {
        Self {
            media_type: "application/vnd.oci.image.layer.v1.tar+zstd",
            blob: zstd::encode_all(tar, 3).unwrap(),
            diff_id: sha256(tar),
        }
    }

    pub fn digest(&self) -> String {
        sha256(&self.blob)
    }
}

/// An image in the making.
#[derive(Clone)]
pub struct ImageBuilder {
    pub layers: Vec<Layer>,
    pub architecture: &'static str,
    /// The `config` object of the image's configuration.
    pub config: Value,
}

impl Default for ImageBuilder {
    fn default() -> Self {
        Self {
            layers: Vec::new(),
            architecture: if cfg!(target_arch = "aarch64") {
                "arm64"
            } else {
                "amd64"
            },
            config: json!({ "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"] }),
        }
    }
}

impl ImageBuilder {
    /// An image that has busybox and nothing else in its first layer.
    pub fn busybox() -> Self {
        Self::default().layer(Layer::gzip(&busybox_layer()))
    }

    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// A gzip layer of these members.
    pub fn tar(self, tar: Tar) -> Self {
        self.layer(Layer::gzip(&tar.finish()))
    }

    /// Sets one field of the config object: `set("User", json!("1000"))`.
    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.config[field] = value;
        self
    }

    pub fn configuration(&self) -> Vec<u8> {
        let diff_ids: Vec<_> = self
            .layers
            .iter()
            .map(|layer| layer.diff_id.as_str())
            .collect();
        serde_json::to_vec(&json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        }))
        .unwrap()
    }

    pub fn manifest(&self) -> Vec<u8> {
        let config = self.configuration();
        let layers: Vec<_> = self
            .layers
            .iter()
            .map(|layer| json!({ "mediaType": layer.media_type, "digest": layer.digest(), "size": layer.blob.len() }))
            .collect();
        serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": sha256(&config),
                "size": config.len(),
            },
            "layers": layers,
        }))
        .unwrap()
    }

    /// What `docker save` used to write: `manifest.json`, a config, layers as they are.
    pub fn docker_archive(&self, name: &str) -> Vec<u8> {
        let config = self.configuration();
        let config_name = format!("{}.json", &sha256(&config)[7..]);
        let mut tar = Tar::new().file(&config_name, 0o644, &config);
        let mut names = Vec::new();
        for layer in &self.layers {
            let name = format!("{}/layer.tar", &layer.digest()[7..]);
            tar = tar.file(&name, 0o644, &layer.blob);
            names.push(name);
        }
        let manifest = json!([{ "Config": config_name, "RepoTags": [name], "Layers": names }]);
        tar.file(
            "manifest.json",
            0o644,
            serde_json::to_vec(&manifest).unwrap(),
        )
        .finish()
    }

    /// A tar of an OCI image layout.
    pub fn oci_archive(&self, name: &str) -> Vec<u8> {
        let manifest = self.manifest();
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": sha256(&manifest),
                "size": manifest.len(),
                "annotations": { "org.opencontainers.image.ref.name": name },
            }],
        });
        let mut tar = Tar::new()
            .file("oci-layout", 0o644, r#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("index.json", 0o644, serde_json::to_vec(&index).unwrap());
        let mut blobs = vec![manifest, self.configuration()];
        blobs.extend(self.layers.iter().map(|layer| layer.blob.clone()));
        blobs.sort();
        blobs.dedup();
        for blob in blobs {
            tar = tar.file(
                &format!("blobs/sha256/{}", &sha256(&blob)[7..]),
                0o644,
                &blob,
            );
        }
        tar.finish()
    }
}

/// A docker archive of `busybox:latest`, made once per test run.
pub fn busybox_image(dir: &Path) -> PathBuf {
    let path = dir.join("busybox.tar");
    fs::write(
        &path,
        ImageBuilder::busybox().docker_archive("busybox:latest"),
    )
    .unwrap();
    path
}

/// A root file system of one static binary with its names, and the few files that programs look for.
fn busybox_layer() -> Vec<u8> {
    let busybox = ["/usr/bin/busybox", "/bin/busybox"]
        .iter()
        .find_map(|path| fs::read(path).ok());
    let busybox = busybox.expect("busybox is missing: scripts/setup.sh test installs it");
    let applets = Command::new("busybox").arg("--list").output().unwrap();
    let mut tar = Tar::new()
        .directory("bin", 0o755)
        .directory("dev", 0o755)
        .directory("etc", 0o755)
        .directory("home", 0o755)
        .directory("proc", 0o555)
        .directory("root", 0o700)
        .directory("sys", 0o555)
        .directory("tmp", 0o1777)
        .directory("usr", 0o755)
        .directory("usr/bin", 0o755)
        .directory("var", 0o755)
        .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/home:/bin/sh\napp:x:1000:1000:app:/home:/bin/sh\n")
        .file("etc/group", 0o644, "root:x:0:\nwww:x:33:\napp:x:1000:\nextra:x:2000:app\n")
        .file("etc/shadow", 0o600, "root:*:::::::\n")
        .file("bin/busybox", 0o755, busybox);
    for applet in String::from_utf8(applets.stdout)
        .unwrap()
        .lines()
        .filter(|name| *name != "busybox")
    {
        tar = tar.symlink(&format!("bin/{applet}"), "busybox");
    }
    tar.finish()
}
