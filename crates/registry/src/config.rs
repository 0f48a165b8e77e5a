//! What the caller decides: mirrors, trust, paths and patience.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// How registries are reached. The default serves public registries and those
/// on loopback.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegistryConfig {
    /// By registry as image names have it: `docker.io`, `localhost:5000`.
    #[serde(rename = "hosts")]
    pub registries: BTreeMap<String, RegistryEntry>,
    /// Directories of `<registry>/*.crt`, certificate authorities to trust for
    /// that registry alone; all are read.
    pub certs_dirs: Vec<PathBuf>,
    /// Bundles of certificate authorities; the first that exists is read.
    pub ca_bundles: Vec<PathBuf>,
    pub hosts_file: PathBuf,
    pub resolv_conf: PathBuf,
    pub proxy: ProxyConfig,
    #[serde(skip)]
    pub timeouts: Timeouts,
    #[serde(skip)]
    pub user_agent: String,
}

/// What is special about one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryEntry {
    /// Asked in order before the registry itself, for pulls only.
    pub mirrors: Vec<Mirror>,
    /// Its certificate is not checked, and plain HTTP will do.
    pub insecure: bool,
    /// Where it really is: `host[:port][/prefix]`, with or without a scheme.
    pub location: Option<String>,
}

/// A host that has copies: a location alone, or a table with `insecure`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "MirrorForm")]
pub struct Mirror {
    /// `[https://]host[:port][/prefix]`; `http://` asks for plain HTTP.
    pub location: String,
    /// Its certificate is not checked, and plain HTTP will do.
    pub insecure: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum MirrorForm {
    Location(String),
    Table {
        location: String,
        #[serde(default)]
        insecure: bool,
    },
}

impl From<MirrorForm> for Mirror {
    fn from(form: MirrorForm) -> Self {
        match form {
            MirrorForm::Location(location) => Self {
                location,
                insecure: false,
            },
            MirrorForm::Table { location, insecure } => Self { location, insecure },
        }
    }
}

/// HTTP proxies, as the environment of most programs has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProxyConfig {
    /// For registries over HTTPS: `http://[user:password@]host:port`.
    pub https: Option<String>,
    /// For registries over plain HTTP.
    pub http: Option<String>,
    /// Hosts reached directly, separated by commas.
    pub no_proxy: Option<String>,
}

/// How long to wait and how often to try.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// To look up a name.
    pub lookup: Duration,
    /// To connect, TLS included.
    pub connect: Duration,
    /// For the first byte of an answer, and between two reads or writes.
    pub idle: Duration,
    /// Attempts in all, for failures that may pass.
    pub attempts: u32,
    /// Before the second attempt; doubled before each further one.
    pub pause: Duration,
    /// The longest pause that a registry may ask for.
    pub longest_pause: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            lookup: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            idle: Duration::from_mins(1),
            attempts: 5,
            pause: Duration::from_millis(300),
            longest_pause: Duration::from_mins(1),
        }
    }
}

impl Default for RegistryConfig {
    fn default() -> Self {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect();
        Self {
            registries: BTreeMap::new(),
            certs_dirs: paths(&["/etc/wharf/certs.d", "/etc/docker/certs.d"]),
            // Debian and Alpine, Fedora, older Fedora, openSUSE, OpenBSD's way.
            ca_bundles: paths(&[
                "/etc/ssl/certs/ca-certificates.crt",
                "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
                "/etc/pki/tls/certs/ca-bundle.crt",
                "/etc/ssl/ca-bundle.pem",
                "/etc/ssl/cert.pem",
            ]),
            hosts_file: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            proxy: ProxyConfig::default(),
            timeouts: Timeouts::default(),
            user_agent: concat!("wharf/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_text_or_a_table() {
        let entry: RegistryEntry = serde_json::from_str(
            r#"{"mirrors": ["http://127.0.0.1:5000", {"location": "m.example", "insecure": true}]}"#,
        )
        .unwrap();
        assert_eq!(entry.mirrors[0].location, "http://127.0.0.1:5000");
        assert!(!entry.mirrors[0].insecure);
        assert!(entry.mirrors[1].insecure);
        assert!(serde_json::from_str::<RegistryEntry>(r#"{"mirors": []}"#).is_err());
    }
}
