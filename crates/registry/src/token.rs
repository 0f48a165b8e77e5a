//! Tokens: fetched from the server that a challenge names, kept until they
//! expire.
//!
//! Credentials go to a token server over HTTPS only, unless it is on this
//! machine or the registry is configured as insecure.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sys::{Context, Error, ErrorKind, Result};
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use ureq::http::{Method, Uri};

use crate::credentials::Credentials;
use crate::endpoint::{Endpoint, Security};
use crate::transport::{Call, Http, Payload, place};
use crate::url;

/// Larger tokens are not sent in headers anyway.
const LARGEST_ANSWER: u64 = 256 * 1024;
/// Where a server does not say (distribution, token specification).
const DEFAULT_LIFE: u64 = 60;
/// Expires early here, so that it does not expire on its way.
const MARGIN: Duration = Duration::from_secs(5);

/// What a request needs to be allowed: `repository:library/alpine:pull`.
pub(crate) type Scopes = BTreeSet<String>;

/// The `Authorization` headers known so far, by host and scopes.
#[derive(Default)]
pub(crate) struct Passes {
    known: Mutex<HashMap<(String, Scopes), Pass>>,
}

struct Pass {
    header: HeaderValue,
    until: Option<Instant>,
}

impl Passes {
    pub(crate) fn find(&self, host: &str, scopes: &Scopes) -> Option<HeaderValue> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let live = |pass: &&Pass| pass.until.is_none_or(|until| Instant::now() < until);
        let by = |scopes: &Scopes| known.get(&(host.to_owned(), scopes.clone())).filter(live);
        by(scopes)
            .or_else(|| by(&everything()))
            .map(|pass| pass.header.clone())
    }

    pub(crate) fn forget(&self, host: &str, scopes: &Scopes) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&(host.to_owned(), scopes.clone()));
        known.remove(&(host.to_owned(), everything()));
    }

    /// Name and password serve every scope of a host.
    pub(crate) fn keep_basic(&self, host: &str, header: &HeaderValue) {
        self.keep(host, everything(), header.clone(), None);
    }

    pub(crate) fn keep_token(&self, host: &str, scopes: &Scopes, token: &Token) {
        self.keep(
            host,
            scopes.clone(),
            token.header.clone(),
            Some(token.until),
        );
    }

    fn keep(&self, host: &str, scopes: Scopes, header: HeaderValue, until: Option<Instant>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((host.to_owned(), scopes), Pass { header, until });
    }
}

fn everything() -> Scopes {
    Scopes::from(["*".to_owned()])
}

pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    until: Instant,
}

/// What a token is wanted for, as the challenge and the request say.
pub(crate) struct Wanted<'a> {
    pub(crate) realm: &'a str,
    pub(crate) service: Option<&'a str>,
    pub(crate) scopes: &'a Scopes,
}

