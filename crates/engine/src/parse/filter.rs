//! `--filter KEY=VALUE`, before anybody knows which keys there are.

use sys::{Error, ErrorKind, Result};

/// The two halves, and what to say if they mean nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter<'a> {
    text: &'a str,
    pub(crate) key: &'a str,
    pub(crate) value: &'a str,
}

impl<'a> Filter<'a> {
    pub(crate) fn split(text: &'a str) -> Result<Self> {
        match text.split_once('=') {
            Some((key, value)) => Ok(Self { text, key, value }),
            None => Err(wrong(text, "write it as key=value")),
        }
    }

    pub(crate) fn wrong(self, why: &str) -> Error {
        wrong(self.text, why)
    }

    pub(crate) fn owned(self) -> String {
        self.value.to_owned()
    }

    /// The value as a label: `KEY`, or `KEY=VALUE`.
    pub(crate) fn label(self) -> (String, Option<String>) {
        match self.value.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (self.owned(), None),
        }
    }
}

fn wrong(text: &str, why: &str) -> Error {
    let shown: String = text.chars().take(80).collect();
    Error::new(
        ErrorKind::InvalidInput,
        format!("invalid filter {shown:?}: {why}"),
    )
}
