//! Opening an image together with those that it stands on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat};
use sha2::{Digest as _, Sha256};
use spec::Digest;
use sys::pagemap::PAGE;
use sys::path::openat2;
use sys::{Context as _, Error, ErrorKind, Result};

use super::schema::{Checkpoint, Parent};
use super::{CHANGED, LINK, PAGES, PageFiles, decode, format, open_beneath, read_metadata, verify};

/// The most images that one may consist of, itself among them: each is a file
/// that every process has open while it is restored.
pub const CHAIN_MAX: usize = 32;

/// Where the images are that an image stands on. What an image says of them
/// is checked; it does not say where they are.
#[derive(Debug)]
pub enum Parents {
    /// These directories: its parent's, that one's parent's, and so on.
    Given(Vec<OwnedFd>),
    /// Where the link `parent` in each directory leads, as CRIU has it.
    Linked,
}

impl Parents {
    /// The image has to stand alone.
    pub fn none() -> Self {
        Self::Given(Vec::new())
    }

    /// The one of the image in `directory`, which is number `index` from above.
    fn of(&self, directory: BorrowedFd<'_>, index: usize) -> Result<OwnedFd> {
        match self {
            Self::Given(all) => {
                let parent = all.get(index).ok_or_else(|| {
                    Error::new(
                        ErrorKind::NotFound,
                        "the checkpoint stands on another one, its parent, which is not here",
                    )
                })?;
                Ok(parent.try_clone()?)
            }
            Self::Linked => follow(directory).context(|| "open the checkpoint's parent"),
        }
    }
}

/// What an image is, and where its pages are.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) pages: PageFiles,
    /// Of the metadata: who stands on this image names it so.
    pub(crate) digest: Digest,
    /// Device and inode of the directories, its own first.
    pub(crate) directories: Vec<(u64, u64)>,
}

/// Reads and verifies the image in `directory`.
pub(crate) fn load(directory: impl AsFd, parents: &Parents) -> Result<Loaded> {
    let bytes = read_metadata(&directory).context(|| "read the checkpoint")?;
    let checkpoint = decode(&bytes).context(|| "read the checkpoint")?;
    let mut files = vec![open_pages(&directory, checkpoint.parent.is_some())?];
    let mut directories = vec![place(&directory)?];
    let mut at = directory.as_fd().try_clone_to_owned()?;
    let mut next = checkpoint.parent;
    while let Some(parent) = next {
        if files.len() == CHAIN_MAX {
            return Err(damaged(format!(
                "it stands on more than {} others",
                CHAIN_MAX - 1
            )));
        }
        at = parents.of(at.as_fd(), files.len() - 1)?;
        let (own, below) = ancestor(&at, parent).context(|| "the checkpoint's parent")?;
        files.push(own);
        directories.push(place(&at)?);
        next = below;
    }
    files.reverse();
    let pages = PageFiles::new(files);
    verify(&checkpoint, pages.count())?;
    Ok(Loaded {
        checkpoint,
        pages,
        digest: digest(&bytes),
        directories,
    })
}

/// The pages of an image that another one names, and what it stands on. The
/// rest of it is of no interest.
fn ancestor(directory: &OwnedFd, named: Parent) -> Result<((OwnedFd, u64), Option<Parent>)> {
    let bytes = read_metadata(directory)?;
    if digest(&bytes) != named.digest {
        return Err(damaged(
            "it is another one than it was; bring back the one that was there".to_owned(),
        ));
    }
    let parent = format::decode_parent(&bytes)?;
    let (file, count) = open_pages(directory, parent.is_some())?;
    let below = parent.map_or(0, |parent| parent.pages);
    if below.checked_add(count) != Some(named.pages) {
        return Err(damaged("it has more or fewer pages than it had".to_owned()));
    }
    Ok(((file, count), parent))
}

/// The image's own file of pages, and how many it has.
fn open_pages(directory: impl AsFd, has_parent: bool) -> Result<(OwnedFd, u64)> {
    let name = if has_parent { CHANGED } else { PAGES };
    let open = || -> Result<(OwnedFd, u64)> {
        let file = open_beneath(directory, name)?;
        let size = u64::try_from(fstat(&file)?.st_size).unwrap_or(0);
        if !size.is_multiple_of(PAGE) {
            return Err(Error::new(ErrorKind::Corrupt, "it is cut off"));
        }
        Ok((file, size / PAGE))
    };
    open().context(|| "open the checkpoint's pages")
}

/// Through the link of that name, which leads to a directory relative to it.
fn follow(directory: BorrowedFd<'_>) -> Result<OwnedFd> {
    let target = rustix::fs::readlinkat(directory, LINK, Vec::new())
        .map_err(Error::from)
        .context(|| "read its link")?;
    if target.as_bytes().starts_with(b"/") {
        return Err(damaged("its link is not relative".to_owned()));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_MAGICLINKS;
    openat2(directory, &target, flags, Mode::empty(), resolve)
        .map_err(Error::from)
        .context(|| format!("open {}", target.to_string_lossy()))
}

/// How an image is named by those that stand on it.
fn digest(metadata: &[u8]) -> Digest {
    Digest::sha256(Sha256::digest(metadata).into())
}

pub(crate) fn place(directory: impl AsFd) -> Result<(u64, u64)> {
    let stat = fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn damaged(why: String) -> Error {
    Error::new(ErrorKind::Corrupt, why)
}
