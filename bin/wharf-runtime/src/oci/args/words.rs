//! A command line as options and plain words, as Go's flag package reads it,
//! since that is what other runtimes use: `--name value`, `--name=value` and
//! `-name` are the same, `--flag=false` unsets a flag, `--` ends the options.

use std::collections::VecDeque;

use sys::{Error, ErrorKind, Result};

/// The next thing on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Without its dashes.
    Option(String),
    Plain(String),
}

/// What is left of the command line.
pub(super) struct Words {
    rest: VecDeque<String>,
    /// The option read last, and the value that was attached to it.
    option: String,
    attached: Option<String>,
    options_end: bool,
}

impl Words {
    pub(super) fn new(words: Vec<String>) -> Self {
        Self {
            rest: words.into(),
            option: String::new(),
            attached: None,
            options_end: false,
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Word>> {
        if self.attached.take().is_some() {
            return Err(usage(format!("{} takes no value", self.option)));
        }
        let Some(word) = self.rest.pop_front() else {
            return Ok(None);
        };
        if self.options_end || word == "-" || !word.starts_with('-') {
            return Ok(Some(Word::Plain(word)));
        }
        if word == "--" {
            self.options_end = true;
            return self.next();
        }
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        self.attached = value;
        option.clone_into(&mut self.option);
        let name = option.trim_start_matches('-').to_owned();
        Ok(Some(Word::Option(name)))
    }

    /// `--help` comes next, after a verb.
    pub(super) fn asks_for_help(&self) -> bool {
        let first = self.rest.front().map(String::as_str);
        matches!(first, Some("--help" | "-help" | "-h"))
    }

    /// Of the option just read.
    pub(super) fn value(&mut self) -> Result<String> {
        self.attached
            .take()
            .or_else(|| self.rest.pop_front())
            .ok_or_else(|| usage(format!("{} needs a value", self.option)))
    }

    /// A number of the option just read.
    pub(super) fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        let value = self.value()?;
        value
            .parse()
            .map_err(|_| usage(format!("{} {value}: not a number", self.option)))
    }

    /// Whether the flag just read is set; that needs no value.
    pub(super) fn flag(&mut self) -> Result<bool> {
        match self.attached.take().as_deref() {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(usage(format!("{} {other}: not true or false", self.option))),
        }
    }

    /// One of the words that the option just read knows.
    pub(super) fn choice<T: Copy>(&mut self, known: &[(&str, T)]) -> Result<T> {
        let value = self.value()?;
        known
            .iter()
            .find(|(name, _)| *name == value)
            .map(|(_, choice)| *choice)
            .ok_or_else(|| {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                usage(format!(
                    "{} {value}: not one of {}",
                    self.option,
                    names.join(", ")
                ))
            })
    }

    /// Everything that is left, as it stands.
    pub(super) fn rest(&mut self) -> Vec<String> {
        std::mem::take(&mut self.rest).into()
    }

    /// For an option that the verb does not have.
    pub(super) fn unknown(&self) -> Error {
        usage(format!("unknown option {}", self.option))
    }
}

pub(super) fn usage(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Words {
        Words::new(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn reads_all_spellings_of_an_option() {
        for line in ["--root /r x", "--root=/r x", "-root /r x", "-root=/r x"] {
            let mut words = words(line);
            assert_eq!(words.next().unwrap(), Some(Word::Option("root".into())));
            assert_eq!(words.value().unwrap(), "/r", "{line}");
            assert_eq!(words.next().unwrap(), Some(Word::Plain("x".into())));
            assert_eq!(words.next().unwrap(), None);
        }
    }

    #[test]
    fn a_value_that_nobody_wants_is_refused() {
        let mut words = words("--help=x y");
        words.next().unwrap();
        let error = words.next().unwrap_err().to_string();
        assert_eq!(error, "--help takes no value");
    }

    #[test]
    fn two_dashes_end_the_options() {
        let mut words = words("-- --root");
        assert_eq!(words.next().unwrap(), Some(Word::Plain("--root".into())));
    }
}
