//! HTTP as the rest of the crate sees it: one request, its redirects, and
//! failures in words.
//!
//! Redirects are followed here and not by ureq, because each hop decides anew
//! whom to trust and whether credentials may travel.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use sys::{Error, ErrorKind, Result};
use ureq::http::header::{AUTHORIZATION, LOCATION};
use ureq::http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, TcpConnector, Transport,
};
use ureq::{Agent, Body, Proxy, SendBody};

use crate::config::RegistryConfig;
use crate::dns::{Lookup, LookupFailed};
use crate::tls::{self, TlsConnector, Trust};
use crate::url;

const MOST_REDIRECTS: usize = 5;
const LONGEST_HEADER: usize = 64 * 1024;
/// Connections kept open: parallel layers of one registry.
const IDLE_CONNECTIONS: usize = 8;

/// One request to one URL.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: Uri,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) payload: Payload<'a>,
}

/// What a request carries.
pub(crate) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    /// Read once; the length is announced.
    Stream(&'a mut dyn Read, u64),
}

impl Call<'_> {
    pub(crate) fn get(url: Uri) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: Vec::new(),
            payload: Payload::None,
        }
    }
}

/// Connections by whom they trust.
pub(crate) struct Http {
    config: Arc<RegistryConfig>,
    agents: Mutex<HashMap<(String, Trust), Agent>>,
}

impl Http {
    pub(crate) fn new(config: Arc<RegistryConfig>) -> Self {
        Self {
            config,
            agents: Mutex::new(HashMap::new()),
        }
    }

    /// Sends `call` and follows redirects of reads. Any status is an answer.
    pub(crate) fn send(&self, call: Call<'_>, trust: Trust) -> Result<Response<Body>> {
        let follow = matches!(call.method, Method::GET | Method::HEAD);
        let method = call.method.clone();
        let mut headers = call.headers.clone();
        let first = call.url.clone();
        let mut response = self.hop(call, trust)?;
        let mut here = first.clone();
        for _ in 0..MOST_REDIRECTS {
            if !follow || !is_redirect(&response) {
                return Ok(response);
            }
            let next = redirect_target(&here, &response)?;
            if !url::same_origin(&first, &next) {
                headers.retain(|(name, _)| name != AUTHORIZATION);
            }
            let call = Call {
                method: method.clone(),
                url: next.clone(),
                headers: headers.clone(),
                payload: Payload::None,
            };
            let trust = if url::same_origin(&first, &next) {
                trust
            } else {
                self.trust_of(&next)
            };
            response = self.hop(call, trust)?;
            here = next;
        }
        if is_redirect(&response) {
            let words = format!("{} redirects in a circle", place(&first));
            return Err(Error::new(ErrorKind::Unsupported, words));
        }
        Ok(response)
    }

    /// How much the certificate of a host is worth that no endpoint names.
    pub(crate) fn trust_of(&self, url: &Uri) -> Trust {
        let authority = url.authority().map_or("", |authority| authority.as_str());
        match self.config.registries.get(authority) {
            Some(entry) if entry.insecure => Trust::Unverified,
            _ => Trust::Verified,
        }
    }

    fn hop(&self, call: Call<'_>, trust: Trust) -> Result<Response<Body>> {
        let agent = self.agent(&call.url, trust)?;
        let url = call.url;
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(url.clone());
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let sends = matches!(call.method, Method::POST | Method::PUT | Method::PATCH);
        let answer = match call.payload {
            Payload::None if sends => agent.run(with_length(request, 0, &b""[..])?),
            Payload::None => agent.run(request.body(()).map_err(|error| no_request(&error))?),
            Payload::Bytes(bytes) => agent.run(with_length(request, bytes.len() as u64, bytes)?),
            Payload::Stream(reader, length) => {
                let body = SendBody::from_reader(reader);
                agent.run(with_length(request, length, body)?)
            }
        };
        answer.map_err(|error| self.in_words(error, &url))
    }

