//! Images go out: blobs first, each only if the registry lacks it, then the
//! manifest.

use std::io::{self, Read};

use spec::image::Descriptor;
use spec::{Digest, Reference};
use sys::{Context, Error, ErrorKind, Result};
use ureq::Body;
use ureq::http::header::{
    CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION,
};
use ureq::http::{Method, Response, StatusCode, Uri};

use crate::Client;
use crate::client::{push_scope, repository_at};
use crate::endpoint::Endpoint;
use crate::retry::{self, Patience};
use crate::session::{Ask, Target};
use crate::token::Scopes;
use crate::transport::Payload;
use crate::url;

/// For registries that do not take a blob in one piece.
const CHUNK: u64 = 16 * 1024 * 1024;
const LARGEST_CHUNK: u64 = 256 * 1024 * 1024;

/// A blob that the registry shall have.
pub struct Upload<'a> {
    pub descriptor: &'a Descriptor,
    /// Repositories of the same registry that may have it already.
    pub mount_from: &'a [String],
    /// Opens the blob at its beginning, once for each attempt.
    pub open: &'a (dyn Fn() -> Result<Box<dyn Read + Send>> + Sync),
    /// Told the bytes sent so far; starts anew with each attempt.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// How the registry came to have a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uploaded {
    /// It had it in this repository.
    Existed,
    /// It took it over from another repository.
    Mounted,
    Sent,
}

impl Client {
    /// Sees to it that the repository of `reference` has a blob.
    pub fn upload_blob(&self, reference: &Reference, upload: &Upload<'_>) -> Result<Uploaded> {
        if self.has_blob(reference, upload.descriptor)? {
            return Ok(Uploaded::Existed);
        }
        let endpoint = self.origin(reference)?;
        let session = Pushing::new(self, &endpoint, reference);
        for from in upload.mount_from {
            if session.mount(&upload.descriptor.digest, from)? {
                return Ok(Uploaded::Mounted);
            }
        }
        session
            .send(upload)
            .context(|| format!("push blob {}", upload.descriptor.digest))?;
        Ok(Uploaded::Sent)
    }

    /// Takes a blob over from another repository of the same registry; whether
    /// the registry did so.
    pub fn mount_blob(&self, reference: &Reference, digest: &Digest, from: &str) -> Result<bool> {
        let endpoint = self.origin(reference)?;
        Pushing::new(self, &endpoint, reference).mount(digest, from)
    }

    /// Sends a manifest, whose blobs are there, under the tag or digest of
    /// `reference`.
    pub fn put_manifest(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        text: &[u8],
    ) -> Result<()> {
        let endpoint = self.origin(reference)?;
        let repository = repository_at(&endpoint, reference);
        let name = match reference.tag() {
            Some(tag) => tag.to_owned(),
            None => descriptor.digest.to_string(),
        };
        let kind = HeaderValue::try_from(descriptor.media_type.as_str()).map_err(|_| {
            Error::new(
                ErrorKind::InvalidInput,
                "the manifest's type is not a media type",
            )
        })?;
        let ask = Ask {
            endpoint: &endpoint,
            method: Method::PUT,
            target: Target::Path(&format!("{repository}/manifests/{name}")),
            headers: vec![(CONTENT_TYPE, kind)],
            scopes: &push_scope(&repository),
        };
        let response = self.session.ask_with(&ask, Some(text))?;
        if response.status().is_success() {
            return Ok(());
        }
        let refused = self.session.refused(&endpoint, response);
        Err(refused.wrap(format!("push {}", reference.familiar())))
    }
}

/// A push to one repository.
struct Pushing<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    repository: String,
    scopes: Scopes,
}

/// What an attempt came to.
enum Attempt {
    Done,
    /// Not so, but in smaller pieces.
    TooLarge,
}

impl<'a> Pushing<'a> {
    fn new(client: &'a Client, endpoint: &'a Endpoint, reference: &Reference) -> Self {
        let repository = repository_at(endpoint, reference);
        let scopes = push_scope(&repository);
        Self {
            client,
            endpoint,
            repository,
            scopes,
        }
    }

