//! Reading a container's log.

use state::Timestamp;
use state::channel::Stream;

/// One line, or a piece of one that was too long for a line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub time: Timestamp,
    pub stream: Stream,
    /// With its line feed, if it had one.
    pub text: String,
}
