//! Names for containers that were given none: `adjective_noun`.

use state::{ContainerId, ContainerName};
use sys::{Error, ErrorKind, Result};

const ADJECTIVES: [&str; 64] = [
    "agile", "amber", "ample", "azure", "bold", "brave", "breezy", "bright", "brisk", "calm",
    "candid", "cheerful", "civil", "clear", "clever", "cosy", "crisp", "curious", "deft", "eager",
    "early", "earnest", "fair", "fleet", "fond", "frank", "gentle", "glad", "golden", "grand",
    "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid",
    "mellow", "merry", "mild", "modest", "nimble", "noble", "patient", "placid", "plain", "proud",
    "quick", "quiet", "ready", "robust", "serene", "sharp", "silver", "sober", "steady", "sunny",
    "swift", "tidy", "vivid", "witty",
];

const NOUNS: [&str; 64] = [
    "anchor",
    "barge",
    "beacon",
    "bollard",
    "bosun",
    "bow",
    "breaker",
    "breeze",
    "brig",
    "buoy",
    "cabin",
    "canal",
    "capstan",
    "captain",
    "cargo",
    "channel",
    "clipper",
    "compass",
    "coral",
    "cove",
    "crane",
    "current",
    "cutter",
    "deck",
    "delta",
    "dock",
    "dory",
    "ferry",
    "fjord",
    "fleet",
    "galley",
    "gull",
    "harbor",
    "hatch",
    "helm",
    "heron",
    "hull",
    "island",
    "jetty",
    "kayak",
    "keel",
    "ketch",
    "lagoon",
    "lantern",
    "lock",
    "mast",
    "mooring",
    "oar",
    "pelican",
    "pier",
    "pilot",
    "quay",
    "reef",
    "rudder",
    "sail",
    "schooner",
    "sextant",
    "skiff",
    "sloop",
    "spinnaker",
    "tide",
    "trawler",
    "tug",
    "wave",
];

/// A name that follows from the id; with `attempt` above 2 it has digits of
/// the id at its end, so that it is free.
pub(super) fn random_name(id: &ContainerId, attempt: usize) -> Result<ContainerName> {
    let bytes = id.as_bytes();
    let at = |place: usize| usize::from(bytes[place % bytes.len()]) % 64;
    let mut name = format!(
        "{}_{}",
        ADJECTIVES[at(2 * attempt)],
        NOUNS[at(2 * attempt + 1)]
    );
    if attempt > 2 {
        let digits = id.to_string();
        name.push('_');
        name.push_str(
            digits
                .get(..2 * attempt)
                .ok_or_else(|| Error::new(ErrorKind::Unavailable, "no name is free"))?,
        );
    }
    name.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_gives_a_valid_name() {
        let id = ContainerId::random().unwrap();
        for attempt in 0..8 {
            random_name(&id, attempt).unwrap();
        }
        assert!(random_name(&id, 6).unwrap().as_str().ends_with(&id.short()));
        let mut words: Vec<&str> = ADJECTIVES.iter().chain(&NOUNS).copied().collect();
        words.sort_unstable();
        words.dedup();
        assert!(words.len() > 120);
    }
}
