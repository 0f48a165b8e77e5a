//! The configuration: one TOML file, every key known, every key optional.
//!
//! ```toml
//! [log]
//! driver = "json-file"      # or "none"
//! max-size = "10m"
//! max-files = 3
//!
//! [containers]
//! stop-timeout = 10         # seconds
//!
//! [network]                 # of the default bridge
//! subnet = "10.87.0.0/16"   # a free one of 10.x if not set
//! ipv6 = true
//! mtu = 1500
//!
//! [publish]
//! default-address = "127.0.0.1"   # where -p 8080:80 publishes; everywhere if not set
//!
//! [limits]                  # of what one image may claim
//! max-layer-size = "100g"   # one layer, uncompressed
//! max-entries = 4000000     # files of one layer
//! max-layers = 400
//! ```

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::Limits;
use network::{Ipv4Subnet, Ipv6, NetworkConfig};
use serde::{Deserialize, Deserializer};
use state::{Layout, LogConfig, LogDriver};
use sys::{Context as _, Error, ErrorKind, Result};

/// Everything that an [`crate::Engine`] has to be told.
#[derive(Clone, Debug)]
pub struct Config {
    pub layout: Layout,
    pub programs: Programs,
    pub settings: Settings,
    /// Who we are at registries.
    pub credentials: registry::CredentialFiles,
    /// Where to die, for the crash tests; heeded only when the feature
    /// `crash-points` is compiled in.
    pub crash_at: Option<String>,
}

/// The two binaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// `wharf`, run by monitors to clean up.
    pub wharf: PathBuf,
    /// `wharf-runtime`.
    pub runtime: PathBuf,
}

impl Programs {
    /// Both beside `executable`, which is one of them.
    pub fn beside(executable: &Path) -> Self {
        let directory = executable.parent().unwrap_or(Path::new("/"));
        Self {
            wharf: directory.join("wharf"),
            runtime: directory.join("wharf-runtime"),
        }
    }
}

impl Config {
    /// Default settings.
    pub fn new(layout: Layout, programs: Programs) -> Self {
        Self {
            layout,
            programs,
            settings: Settings::default(),
            credentials: registry::CredentialFiles::default(),
            crash_at: None,
        }
    }
}

/// The file. An unknown key is an error that names it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    pub log: LogSettings,
    pub containers: ContainerSettings,
    pub network: NetworkSettings,
    pub publish: PublishSettings,
    pub limits: LimitSettings,
    /// `docs/registries.md`.
    pub registry: registry::RegistryConfig,
}

/// Defaults for containers' logs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogSettings {
    pub driver: LogDriver,
    /// Bytes.
    #[serde(deserialize_with = "size")]
    pub max_size: u64,
    pub max_files: u32,
}

impl Default for LogSettings {
    fn default() -> Self {
        let LogConfig {
            driver,
            max_size,
            max_files,
            ..
        } = LogConfig::default();
        Self {
            driver,
            max_size,
            max_files,
        }
    }
}

impl From<&LogSettings> for LogConfig {
    fn from(settings: &LogSettings) -> Self {
        Self {
            driver: settings.driver,
            max_size: settings.max_size,
            max_files: settings.max_files,
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ContainerSettings {
    /// Seconds between the stop signal and SIGKILL.
    pub stop_timeout: u64,
}

impl ContainerSettings {
    pub fn stop_timeout(&self) -> Duration {
        Duration::from_secs(self.stop_timeout)
    }
}

impl Default for ContainerSettings {
    fn default() -> Self {
        Self { stop_timeout: 10 }
    }
}

/// The default bridge.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NetworkSettings {
    #[serde(deserialize_with = "subnet")]
    pub subnet: Option<Ipv4Subnet>,
    pub ipv6: bool,
    /// Bytes.
    pub mtu: Option<u32>,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            subnet: None,
            ipv6: true,
            mtu: None,
        }
    }
}

impl From<&NetworkSettings> for NetworkConfig {
    fn from(settings: &NetworkSettings) -> Self {
        Self {
            subnet: settings.subnet,
            ipv6: if settings.ipv6 {
                Ipv6::Private
            } else {
                Ipv6::Off
            },
            mtu: settings.mtu,
            resolver: None,
        }
    }
}

/// Published ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PublishSettings {
    /// Where ports are published that name no address; on all if absent.
    pub default_address: Option<IpAddr>,
}

/// How much of our resources an image may claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitSettings {
    /// Bytes of one layer, uncompressed.
    #[serde(deserialize_with = "some_size")]
    pub max_layer_size: Option<u64>,
    /// Files, directories and links of one layer.
    pub max_entries: Option<u64>,
    pub max_layers: Option<usize>,
}

impl From<&LimitSettings> for Limits {
    fn from(settings: &LimitSettings) -> Self {
        let defaults = Self::default();
        Self {
            max_layer_bytes: settings.max_layer_size.unwrap_or(defaults.max_layer_bytes),
            max_entries: settings.max_entries.unwrap_or(defaults.max_entries),
            max_layers: settings.max_layers.unwrap_or(defaults.max_layers),
            ..defaults
        }
    }
}

impl Settings {
    /// Reads the file at `path`; defaults if there is none.
    pub fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).context(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context(|| format!("read {}", path.display())),
        }
    }

    /// From TOML; the error names line and key.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map(|span| text[..span.start].matches('\n').count() + 1);
            let message = error.message().replace('\n', "; ");
            let message = match line {
                Some(line) => format!("line {line}: {message}"),
                None => message,
            };
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}

fn subnet<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Ipv4Subnet>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

fn some_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    size(deserializer).map(Some)
}

/// A number of bytes, or a text such as `10m`.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Bytes(u64),
        Text(String),
    }
    match Size::deserialize(deserializer)? {
        Size::Bytes(bytes) => Ok(bytes),
        Size::Text(text) => crate::parse::bytes(&text).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_key_that_it_does_not_know() {
        let settings = Settings::parse("[log]\nmax-size = \"20m\"\ndriver = \"none\"\n").unwrap();
        assert_eq!(settings.log.max_size, 20 << 20);
        assert_eq!(settings.log.driver, LogDriver::None);
        let error = Settings::parse("[log]\nmax-sise = 1\n").unwrap_err();
        assert!(error.to_string().contains("max-sise"), "{error}");
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(Settings::parse("[logs]\n").is_err());
        let text = "[network]\nsubnet = \"10.9.0.0/16\"\nipv6 = false\n\
                    [limits]\nmax-layer-size = \"1g\"\n";
        let settings = Settings::parse(text).unwrap();
        let network = NetworkConfig::from(&settings.network);
        assert_eq!(network.ipv6, Ipv6::Off);
        assert_eq!(network.subnet.unwrap().to_string(), "10.9.0.0/16");
        assert_eq!(Limits::from(&settings.limits).max_layer_bytes, 1 << 30);
        assert!(Settings::parse("[network]\nsubnet = \"10.9.0.0\"\n").is_err());
        assert!(Settings::parse("[log]\nmax-size = \"much\"\n").is_err());
    }
}