    fn mount(&self, digest: &Digest, from: &str) -> Result<bool> {
        let from = format!("{}{from}", self.endpoint.prefix);
        let mut scopes = self.scopes.clone();
        scopes.insert(format!("repository:{from}:pull"));
        let path = format!(
            "{}/blobs/uploads/?mount={}&from={}",
            self.repository,
            url::encode(&digest.to_string()),
            url::encode(&from)
        );
        let response = self.client.session.ask(&Ask {
            endpoint: self.endpoint,
            method: Method::POST,
            target: Target::Path(&path),
            headers: Vec::new(),
            scopes: &scopes,
        });
        match response {
            Ok(response) if response.status() == StatusCode::CREATED => Ok(true),
            // An upload was begun instead; it is given up, as far as possible.
            Ok(response) if response.status() == StatusCode::ACCEPTED => {
                if let Ok(location) = self.location(&response, None) {
                    let given_up = self.ask(Method::DELETE, Target::Url(&location), Vec::new());
                    drop(given_up);
                }
                Ok(false)
            }
            Ok(_) => Ok(false),
            // No right to read there, say; sending is still possible.
            Err(error) if error.kind() == ErrorKind::Denied => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a blob, from its beginning after each failure that may pass.
    fn send(&self, upload: &Upload<'_>) -> Result<()> {
        let limits = &self.client.session.config.timeouts;
        let mut patience = Patience::new(limits);
        let mut in_chunks = false;
        loop {
            let attempt = if in_chunks {
                self.send_chunks(upload)
            } else {
                self.send_whole(upload)
            };
            match attempt {
                Ok(Attempt::Done) => return Ok(()),
                Ok(Attempt::TooLarge) => in_chunks = true,
                Err(error) if retry::is_passing(&error) => {
                    if !patience.wait(None) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for a place to send to.
    fn begin(&self) -> Result<(Uri, HeaderMap)> {
        let path = format!("{}/blobs/uploads/", self.repository);
        let response = self.ask(Method::POST, Target::Path(&path), Vec::new())?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(self.client.session.refused(self.endpoint, response));
        }
        Ok((self.location(&response, None)?, response.headers().clone()))
    }

    /// `POST`, then the whole blob in one `PUT`.
    fn send_whole(&self, upload: &Upload<'_>) -> Result<Attempt> {
        let (location, _) = self.begin()?;
        let url = self.closing(&location, &upload.descriptor.digest)?;
        let blob = (upload.open)()?;
        let mut counted = Counted {
            blob,
            sent: 0,
            progress: upload.progress,
        };
        let payload = Payload::Stream(&mut counted, upload.descriptor.size);
        let response = self.put(Method::PUT, &url, Vec::new(), payload)?;
        match response.status().as_u16() {
            200..=299 => Ok(Attempt::Done),
            // Method or size do not suit it.
            405 | 411 | 413 | 501 if upload.descriptor.size > 0 => Ok(Attempt::TooLarge),
            _ => Err(self.failed(response)),
        }
    }

    /// `POST`, a `PATCH` for each chunk, and an empty `PUT`.
    fn send_chunks(&self, upload: &Upload<'_>) -> Result<Attempt> {
        let (mut location, headers) = self.begin()?;
        let least = headers.get("oci-chunk-min-length");
        let least: u64 = least
            .and_then(|length| length.to_str().ok())
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        let chunk = CHUNK.max(least).min(LARGEST_CHUNK);
        let mut counted = Counted {
            blob: (upload.open)()?,
            sent: 0,
            progress: upload.progress,
        };
        let mut start = 0;
        while start < upload.descriptor.size {
            let length = chunk.min(upload.descriptor.size - start);
            let range = format!("{start}-{}", start + length - 1);
            let range = HeaderValue::try_from(range)
                .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
            let kind = HeaderValue::from_static("application/octet-stream");
            let headers = vec![(CONTENT_RANGE, range), (CONTENT_TYPE, kind)];
            let payload = Payload::Stream(&mut counted, length);
            let response = self.put(Method::PATCH, &location, headers, payload)?;
            if !response.status().is_success() {
                return Err(self.failed(response));
            }
            location = self.location(&response, Some(&location))?;
            start += length;
        }
        let url = self.closing(&location, &upload.descriptor.digest)?;
        let response = self.put(Method::PUT, &url, Vec::new(), Payload::None)?;
        if response.status().is_success() {
            Ok(Attempt::Done)
        } else {
            Err(self.failed(response))
        }
    }

    fn ask(
        &self,
        method: Method,
        target: Target<'_>,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Response<Body>> {
        let ask = Ask {
            endpoint: self.endpoint,
            method,
            target,
            headers,
            scopes: &self.scopes,
        };
        self.client.session.ask(&ask)
    }

    fn put(
        &self,
        method: Method,
        url: &Uri,
        headers: Vec<(HeaderName, HeaderValue)>,
        payload: Payload<'_>,
    ) -> Result<Response<Body>> {
        let target = Target::Url(url);
        let ask = Ask {
            endpoint: self.endpoint,
            method,
            target,
            headers,
            scopes: &self.scopes,
        };
        self.client.session.once(&ask, payload)
    }

    /// An upload that is forgotten or a status that may pass: begin again.
    fn failed(&self, response: Response<Body>) -> Error {
        let again = retry::may_pass(response.status())
            || matches!(response.status().as_u16(), 404 | 409 | 416);
        let error = self.client.session.refused(self.endpoint, response);
        if again {
            error.with_kind(ErrorKind::Unavailable)
        } else {
            error
        }
    }

    /// Where the registry wants the next part. Behind a proxy it may believe
    /// that it is spoken to in clear.
    fn location(&self, response: &Response<Body>, before: Option<&Uri>) -> Result<Uri> {
        let start = format!("{}/blobs/uploads/", self.repository);
        let sent_to = self.client.session.url_of(self.endpoint, &start)?;
        let base = before.unwrap_or(&sent_to);
        let location = response.headers().get(LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let target = match (location, before) {
            (Some(location), _) => url::join(base, location),
            (None, Some(before)) => Some(before.clone()),
            (None, None) => None,
        };
        let target = target.ok_or_else(|| self.strange("does not say where to send the blob"))?;
        if !url::is_https(&sent_to) || url::is_https(&target) {
            return Ok(target);
        }
        let upgraded = url::parse(&target.to_string().replacen("http://", "https://", 1));
        upgraded
            .filter(|target| url::same_origin(target, &sent_to))
            .ok_or_else(|| self.strange("wants the blob sent in clear"))
    }

    fn closing(&self, location: &Uri, digest: &Digest) -> Result<Uri> {
        url::with_parameter(location, "digest", &digest.to_string())
            .ok_or_else(|| self.strange("gives too long a location"))
    }

    fn strange(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!("registry {} {what}", self.endpoint.name),
        )
    }
}

/// Counts what is sent, and fails if the blob is shorter than announced.
struct Counted<'a> {
    blob: Box<dyn Read + Send>,
    sent: u64,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.blob.read(buffer)?;
        self.sent += length as u64;
        (self.progress)(self.sent);
        Ok(length)
    }
}
