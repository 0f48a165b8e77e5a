//! The one error type of the project.
//!
//! An [`Error`] is a kind for callers that branch, and a chain of sentences
//! for people: each [`Context::context`] adds the act and its object at the
//! border where the object's name is known. Read from the outside in, the
//! chain is one sentence: `start web: mount overlay on /: permission denied`.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// The project's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What callers branch on: exit codes, HTTP statuses, retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The named thing does not exist.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The thing is in a state that forbids the act.
    Conflict,
    /// The request itself is wrong.
    InvalidInput,
    /// The kernel or the other side cannot do this.
    Unsupported,
    /// Permission or credentials are lacking.
    Denied,
    /// It may work later: network down, registry down, resource busy.
    Unavailable,
    /// Stored or received data is not what it claims to be.
    Corrupt,
    /// The command of a container does not exist in it (exit code 127).
    CommandNotFound,
    /// The command of a container exists and cannot be executed (exit code 126).
    CommandNotExecutable,
    /// The user interrupted the act.
    Interrupted,
    /// The act needs a terminal, and the user has none.
    NoTerminal,
    /// A fault of ours.
    Internal,
}

/// An error: kind, sentences from the outermost inwards, optional errno.
///
/// It is plain data, so that it crosses process borders unchanged (from a
/// container's init through the monitor to the command line).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    kind: ErrorKind,
    /// Outermost first.
    frames: Vec<String>,
    /// The kernel's error number, when a system call was the cause.
    errno: Option<i32>,
}

impl Error {
    /// An error of `kind` that says `message`: lower case, no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            frames: vec![message.into()],
            errno: None,
        }
    }

    /// The failure of a system call, with the kind that fits its number.
    pub fn from_errno(errno: i32) -> Self {
        let source = io::Error::from_raw_os_error(errno);
        Self {
            kind: kind_of(&source),
            frames: vec![words_for(errno)],
            errno: Some(errno),
        }
    }

    /// What callers branch on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The kernel's error number, when a system call was the cause.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// The sentences, outermost first.
    pub fn frames(&self) -> &[String] {
        &self.frames
    }

    /// The same error under another kind, for a border that knows better.
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds the act and object that failed, outside of what is said already.
    pub fn wrap(mut self, act: impl Into<String>) -> Self {
        self.frames.insert(0, act.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.frames.join(": "))
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    /// One of our own errors that travelled through a reader comes out whole.
    fn from(source: io::Error) -> Self {
        let source = match source.downcast::<Self>() {
            Ok(own) => return own,
            Err(source) => source,
        };
        match source.raw_os_error() {
            Some(errno) => Self::from_errno(errno),
            None => Self::new(kind_of(&source), source.to_string()),
        }
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::from_errno(errno.raw_os_error())
    }
}

/// Adds act and object to a failure, and turns any source into [`Error`].
pub trait Context<T> {
    /// `read("x").context(|| format!("read {path}"))`; the closure runs only
    /// on failure.
    fn context<S: Into<String>>(self, act: impl FnOnce() -> S) -> Result<T>;

    /// Sets the kind, for sources that do not know it (parsers).
    fn kind(self, kind: ErrorKind) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context<S: Into<String>>(self, act: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().wrap(act()))
    }

    fn kind(self, kind: ErrorKind) -> Result<T> {
        self.map_err(|error| error.into().with_kind(kind))
    }
}

/// Failures gathered by work that goes on after one, such as clean-up.
#[derive(Debug, Default)]
pub struct Errors(Vec<Error>);

impl Errors {
    /// Nothing failed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the failure of `result`, if it is one, and goes on.
    pub fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }

    /// All failures as one error (the first one's kind), or `Ok`.
    pub fn into_result(self) -> Result<()> {
        let mut all = self.0.into_iter();
        let Some(mut first) = all.next() else {
            return Ok(());
        };
        let rest: Vec<String> = all.map(|error| error.to_string()).collect();
        if !rest.is_empty() {
            let last = first.frames.len() - 1;
            first.frames[last] = format!("{}; and {}", first.frames[last], rest.join("; and "));
        }
        Err(first)
    }
}

fn kind_of(source: &io::Error) -> ErrorKind {
    use io::ErrorKind as Io;
    match source.kind() {
        Io::NotFound => ErrorKind::NotFound,
        Io::AlreadyExists => ErrorKind::AlreadyExists,
        Io::PermissionDenied => ErrorKind::Denied,
        Io::InvalidInput => ErrorKind::InvalidInput,
        Io::InvalidData | Io::UnexpectedEof => ErrorKind::Corrupt,
        Io::Unsupported => ErrorKind::Unsupported,
        Io::Interrupted => ErrorKind::Interrupted,
        Io::ConnectionRefused
        | Io::ConnectionReset
        | Io::TimedOut
        | Io::AddrInUse
        | Io::HostUnreachable
        | Io::NetworkUnreachable
        | Io::StorageFull
        | Io::QuotaExceeded
        | Io::ResourceBusy
        | Io::WouldBlock => ErrorKind::Unavailable,
        _ => match source.raw_os_error() {
            Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) => ErrorKind::Unsupported,
            Some(libc::EPERM | libc::EACCES) => ErrorKind::Denied,
            _ => ErrorKind::Internal,
        },
    }
}

/// The kernel's words for an error number, in lower case.
fn words_for(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => format!("error number {errno}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_one_sentence_from_the_outside_in() {
        let failed: Result<()> = Err(Error::from_errno(libc::EACCES));
        let error = failed
            .context(|| "mount overlay on /")
            .context(|| "start web")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "start web: mount overlay on /: permission denied"
        );
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(error.errno(), Some(libc::EACCES));
    }

    #[test]
    fn gathers_every_failure_of_a_clean_up() {
        let mut errors = Errors::new();
        errors.keep::<()>(Err(Error::new(ErrorKind::Unavailable, "busy")));
        assert_eq!(errors.keep(Ok(7)), Some(7));
        errors.keep::<()>(Err(Error::new(ErrorKind::Internal, "broken")));
        let error = errors.into_result().unwrap_err();
        assert_eq!(error.to_string(), "busy; and broken");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn passes_through_a_reader_whole() {
        let error = Error::new(ErrorKind::Corrupt, "blob is short").wrap("pull x");
        assert_eq!(Error::from(io::Error::other(error.clone())), error);
    }

    #[test]
    fn crosses_a_process_border_unchanged() {
        let error = Error::from_errno(libc::ENOENT).wrap("open /x");
        let wire = serde_json::to_string(&error).unwrap();
        assert_eq!(serde_json::from_str::<Error>(&wire).unwrap(), error);
    }
}
