//! What a checkpoint says, apart from the pages themselves. `docs/checkpoint.md`
//! has every field; a change here is a new format version.

mod memory_files;
mod sockets;
mod system_v;
mod terminals;

pub use memory_files::{Entry, EntryKind, MemoryFiles};
pub use sockets::{
    Message, Socket, SocketOption, SocketState, Tcp, TcpConnection, TcpLink, Unix, UnixLink,
    UnixName,
};
pub use system_v::{Owner, Queue, Semaphores};
pub use terminals::{Master, Terminal};

use serde::{Deserialize, Serialize};
use spec::Digest;

/// A container's processes and everything of theirs that a restart of the
/// programs would lose.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    pub host: Host,
    /// What the processes saw on their clocks.
    pub clocks: Clocks,
    /// Parents before their children; the first is pid 1.
    pub processes: Vec<Process>,
    /// Open file descriptions, each once however many descriptors name it.
    pub descriptions: Vec<Description>,
    /// Memory that is shared, each piece once.
    pub shared: Vec<SharedMemory>,
    /// Files that memory is mapped from, each once.
    pub files: Vec<MappedFile>,
    pub pipes: Vec<Pipe>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory_files: Vec<MemoryFiles>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub semaphores: Vec<Semaphores>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<Queue>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub terminals: Vec<Terminal>,
    /// The image that this one stands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

/// An image whose pages come before one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Of its file `checkpoint`.
    pub digest: Digest,
    /// How many it has, those of its own parents among them.
    pub pages: u64,
}

/// What has to be the same where it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub architecture: String,
    /// Release, for messages.
    pub kernel: String,
    /// Bytes and checksum of the code that the kernel maps into processes.
    pub vdso_size: u64,
    pub vdso_checksum: u32,
    pub vvar_size: u64,
    /// The kinds of processor state in use (XCR0).
    pub processor_state: u64,
}

/// Nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clocks {
    pub monotonic: i64,
    pub boottime: i64,
}

/// One process. Ids are those of the container's pid namespace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    pub pid: i32,
    /// 0 for pid 1.
    pub parent: i32,
    pub session: i32,
    pub group: i32,
    /// The signal that its parent gets at its end.
    pub exit_signal: i32,
    pub state: ProcessState,
    pub umask: u32,
    pub directory: String,
    pub root: String,
    /// The main thread first.
    pub threads: Vec<Thread>,
    pub memory: Memory,
    pub descriptors: Vec<Descriptor>,
    pub actions: Vec<Action>,
    /// Signals that wait for the process as a whole (hex of `siginfo_t`).
    pub pending: Vec<String>,
    pub limits: Vec<(u64, u64)>,
    /// `ITIMER_REAL`, `_VIRTUAL`, `_PROF`: interval and value, microseconds.
    pub interval_timers: Vec<(u64, u64)>,
    pub timers: Vec<Timer>,
    pub parent_death_signal: i32,
    pub is_subreaper: bool,
    pub dumpable: u64,
    pub no_thp: bool,
    pub personality: u64,
    pub oom_score: i32,
    pub locks: Vec<RecordLock>,
    /// What membarrier(2) was told to be ready for: `MEMBARRIER_CMD_REGISTER_*`.
    #[serde(default)]
    pub barriers: u32,
    /// The number of its controlling terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessState {
    #[default]
    Running,
    /// By SIGSTOP or its kin.
    Stopped,
    /// Ended, not waited for; the status as wait(2) gives it.
    Zombie(i32),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thread {
    pub tid: i32,
    pub name: String,
    /// `struct user_regs_struct`.
    pub registers: Vec<u64>,
    /// XSAVE area, hex.
    pub extended: String,
    pub signal_mask: u64,
    /// Address, flags, size.
    pub signal_stack: (u64, u64, u64),
    pub pending: Vec<String>,
    /// Address, size, signature.
    pub rseq: Option<(u64, u32, u32)>,
    /// Address and length of the head.
    pub robust_list: (u64, u64),
    /// Where 0 is written at its end.
    pub clear_tid: u64,
    pub credentials: Credentials,
    /// System call filters, the oldest first; each
    /// instruction as code, jumps and value in one number.
    pub filters: Vec<Vec<u64>>,
    pub nice: i32,
    /// Policy and static priority, if not the usual ones.
    pub scheduling: Option<(u32, u32)>,
    /// Processors it may run on, if not all: hex mask.
    pub affinity: Option<String>,
    pub timer_slack: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Real, effective, saved, file system.
    pub uids: [u32; 4],
    pub gids: [u32; 4],
    pub groups: Vec<u32>,
    pub inheritable: u64,
    pub permitted: u64,
    pub effective: u64,
    pub bounding: u64,
    pub ambient: u64,
    pub secure_bits: u32,
    pub no_new_privileges: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    pub mappings: Vec<Mapping>,
    /// First address, number of pages, page in the pages file.
    pub pages: Vec<(u64, u64, u64)>,
    /// Code, data, heap, stack, arguments, environment: start and end each
    /// (`struct prctl_mm_map`).
    pub fields: [u64; 11],
    /// The auxiliary vector, hex.
    pub auxiliary: String,
    /// Which of the mapped files is the program.
    pub program: Option<usize>,
    /// Addresses, first and end, whose use is an error (`MADV_GUARD_INSTALL`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<(u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// `PROT_*`.
    pub protection: u32,
    pub backing: Backing,
    /// Two-letter flags of `/proc/PID/smaps` that are set again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Backing {
    Anonymous {
        name: Option<String>,
    },
    PrivateFile {
        file: usize,
        offset: u64,
    },
    SharedFile {
        file: usize,
        offset: u64,
    },
    Shared {
        memory: usize,
        offset: u64,
    },
    /// A private view of it: a file that was removed while in use.
    PrivateShared {
        memory: usize,
        offset: u64,
    },
    /// Of native asynchronous I/O.
    Ring {
        /// Events that it has room for.
        length: u32,
        /// What has come and was not taken: `struct io_event`, hex.
        events: Vec<String>,
    },
    Vvar,
    Vdso,
}