    /// The agent for connections to a host. Made on the first use, so that no
    /// certificate is read for nothing.
    fn agent(&self, url: &Uri, trust: Trust) -> Result<Agent> {
        let authority = match url.authority() {
            Some(authority) if url::is_https(url) => authority.as_str().to_owned(),
            // Without TLS there is nothing to trust: one pool serves all.
            _ => String::new(),
        };
        let key = (authority, trust);
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&key) {
            return Ok(agent.clone());
        }
        let agent = self.new_agent(&key.0, trust)?;
        agents.insert(key, agent.clone());
        Ok(agent)
    }

    fn new_agent(&self, authority: &str, trust: Trust) -> Result<Agent> {
        let patience = &self.config.timeouts;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(self.proxy(authority)?)
            .user_agent(self.config.user_agent.as_str())
            .max_response_header_size(LONGEST_HEADER)
            .max_idle_connections(IDLE_CONNECTIONS)
            .max_idle_connections_per_host(IDLE_CONNECTIONS)
            .timeout_resolve(Some(patience.lookup))
            .timeout_connect(Some(patience.connect))
            .timeout_per_read(Some(patience.idle))
            .timeout_per_write(Some(patience.idle));
        let tls = match authority {
            "" => None,
            _ => Some(tls::client_config(&self.config, authority, trust)?),
        };
        let lookup = Lookup {
            hosts_file: self.config.hosts_file.clone(),
            resolv_conf: self.config.resolv_conf.clone(),
            timeout: patience.lookup,
        };
        let connector = Dial(ConnectProxyConnector::default())
            .chain(Dial(TcpConnector::default()))
            .chain(Dial(TlsConnector { config: tls }));
        Ok(Agent::with_parts(config.build(), connector, lookup))
    }

    fn proxy(&self, authority: &str) -> Result<Option<Proxy>> {
        let settings = &self.config.proxy;
        let url = if authority.is_empty() {
            &settings.http
        } else {
            &settings.https
        };
        let Some(url) = url.as_deref().filter(|url| !url.is_empty()) else {
            return Ok(None);
        };
        let wrong = |_| Error::new(ErrorKind::InvalidInput, "the configured proxy is not a URL");
        let parsed = Proxy::new(url).map_err(wrong)?;
        let mut builder = Proxy::builder(parsed.protocol())
            .host(parsed.host())
            .port(parsed.port());
        if let Some(user) = parsed.username() {
            builder = builder.username(user);
        }
        if let Some(password) = parsed.password() {
            builder = builder.password(password);
        }
        // Registries on this machine are never behind a proxy.
        let direct = ["localhost", "127.0.0.1", "[::1]", "::1"];
        let configured = settings.no_proxy.as_deref().unwrap_or_default().split(',');
        for host in configured.map(str::trim).chain(direct) {
            if !host.is_empty() {
                builder = builder.no_proxy(host);
            }
        }
        builder.build().map(Some).map_err(wrong)
    }

    fn in_words(&self, error: ureq::Error, url: &Uri) -> Error {
        let place = place(url);
        let seconds =
            |duration: std::time::Duration| format!("no answer for {} s", duration.as_secs());
        match error {
            ureq::Error::Other(cause) if cause.is::<DialFailed>() => {
                match cause.downcast::<DialFailed>() {
                    Ok(failed) => failed.0.wrap(format!("connect to {place}")),
                    Err(cause) => Error::new(ErrorKind::Internal, cause.to_string()),
                }
            }
            ureq::Error::Other(cause) => match cause.downcast::<LookupFailed>() {
                Ok(failed) => failed.0.wrap(format!("connect to {place}")),
                Err(cause) => Error::new(ErrorKind::Internal, cause.to_string()),
            },
            ureq::Error::Io(error) => from_io(error).wrap(format!("talk to {place}")),
            ureq::Error::Timeout(ureq::Timeout::PerRead | ureq::Timeout::PerWrite) => {
                let words = seconds(self.config.timeouts.idle);
                Error::new(ErrorKind::Unavailable, words).wrap(format!("talk to {place}"))
            }
            ureq::Error::Timeout(_) => {
                let words = seconds(self.config.timeouts.connect);
                Error::new(ErrorKind::Unavailable, words).wrap(format!("connect to {place}"))
            }
            ureq::Error::HostNotFound => {
                Error::new(ErrorKind::NotFound, "no such host").wrap(format!("connect to {place}"))
            }
            ureq::Error::ConnectProxyFailed(words) => Error::new(
                ErrorKind::Unavailable,
                format!("the proxy refuses: {words}"),
            )
            .wrap(format!("connect to {place}")),
            ureq::Error::Protocol(cause) => {
                Error::new(ErrorKind::Corrupt, format!("not HTTP: {cause}"))
                    .wrap(format!("talk to {place}"))
            }
            other => Error::new(ErrorKind::Unavailable, other.to_string())
                .wrap(format!("talk to {place}")),
        }
    }
}

fn with_length<B>(
    request: ureq::http::request::Builder,
    length: u64,
    body: B,
) -> Result<Request<B>> {
    let request = request.header("content-length", length);
    request.body(body).map_err(|error| no_request(&error))
}

fn no_request(error: &ureq::http::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("make a request: {error}"))
}

fn is_redirect(response: &Response<Body>) -> bool {
    matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where an answer sends us; never from HTTPS to plain HTTP.
fn redirect_target(here: &Uri, response: &Response<Body>) -> Result<Uri> {
    let location = response.headers().get(LOCATION);
    let target = location
        .and_then(|location| location.to_str().ok())
        .and_then(|location| url::join(here, location));
    match target {
        Some(target) if url::is_https(here) && !url::is_https(&target) => {
            let words = format!("{} redirects from HTTPS to plain HTTP", place(here));
            Err(Error::new(ErrorKind::Denied, words))
        }
        Some(target) => Ok(target),
        None => {
            let words = format!("{} redirects to nowhere", place(here));
            Err(Error::new(ErrorKind::Corrupt, words))
        }
    }
}

/// Host and port as people know them.
pub(crate) fn place(url: &Uri) -> &str {
    url.authority().map_or("?", |authority| authority.as_str())
}

/// A failure on an open connection: all of it may pass.
pub(crate) fn from_io(error: io::Error) -> Error {
    if let Some(words) = error.get_ref().and_then(|inner| tls::words_for(inner)) {
        return Error::new(ErrorKind::Unavailable, words);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            Error::new(ErrorKind::Unavailable, "the connection broke off")
        }
        _ => Error::from(error).with_kind(ErrorKind::Unavailable),
    }
}

/// Marks failures of the steps before a connection stands.
#[derive(Debug)]
struct Dial<C>(C);

impl<In: Transport, C: Connector<In>> Connector<In> for Dial<C> {
    type Out = C::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        self.0.connect(details, chained).map_err(|error| {
            let error = match error {
                ureq::Error::Io(error) => from_io(error),
                ureq::Error::Tls(words) => Error::new(ErrorKind::Unavailable, words),
                other => return other,
            };
            ureq::Error::Other(Box::new(DialFailed(error)))
        })
    }
}

#[derive(Debug)]
struct DialFailed(Error);

impl fmt::Display for DialFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for DialFailed {}
