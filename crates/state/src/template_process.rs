//! What is said to a template: a process that holds the memory of an image and
//! makes monitors whose containers share it copy-on-write.
//!
//! ```text
//!  engine                                       template
//!    │  spawn: job on fd 3, channel on fd 4,        │
//!    │  directory of the image on fd 5              │
//!    │ ───────────────────────────────────────────► │ reads it into memory
//!    │ ◄────────────────────── Ready | Failed ───── │ listens at `socket`
//!    │ ── Keep ───────────────────────────────────► │ (or it ends with the channel)
//!  any engine
//!    │  connect, Clone… with descriptors            │
//!    │ ───────────────────────────────────────────► │ forks a monitor
//!    │ ◄─────────── as from any monitor ─────────── │
//! ```

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use spec::runtime::Resources;
use sys::Error;

use crate::ProcessRef;

/// What `wharf-runtime template` needs to know. The directory of the memory
/// image comes at [`crate::message::FIRST_EXTRA_FD`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateJob {
    /// Where it listens; in a directory of the engine's that is closed to
    /// others.
    pub socket: PathBuf,
    /// Of its own, below the root of each hierarchy; it is made, and removed
    /// at the end unless that is a kill. What the template holds counts there.
    pub cgroup: String,
    /// How much it may use.
    pub resources: Resources,
    /// How many copies of the processes' shared memory wait for clones; they
    /// are made in the background, as far as the host has room.
    #[serde(default)]
    pub copies: u32,
}

/// From the engine that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToTemplate {
    /// Stay when this connection closes, until SIGTERM.
    Keep,
}

/// To the engine that started it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromTemplate {
    /// It listens.
    Ready {
        process: ProcessRef,
        /// Bytes of memory that it holds for its clones.
        size: u64,
    },
    /// It does not, and ends.
    Failed(Error),
}

/// From whoever connects: the descriptors of one monitor, in parts. First its
/// job and its end of the launching engine's channel, then those that the job
/// lists. The job is a [`crate::Work::Restore`] without the image's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToClone {
    /// There are more.
    Descriptors,
    /// These were all.
    Go,
}
