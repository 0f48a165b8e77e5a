//! The OCI standards as plain data: runtime, image and distribution
//! specifications, with the digest and the image reference they share.
//!
//! No I/O and no wharf crate: these types can be used alone. Parsers return
//! their own small [`ParseError`]; what kind of failure that is, the caller
//! says.
//!
//! Start reading at [`reference`], then [`image`] and [`runtime`].

#![forbid(unsafe_code)]

pub mod digest;
pub mod image;
pub mod reference;
pub mod runtime;

pub use digest::{Algorithm, ChainId, DiffId, Digest};
pub use reference::Reference;

use std::fmt;

/// A text that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What the text should have been, as words: `a digest (sha256:…)`.
    pub expected: &'static str,
    /// The text, shortened.
    pub found: String,
}

impl ParseError {
    pub(crate) fn new(expected: &'static str, found: &str) -> Self {
        let mut found: String = found.chars().take(128).collect();
        found.retain(|letter| !letter.is_control());
        Self { expected, found }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not {}", self.found, self.expected)
    }
}

impl std::error::Error for ParseError {}
