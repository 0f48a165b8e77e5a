//! Files of memory file systems.

use serde::{Deserialize, Serialize};

/// What one memory file system had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryFiles {
    /// Where it is mounted.
    pub place: String,
    /// Directories before what is in them.
    pub entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// From the mount on.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds of the last change of its content.
    pub modified: (i64, u32),
    pub what: EntryKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum EntryKind {
    Directory,
    File {
        size: u64,
        /// Page of it, number of pages, page in the pages file.
        pages: Vec<(u64, u64, u64)>,
    },
    Link {
        to: String,
    },
    /// Another name of that one.
    Again {
        of: String,
    },
    Fifo,
    Socket,
}
