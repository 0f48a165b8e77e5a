//! What the tests of this crate share: a real registry, a server that
//! misbehaves, a token server, certificates. Everything listens on 127.0.0.1
//! and ends with its value.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses a part of this, and unwraps as tests do"
)]

pub mod fake;
pub mod real;
pub mod tokens;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use registry::{Client, CredentialSource, Credentials, RegistryConfig, Timeouts};
use sha2::{Digest as _, Sha256};
use spec::image::{Descriptor, LayerCompression, MediaType};
use spec::{Digest, Reference};

/// Short pauses; nothing outside the test is read.
pub fn config() -> RegistryConfig {
    RegistryConfig {
        certs_dirs: Vec::new(),
        hosts_file: "/nonexistent".into(),
        resolv_conf: "/nonexistent".into(),
        timeouts: Timeouts {
            lookup: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(5),
            attempts: 4,
            pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(50),
        },
        ..RegistryConfig::default()
    }
}

pub fn anonymous() -> Client {
    Client::new(config(), CredentialSource::None)
}

pub fn as_user(registry: &str, user: &str, password: &str) -> Client {
    let source = CredentialSource::Given {
        registry: registry.to_owned(),
        credentials: self::password(user, password),
    };
    Client::new(config(), source)
}

pub fn password(user: &str, password: &str) -> Credentials {
    Credentials::Password {
        user: user.to_owned(),
        password: password.to_owned(),
    }
}

pub fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::sha256(Sha256::digest(bytes).into())
}

pub fn layer(bytes: &[u8]) -> Descriptor {
    let kind = MediaType::OciLayer(LayerCompression::Gzip);
    Descriptor::new(kind, sha256(bytes), bytes.len() as u64)
}

/// Bytes that do not repeat soon.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A manifest of these blobs, and its descriptor.
pub fn manifest(config: &[u8], layers: &[&[u8]]) -> (Descriptor, Vec<u8>) {
    let config = Descriptor::new(MediaType::OciConfig, sha256(config), config.len() as u64);
    let layers: Vec<_> = layers.iter().map(|bytes| layer(bytes)).collect();
    let text = serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciManifest.as_str(),
        "config": config,
        "layers": layers,
    }))
    .unwrap();
    let descriptor = Descriptor::new(MediaType::OciManifest, sha256(&text), text.len() as u64);
    (descriptor, text)
}

/// Runs `openssl` and returns what it prints.
pub fn openssl(arguments: &[&str], input: Option<&Path>) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(arguments).stderr(std::process::Stdio::null());
    if let Some(path) = input {
        command.stdin(std::fs::File::open(path).unwrap());
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}");
    output.stdout
}

/// A key and a certificate that it signs itself, for `localhost` and
/// 127.0.0.1: `key.pem` and `cert.pem` in `directory`.
pub fn self_signed(directory: &Path) {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    openssl(
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout",
            &path("key.pem"),
            "-out",
            &path("cert.pem"),
        ],
        None,
    );
}
