//! Debian's `docker-registry` on the loopback of a bed: open, behind a password, or behind a token service of ours.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::bed::Bed;
use crate::hostile::{Answer, HostileRegistry, Request};

/// Who may come in. User `wharf`, password `secret`.
#[derive(Clone, Copy, PartialEq)]
pub enum Access {
    Open,
    Basic,
    /// As at Docker Hub: everybody may pull, the user may push.
    Token,
}

/// A registry that runs until it is dropped.
pub struct Registry {
    /// `127.0.0.1:PORT`
    pub address: String,
    process: Child,
    dir: PathBuf,
    _tokens: Option<HostileRegistry>,
}

impl Registry {
    pub fn start(bed: &Bed, access: Access) -> Self {
        // The network namespace is the test's own: every port is free. Each kind has its own, a test may use all.
        let port = 5000 + access as u16;
        let dir = bed.dir().join(format!("registry-{port}"));
        fs::create_dir_all(&dir).unwrap();
        let address = format!("127.0.0.1:{port}");
        let (auth, tokens) = match access {
            Access::Open => (String::new(), None),
            Access::Basic => {
                let line = bed.host("htpasswd", &["-nbB", "wharf", "secret"]).ok();
                fs::write(dir.join("htpasswd"), line).unwrap();
                (
                    format!(
                        "auth:\n  htpasswd:\n    realm: test\n    path: {}/htpasswd\n",
                        dir.display()
                    ),
                    None,
                )
            }
            Access::Token => {
                let service = token_service(bed, &dir);
                let auth = format!(
                    "auth:\n  token:\n    realm: http://{}/token\n    service: test-registry\n    issuer: test-issuer\n    rootcertbundle: {}/cert.pem\n",
                    service.address,
                    dir.display()
                );
                (auth, Some(service))
            }
        };
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {0}/data\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n{auth}",
            dir.display()
        );
        fs::write(dir.join("config.yml"), config).unwrap();
        let process = Command::new("docker-registry")
            .args(["serve", dir.join("config.yml").to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .expect("docker-registry is missing: scripts/setup.sh test installs it");
        let registry = Self {
            address,
            process,
            dir,
            _tokens: tokens,
        };
        crate::eventually(20, "docker-registry to answer", || {
            TcpStream::connect(&registry.address).ok()
        });
        registry
    }

    /// `127.0.0.1:PORT/NAME`
    pub fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.address)
    }

    /// How many bytes of blobs it stores.
    pub fn stored_bytes(&self) -> u64 {
        self.blobs().iter().map(|(_, size)| size).sum()
    }

    /// Digest (hex) and size of each blob that it stores.
    pub fn blobs(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let blobs = self.dir.join("data/docker/registry/v2/blobs/sha256");
        for prefix in fs::read_dir(blobs).into_iter().flatten().flatten() {
            for blob in fs::read_dir(prefix.path()).unwrap().flatten() {
                if let Ok(data) = fs::metadata(blob.path().join("data")) {
                    found.push((blob.file_name().to_string_lossy().into_owned(), data.len()));
                }
            }
        }
        found
    }

    /// Changes a stored blob behind the registry's back.
    pub fn damage(&self, hex: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self
            .dir
            .join("data/docker/registry/v2/blobs/sha256")
            .join(&hex[..2])
            .join(hex)
            .join("data");
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Gives out tokens as the distribution specification wants them, signed with a key made for the test.
fn token_service(bed: &Bed, dir: &std::path::Path) -> HostileRegistry {
    let (key, cert) = (dir.join("key.pem"), dir.join("cert.pem"));
    bed.host(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test", //
            "-keyout",
            key.to_str().unwrap(),
            "-out",
            cert.to_str().unwrap(),
        ],
    )
    .ok();
    let pem = fs::read_to_string(&cert).unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    HostileRegistry::start("127.0.0.1:5010", move |request| {
        let user = request.header("authorization").map(ToOwned::to_owned);
        let known = user.as_deref() == Some(&format!("Basic {}", STANDARD.encode("wharf:secret")));
        if user.is_some() && !known {
            return Answer::new(401).json(&json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "incorrect username or password" }] }));
        }
        Answer::new(200)
            .json(&json!({ "token": token(request, known, &der, &key), "expires_in": 300 }))
    })
}

fn token(request: &Request, known: bool, der: &str, key: &std::path::Path) -> String {
    let mut access = Vec::new();
    for scope in request
        .query("scope")
        .iter()
        .flat_map(|scopes| scopes.split(' '))
    {
        let mut parts = scope.splitn(2, ':');
        let kind = parts.next().unwrap_or_default();
        let Some((name, actions)) = parts.next().and_then(|rest| rest.rsplit_once(':')) else {
            continue;
        };
        let allowed: Vec<_> = actions
            .split(',')
            .filter(|action| known || *action == "pull")
            .collect();
        access.push(json!({ "type": kind, "name": name, "actions": allowed }));
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [der] });
    let claims = json!({
        "iss": "test-issuer", "sub": "wharf", "aud": "test-registry", "jti": "1",
        "iat": now - 10, "nbf": now - 10, "exp": now + 300, "access": access,
    });
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let mut signer = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut signer.stdin.take().unwrap(), signed.as_bytes()).unwrap();
    let signature = signer.wait_with_output().unwrap().stdout;
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
