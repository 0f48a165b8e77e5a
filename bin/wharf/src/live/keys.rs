//! Bytes of a terminal are keys.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    Escape,
    Letter(char),
}

/// What was typed at once. Sequences that mean nothing here are passed over.
pub(super) fn keys(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        bytes = rest;
        match first {
            0x1b => match rest {
                [b'[' | b'O', b'A', after @ ..] => {
                    keys.push(Key::Up);
                    bytes = after;
                }
                [b'[' | b'O', b'B', after @ ..] => {
                    keys.push(Key::Down);
                    bytes = after;
                }
                [b'[' | b'O', unknown @ ..] => {
                    let end = unknown.iter().position(|byte| (0x40..0x7f).contains(byte));
                    bytes = end.map_or(&[], |end| &unknown[end + 1..]);
                }
                _ => keys.push(Key::Escape),
            },
            // Ctrl-C: in raw mode it is no signal.
            0x03 => keys.push(Key::Letter('q')),
            byte if byte.is_ascii_graphic() => keys.push(Key::Letter(char::from(*byte))),
            _ => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_one_key() {
        use Key::{Down, Escape, Letter, Up};
        assert_eq!(keys(b"\x1b[A\x1bOBq"), [Up, Down, Letter('q')]);
        assert_eq!(keys(b"\x1b[15~x\x03"), [Letter('x'), Letter('q')]);
        assert_eq!(keys(b"\x1b"), [Escape]);
        assert_eq!(keys(b"\x1b[1"), []);
    }
}
