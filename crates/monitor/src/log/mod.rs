//! Where output is kept. A log never blocks or kills a container: what cannot
//! be written is counted and noted once writing works again.

mod json_file;
mod rotate;

use state::channel::Stream;
use state::{LogTarget, Timestamp};

pub use json_file::JsonFile;

/// The log of one container.
#[derive(Debug)]
pub enum Log {
    None,
    JsonFile(JsonFile),
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
            } => Self::JsonFile(JsonFile::new(path, max_size, max_files)),
        }
    }

    /// Adds what came from the container.
    pub fn append(&mut self, stream: Stream, data: &[u8], now: Timestamp) {
        match self {
            Self::None => {}
            Self::JsonFile(file) => file.append(stream, data, now),
        }
    }

    /// The run is over: writes what had no end of line.
    pub fn finish(&mut self, now: Timestamp) {
        match self {
            Self::None => {}
            Self::JsonFile(file) => file.finish(now),
        }
    }

    /// Gives buffers back while nothing happens.
    pub fn release_memory(&mut self) {
        match self {
            Self::None => {}
            Self::JsonFile(file) => file.release_memory(),
        }
    }
}
