//! `WWW-Authenticate` headers and redirects.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &str| {
    for challenge in registry::challenge::parse(header) {
        if let registry::challenge::Challenge::Bearer { realm, .. } = challenge {
            let _ = registry::url::parse(&realm);
        }
    }
    if let Some(base) = registry::url::parse("https://registry.example/v2/") {
        let _ = registry::url::join(&base, header);
    }
});
