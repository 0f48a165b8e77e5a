//! Memory that several mappings or descriptors show: anonymous, memfd, System
//! V segments, and files that have no name any more.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{SeekFrom, Stat};
use rustix::io::Errno;
use sys::pagemap::PAGE;
use sys::{Context as _, Error, ErrorKind, Result};

use super::files::{Seen, removed_kind};
use super::{Collection, Inside, system_v};
use crate::copies;
use crate::freeze::StoppedProcess;
use crate::image::PageWriter;
use crate::image::schema::{EntryKind, SharedKind, SharedMemory};
use crate::maps::Line;
use crate::precopy::Key;

/// As the image has them: page, number of pages, page in the file.
pub(super) type Runs = Vec<(u64, u64, u64)>;

/// Pieces by device and inode.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pieces: BTreeMap<Key, usize>,
    /// Those whose pages are told by [`finish`].
    pending: Vec<(Key, Place)>,
}

/// Whose pages they are, in the checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Piece(usize),
    File { mount: usize, entry: usize },
}

/// The piece that a mapping shows; none if it is of a file with a name.
pub(super) fn of_mapping(
    process: &StoppedProcess,
    inside: &Inside,
    line: &Line,
    all: &mut Collection,
) -> Result<Option<usize>> {
    let Some(name) = line.name.strip_suffix(" (deleted)") else {
        return Ok(None);
    };
    let path = line.file(process.pid);
    let stat = fs::metadata(&path).context(|| format!("look at shared memory {name}"))?;
    if let Some(index) = all.shared.pieces.get(&(stat.dev(), stat.ino())) {
        return Ok(Some(*index));
    }
    let file = fs::File::open(&path).context(|| format!("open shared memory {name}"))?;
    let kind = if let Some(name) = name.strip_prefix("/memfd:") {
        SharedKind::Memfd {
            name: name.to_owned(),
            seals: rustix::fs::fcntl_get_seals(&file).map_or(0, |seals| seals.bits()),
        }
    } else if name == "/dev/zero" || copies::stands_for_anonymous(&file) {
        SharedKind::Anonymous
    } else if let Some(key) = name.strip_prefix("/SYSV") {
        let key = u32::from_str_radix(key, 16).unwrap_or(0);
        // Its inode has its number, but neither its mode nor its owner.
        let id = i32::try_from(stat.ino()).unwrap_or(-1);
        system_v::segment(process, inside, id, key.cast_signed())?
    } else {
        SharedKind::Removed {
            path: name.to_owned(),
            mode: stat.mode() & 0o7777,
            uid: stat.uid(),
            gid: stat.gid(),
        }
    };
    let key = (stat.dev(), stat.ino());
    add(&file, key, stat.size(), kind, all).map(Some)
}

/// The piece behind a descriptor of memfd_create(2).
pub(super) fn of_memfd(one: &Seen, name: &str, all: &mut Collection) -> Result<usize> {
    let stat = rustix::fs::fstat(&one.ours)?;
    let seals = rustix::fs::fcntl_get_seals(&one.ours).map_or(0, |seals| seals.bits());
    let kind = SharedKind::Memfd {
        name: name.to_owned(),
        seals,
    };
    of_descriptor(one, &stat, kind, all)
}

/// The piece behind a descriptor of a file without a name.
pub(super) fn removed(one: &Seen, stat: &Stat, all: &mut Collection) -> Result<usize> {
    of_descriptor(one, stat, removed_kind(one, stat), all)
}

fn of_descriptor(one: &Seen, stat: &Stat, kind: SharedKind, all: &mut Collection) -> Result<usize> {
    let key = (stat.st_dev, stat.st_ino);
    if let Some(index) = all.shared.pieces.get(&key) {
        return Ok(*index);
    }
    // Ours has the position of theirs, and may not be open for reading.
    let path = format!("/proc/{}/fd/{}", one.pid, one.fd);
    let file = fs::File::open(&path).context(|| format!("open {path}"))?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    add(&file, key, size, kind, all)
}

fn add(
    file: &fs::File,
    key: Key,
    size: u64,
    kind: SharedKind,
    all: &mut Collection,
) -> Result<usize> {
    let index = all.checkpoint.shared.len();
    let pages = save(file, key, size, Place::Piece(index), all)?;
    all.checkpoint
        .shared
        .push(SharedMemory { kind, size, pages });
    all.shared.pieces.insert(key, index);
    Ok(index)
}

/// The pages of `file`, for the image: none yet where most of them were copied
/// while the container ran.
pub(super) fn save(
    file: impl AsFd,
    key: Key,
    size: u64,
    place: Place,
    all: &mut Collection,
) -> Result<Runs> {
    let copies = &mut all.copies;
    if copies.precopied.shared.claim(key) {
        all.shared.pending.push((key, place));
        return Ok(Runs::new());
    }
    let runs = copy(file, size, &mut copies.writer)?;
    copies.standing += runs.iter().map(|(_, count, _)| count).sum::<u64>();
    Ok(runs)
}

/// Tells the pages that [`save`] did not: by now, they were all compared with
/// what was copied.
pub(super) fn finish(all: &mut Collection) -> Result<()> {
    let copies = &mut all.copies;
    let settled = copies.precopied.shared.settle(&mut copies.writer);
    let mut settled = settled.context(|| "copy shared memory")?;
    for (key, place) in std::mem::take(&mut all.shared.pending) {
        let one = settled.remove(&key);
        let one = one.ok_or_else(|| Error::new(ErrorKind::Internal, "lost shared memory"))?;
        copies.standing += one.standing;
        let checkpoint = &mut all.checkpoint;
        match place {
            Place::Piece(index) => checkpoint.shared[index].pages = one.runs,
            Place::File { mount, entry } => {
                let what = &mut checkpoint.memory_files[mount].entries[entry].what;
                if let EntryKind::File { pages, .. } = what {
                    *pages = one.runs;
                }
            }
        }
    }
    Ok(())
}

/// Copies what `file` has, holes left out, into the image.
fn copy(file: impl AsFd, size: u64, pages: &mut PageWriter) -> Result<Runs> {
    const BUFFER: usize = 1 << 20;
    let mut runs = Vec::new();
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    while at < size {
        at = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(place) => place / PAGE * PAGE,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let hole = rustix::fs::seek(&file, SeekFrom::Hole(at))?.min(size);
        while at < hole {
            let wanted = usize::try_from(hole - at).unwrap_or(BUFFER).min(BUFFER);
            let mut count = 0;
            while count < wanted {
                let place = at + count as u64;
                match rustix::io::pread(&file, &mut buffer[count..wanted], place)? {
                    0 => break,
                    read => count += read,
                }
            }
            if count == 0 {
                break;
            }
            let whole = count.next_multiple_of(usize::try_from(PAGE).unwrap_or(4096));
            buffer[count..whole].fill(0);
            pages.write(&buffer[..whole], at / PAGE, &mut runs)?;
            at += whole as u64;
        }
    }
    Ok(runs)
}
