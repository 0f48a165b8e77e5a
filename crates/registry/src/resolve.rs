//! A name becomes a manifest whose digest holds.

use sha2::{Digest as _, Sha256, Sha512};
use spec::image::{Descriptor, Index, Manifest, MediaType, Platform};
use spec::{Algorithm, Digest, Reference};
use sys::{Context, Error, ErrorKind, Result};
use ureq::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use ureq::http::{HeaderMap, Method, StatusCode};

use crate::Client;
use crate::client::{pull_scope, repository_at};
use crate::endpoint::Endpoint;
use crate::manifest;
use crate::session::{Ask, Target, read_limited};

/// The distribution specification asks registries for at least this much.
const LARGEST_MANIFEST: u64 = 4 * 1024 * 1024;
/// An index may name indexes; deeper nesting has no use.
const DEEPEST: usize = 3;

/// What a name stands for.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The index that the name led to, and its text, if it led to one.
    pub index: Option<(Descriptor, Vec<u8>)>,
    /// The image for the wanted platform, and its text.
    pub manifest: (Descriptor, Vec<u8>),
    /// The text of the manifest, parsed.
    pub parsed: Manifest,
}

impl Resolved {
    /// The digest that the name itself has.
    pub fn digest(&self) -> Digest {
        self.index.as_ref().unwrap_or(&self.manifest).0.digest
    }
}

impl Client {
    /// Finds the image of that name for a platform. `NotFound` if there is no
    /// such name, or none for the platform.
    pub fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved> {
        let mut index = None;
        let mut wanted = reference.clone();
        for _ in 0..DEEPEST {
            let (descriptor, text) = self.manifest(&wanted)?;
            if !descriptor.media_type.is_index() {
                let parsed = parse::<Manifest>(&text, reference)?;
                return Ok(Resolved {
                    index,
                    manifest: (descriptor, text),
                    parsed,
                });
            }
            let parsed = parse::<Index>(&text, reference)?;
            let chosen = parsed.choose(platform);
            let chosen = chosen.ok_or_else(|| lacks(reference, platform, &parsed))?;
            wanted = reference.with_digest(chosen.digest);
            index.get_or_insert((descriptor, text));
        }
        let words = format!("{} is an index of indexes", reference.familiar());
        Err(Error::new(ErrorKind::Corrupt, words))
    }

    /// The manifest or index of that name, with its own text; its digest is
    /// right.
    pub fn manifest(&self, reference: &Reference) -> Result<(Descriptor, Vec<u8>)> {
        self.for_pull(reference, |endpoint| self.manifest_at(endpoint, reference))
    }

    /// The digest that the registry has for a name, without its manifest;
    /// `None` if it has no such name or does not tell.
    pub fn digest_of(&self, reference: &Reference) -> Result<Option<Digest>> {
        self.for_pull(reference, |endpoint| {
            let repository = repository_at(endpoint, reference);
            let response = self.session.ask(&Ask {
                endpoint,
                method: Method::HEAD,
                target: Target::Path(&path_of(&repository, reference)),
                headers: vec![(ACCEPT, HeaderValue::from_static(manifest::ACCEPT))],
                scopes: &pull_scope(&repository),
            })?;
            match response.status() {
                StatusCode::OK => Ok(told_digest(response.headers())),
                StatusCode::NOT_FOUND => Ok(None),
                _ => Err(self.session.refused(endpoint, response)),
            }
        })
    }

    fn manifest_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
    ) -> Result<(Descriptor, Vec<u8>)> {
        let repository = repository_at(endpoint, reference);
        let mut response = self.session.ask(&Ask {
            endpoint,
            method: Method::GET,
            target: Target::Path(&path_of(&repository, reference)),
            headers: vec![(ACCEPT, HeaderValue::from_static(manifest::ACCEPT))],
            scopes: &pull_scope(&repository),
        })?;
        let name = reference.familiar();
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("no such image: {name}: not found at the registry"),
                ));
            }
            _ => {
                return Err(self
                    .session
                    .refused(endpoint, response)
                    .wrap(format!("find {name}")));
            }
        }
        let what = format!("the manifest of {name}");
        let text = read_limited(&mut response, LARGEST_MANIFEST, &what)?;
        let told = told_digest(response.headers());
        // Who asked by digest knows; else the registry's word is as good as
        // its text, and both have to agree.
        let expected = reference.digest().or(told);
        let algorithm = expected.map_or(Algorithm::Sha256, |digest| digest.algorithm());
        let digest = digest_of(algorithm, &text);
        if expected.is_some_and(|expected| expected != digest) {
            let words = format!("{what} has not the digest that it should have");
            return Err(Error::new(ErrorKind::Corrupt, words));
        }
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok());
        let kind: MediaType =
            manifest::media_type(&text, kind).context(|| format!("read {name}"))?;
        Ok((Descriptor::new(kind, digest, text.len() as u64), text))
    }
}

fn path_of(repository: &str, reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("{repository}/manifests/{digest}"),
        (None, tag) => format!("{repository}/manifests/{}", tag.unwrap_or("latest")),
    }
}

fn told_digest(headers: &HeaderMap) -> Option<Digest> {
    let text = headers.get("docker-content-digest")?.to_str().ok()?;
    text.trim().parse().ok()
}

pub(crate) fn digest_of(algorithm: Algorithm, text: &[u8]) -> Digest {
    match algorithm {
        Algorithm::Sha256 => Digest::sha256(Sha256::digest(text).into()),
        Algorithm::Sha512 => Digest::sha512(Sha512::digest(text).into()),
    }
}

fn parse<T: serde::de::DeserializeOwned>(text: &[u8], reference: &Reference) -> Result<T> {
    serde_json::from_slice(text)
        .map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))
        .context(|| format!("read the manifest of {}", reference.familiar()))
}

fn lacks(reference: &Reference, platform: &Platform, index: &Index) -> Error {
    let offered = index
        .manifests
        .iter()
        .filter_map(|entry| entry.platform.as_ref());
    let mut offered: Vec<String> = offered
        .filter(|platform| platform.os != "unknown")
        .map(ToString::to_string)
        .collect();
    offered.dedup();
    offered.truncate(20);
    let name = reference.familiar();
    let words = if offered.is_empty() {
        format!("no image for {platform} in {name}")
    } else {
        format!(
            "no image for {platform} in {name}: there is {}",
            offered.join(", ")
        )
    };
    Error::new(ErrorKind::NotFound, words)
}