#[derive(Deserialize)]
struct Granted {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// Asks the token server for a token, as nobody or as somebody.
pub(crate) fn fetch(
    http: &Http,
    endpoint: &Endpoint,
    wanted: &Wanted<'_>,
    credentials: Option<&Credentials>,
) -> Result<Token> {
    if let Some(Credentials::Token { token }) = credentials {
        return Ok(Token {
            header: secret_header(&format!("Bearer {token}"))?,
            until: Instant::now() + Duration::from_secs(DEFAULT_LIFE),
        });
    }
    let realm = url::parse(wanted.realm).ok_or_else(|| {
        let words = format!("registry {} names no usable token server", endpoint.name);
        Error::new(ErrorKind::Corrupt, words)
    })?;
    if credentials.is_some() {
        check_safe(&realm, endpoint)?;
    }
    let act = || format!("get a token from {}", place(&realm));
    let form;
    let call = match credentials {
        Some(Credentials::Identity { token, .. }) => {
            form = refresh_form(wanted, token);
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            Call {
                method: Method::POST,
                url: realm.clone(),
                headers: vec![(CONTENT_TYPE, kind)],
                payload: Payload::Bytes(form.as_bytes()),
            }
        }
        Some(Credentials::Password { user, password }) => {
            let mut call = Call::get(question(&realm, wanted, Some(user))?);
            call.headers.push((AUTHORIZATION, basic(user, password)?));
            call
        }
        Some(Credentials::Token { .. }) | None => Call::get(question(&realm, wanted, None)?),
    };
    let trust = http.trust_of(&realm);
    let mut response = http.send(call, trust).context(act)?;
    let status = response.status();
    if matches!(status.as_u16(), 400 | 401 | 403) {
        let words = refusal(endpoint, credentials);
        return Err(Error::new(ErrorKind::Denied, words));
    }
    if !status.is_success() {
        let words = format!("it answers {status}");
        return Err(Error::new(ErrorKind::Unavailable, words.to_lowercase()).wrap(act()));
    }
    let mut body = Vec::new();
    response
        .body_mut()
        .as_reader()
        .take(LARGEST_ANSWER)
        .read_to_end(&mut body)
        .map_err(crate::transport::from_io)
        .context(act)?;
    granted(&body).context(act)
}

fn granted(body: &[u8]) -> Result<Token> {
    let wrong = || Error::new(ErrorKind::Corrupt, "it answers with no token");
    let granted: Granted = serde_json::from_slice(body).map_err(|_| wrong())?;
    let token = if granted.token.is_empty() {
        granted.access_token
    } else {
        granted.token
    };
    if token.is_empty() {
        return Err(wrong());
    }
    // A day is long enough to believe.
    let life = granted.expires_in.unwrap_or(DEFAULT_LIFE).min(24 * 3600);
    let life = Duration::from_secs(life.max(DEFAULT_LIFE));
    Ok(Token {
        header: secret_header(&format!("Bearer {token}"))?,
        until: Instant::now() + life.saturating_sub(MARGIN),
    })
}

/// What to say when credentials, or their lack, were not good enough.
pub(crate) fn refusal(endpoint: &Endpoint, credentials: Option<&Credentials>) -> String {
    let name = &endpoint.name;
    match credentials.and_then(Credentials::user) {
        Some(user) => format!("registry {name} refused the credentials for user {user}"),
        None if credentials.is_some() => format!("registry {name} refused the stored token"),
        // Many answer thus where there is nothing, too.
        None => {
            format!("access denied: registry {name} demands credentials, or has no such repository")
        }
    }
}

fn check_safe(realm: &Uri, endpoint: &Endpoint) -> Result<()> {
    let host = realm.host().unwrap_or_default();
    let may_be_plain =
        matches!(endpoint.security, Security::Insecure | Security::Http) || url::is_loopback(host);
    if url::is_https(realm) || may_be_plain {
        return Ok(());
    }
    let words = format!(
        "registry {} wants the credentials sent in clear to {}",
        endpoint.name,
        place(realm)
    );
    Err(Error::new(ErrorKind::Denied, words))
}

fn question(realm: &Uri, wanted: &Wanted<'_>, account: Option<&str>) -> Result<Uri> {
    let scopes = wanted.scopes.iter().map(|scope| ("scope", scope.as_str()));
    let service = wanted.service.map(|service| ("service", service));
    let account = account.map(|account| ("account", account));
    let mut question = realm.clone();
    for (name, value) in account.into_iter().chain(service).chain(scopes) {
        question = url::with_parameter(&question, name, value)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the token server's URL is too long"))?;
    }
    Ok(question)
}

/// OAuth 2 (distribution, token specification, "oauth").
fn refresh_form(wanted: &Wanted<'_>, token: &str) -> String {
    let scope = wanted.scopes.iter().map(String::as_str).collect::<Vec<_>>();
    let mut form = "grant_type=refresh_token&client_id=wharf".to_owned();
    for (name, value) in [
        ("service", wanted.service.unwrap_or_default()),
        ("scope", scope.join(" ").as_str()),
        ("refresh_token", token),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(form, "&{name}={}", url::encode(value));
    }
    form
}

/// Name and password as a header.
pub(crate) fn basic(user: &str, password: &str) -> Result<HeaderValue> {
    secret_header(&format!(
        "Basic {}",
        STANDARD.encode(format!("{user}:{password}"))
    ))
}

fn secret_header(text: &str) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_str(text)
        .map_err(|_| Error::new(ErrorKind::Corrupt, "the token has control characters"))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(security: Security) -> Endpoint {
        Endpoint {
            name: "r.example".to_owned(),
            authority: "r.example".to_owned(),
            prefix: String::new(),
            security,
        }
    }

    #[test]
    fn credentials_never_travel_in_clear() {
        let realm = |text| url::parse(text).unwrap();
        assert!(check_safe(&realm("http://a.example/"), &endpoint(Security::Https)).is_err());
        assert!(check_safe(&realm("http://a.example/"), &endpoint(Security::Loopback)).is_err());
        assert!(check_safe(&realm("https://a.example/"), &endpoint(Security::Loopback)).is_ok());
        assert!(check_safe(&realm("http://127.0.0.1:5001/"), &endpoint(Security::Https)).is_ok());
        assert!(check_safe(&realm("http://a.example/"), &endpoint(Security::Insecure)).is_ok());
    }

    #[test]
    fn reads_what_token_servers_answer() {
        assert_eq!(granted(br#"{"token":"a"}"#).unwrap().header, "Bearer a");
        assert_eq!(
            granted(br#"{"access_token":"b","expires_in":0}"#)
                .unwrap()
                .header,
            "Bearer b"
        );
        for wrong in ["", "{}", "[]", r#"{"token":""}"#, r#"{"token":"a\n"}"#] {
            assert!(granted(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_question_names_service_and_scopes() {
        let realm = url::parse("https://a.example/t?x=1").unwrap();
        let scopes = Scopes::from(["repository:a/b:pull".to_owned()]);
        let wanted = Wanted {
            realm: "",
            service: Some("s p"),
            scopes: &scopes,
        };
        assert_eq!(
            question(&realm, &wanted, Some("joe")).unwrap().to_string(),
            "https://a.example/t?x=1&account=joe&service=s%20p&scope=repository%3Aa%2Fb%3Apull"
        );
    }
}
