//! `config.json` of a bundle, as engines write it and attackers bend it: understood or refused, with a sentence.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use spec::runtime::Spec;

fuzz_target!(|bytes: &[u8]| {
    let Ok(spec) = serde_json::from_slice::<Spec>(bytes) else { return };
    // What is read can be written, and means the same.
    let text = serde_json::to_vec(&spec).expect("what was read can be written");
    let again: Spec = serde_json::from_slice(&text).expect("and read again");
    assert_eq!(serde_json::to_vec(&again).expect("and written"), text);
    // A namespace to join would be opened, wherever on this machine it is.
    let joins = spec.linux.iter().flat_map(|linux| &linux.namespaces).any(|namespace| namespace.path.is_some());
    if joins {
        return;
    }
    if let Err(error) = runtime::validate(&spec, Path::new("/nowhere")) {
        assert!(!error.to_string().is_empty());
    }
});
