//! Which pages of a process exist, and of what kind: `/proc/PID/pagemap`.

use std::os::fd::{AsFd, AsRawFd as _};

use crate::{Error, Result};

pub const PAGE: u64 = 4096;

/// A page's kinds (`PAGE_IS_*` of linux/fs.h).
const IS_WATCHED: u64 = 1;
const IS_WRITTEN: u64 = 1 << 1;
const IS_FILE: u64 = 1 << 2;
const IS_PRESENT: u64 = 1 << 3;
const IS_SWAPPED: u64 = 1 << 4;
const IS_ZERO: u64 = 1 << 5;
/// Linux 6.15.
const IS_GUARD: u64 = 1 << 8;

/// Pages that belong to the process alone: neither a file's nor the zero page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub start: u64,
    pub end: u64,
}

/// A run of private pages of memory whose writes are noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    pub run: Run,
    /// Nothing was written to it since it was last protected.
    pub is_clean: bool,
}

/// `struct pm_scan_arg` (Linux 6.7).
#[repr(C)]
#[derive(Default)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vector: u64,
    vector_length: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_any_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// `PAGEMAP_SCAN`: `_IOWR('f', 16, struct pm_scan_arg)`.
const SCAN: u64 = 0xc060_6610;
const REGIONS: usize = 512;
/// `PM_SCAN_WP_MATCHING`, `PM_SCAN_CHECK_WPASYNC`
const PROTECT: u64 = 1;
const ONLY_NOTED: u64 = 1 << 1;

/// What a range of memory shows where a process has no pages of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Zeros.
    Nothing,
    /// Which costs a look at each page.
    File,
}

/// Private pages of `pagemap` (an open `/proc/PID/pagemap`) from `start` to
/// `end`, both page-aligned, in order.
pub fn private_pages(pagemap: impl AsFd, start: u64, end: u64, behind: Behind) -> Result<Vec<Run>> {
    for wanted in own(behind) {
        match scan(&pagemap, start, end, wanted) {
            Err(error) if is_unknown(&error) => {}
            done => return done,
        }
    }
    read_entries(&pagemap, start, end)
}

/// Pages whose use is an error (`MADV_GUARD_INSTALL`), as [`private_pages`].
/// Before Linux 6.15 nobody can tell.
pub fn guard_pages(pagemap: impl AsFd, start: u64, end: u64) -> Result<Vec<Run>> {
    let wanted = Wanted {
        none: 0,
        any: IS_GUARD,
    };
    match scan(&pagemap, start, end, wanted) {
        Err(error) if is_unknown(&error) => Ok(Vec::new()),
        done => done,
    }
}

fn is_unknown(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::ENOTTY | libc::EINVAL))
}

/// Which pages to tell: of any of some kinds, and of none of others.
#[derive(Clone, Copy)]
struct Wanted {
    none: u64,
    any: u64,
}

/// Private pages, where guards are known and where they are not.
fn own(behind: Behind) -> [Wanted; 2] {
    let others = match behind {
        Behind::Nothing => IS_ZERO,
        Behind::File => IS_ZERO | IS_FILE,
    };
    [others | IS_GUARD, others].map(|none| Wanted {
        none,
        any: IS_PRESENT | IS_SWAPPED,
    })
}

/// As [`private_pages`], told apart by whether they were written since
/// [`protect_written`]; where writes are not noted, they were.
pub fn noted_pages(pagemap: impl AsFd, start: u64, end: u64, behind: Behind) -> Result<Vec<Noted>> {
    let tell = |wanted| -> Result<Vec<Noted>> {
        let mut all: Vec<Noted> = Vec::new();
        let mut question = question(start, end, wanted);
        question.return_mask |= IS_WATCHED | IS_WRITTEN;
        scan_all(&pagemap, question, |region| {
            let is_clean = region.categories & (IS_WATCHED | IS_WRITTEN) == IS_WATCHED;
            match all.last_mut() {
                Some(last) if last.run.end == region.start && last.is_clean == is_clean => {
                    last.run.end = region.end;
                }
                _ => all.push(Noted {
                    run: Run {
                        start: region.start,
                        end: region.end,
                    },
                    is_clean,
                }),
            }
        })?;
        Ok(all)
    };
    let [with_guards, without] = own(behind);
    match tell(with_guards) {
        Err(error) if is_unknown(&error) => tell(without),
        told => told,
    }
}

