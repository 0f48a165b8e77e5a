//! What holds for every input, hostile ones first.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use proptest::prelude::*;
use registry::challenge::{self, Challenge};
use registry::dns::message::{self, Family};
use registry::{dns, manifest, url};

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

proptest! {
    #[test]
    fn a_challenge_is_read_back(realm in "[ -~]{1,40}", service in "[ -~]{0,20}", scope in "[ -~]{0,20}") {
        let header = format!(
            "Negotiate, Bearer realm={},service={} , scope={}, Basic realm=\"x\"",
            quoted(&realm), quoted(&service), quoted(&scope)
        );
        let bearer = Challenge::Bearer { realm, service: Some(service), scope: Some(scope) };
        prop_assert_eq!(challenge::parse(&header), [bearer, Challenge::Basic]);
    }

    #[test]
    fn no_header_breaks_the_parser(header in ".{0,300}") {
        challenge::parse(&header);
        challenge::parse(&format!("Bearer {header}"));
        challenge::parse(&format!("Bearer realm=\"{header}"));
    }

    #[test]
    fn no_location_leads_to_a_strange_url(location in ".{0,200}", scheme in "https?") {
        let base = url::parse(&format!("{scheme}://registry.example:5000/v2/a/blobs/uploads/")).unwrap();
        if let Some(joined) = url::join(&base, &location) {
            let authority = joined.authority().unwrap().as_str();
            prop_assert!(matches!(joined.scheme_str(), Some("http" | "https")));
            prop_assert!(!authority.contains('@'));
            prop_assert!(url::parse(&joined.to_string()).is_some());
        }
    }

    #[test]
    fn a_relative_location_stays_at_home(path in "(/[a-z0-9._-]{1,9}){0,4}/?", query in "[a-z0-9=&%]{0,20}") {
        let base = url::parse("https://registry.example:5000/v2/x/").unwrap();
        if let Some(joined) = url::join(&base, &format!("/v2{path}?{query}")) {
            prop_assert!(url::same_origin(&base, &joined));
        }
    }

    #[test]
    fn a_parameter_does_not_leave_its_place(value in ".{0,60}") {
        let base = url::parse("https://registry.example/v2/?state=1").unwrap();
        let joined = url::with_parameter(&base, "digest", &value).unwrap();
        let query = joined.query().unwrap();
        prop_assert_eq!(query.matches('&').count(), 1);
        prop_assert!(joined.to_string().is_ascii());
    }

    #[test]
    fn no_answer_breaks_the_resolver(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = message::parse(&bytes, "registry.example", Family::V4);
        let _ = message::parse(&bytes, "registry.example", Family::V6);
    }

    #[test]
    fn no_end_of_an_answer_breaks_the_resolver(tail in proptest::collection::vec(any::<u8>(), 0..300), count in any::<u16>()) {
        let mut answer = message::query(1, "registry.example", Family::V4).unwrap();
        answer[2] = 0x81;
        answer[6..8].copy_from_slice(&count.to_be_bytes());
        answer.extend(tail);
        let _ = message::parse(&answer, "registry.example", Family::V4);
    }

    #[test]
    fn a_query_answers_no_query(a in "[a-z]{1,20}\\.[a-z]{1,20}", b in "[a-z]{1,20}\\.[a-z]{1,20}", id in any::<u16>()) {
        let asked = message::query(id, &a, Family::V4).unwrap();
        let mut answer = message::query(id, &b, Family::V4).unwrap();
        prop_assert!(!message::answers(&asked, &answer));
        answer[2] |= 0x80;
        prop_assert_eq!(message::answers(&asked, &answer), a == b);
    }

    #[test]
    fn no_file_breaks_the_resolver(text in ".{0,300}") {
        dns::addresses_in_hosts(&text, "registry.example");
        let _ = dns::Settings::parse(&text);
        let _ = dns::Settings::parse(&format!("nameserver {text}\noptions timeout:{text}"));
    }

    #[test]
    fn no_text_is_two_manifests(text in ".{0,200}", header in proptest::option::of(".{0,80}")) {
        let _ = manifest::media_type(text.as_bytes(), header.as_deref());
        let both = br#"{"schemaVersion":2,"layers":[],"manifests":[]}"#;
        prop_assert!(manifest::media_type(both, header.as_deref()).is_err());
    }
}

#[test]
fn a_lookup_gives_up_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let resolv_conf = directory.path().join("resolv.conf");
    // Nobody listens on this address of the loopback network.
    std::fs::write(&resolv_conf, "nameserver 127.253.253.253\n").unwrap();
    let lookup = dns::Lookup {
        hosts_file: directory.path().join("none"),
        resolv_conf,
        timeout: Duration::from_millis(200),
    };
    let error = lookup.addresses("registry.example").unwrap_err();
    assert_eq!(error.kind(), sys::ErrorKind::Unavailable);
    assert!(
        error.to_string().starts_with("look up registry.example: "),
        "{error}"
    );
}
