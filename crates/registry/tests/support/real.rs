//! Debian's `docker-registry` on a free port.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub struct Registry {
    child: Child,
    port: u16,
    pub directory: TempDir,
}

/// How the registry protects itself.
pub enum Guard<'a> {
    Open,
    /// `joe` with password `secret`.
    Basic,
    Tls,
    /// The URL of the token server, and the certificate of its key.
    Token {
        realm: &'a str,
        certificate: &'a std::path::Path,
    },
}

impl Registry {
    pub fn start(guard: &Guard<'_>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap();
        let mut extra = String::new();
        let mut http = String::new();
        match guard {
            Guard::Open => {}
            Guard::Basic => {
                let output = Command::new("htpasswd")
                    .args(["-Bbn", "joe", "secret"])
                    .output()
                    .unwrap();
                std::fs::write(directory.path().join("htpasswd"), output.stdout).unwrap();
                extra = format!("auth:\n  htpasswd:\n    realm: test\n    path: {root}/htpasswd\n");
            }
            Guard::Tls => {
                super::self_signed(directory.path());
                http =
                    format!("  tls:\n    certificate: {root}/cert.pem\n    key: {root}/key.pem\n");
            }
            Guard::Token { realm, certificate } => {
                extra = format!(
                    "auth:\n  token:\n    realm: {realm}\n    service: test\n    issuer: test\n    rootcertbundle: {}\n",
                    certificate.display()
                );
            }
        }
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {root}/data\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n{http}{extra}"
        );
        let path = directory.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let mut registry = Self {
            child,
            port,
            directory,
        };
        assert!(registry.is_up(), "docker-registry does not start");
        registry
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn is_up(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
