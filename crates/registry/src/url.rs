//! The little of URLs that registries need: where a `Location` points, whether
//! two URLs have one origin, and percent-encoding.

use std::fmt::Write as _;
use std::net::IpAddr;

use ureq::http::Uri;

/// The longest URL that is followed.
const LONGEST: usize = 16 * 1024;

/// What `location` means when it is the answer to a request for `base`
/// (RFC 3986, section 5; only forms that servers send). `None` if it is no
/// HTTP URL, or carries a user name.
pub fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.trim();
    let location = location.split('#').next().unwrap_or_default();
    if location.len() > LONGEST || location.is_empty() {
        return None;
    }
    let scheme = base.scheme_str()?;
    let authority = base.authority()?.as_str();
    let joined = if has_scheme(location) {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else {
        let folder = base.path().rfind('/').map_or("/", |at| &base.path()[..=at]);
        format!("{scheme}://{authority}{folder}{location}")
    };
    parse(&joined)
}

/// An absolute HTTP URL without a user name, or `None`.
pub fn parse(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let fine = matches!(uri.scheme_str(), Some("http" | "https"))
        && !authority.host().is_empty()
        && !authority.as_str().contains('@');
    fine.then_some(uri)
}

fn has_scheme(location: &str) -> bool {
    location.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Whether credentials for one may go to the other: scheme, host and port.
pub fn same_origin(one: &Uri, other: &Uri) -> bool {
    let port = |uri: &Uri| {
        uri.port_u16()
            .unwrap_or(if is_https(uri) { 443 } else { 80 })
    };
    is_https(one) == is_https(other)
        && port(one) == port(other)
        && matches!((one.host(), other.host()), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b))
}

pub fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// `base` with one more query parameter.
pub fn with_parameter(base: &Uri, name: &str, value: &str) -> Option<Uri> {
    let text = base.to_string();
    let joint = if base.query().is_some() { '&' } else { '?' };
    parse(&format!("{text}{joint}{name}={}", encode(value)))
}

/// Percent-encodes everything but unreserved characters (RFC 3986, 2.3).
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte as char);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Whether `host` (without port, IPv6 with or without brackets) is this
/// machine by its name alone.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.strip_suffix('.').unwrap_or(host);
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => {
            host.eq_ignore_ascii_case("localhost")
                || host.to_ascii_lowercase().ends_with(".localhost")
        }
    }
}

/// Host of `host[:port]`, brackets of IPv6 kept.
pub fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_what_registries_send() {
        let base: Uri = "https://r.example:5000/v2/a/blobs/uploads/?x=1"
            .parse()
            .unwrap();
        for (location, joined) in [
            ("/v2/u/1?s=2", "https://r.example:5000/v2/u/1?s=2"),
            ("https://cdn.example/x", "https://cdn.example/x"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("?y=2", "https://r.example:5000/v2/a/blobs/uploads/?y=2"),
            ("next", "https://r.example:5000/v2/a/blobs/uploads/next"),
            ("/a#b", "https://r.example:5000/a"),
        ] {
            assert_eq!(join(&base, location).unwrap().to_string(), joined);
        }
        for location in [
            "",
            "ftp://x/",
            "https://",
            "https://u:p@x/",
            "/a b",
            "file:///x",
        ] {
            assert!(join(&base, location).is_none(), "{location}");
        }
    }

    #[test]
    fn one_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| same_origin(&parse(a).unwrap(), &parse(b).unwrap());
        assert!(same("https://a/x", "https://A:443/y"));
        assert!(!same("https://a/x", "http://a/x"));
        assert!(!same("https://a/", "https://a:444/"));
        assert!(!same("https://a/", "https://b/"));
        assert!(!same("https://a/", "http://a:443/"));
    }

    #[test]
    fn knows_this_machine_by_name() {
        for host in [
            "localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "::1",
            "a.localhost",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "128.0.0.1", "[::2]", "xlocalhost", ""] {
            assert!(!is_loopback(host), "{host}");
        }
        assert_eq!(host_of("[::1]:5000"), "[::1]");
        assert_eq!(host_of("[::1]"), "[::1]");
        assert_eq!(host_of("a:5000"), "a");
        assert_eq!(host_of("a"), "a");
    }
}
