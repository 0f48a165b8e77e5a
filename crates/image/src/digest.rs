//! Hashing by any of the algorithms that digests name.

use sha2::{Digest as _, Sha256, Sha512};
use spec::{Algorithm, ChainId, DiffId, Digest};

/// A hash in the making.
#[derive(Clone, Debug)]
pub enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::sha256(hash.finalize().into()),
            Self::Sha512(hash) => Digest::sha512(hash.finalize().into()),
        }
    }
}

/// The digest of these bytes.
pub fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

/// The identity of each layer on top of those below it, lowest first (OCI
/// image specification, config.md, "Layer `ChainID`").
pub fn chain_of(diff_ids: &[DiffId]) -> Vec<ChainId> {
    let mut chain: Vec<ChainId> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => ChainId(diff_id.0),
            Some(below) => {
                let text = format!("{below} {diff_id}");
                ChainId(digest_of(Algorithm::Sha256, text.as_bytes()))
            }
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_as_the_specification_says() {
        let a = DiffId(digest_of(Algorithm::Sha256, b"a"));
        let b = DiffId(digest_of(Algorithm::Sha256, b"b"));
        let chain = chain_of(&[a, b]);
        assert_eq!(chain[0].0, a.0);
        let text = format!("{a} {b}");
        assert_eq!(chain[1].0, digest_of(Algorithm::Sha256, text.as_bytes()));
    }
}
