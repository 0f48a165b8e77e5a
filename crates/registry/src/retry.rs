//! Patience: what may pass is tried again, a little later each time.

use std::time::Duration;

use sys::{Error, ErrorKind};
use ureq::http::{HeaderMap, StatusCode};

use crate::config::Timeouts;

/// Counts attempts at one thing.
pub(crate) struct Patience<'a> {
    limits: &'a Timeouts,
    tried: u32,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(limits: &'a Timeouts) -> Self {
        Self { limits, tried: 1 }
    }

    /// After `failed` attempts in a row.
    pub(crate) fn after(limits: &'a Timeouts, failed: u32) -> Self {
        Self {
            limits,
            tried: failed + 1,
        }
    }

    /// Pauses before another attempt, or says that there shall be none.
    /// `asked` is the pause that the other side wants.
    pub(crate) fn wait(&mut self, asked: Option<Duration>) -> bool {
        if self.tried >= self.limits.attempts {
            return false;
        }
        let own = self
            .limits
            .pause
            .saturating_mul(1 << (self.tried - 1).min(10));
        self.tried += 1;
        let pause = own.max(asked.unwrap_or_default());
        std::thread::sleep(pause.min(self.limits.longest_pause));
        true
    }
}

/// Whether an answer says that the same request may work later.
pub(crate) fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Whether a failed exchange is worth another one: a broken connection is, a
/// registry that is not there is not.
pub(crate) fn is_passing(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable
        && !error
            .frames()
            .iter()
            .any(|frame| frame.starts_with("connect to"))
}

/// `Retry-After` in seconds; the form with a date is not used by registries.
pub(crate) fn asked_pause(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("retry-after")?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}
