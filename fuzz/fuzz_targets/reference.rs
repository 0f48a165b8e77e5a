//! Names of images, as users type them: what parses must print back to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spec::Reference;

fuzz_target!(|text: &str| {
    let Ok(reference) = text.parse::<Reference>() else { return };
    let full = reference.to_string();
    let again: Reference = full.parse().expect("what we print, we read");
    assert_eq!(again, reference, "{text:?} became {full:?}");
    let familiar: Reference = reference.familiar().parse().expect("the short form is read too");
    assert_eq!(familiar, reference, "{text:?} shortened to {:?}", reference.familiar());
    // It becomes part of URLs: nothing in it may end a path or a line.
    assert!(!full.contains(['?', '#', '%', '\r', '\n', ' ', '\\']), "{full:?}");
    assert!(!full.split('/').any(|part| part == ".." || part.is_empty()), "{full:?}");
});