/// The first pages of anonymous memory from `start` on, `most` at most, that were written
/// since this was called last, or ever, and where to look next; from this
/// moment on they count as not written. Memory whose writes are not noted is
/// passed over.
pub fn protect_written(
    pagemap: impl AsFd,
    start: u64,
    end: u64,
    most: u64,
) -> Result<(Vec<Run>, u64)> {
    let protect = |wanted| -> Result<(Vec<Run>, u64)> {
        let mut question = question(start, end, wanted);
        question.flags = PROTECT;
        question.max_pages = most;
        question.category_mask |= IS_WRITTEN;
        let mut runs = Vec::new();
        scan_once(&pagemap, &mut question, |region| {
            push(&mut runs, region.start, region.end);
        })?;
        Ok((runs, question.walk_end.max(start + PAGE)))
    };
    let [with_guards, without] = own(Behind::Nothing);
    match protect(with_guards) {
        Err(error) if is_unknown(&error) => protect(without),
        done => done,
    }
}

/// Whether writes to the page at `address` are noted.
pub fn is_noted(pagemap: impl AsFd, address: u64) -> bool {
    let [_, wanted] = own(Behind::Nothing);
    let mut question = question(address, address + PAGE, wanted);
    question.flags = ONLY_NOTED;
    scan_all(&pagemap, question, |_| {}).is_ok()
}

fn scan(pagemap: &impl AsFd, start: u64, end: u64, wanted: Wanted) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    scan_all(pagemap, question(start, end, wanted), |region| {
        push(&mut runs, region.start, region.end);
    })?;
    Ok(runs)
}

fn question(start: u64, end: u64, wanted: Wanted) -> ScanArgument {
    ScanArgument {
        start,
        end,
        category_inverted: wanted.none,
        category_mask: wanted.none,
        category_any_mask: wanted.any,
        return_mask: wanted.any,
        ..ScanArgument::default()
    }
}

fn scan_all(
    pagemap: &impl AsFd,
    mut argument: ScanArgument,
    mut take: impl FnMut(&Region),
) -> Result<()> {
    while argument.start < argument.end {
        scan_once(pagemap, &mut argument, &mut take)?;
        if argument.walk_end <= argument.start {
            break;
        }
        argument.start = argument.walk_end;
    }
    Ok(())
}

/// As far as one answer goes.
fn scan_once(
    pagemap: &impl AsFd,
    argument: &mut ScanArgument,
    take: impl FnMut(&Region),
) -> Result<()> {
    let mut regions = [Region::default(); REGIONS];
    argument.size = size_of::<ScanArgument>() as u64;
    argument.vector = regions.as_mut_ptr() as u64;
    argument.vector_length = REGIONS as u64;
    // SAFETY: the argument and the vector that it names are alive and
    // have the lengths that it says.
    let found = unsafe { libc::ioctl(pagemap.as_fd().as_raw_fd(), SCAN, &raw mut *argument) };
    let Ok(found) = usize::try_from(found) else {
        return Err(Error::from(std::io::Error::last_os_error()));
    };
    regions[..found.min(REGIONS)].iter().for_each(take);
    Ok(())
}

/// Before Linux 6.7: eight bytes per page. The zero page cannot be told from
/// others here.
fn read_entries(pagemap: &impl AsFd, start: u64, end: u64) -> Result<Vec<Run>> {
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const FILE: u64 = 1 << 61;
    let mut runs = Vec::new();
    let mut buffer = vec![0u8; 64 << 10];
    let mut at = start;
    while at < end {
        let wanted = usize::try_from((end - at) / PAGE * 8).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.len());
        let count = rustix::io::pread(pagemap, &mut buffer[..wanted], at / PAGE * 8)?;
        if count < 8 {
            break;
        }
        for entry in buffer[..count].as_chunks::<8>().0 {
            let entry = u64::from_ne_bytes(*entry);
            if entry & (PRESENT | SWAPPED) != 0 && entry & FILE == 0 {
                push(&mut runs, at, at + PAGE);
            }
            at += PAGE;
        }
    }
    Ok(runs)
}

fn push(runs: &mut Vec<Run>, start: u64, end: u64) {
    match runs.last_mut() {
        Some(last) if last.end == start => last.end = end,
        _ => runs.push(Run { start, end }),
    }
}