/// A file by path, and how to know that it is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappedFile {
    pub path: String,
    pub size: u64,
    /// Seconds and nanoseconds of the last change of its content.
    pub modified: (i64, u32),
    /// Whether a shared mapping of it may write.
    pub writable: bool,
    /// Whether a shared mapping changes the file.
    pub shared: bool,
}

/// Memory that several mappings or descriptors show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedMemory {
    pub kind: SharedKind,
    pub size: u64,
    /// Page of it, number of pages, page in the pages file.
    pub pages: Vec<(u64, u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SharedKind {
    Anonymous,
    Memfd {
        name: String,
        seals: u32,
    },
    SystemV {
        id: i32,
        key: i32,
        mode: u32,
        uid: u32,
        gid: u32,
        /// Removed, and here as long as it is attached.
        removed: bool,
    },
    /// A file without a name: it was removed while in use.
    Removed {
        path: String,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    pub fd: i32,
    pub description: usize,
    pub close_on_exec: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// `O_*`.
    pub flags: u32,
    pub position: u64,
    pub kind: Kind,
    /// flock(2): 1 shared, 2 exclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kind {
    /// One of the container's three standard descriptors, which come from
    /// outside.
    Stdio {
        number: i32,
    },
    /// Anything that is opened by a path.
    Path {
        path: String,
        size: Option<u64>,
    },
    /// A file of memory.
    Memory {
        memory: usize,
    },
    Pipe {
        pipe: usize,
    },
    Event {
        count: u64,
        semaphore: bool,
    },
    Timer(TimerDescriptor),
    Signals {
        mask: u64,
    },
    /// Was filled by that process, with its numbers.
    Epoll {
        process: i32,
        watched: Vec<Watched>,
    },
    Process {
        pid: i32,
    },
    /// By their numbers.
    Inotify {
        watches: Vec<Watch>,
    },
    Socket(Box<Socket>),
    /// An end of a terminal, which one by its place in the list.
    Terminal {
        terminal: usize,
        /// The other end than programs usually have.
        is_master: bool,
        path: String,
    },
}

impl Checkpoint {
    /// How many TCP connections go on.
    pub(crate) fn connections(&self) -> usize {
        let goes_on = |one: &&Description| match &one.kind {
            Kind::Socket(socket) => matches!(
                &socket.state,
                SocketState::Tcp(Tcp {
                    link: TcpLink::Connected(_),
                    ..
                })
            ),
            _ => false,
        };
        self.descriptions.iter().filter(goes_on).count()
    }
}

impl Kind {
    /// Things of processes: they can be opened again when those are there,
    /// by each that has them.
    pub(crate) fn is_late(&self) -> bool {
        match self {
            Self::Process { .. } => true,
            Self::Path { path, .. } => path
                .strip_prefix("/proc/")
                .is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit())),
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimerDescriptor {
    pub clock: i32,
    pub ticks: u64,
    pub flags: u32,
    /// Nanoseconds; 0 is disarmed.
    pub value: u64,
    pub interval: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// The number under which it was added, and who had it so.
    pub fd: i32,
    /// The description that is watched, where the number is another one now.
    pub description: usize,
    pub events: u32,
    pub data: u64,
}

/// What inotify(7) has an eye on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// The number that tells of it.
    pub number: i32,
    pub path: String,
    /// `IN_*`.
    pub mask: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipe {
    /// Where it has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub capacity: u64,
    /// What was written and not read, hex.
    pub content: String,
}

/// `struct sigaction` of one signal; defaults are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    pub signal: u32,
    pub handler: u64,
    pub flags: u64,
    pub restorer: u64,
    pub mask: u64,
}

/// A timer of timer_create(2). Nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timer {
    pub id: i32,
    pub clock: i32,
    pub notify: i32,
    pub signal: i32,
    pub value: u64,
    pub thread: i32,
    pub due: u64,
    pub interval: u64,
}

/// A lock of fcntl(2) that the process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordLock {
    pub description: usize,
    /// Of the file, not of the process (OFD).
    pub of_description: bool,
    pub exclusive: bool,
    pub start: u64,
    /// 0: to the end.
    pub length: u64,
}
