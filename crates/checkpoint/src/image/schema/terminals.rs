//! Pseudo-terminals of the container's own.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terminal {
    /// Its name in `/dev/pts`.
    pub number: u32,
    pub master: Master,
    /// `struct termios2`, hex; none if the other end is gone.
    pub settings: String,
    /// Rows, columns, and both in pixels.
    pub size: [u16; 4],
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Nobody can open it before it is unlocked.
    pub is_locked: bool,
    /// The master reads what happens to it, too (`TIOCPKT`).
    pub tells: bool,
    /// All who had it open have closed it, which the master reads as an error.
    pub is_deserted: bool,
    /// The group that reads from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreground: Option<i32>,
}

/// Who has its other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Master {
    /// A process of the container.
    Inside,
    /// Whoever made the container (`process.terminal`).
    Outside,
    /// Nobody: reading from it says that it is over.
    Gone,
}
