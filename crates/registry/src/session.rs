//! One request to one endpoint: the scheme it speaks, credentials when it
//! asks for them, another try when a failure may pass, and refusals in words.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use sys::{Context, Error, ErrorKind, Result};
use ureq::Body;
use ureq::http::header::{AUTHORIZATION, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use ureq::http::{HeaderMap, Method, Response, StatusCode, Uri};

use crate::challenge::{self, Challenge};
use crate::config::RegistryConfig;
use crate::credentials::{CredentialSource, Credentials};
use crate::endpoint::{Endpoint, Security};
use crate::retry::{self, Patience};
use crate::tls::{self, Trust};
use crate::token::{self, Passes, Scopes, Wanted};
use crate::transport::{Call, Http, Payload, from_io};
use crate::url;

/// Of an error's text, as registries send it.
const LARGEST_REFUSAL: u64 = 64 * 1024;

/// What all requests of a client share.
pub(crate) struct Session {
    pub(crate) config: Arc<RegistryConfig>,
    pub(crate) http: Http,
    credentials: CredentialSource,
    passes: Passes,
    /// Held while a pass is obtained.
    turn: Mutex<()>,
    found: Mutex<HashMap<String, Option<Credentials>>>,
    bases: Mutex<HashMap<String, Base>>,
}

/// How an endpoint turned out to be reached.
#[derive(Clone, Copy, Debug)]
struct Base {
    scheme: &'static str,
    trust: Trust,
}

/// One request below an endpoint.
pub(crate) struct Ask<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) method: Method,
    pub(crate) target: Target<'a>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) scopes: &'a Scopes,
}

