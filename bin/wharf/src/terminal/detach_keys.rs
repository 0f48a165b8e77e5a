//! The keys that leave a container running: `ctrl-p,ctrl-q`.

use sys::{Error, ErrorKind, Result};

/// A sequence of bytes, possibly empty: then nothing detaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    /// ctrl-p, ctrl-q.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl DetachKeys {
    /// Keys between commas: a character, or `ctrl-` and one of a-z, `@`, `[`,
    /// `\`, `]`, `^`, `_`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        keys.map(Self).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{shown:?} are not detach keys: write characters or ctrl-a … ctrl-z, \
                     ctrl-@ ctrl-[ ctrl-\\ ctrl-] ctrl-^ ctrl-_, with commas between"
                ),
            )
        })
    }
}

fn key(text: &str) -> Option<u8> {
    match (
        text.as_bytes(),
        text.strip_prefix("ctrl-").map(str::as_bytes),
    ) {
        ([byte @ 0x20..=0x7e], _) => Some(*byte),
        (_, Some([byte @ b'a'..=b'z'])) => Some(byte - b'a' + 1),
        (_, Some(b"@")) => Some(0),
        (_, Some([byte @ b'['..=b'_'])) => Some(byte - b'[' + 27),
        _ => None,
    }
}

/// Watches input for the keys. A part of the sequence is held back until it
/// is clear whether the rest comes.
#[derive(Debug)]
pub(crate) struct DetachWatch {
    keys: DetachKeys,
    matched: usize,
}

impl DetachWatch {
    pub(crate) fn new(keys: DetachKeys) -> Self {
        Self { keys, matched: 0 }
    }

    /// What of the input goes on, and whether the keys were complete; input
    /// after them is dropped.
    pub(crate) fn filter(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let keys = &self.keys.0;
        if keys.is_empty() {
            return (input.to_vec(), false);
        }
        let mut passed = Vec::with_capacity(input.len() + self.matched);
        for &byte in input {
            if byte == keys[self.matched] {
                self.matched += 1;
                if self.matched == keys.len() {
                    self.matched = 0;
                    return (passed, true);
                }
                continue;
            }
            // What was held back was not the sequence; this byte may begin it.
            passed.extend_from_slice(&keys[..self.matched]);
            self.matched = usize::from(byte == keys[0]);
            if self.matched == 0 {
                passed.push(byte);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dockers_key_names() {
        for (text, bytes) in [
            ("ctrl-p,ctrl-q", &[16, 17][..]),
            ("a", b"a"),
            ("ctrl-a,a", &[1, b'a']),
            (
                "ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_",
                &[0, 27, 28, 29, 30, 31],
            ),
            ("", b""),
            ("ctrl-z", &[26]),
        ] {
            assert_eq!(DetachKeys::parse(text).unwrap().0, bytes, "{text}");
        }
        for bad in [
            "ctrl-", "ctrl-A", "ctrl-1", "xx", "a,", ",", "é", "ctrl-aa", "\n",
        ] {
            assert!(DetachKeys::parse(bad).is_err(), "{bad:?}");
        }
    }

    fn feed(keys: &str, parts: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut watch = DetachWatch::new(DetachKeys::parse(keys).unwrap());
        let mut all = Vec::new();
        for part in parts {
            let (passed, detached) = watch.filter(part);
            all.extend(passed);
            if detached {
                return (all, true);
            }
        }
        (all, false)
    }

    #[test]
    fn finds_the_keys_also_when_they_come_apart() {
        let keys = "ctrl-p,ctrl-q";
        assert_eq!(feed(keys, &[b"ls\n"]), (b"ls\n".to_vec(), false));
        assert_eq!(feed(keys, &[b"ab\x10\x11cd"]), (b"ab".to_vec(), true));
        assert_eq!(feed(keys, &[b"ab\x10", b"\x11"]), (b"ab".to_vec(), true));
        assert_eq!(feed(keys, &[b"\x10", b"x"]), (b"\x10x".to_vec(), false));
        assert_eq!(feed(keys, &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(feed(keys, &[b"\x11\x10"]), (b"\x11".to_vec(), false));
        assert_eq!(feed("", &[b"\x10\x11"]), (b"\x10\x11".to_vec(), false));
    }
}
