//! What is written down of containers whose memory is on the disk: one that
//! is suspended, and named checkpoints.

use serde::{Deserialize, Serialize};

use crate::{ContainerConfig, ContainerId, ContainerName, ProcessRef, StdioInodes, Timestamp};

/// A container's processes are on the disk and nowhere else
/// (`suspended.json`, durable). It exists from the moment at which they stood
/// still for good until the moment at which they go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspendRecord {
    pub version: u32,
    pub at: Timestamp,
    /// When the program was started or last resumed.
    pub started: Option<Timestamp>,
    pub memory: MemoryImage,
}

/// What a memory image came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryImage {
    pub processes: u64,
    /// Bytes on the disk.
    pub size: u64,
    /// TCP connections that go on with it.
    #[serde(default)]
    pub connections: u64,
}

/// The form of [`SuspendRecord`] and [`CheckpointRecord`] on disk.
pub const CHECKPOINT_VERSION: u32 = 1;

/// A container at one instant, under a name (`checkpoint.json`, durable).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointRecord {
    pub version: u32,
    pub created: Timestamp,
    /// The container as it was; its image is pinned by digest in there.
    pub config: Box<ContainerConfig>,
    /// It was left running.
    pub left_running: bool,
    pub memory: MemoryImage,
    /// Bytes of its writable layer and its anonymous volumes.
    pub files: u64,
}

impl CheckpointRecord {
    /// Whose checkpoint it is.
    pub fn container(&self) -> (&ContainerId, &ContainerName) {
        (&self.config.id, &self.config.name)
    }
}

/// What becomes of a container's processes once they are on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Departure {
    /// They go on later, as the same container.
    Suspended,
    /// They end; others go on from the checkpoint.
    Checkpointed,
}

/// What `wharf-runtime dump` needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpJob {
    pub init: ProcessRef,
    pub stdio: StdioInodes,
    /// Below the root of each hierarchy.
    pub cgroup: String,
    pub connections: Connections,
    /// They go on afterwards: they are to stand for as short as can be.
    pub goes_on: bool,
    /// Nothing counts that was seen before they stood.
    pub is_exact: bool,
    /// Only say what would be in the way.
    pub only_check: bool,
}

/// What becomes of TCP connections that are established.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connections {
    /// They are a reason to refuse.
    #[default]
    Refuse,
    /// The processes find them reset by their peers.
    Close,
    /// They go on, where their addresses are.
    Keep,
    /// Those that it has with itself, over the loopback, go on; the processes
    /// find the others reset by their peers.
    KeepInner,
}

/// What `wharf-runtime difference` needs to know. The directory of a memory
/// image comes at [`crate::message::FIRST_EXTRA_FD`]; after it come those that
/// it is to stand on: the next one below, what that one stands on, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceJob {
    /// How many those are.
    pub bases: usize,
}

/// From such a process, once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromDifference {
    /// Pages that the image has itself now, and that those below have.
    Made { own: u64, shared: u64 },
    /// The image is as it was.
    Failed(sys::Error),
}

/// To a process that takes processes to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToDumper {
    /// Let them go on. So it is, too, if the connection closes.
    LetGo,
    /// Kill them.
    End,
}

/// From such a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromDumper {
    /// They stand from now on. Said once more if that came to nothing and was
    /// tried again.
    Stand,
    /// All that there is of them is known, and they stand.
    Dumped(MemoryImage),
    /// What would be in the way, one sentence each.
    Checked(Vec<String>),
    /// It is not, and they go on.
    Failed(sys::Error),
    /// What was asked for is done.
    Done,
}
