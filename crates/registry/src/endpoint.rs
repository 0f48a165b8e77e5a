//! Which hosts stand for a registry: its mirrors in order, then itself.

use sys::{Error, ErrorKind, Result};

use crate::config::RegistryConfig;
use crate::url;

/// Docker Hub's image names say `docker.io`; its API is elsewhere.
const HUB: &str = "docker.io";
const HUB_API: &str = "registry-1.docker.io";

/// One host that serves a registry's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What people call it and what credentials are kept under: the registry
    /// of image names, or the mirror's host.
    pub name: String,
    /// Host and optional port.
    pub authority: String,
    /// Put before every repository; empty, or ends with a slash.
    pub prefix: String,
    pub security: Security,
}

/// How a host may be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// HTTPS with a certificate that holds.
    Https,
    /// Plain HTTP if it answers, else HTTPS: nothing leaves the machine.
    Loopback,
    /// HTTPS with any certificate, else plain HTTP: as configured.
    Insecure,
    /// Plain HTTP: as configured.
    Http,
}

/// The hosts to ask for images of `registry`, best first; the registry itself
/// is the last.
pub fn for_pull(config: &RegistryConfig, registry: &str) -> Result<Vec<Endpoint>> {
    let mut endpoints = Vec::new();
    if let Some(entry) = config.registries.get(registry) {
        for mirror in &entry.mirrors {
            endpoints.push(located(
                config,
                &mirror.location,
                mirror.insecure.into(),
                None,
            )?);
        }
    }
    endpoints.push(origin(config, registry)?);
    Ok(endpoints)
}

/// The registry itself.
pub fn origin(config: &RegistryConfig, registry: &str) -> Result<Endpoint> {
    let entry = config.registries.get(registry);
    let checks = Checks::from(entry.is_some_and(|entry| entry.insecure));
    let location = match entry.and_then(|entry| entry.location.as_deref()) {
        Some(location) => location,
        None if registry == HUB => HUB_API,
        None => registry,
    };
    located(config, location, checks, Some(registry))
}

/// Whether certificates matter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checks {
    Strict,
    Waived,
}

impl From<bool> for Checks {
    fn from(insecure: bool) -> Self {
        if insecure { Self::Waived } else { Self::Strict }
    }
}

fn located(
    config: &RegistryConfig,
    location: &str,
    checks: Checks,
    name: Option<&str>,
) -> Result<Endpoint> {
    let wrong = || {
        let words =
            format!("{location:?} is not a registry's location ([http[s]://]host[:port][/prefix])");
        Error::new(ErrorKind::InvalidInput, words)
    };
    let (scheme, rest) = match location.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
        Some(_) => return Err(wrong()),
        None => (None, location),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = path.trim_matches('/');
    if url::parse(&format!("https://{authority}/{prefix}")).is_none() || prefix.contains('?') {
        return Err(wrong());
    }
    // A host of its own entry may be insecure wherever it is named.
    let waived = checks == Checks::Waived
        || config
            .registries
            .get(authority)
            .is_some_and(|entry| entry.insecure);
    let security = match scheme {
        Some("http") => Security::Http,
        _ if waived => Security::Insecure,
        None if url::is_loopback(url::host_of(authority)) => Security::Loopback,
        _ => Security::Https,
    };
    Ok(Endpoint {
        name: name.unwrap_or(authority).to_owned(),
        authority: authority.to_owned(),
        prefix: if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        },
        security,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Mirror, RegistryEntry};

    fn config() -> RegistryConfig {
        let mut config = RegistryConfig::default();
        let mirror = |location: &str, insecure| Mirror {
            location: location.to_owned(),
            insecure,
        };
        config.registries.insert(
            "docker.io".to_owned(),
            RegistryEntry {
                mirrors: vec![
                    mirror("http://127.0.0.1:5000", false),
                    mirror("https://m.example/hub/", false),
                    mirror("m2.example", true),
                ],
                ..RegistryEntry::default()
            },
        );
        config
    }

    #[test]
    fn mirrors_come_first_and_the_registry_last() {
        let endpoints = for_pull(&config(), "docker.io").unwrap();
        let seen: Vec<_> = endpoints
            .iter()
            .map(|e| (e.authority.as_str(), e.prefix.as_str(), e.security))
            .collect();
        assert_eq!(
            seen,
            [
                ("127.0.0.1:5000", "", Security::Http),
                ("m.example", "hub/", Security::Https),
                ("m2.example", "", Security::Insecure),
                ("registry-1.docker.io", "", Security::Https),
            ]
        );
        assert_eq!(endpoints[3].name, "docker.io");
    }

    #[test]
    fn only_loopback_is_plain_unasked() {
        let security = |registry| {
            origin(&RegistryConfig::default(), registry)
                .unwrap()
                .security
        };
        assert_eq!(security("localhost:5000"), Security::Loopback);
        assert_eq!(security("[::1]:5000"), Security::Loopback);
        assert_eq!(security("10.0.0.1:5000"), Security::Https);
        assert_eq!(security("ghcr.io"), Security::Https);
    }

    #[test]
    fn refuses_a_location_that_is_none() {
        for location in ["", "ftp://x", "u@x", "x/?a=b", "a b"] {
            let mut config = RegistryConfig::default();
            let entry = RegistryEntry {
                location: Some(location.to_owned()),
                ..RegistryEntry::default()
            };
            config.registries.insert("x.y".to_owned(), entry);
            assert!(origin(&config, "x.y").is_err(), "{location}");
        }
    }
}
