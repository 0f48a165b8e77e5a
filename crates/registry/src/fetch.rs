//! Blobs come in: one reader over as many requests as it takes.
//!
//! The reader never yields more bytes than the descriptor promises and fails
//! if there are fewer; whether they are the right ones, the digest says to
//! whoever stores them.

use std::io::{self, Read};

use spec::Reference;
use spec::image::Descriptor;
use sys::{Error, ErrorKind, Result};
use ureq::http::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderValue, RANGE};
use ureq::http::{HeaderMap, Method, StatusCode};
use ureq::{Body, BodyReader, http::Response};

use crate::Client;
use crate::client::{pull_scope, repository_at};
use crate::endpoint::Endpoint;
use crate::retry::{self, Patience};
use crate::session::{Ask, Target};
use crate::transport::from_io;

impl Client {
    /// The bytes of a blob from `offset` on. A connection that breaks is
    /// replaced while the blob is read.
    pub fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Box<dyn Read + Send>> {
        if offset > descriptor.size {
            let words = format!("blob {} is shorter than what is there", descriptor.digest);
            return Err(Error::new(ErrorKind::Corrupt, words));
        }
        if offset == descriptor.size {
            return Ok(Box::new(io::empty()));
        }
        let (body, endpoint) = self.for_pull(reference, |endpoint| {
            let body = self.blob_from(endpoint, reference, descriptor, offset)?;
            Ok((body, endpoint.clone()))
        })?;
        Ok(Box::new(BlobReader {
            client: self.clone(),
            endpoint,
            reference: reference.clone(),
            descriptor: descriptor.clone(),
            position: offset,
            body: Some(body),
            tried: 0,
        }))
    }

    /// Whether the registry has a blob.
    pub fn has_blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<bool> {
        let endpoint = self.origin(reference)?;
        let repository = repository_at(&endpoint, reference);
        let response = self.session.ask(&Ask {
            endpoint: &endpoint,
            method: Method::HEAD,
            target: Target::Path(&format!("{repository}/blobs/{}", descriptor.digest)),
            headers: Vec::new(),
            // Asked before a push, whose scope saves another token.
            scopes: &crate::client::push_scope(&repository),
        })?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.session.refused(&endpoint, response)),
        }
    }

    /// One request for the bytes from `offset` on.
    fn blob_from(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<BodyReader<'static>> {
        let repository = repository_at(endpoint, reference);
        // The digest is of the bytes as they are stored.
        let mut headers = vec![(ACCEPT_ENCODING, HeaderValue::from_static("identity"))];
        if offset > 0 {
            let range = HeaderValue::try_from(format!("bytes={offset}-"))
                .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
            headers.push((RANGE, range));
        }
        let response = self.session.ask(&Ask {
            endpoint,
            method: Method::GET,
            target: Target::Path(&format!("{repository}/blobs/{}", descriptor.digest)),
            headers,
            scopes: &pull_scope(&repository),
        })?;
        let start = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => range_start(response.headers())
                .filter(|start| *start <= offset)
                .ok_or_else(|| wrong(descriptor, "comes from another place than asked for"))?,
            StatusCode::NOT_FOUND => {
                let words = format!(
                    "registry {} has no blob {}",
                    endpoint.name, descriptor.digest
                );
                return Err(Error::new(ErrorKind::NotFound, words));
            }
            _ => return Err(self.session.refused(endpoint, response)),
        };
        check_length(&response, descriptor, start)?;
        let mut body = response.into_body().into_reader();
        skip(&mut body, offset - start).map_err(from_io)?;
        Ok(body)
    }
}

/// An announced length has to be the one that the manifest promises.
fn check_length(response: &Response<Body>, descriptor: &Descriptor, start: u64) -> Result<()> {
    match response.body().content_length() {
        Some(length)
            if response.status().is_success()
                && length != descriptor.size.saturating_sub(start) =>
        {
            Err(wrong(descriptor, "has not the size that its manifest says"))
        }
        _ => Ok(()),
    }
}

fn range_start(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let range = text.trim().strip_prefix("bytes")?.trim_start();
    range.split('-').next()?.trim().parse().ok()
}

/// For registries that ignore `Range` and begin at the beginning.
fn skip(body: &mut impl Read, length: u64) -> io::Result<()> {
    let skipped = io::copy(&mut body.take(length), &mut io::sink())?;
    if skipped == length {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn wrong(descriptor: &Descriptor, what: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("blob {} {what}", descriptor.digest),
    )
}

struct BlobReader {
    client: Client,
    endpoint: Endpoint,
    reference: Reference,
    descriptor: Descriptor,
    /// Of the next byte to yield.
    position: u64,
    body: Option<BodyReader<'static>>,
    /// Attempts since the last byte.
    tried: u32,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.descriptor.size - self.position;
        if buffer.is_empty() {
            return Ok(0);
        }
        if left == 0 {
            return self.check_end().map(|()| 0);
        }
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        loop {
            let failure = match &mut self.body {
                Some(body) => match body.read(&mut buffer[..most]) {
                    Ok(0) => io::ErrorKind::UnexpectedEof.into(),
                    Ok(length) => {
                        self.position += length as u64;
                        self.tried = 0;
                        return Ok(length);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                    Err(error) => error,
                },
                None => io::ErrorKind::UnexpectedEof.into(),
            };
            self.reconnect(failure)?;
        }
    }
}

impl BlobReader {
    fn reconnect(&mut self, failure: io::Error) -> io::Result<()> {
        self.body = None;
        let limits = &self.client.session.config.timeouts;
        let mut patience = Patience::after(limits, self.tried);
        self.tried += 1;
        if !patience.wait(None) {
            let words = format!("read blob {}", self.descriptor.digest);
            return Err(io::Error::other(from_io(failure).wrap(words)));
        }
        let asked = self.client.blob_from(
            &self.endpoint,
            &self.reference,
            &self.descriptor,
            self.position,
        );
        match asked {
            Ok(body) => self.body = Some(body),
            // The next read tries again.
            Err(error) if retry::is_passing(&error) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        Ok(())
    }

    /// Without an announced length a registry can send too much. Reading the
    /// end also gives the connection back for the next request.
    fn check_end(&mut self) -> io::Result<()> {
        let Some(mut body) = self.body.take() else {
            return Ok(());
        };
        let mut byte = [0];
        match body.read(&mut byte) {
            Ok(0) | Err(_) => Ok(()),
            Ok(_) => Err(io::Error::other(wrong(
                &self.descriptor,
                "is longer than its manifest says",
            ))),
        }
    }
}
