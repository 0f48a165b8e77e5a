//! What tells whether a page is still what was copied, without looking at the
//! copy: that would be twice the memory to read, while the container stands.

use rustix::rand::{GetRandomFlags, getrandom};
use sys::Result;
use sys::pagemap::PAGE;

const PAGE_SIZE: usize = 4096;
const _: () = assert!(PAGE == PAGE_SIZE as u64);
const WORDS: usize = PAGE_SIZE / 8;

/// The secret of one dump: NH, the hash below UMAC (Black, Halevi, Krawczyk,
/// Krovetz, Rogaway, 1999), whose proof is that of any two different pages,
/// chosen by whomever does not know the secret, at most one in 2^64 secrets
/// makes the same of both.
pub(super) struct Secret(Box<[u64; WORDS]>);

impl Secret {
    pub(super) fn new() -> Result<Self> {
        let mut bytes = [0; PAGE_SIZE];
        let mut done = 0;
        while done < PAGE_SIZE {
            done += getrandom(&mut bytes[done..], GetRandomFlags::empty())?;
        }
        let mut words = Box::new([0; WORDS]);
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        Ok(Self(words))
    }

    /// The fingerprint of a page.
    pub(super) fn of(&self, page: &[u8; PAGE_SIZE]) -> u128 {
        let (words, _) = page.as_chunks::<8>();
        let (words, _) = words.as_chunks::<4>();
        let (secret, _) = self.0.as_chunks::<4>();
        // Two sums, for a processor adds while it multiplies.
        let mut sums = [0_u128; 2];
        for ([a, b, c, d], [p, q, r, s]) in words.iter().zip(secret) {
            sums[0] = sums[0].wrapping_add(product([*a, *b], [*p, *q]));
            sums[1] = sums[1].wrapping_add(product([*c, *d], [*r, *s]));
        }
        sums[0].wrapping_add(sums[1])
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

fn product(words: [[u8; 8]; 2], secret: [u64; 2]) -> u128 {
    let [low, high] = words.map(u64::from_le_bytes);
    u128::from(low.wrapping_add(secret[0])) * u128::from(high.wrapping_add(secret[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_and_each_place_counts() {
        let secret = Secret::new().unwrap();
        let mut page = [0; PAGE_SIZE];
        for (at, byte) in page.iter_mut().enumerate() {
            *byte = u8::try_from(at * 7 % 251).unwrap();
        }
        let before = secret.of(&page);
        assert_eq!(secret.of(&page), before);
        for at in 0..PAGE_SIZE {
            for bit in 0..8 {
                page[at] ^= 1 << bit;
                assert_ne!(secret.of(&page), before, "bit {bit} of byte {at}");
                page[at] ^= 1 << bit;
            }
        }
        // Words that change places, which a sum would not tell.
        page.rotate_left(8);
        assert_ne!(secret.of(&page), before);
        // Another secret makes other fingerprints.
        assert_ne!(Secret::new().unwrap().of(&page), secret.of(&page));
    }
}
