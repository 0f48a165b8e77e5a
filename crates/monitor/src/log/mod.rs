//! Where output is kept. A log never blocks or kills a container: what cannot
//! be written is counted and noted once writing works again.

mod file;
mod journald;
mod json;
mod lines;
mod local;
mod rotate;

use state::channel::Stream;
use state::{LogTarget, Timestamp};

pub use file::LogFile;
pub use journald::Journal;

/// The log of one container.
#[derive(Debug)]
pub enum Log {
    None,
    File(Box<LogFile>),
    Journal(Journal),
}

impl Log {
    /// Touches nothing yet: files come with the first output.
    pub fn new(target: LogTarget) -> Self {
        match target {
            LogTarget::None => Self::None,
            LogTarget::JsonFile {
                path,
                max_size,
                max_files,
                attributes,
            } => Self::File(Box::new(LogFile::json(
                path,
                max_size,
                max_files,
                &attributes,
            ))),
            LogTarget::Local {
                path,
                max_size,
                max_files,
                pack,
            } => Self::File(Box::new(LogFile::local(path, max_size, max_files, pack))),
            LogTarget::Journald { fields } => Self::Journal(Journal::new(&fields)),
        }
    }

    /// Adds what came from the container.
    pub fn append(&mut self, stream: Stream, data: &[u8], now: Timestamp) {
        match self {
            Self::None => {}
            Self::File(file) => file.append(stream, data, now),
            Self::Journal(journal) => journal.append(stream, data, now),
        }
    }

    /// The run is over: writes what had no end of line.
    pub fn finish(&mut self, now: Timestamp) {
        match self {
            Self::None => {}
            Self::File(file) => file.finish(now),
            Self::Journal(journal) => journal.finish(now),
        }
    }

    /// Gives buffers back while nothing happens.
    pub fn release_memory(&mut self) {
        if let Self::File(file) = self {
            file.release_memory();
        }
    }
}
