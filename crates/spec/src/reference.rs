//! Names of images: `[registry/]repository[:tag][@digest]`, with Docker's
//! short names (`alpine` is `docker.io/library/alpine:latest`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, ParseError};

/// Where a name without a registry is looked up.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// What a name without tag and digest means.
pub const DEFAULT_TAG: &str = "latest";

/// The longest repository name that registries accept (distribution
/// specification, "name").
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A full image name. Every part is checked, so paths and URLs may be made of
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Host and optional port: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry: `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, `latest` where neither tag nor digest was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same repository under another tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ParseError> {
        check_tag(tag)?;
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// The same repository, by digest alone.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// Registry and repository without tag and digest, as people write it:
    /// `alpine`, `localhost:5000/db`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return format!("{}/{}", self.registry, self.repository);
        }
        match self.repository.split_once('/') {
            Some(("library", name)) if !name.contains('/') => name.to_owned(),
            // Without its registry it would read as another one's.
            Some((first, _)) if names_a_registry(first) => {
                format!("{}/{}", self.registry, self.repository)
            }
            _ => self.repository.clone(),
        }
    }

    /// As people write it: `alpine:latest`, `localhost:5000/db:v2`.
    pub fn familiar(&self) -> String {
        self.suffixed(self.familiar_name())
    }

    fn suffixed(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

/// The canonical form, with registry: `docker.io/library/alpine:latest`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(format!("{}/{}", self.registry, self.repository)))
    }
}

impl FromStr for Reference {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new("an image name ([registry/]name[:tag][@digest])", text);
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        // A colon after the last slash starts a tag; before it, a port.
        let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[name_start..].split_once(':') {
            Some((last, tag)) => (&rest[..name_start + last.len()], Some(tag)),
            None => (rest, None),
        };
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, path)) if names_a_registry(first) => (first, path.to_owned()),
            Some(_) => (DEFAULT_REGISTRY, name.to_owned()),
            None => (DEFAULT_REGISTRY, format!("library/{name}")),
        };
        let registry = match registry {
            "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
            other => other,
        };
        let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository
        };
        if !is_host(registry) || !is_repository(&repository) || looks_like_an_id(name) {
            return Err(wrong());
        }
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        })
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Docker's rule: a first component is a host if it has a dot or a port, is
/// `localhost`, or is not lower case.
fn names_a_registry(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else {
            return false;
        };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        ("v6", rest)
    } else {
        match host.find(':') {
            Some(colon) => host.split_at(colon),
            None => (host, ""),
        }
    };
    let port_is_fine = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| {
            digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        });
    port_is_fine
        && host.len() <= NAME_MAX
        && name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

/// Components of lower-case letters and digits, joined inside by one dot, one
/// or two underscores, or dashes.
fn is_repository(path: &str) -> bool {
    path.len() <= NAME_MAX && path.split('/').all(is_component)
}

fn is_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    alphanumeric(*first)
        && alphanumeric(*last)
        && component
            .split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit())
            .all(|joint| {
                matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-')
            })
}

fn check_tag(tag: &str) -> Result<(), ParseError> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let fine = tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(word)
        && tag
            .bytes()
            .all(|byte| word(byte) || byte == b'.' || byte == b'-');
    if fine {
        Ok(())
    } else {
        Err(ParseError::new("a tag (letters, digits, _ . -)", tag))
    }
}

/// 64 hex digits name an image by its id, never a repository.
fn looks_like_an_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_short_names_as_docker_does() {
        for (short, full) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("bitnami/redis", "docker.io/bitnami/redis:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            (
                "index.docker.io/library/alpine",
                "docker.io/library/alpine:latest",
            ),
            ("localhost/db", "localhost/db:latest"),
            ("localhost:5000/a/b:v2", "localhost:5000/a/b:v2"),
            ("127.0.0.1:5000/db", "127.0.0.1:5000/db:latest"),
            ("[::1]:5000/db", "[::1]:5000/db:latest"),
            ("ghcr.io/o/r_x__y--z.1:T_1", "ghcr.io/o/r_x__y--z.1:T_1"),
        ] {
            let reference: Reference = short.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.to_string().parse(), Ok(reference));
        }
    }

    #[test]
    fn shortens_for_people() {
        for text in [
            "alpine:latest",
            "bitnami/redis:7",
            "localhost:5000/db:v2",
            "library/a/b:1",
            "docker.io/x.y/z:1",
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.familiar(), text);
        }
    }

    #[test]
    fn a_digest_needs_no_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let reference: Reference = format!("alpine@{digest}").parse().unwrap();
        assert_eq!(reference.tag(), None);
        assert_eq!(reference.digest().unwrap().to_string(), digest);
    }

    #[test]
    fn refuses_what_is_no_name() {
        let long = "a".repeat(256);
        let id = "a".repeat(64);
        for text in [
            "",
            ":",
            "/",
            "a/",
            "/a",
            "Alpine",
            "a//b",
            "a/../b",
            "..",
            "a:",
            "a:/b",
            "a b",
            "-a",
            "a-",
            "a___b",
            "a..b",
            "a:b:c",
            "a@",
            "a@sha256:12",
            "x.y:99999/a",
            "a:é",
            "http://a/b",
            "a:-x",
            &long,
            &id,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
