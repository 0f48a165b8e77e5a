//! Semaphores and message queues of System V.

use serde::{Deserialize, Serialize};

/// What every such object has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    pub id: i32,
    pub key: i32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Semaphores {
    pub owner: Owner,
    pub values: Vec<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    pub owner: Owner,
    /// Bytes.
    pub capacity: u64,
    /// Type and content (hex), the oldest first.
    pub messages: Vec<(i64, String)>,
}
