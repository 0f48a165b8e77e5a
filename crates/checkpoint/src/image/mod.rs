//! A checkpoint on disk: a directory with `checkpoint` (what there was) and
//! `pages` (what memory held), or `changed` (what of that its parent has not). `docs/checkpoint.md` has the format.

mod address;
pub(crate) mod crc;
mod difference;
mod filter;
mod format;
pub(crate) mod hex;
mod ledger;
mod load;
pub(crate) mod options;
mod page_files;
mod pages;
pub mod schema;
mod verify;

pub(crate) use address::{address, parse as parse_address};
pub use difference::{Base, Difference, stand_on};
pub(crate) use filter::{pack, unpack};
pub use format::{LIMIT, VERSION, decode, encode, frame};
pub(crate) use ledger::Ledger;
pub use load::{CHAIN_MAX, Parents};
pub(crate) use load::{Loaded, load};
pub(crate) use page_files::{Extent, PageFiles, too_short};
pub(crate) use pages::PageWriter;
pub use verify::verify;

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat};
use sys::path::openat2;
use sys::{Context as _, Error, ErrorKind, Result};

use schema::Checkpoint;

const METADATA: &str = "checkpoint";
const PAGES: &str = "pages";
/// In its place, in an image that stands on another one.
const CHANGED: &str = "changed";
/// Leads to that one, if nobody says where it is.
const LINK: &str = "parent";

/// Writes the metadata, last of all: a directory without it is no checkpoint.
pub(crate) fn write(directory: impl AsFd, checkpoint: &Checkpoint) -> Result<()> {
    let bytes = encode(checkpoint)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let temporary = "checkpoint.new";
    let write = || -> Result<()> {
        let file = openat(
            &directory,
            temporary,
            flags | OFlags::NOFOLLOW,
            Mode::from(0o600),
        )?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let count = rustix::io::write(&file, rest)?;
            rest = &rest[count..];
        }
        rustix::fs::renameat(&directory, temporary, &directory, METADATA)?;
        Ok(())
    };
    write().context(|| "write the checkpoint")
}

/// The bytes of the metadata.
fn read_metadata(directory: impl AsFd) -> Result<Vec<u8>> {
    let file = open_beneath(directory, METADATA)?;
    let size = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(u64::MAX);
    if size > LIMIT {
        return Err(Error::new(ErrorKind::Corrupt, "it is too large"));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::read(&file, &mut bytes[done..])? {
            0 => return Err(Error::new(ErrorKind::Corrupt, "it is cut off")),
            count => done += count,
        }
    }
    Ok(bytes)
}

/// A regular file of the image, never through a symlink.
fn open_beneath(directory: impl AsFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let file = openat2(directory, name, flags, Mode::empty(), resolve)?;
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind != rustix::fs::FileType::RegularFile {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("{name} is not a file"),
        ));
    }
    Ok(file)
}
