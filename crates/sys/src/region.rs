//! Anonymous memory at addresses of our choice that only the kernel reads and
//! writes: it is filled from files, inherited by children and moved by them.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::{Context as _, Error, ErrorKind, Result};

/// Bytes of a huge page.
pub const HUGE: u64 = 2 << 20;
/// `MADV_COLLAPSE` (Linux 6.1).
const COLLAPSE: i32 = 25;

/// A private anonymous mapping of this process, to be read and written;
/// unmapped when dropped. Nothing in this program refers to what is in it.
#[derive(Debug)]
pub struct Region {
    start: u64,
    length: u64,
}

/// What a region is like besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// Grows towards lower addresses, as a stack does.
    pub grows_down: bool,
    /// Counts as memory in use only as far as it is (`MAP_NORESERVE`).
    pub unreserved: bool,
}

impl Region {
    /// Maps `length` bytes at `start`, both page-aligned, where nothing is yet:
    /// `AlreadyExists` otherwise.
    pub fn map(start: u64, length: u64, traits: Traits) -> Result<Self> {
        let mut flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        if traits.grows_down {
            flags |= libc::MAP_GROWSDOWN;
        }
        if traits.unreserved {
            flags |= libc::MAP_NORESERVE;
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let place = pointer(start);
        let bytes = size(length)?;
        // SAFETY: a new mapping, and by the last flag nothing that is mapped
        // already is replaced by it.
        let at = unsafe { libc::mmap(place, bytes, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(Error::from(std::io::Error::last_os_error()))
                .context(|| format!("map memory at {start:#x}"));
        }
        let region = Self {
            start: at.addr() as u64,
            length,
        };
        if at == place {
            return Ok(region);
        }
        // Before Linux 4.17 the flag is unknown, and elsewhere is no use.
        Err(Error::new(
            ErrorKind::AlreadyExists,
            "the address is in use",
        ))
    }

    /// Its first address.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Reads `length` bytes from byte `offset` of `file` on to byte `at` of it.
    pub fn fill(&self, at: u64, length: u64, file: BorrowedFd<'_>, offset: u64) -> Result<()> {
        self.check(at, length)?;
        let mut done = 0;
        while done < length {
            let place = pointer(self.start + at + done);
            let from = i64::try_from(offset + done).map_err(|_| range())?;
            // SAFETY: the kernel writes to our own mapping, within its bounds,
            // and nothing in this program refers to what is there.
            let read = unsafe { libc::pread(file.as_raw_fd(), place, size(length - done)?, from) };
            match u64::try_from(read) {
                Ok(0) => return Err(Error::new(ErrorKind::Corrupt, "the file ends too early")),
                Ok(count) => done += count,
                Err(_) => {
                    let error = std::io::Error::last_os_error();
                    if error.kind() != std::io::ErrorKind::Interrupted {
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives `length` bytes from `at` on, both multiples of [`HUGE`] as
    /// addresses, huge pages, whatever the machine's setting is; the mapping
    /// itself asks for none. They are zero where nothing was written.
    /// `Unsupported` before Linux 6.1.
    pub fn make_huge(&self, at: u64, length: u64) -> Result<()> {
        self.check(at, length)?;
        let start = self.start + at;
        if !start.is_multiple_of(HUGE) || !length.is_multiple_of(HUGE) {
            return Err(range());
        }
        for piece in (start..start + length).step_by(size(HUGE)?) {
            // It works only where there is a page.
            // SAFETY: it is our own mapping, which can be written to, and the
            // byte is the one that is there.
            unsafe {
                let place: *mut u8 = pointer(piece).cast();
                place.write_volatile(place.read_volatile());
            }
        }
        // SAFETY: only pages are exchanged for others with the same content.
        let done = unsafe { libc::madvise(pointer(start), size(length)?, COLLAPSE) };
        match done {
            0 => Ok(()),
            _ => Err(Error::from(std::io::Error::last_os_error())),
        }
    }

    fn check(&self, at: u64, length: u64) -> Result<()> {
        match at.checked_add(length) {
            Some(end) if end <= self.length => Ok(()),
            _ => Err(range()),
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Ok(length) = size(self.length) {
            // SAFETY: our own mapping, to which nothing refers.
            unsafe { libc::munmap(pointer(self.start), length) };
        }
    }
}

fn pointer(address: u64) -> *mut libc::c_void {
    std::ptr::null_mut::<libc::c_void>().wrapping_byte_add(usize::try_from(address).unwrap_or(0))
}

fn size(length: u64) -> Result<usize> {
    usize::try_from(length).map_err(|_| range())
}

fn range() -> Error {
    Error::new(ErrorKind::Internal, "outside of the region")
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::pagemap::{self, PAGE};

    const START: u64 = 0x2345_0000_0000;

    fn pages_of(region: &Region) -> Vec<pagemap::Run> {
        let pagemap = std::fs::File::open("/proc/self/pagemap").unwrap();
        let end = region.start + region.length;
        pagemap::private_pages(pagemap.as_fd(), region.start, end, pagemap::Behind::Nothing)
            .unwrap()
    }

    #[test]
    fn is_where_it_shall_be_and_holds_what_it_is_given() {
        let region = Region::map(START, 8 * PAGE, Traits::default()).unwrap();
        assert!(Region::map(START + PAGE, PAGE, Traits::default()).is_err());
        let file = crate::memfd::sealed("pages", &[7; 3 * 4096]).unwrap();
        region.fill(4 * PAGE, 2 * PAGE, file.as_fd(), PAGE).unwrap();
        assert_eq!(
            pages_of(&region),
            [pagemap::Run {
                start: START + 4 * PAGE,
                end: START + 6 * PAGE
            }]
        );
        let error = region
            .fill(0, 2 * PAGE, file.as_fd(), 2 * PAGE)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(region.fill(7 * PAGE, 2 * PAGE, file.as_fd(), 0).is_err());
        drop(region);
        let again = Region::map(START, 8 * PAGE, Traits::default()).unwrap();
        assert_eq!(pages_of(&again), []);
    }

    #[test]
    fn huge_pages_are_whole() {
        let region = Region::map(START + (1 << 32), 3 * HUGE, Traits::default()).unwrap();
        assert!(region.make_huge(PAGE, HUGE).is_err());
        match region.make_huge(HUGE, HUGE) {
            // All of it is there, though one page was touched.
            Ok(()) => assert_eq!(
                pages_of(&region),
                [pagemap::Run {
                    start: region.start + HUGE,
                    end: region.start + 2 * HUGE
                }]
            ),
            // An old kernel, or no memory in large pieces.
            Err(error) => assert!(error.errno().is_some(), "{error}"),
        }
    }
}