/// Where a request goes.
pub(crate) enum Target<'a> {
    /// Below `/v2/`.
    Path(&'a str),
    /// Where the endpoint said, such as an upload's `Location`.
    Url(&'a Uri),
}

impl Session {
    pub(crate) fn new(config: RegistryConfig, credentials: CredentialSource) -> Self {
        let config = Arc::new(config);
        Self {
            http: Http::new(Arc::clone(&config)),
            config,
            credentials,
            passes: Passes::default(),
            turn: Mutex::new(()),
            found: Mutex::new(HashMap::new()),
            bases: Mutex::new(HashMap::new()),
        }
    }

    /// Sends a request without a body, with patience. The answer has any
    /// status but 401 and those that may pass.
    pub(crate) fn ask(&self, ask: &Ask<'_>) -> Result<Response<Body>> {
        self.ask_with(ask, None)
    }

    /// The same with a body that can be sent again.
    pub(crate) fn ask_with(&self, ask: &Ask<'_>, body: Option<&[u8]>) -> Result<Response<Body>> {
        let mut patience = Patience::new(&self.config.timeouts);
        loop {
            let payload = body.map_or(Payload::None, Payload::Bytes);
            match self.once(ask, payload) {
                Ok(response) if retry::may_pass(response.status()) => {
                    if !patience.wait(retry::asked_pause(response.headers())) {
                        return Err(self.refused(ask.endpoint, response));
                    }
                }
                Err(error) if retry::is_passing(&error) => {
                    if !patience.wait(None) {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// One exchange, and a second one if the first is answered with a
    /// challenge. A stream cannot be sent twice: what it needs to be let in
    /// is fetched, and the caller starts anew on `Unavailable`.
    pub(crate) fn once(&self, ask: &Ask<'_>, payload: Payload<'_>) -> Result<Response<Body>> {
        let again = match &payload {
            Payload::None => Some(Payload::None),
            Payload::Bytes(bytes) => Some(Payload::Bytes(bytes)),
            Payload::Stream(..) => None,
        };
        let endpoint = ask.endpoint;
        let shown = self.passes.find(&endpoint.authority, ask.scopes);
        let response = self.exchange(ask, payload)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        self.renew_pass(ask, response.headers(), shown.as_ref())?;
        drop(response);
        let Some(payload) = again else {
            let words = format!("registry {} wanted a new token", endpoint.name);
            return Err(Error::new(ErrorKind::Unavailable, words));
        };
        let response = self.exchange(ask, payload)?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.passes.forget(&endpoint.authority, ask.scopes);
            let credentials = self.credentials_for(endpoint)?;
            let words = token::refusal(endpoint, credentials.as_ref());
            return Err(Error::new(ErrorKind::Denied, words));
        }
        Ok(response)
    }

    /// The URL of something below `/v2/`.
    pub(crate) fn url_of(&self, endpoint: &Endpoint, path: &str) -> Result<Uri> {
        let base = self.base(endpoint)?;
        url::parse(&format!(
            "{}://{}/v2/{path}",
            base.scheme, endpoint.authority
        ))
        .ok_or_else(|| bad_url(endpoint))
    }

    fn exchange(&self, ask: &Ask<'_>, payload: Payload<'_>) -> Result<Response<Body>> {
        let endpoint = ask.endpoint;
        let base = self.base(endpoint)?;
        let home = self.url_of(endpoint, "")?;
        let url = match ask.target {
            Target::Path(path) => self.url_of(endpoint, path)?,
            Target::Url(url) => url.clone(),
        };
        let mut headers = ask.headers.clone();
        let trust = if url::same_origin(&url, &home) {
            let pass = self.passes.find(&endpoint.authority, ask.scopes);
            headers.extend(pass.map(|pass| (AUTHORIZATION, pass)));
            base.trust
        } else {
            self.http.trust_of(&url)
        };
        let call = Call {
            method: ask.method.clone(),
            url,
            headers,
            payload,
        };
        self.http.send(call, trust)
    }

    /// Gets in place of `shown` what a 401 asks for. Of parallel requests the
    /// first one does so and the others wait for it.
    fn renew_pass(
        &self,
        ask: &Ask<'_>,
        headers: &HeaderMap,
        shown: Option<&HeaderValue>,
    ) -> Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let host = &ask.endpoint.authority;
        let known = self.passes.find(host, ask.scopes);
        if known.is_some() && known.as_ref() != shown {
            return Ok(());
        }
        self.passes.forget(host, ask.scopes);
        self.obtain_pass(ask.endpoint, headers, ask.scopes)
    }

    /// Answers the challenges of a 401.
    fn obtain_pass(&self, endpoint: &Endpoint, headers: &HeaderMap, scopes: &Scopes) -> Result<()> {
        let challenges = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenge::parse);
        let credentials = self.credentials_for(endpoint)?;
        let denied = || {
            Error::new(
                ErrorKind::Denied,
                token::refusal(endpoint, credentials.as_ref()),
            )
        };
        for challenge in challenges {
            match (challenge, &credentials) {
                (Challenge::Basic, Some(Credentials::Password { user, password })) => {
                    let header = token::basic(user, password)?;
                    self.passes.keep_basic(&endpoint.authority, &header);
                    return Ok(());
                }
                (Challenge::Basic, _) => {}
                (
                    Challenge::Bearer {
                        realm,
                        service,
                        scope,
                    },
                    credentials,
                ) => {
                    let asked = scope.iter().flat_map(|scope| scope.split(' '));
                    let asked = asked.filter(|scope| !scope.is_empty()).map(str::to_owned);
                    let all = if scopes.is_empty() {
                        asked.collect()
                    } else {
                        scopes.clone()
                    };
                    let wanted = Wanted {
                        realm: &realm,
                        service: service.as_deref(),
                        scopes: &all,
                    };
                    let token = token::fetch(&self.http, endpoint, &wanted, credentials.as_ref())?;
                    self.passes.keep_token(&endpoint.authority, scopes, &token);
                    return Ok(());
                }
            }
        }
        Err(denied())
    }

    /// Asked once for each endpoint: a helper may be slow, or ask the user.
    pub(crate) fn credentials_for(&self, endpoint: &Endpoint) -> Result<Option<Credentials>> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = found.get(&endpoint.name) {
            return Ok(known.clone());
        }
        let credentials = self.credentials.find(&endpoint.name)?;
        found.insert(endpoint.name.clone(), credentials.clone());
        Ok(credentials)
    }

    /// How the endpoint is reached; where that is open, by trying.
    fn base(&self, endpoint: &Endpoint) -> Result<Base> {
        let key = format!("{} {:?}", endpoint.authority, endpoint.security);
        // Held while trying, so that parallel requests try once.
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(base) = bases.get(&key) {
            return Ok(*base);
        }
        let https = Base {
            scheme: "https",
            trust: Trust::Verified,
        };
        let http = Base {
            scheme: "http",
            trust: Trust::Verified,
        };
        let base = match endpoint.security {
            Security::Https => https,
            Security::Http => http,
            Security::Loopback if tls::has_own_authorities(&self.config, &endpoint.authority) => {
                https
            }
            Security::Loopback => {
                if self.speaks(endpoint, http)? {
                    http
                } else {
                    https
                }
            }
            Security::Insecure => {
                let unverified = Base {
                    scheme: "https",
                    trust: Trust::Unverified,
                };
                match self.speaks(endpoint, unverified) {
                    Ok(true) => unverified,
                    Ok(false) | Err(_) => http,
                }
            }
        };
        bases.insert(key, base);
        Ok(base)
    }

    /// Whether a registry answers this way. `Err` if nobody is there.
    fn speaks(&self, endpoint: &Endpoint, base: Base) -> Result<bool> {
        let home = url::parse(&format!("{}://{}/v2/", base.scheme, endpoint.authority))
            .ok_or_else(|| bad_url(endpoint))?;
        match self.http.send(Call::get(home), base.trust) {
            // A TLS server answers plain HTTP with 400.
            Ok(response) => Ok(response.status() != StatusCode::BAD_REQUEST),
            Err(error) if error.kind() == ErrorKind::Corrupt || retry::is_passing(&error) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// An answer that is no success, as an error. 404 is `NotFound`, said by
    /// the caller in better words.
    pub(crate) fn refused(&self, endpoint: &Endpoint, response: Response<Body>) -> Error {
        let status = response.status();
        let said = what_it_says(response);
        let name = &endpoint.name;
        let (kind, words) = match status.as_u16() {
            401 | 403 => {
                let who = self.credentials_for(endpoint).ok().flatten();
                let words = match who.as_ref().and_then(Credentials::user) {
                    Some(user) => format!("registry {name} denies this to user {user}"),
                    None => format!("registry {name} denies this without credentials"),
                };
                (ErrorKind::Denied, words)
            }
            404 => (
                ErrorKind::NotFound,
                format!("registry {name} does not know this"),
            ),
            429 => (
                ErrorKind::Unavailable,
                format!("registry {name} limits the rate of requests"),
            ),
            500.. => (
                ErrorKind::Unavailable,
                format!("registry {name} fails with status {}", status.as_u16()),
            ),
            _ => (
                ErrorKind::Unsupported,
                format!("registry {name} answers with status {}", status.as_u16()),
            ),
        };
        match said {
            Some(said) => Error::new(kind, format!("{words}: {said}")),
            None => Error::new(kind, words),
        }
    }
}

fn bad_url(endpoint: &Endpoint) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("no URL can be made for registry {}", endpoint.name),
    )
}

/// The error document of the distribution specification ("Error Codes").
#[derive(Deserialize)]
struct Refusals {
    #[serde(default)]
    errors: Vec<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

fn what_it_says(mut response: Response<Body>) -> Option<String> {
    let mut text = Vec::new();
    let body = response.body_mut().as_reader();
    body.take(LARGEST_REFUSAL).read_to_end(&mut text).ok()?;
    let refusals: Refusals = serde_json::from_slice(&text).ok()?;
    let first = refusals.errors.into_iter().next()?;
    let words = if first.message.is_empty() {
        first.code
    } else {
        first.message
    };
    let mut words: String = words.chars().take(200).collect();
    words.retain(|letter| !letter.is_control());
    (!words.is_empty()).then_some(words)
}

/// Reads a body that may not be longer than `limit` bytes.
pub(crate) fn read_limited(
    response: &mut Response<Body>,
    limit: u64,
    what: &str,
) -> Result<Vec<u8>> {
    let too_long = || {
        let words = format!("{what} is longer than {limit} bytes");
        Error::new(ErrorKind::Corrupt, words)
    };
    if response
        .body()
        .content_length()
        .is_some_and(|length| length > limit)
    {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    let body = response.body_mut().as_reader();
    body.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(from_io)
        .context(|| format!("read {what}"))?;
    if bytes.len() as u64 > limit {
        return Err(too_long());
    }
    Ok(bytes)
}
