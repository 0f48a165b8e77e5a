//! Files of memory file systems: no path leads out of them.

use sys::Result;
use sys::pagemap::PAGE;

use super::{SIZE_MAX, ensure, stored_within};
use crate::image::schema::{EntryKind, MemoryFiles};

const ENTRIES_MAX: usize = 1 << 20;

pub(super) fn verify(files: &MemoryFiles, pages: u64) -> Result<()> {
    let place = files.place.strip_prefix('/');
    ensure(
        place.is_some_and(is_path) && files.entries.len() <= ENTRIES_MAX,
        "a memory file system is impossible",
    )?;
    for entry in &files.entries {
        ensure(is_path(&entry.path), "a file has an impossible path")?;
        match &entry.what {
            EntryKind::File { size, pages: runs } => {
                ensure(*size <= SIZE_MAX, "a file is too large")?;
                for (first, count, stored) in runs {
                    let end = first.checked_add(*count);
                    let fits = end.is_some_and(|end| end <= size.div_ceil(PAGE));
                    ensure(fits, "a page lies outside of its file")?;
                    stored_within(*stored, *count, pages)?;
                }
            }
            EntryKind::Link { to } => ensure(!to.contains('\0'), "a link leads nowhere")?,
            EntryKind::Again { of } => ensure(is_path(of), "a file is another name of nothing")?,
            EntryKind::Directory | EntryKind::Fifo | EntryKind::Socket => {}
        }
    }
    Ok(())
}

/// Relative, and never upward.
fn is_path(path: &str) -> bool {
    !path.contains('\0')
        && path
            .split('/')
            .all(|name| !name.is_empty() && name != "." && name != "..")
}
