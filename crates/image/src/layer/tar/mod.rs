//! Tar streams: POSIX ustar and pax, GNU and old V7, as images hold them.
//!
//! The reader is pure (any [`std::io::BufRead`], so also `&[u8]`), bounded and
//! copies no file data; the writer is deterministic. Neither touches a file
//! system: that is [`super::apply`] and [`super::diff`].
//!
//! Start reading at [`Reader`].

mod header;
mod pax;
mod reader;
mod writer;

pub(crate) use reader::display_name;
pub use reader::{Chunk, Reader};
pub use writer::Writer;

/// The size of everything in a tar.
pub(crate) const BLOCK: usize = 512;

/// The longest name (of an entry or link target), as the kernel's `PATH_MAX`.
pub const NAME_MAX: usize = 4096;

/// One member of a tar, with all its extended headers taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// As written: any bytes but NUL, may be absolute or hold `..`.
    pub path: Vec<u8>,
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Of a regular file: its length, holes included.
    pub size: u64,
    pub mtime: Timestamp,
    /// Names and values, in the order found.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Seconds and nanoseconds since 1970; nanoseconds count forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// What an entry makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EntryKind {
    #[default]
    File,
    Directory,
    /// The target as written.
    Symlink(Vec<u8>),
    /// The other name, in the same tar.
    HardLink(Vec<u8>),
    Fifo,
    CharDevice(Device),
    BlockDevice(Device),
}

/// A device number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device {
    pub major: u32,
    pub minor: u32,
}

/// A run of data in a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub length: u64,
}
