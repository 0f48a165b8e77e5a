//! The stored pages of an image, wherever they are: first those of the images
//! that it stands on, the oldest first, then its own. Which page is where in
//! which file nobody else knows.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use sys::pagemap::PAGE;
use sys::{Error, ErrorKind, Result};

/// Files of pages, one after the other as if they were one.
#[derive(Debug)]
pub(crate) struct PageFiles {
    /// Each with the number of its first page.
    files: Vec<(u64, OwnedFd)>,
    /// Pages, all in all.
    count: u64,
}

/// Bytes that lie together in one of the files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent<'a> {
    pub(crate) file: BorrowedFd<'a>,
    /// Which one that is.
    pub(crate) index: usize,
    /// Byte in the file.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) length: u64,
}

impl PageFiles {
    /// Of files with so many pages each.
    pub(crate) fn new(files: impl IntoIterator<Item = (OwnedFd, u64)>) -> Self {
        let mut all = Self {
            files: Vec::new(),
            count: 0,
        };
        for (file, pages) in files {
            all.files.push((all.count, file));
            all.count = all.count.saturating_add(pages);
        }
        all
    }

    /// How many pages there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Where `length` bytes from `offset` on are. What is beyond the end is
    /// looked for behind the end of the last file.
    pub(crate) fn extents(&self, offset: u64, length: u64) -> impl Iterator<Item = Extent<'_>> {
        let mut at = offset;
        let end = offset.saturating_add(length);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            // The first begins with page 0; empty ones have nothing.
            let next = self
                .files
                .partition_point(|(first, _)| first.saturating_mul(PAGE) <= at);
            let index = next.checked_sub(1)?;
            let (first, file) = self.files.get(index)?;
            let until = self
                .files
                .get(next)
                .map_or(end, |(first, _)| end.min(first.saturating_mul(PAGE)));
            let extent = Extent {
                file: file.as_fd(),
                index,
                offset: at - first * PAGE,
                length: until - at,
            };
            at = until;
            Some(extent)
        })
    }

    /// Reads so many bytes from there on, or says that the image is cut off.
    pub(crate) fn read_exact_at(&self, mut buffer: &mut [u8], offset: u64) -> Result<()> {
        for extent in self.extents(offset, buffer.len() as u64) {
            let (mut from, mut left) = (extent.offset, extent.length);
            while left > 0 {
                let wanted = usize::try_from(left).unwrap_or(usize::MAX);
                let wanted = wanted.min(buffer.len());
                let part = &mut buffer[..wanted];
                let read =
                    rustix::io::retry_on_intr(|| rustix::io::pread(extent.file, &mut *part, from))?;
                if read == 0 {
                    return Err(too_short());
                }
                buffer = &mut buffer[read..];
                (from, left) = (from + read as u64, left - read as u64);
            }
        }
        if buffer.is_empty() {
            return Ok(());
        }
        Err(too_short())
    }

    /// In the order of [`Extent::index`].
    pub(crate) fn files(&self) -> impl Iterator<Item = &OwnedFd> {
        self.files.iter().map(|(_, file)| file)
    }

    pub(crate) fn try_clone(&self) -> Result<Self> {
        let files = self.files.iter();
        let files: Result<Vec<_>> = files
            .map(|(first, file)| Ok((*first, file.try_clone()?)))
            .collect();
        Ok(Self {
            files: files?,
            count: self.count,
        })
    }
}

/// `Corrupt`: files hold less than their sizes said.
pub(crate) fn too_short() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the checkpoint's pages end before its memory",
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Files with a page for each letter.
    fn files(all: &[&str]) -> PageFiles {
        PageFiles::new(all.iter().map(|letters| {
            let mut file = tempfile::tempfile().unwrap();
            for letter in letters.bytes() {
                file.write_all(&[letter; 4096]).unwrap();
            }
            (OwnedFd::from(file), letters.len() as u64)
        }))
    }

    #[test]
    fn pages_are_found_across_files() {
        let files = files(&["ab", "", "c", "def"]);
        assert_eq!((files.count(), files.files().count()), (6, 4));
        let read = |first: u64, count: usize| -> Result<String> {
            let mut bytes = vec![0; count * 4096];
            files.read_exact_at(&mut bytes, first * PAGE)?;
            let letters = bytes.chunks(4096).map(|page| {
                assert!(page.iter().all(|byte| *byte == page[0]));
                char::from(page[0])
            });
            Ok(letters.collect())
        };
        assert_eq!(read(0, 6).unwrap(), "abcdef");
        assert_eq!(read(1, 3).unwrap(), "bcd");
        assert_eq!(read(2, 1).unwrap(), "c");
        assert_eq!(read(5, 1).unwrap(), "f");
        for (first, count) in [(5, 2), (6, 1), (9, 1), (1 << 40, 1)] {
            assert_eq!(read(first, count).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        let extents = files.extents(PAGE + 5, 3 * PAGE);
        let found: Vec<_> = extents.map(|it| (it.index, it.offset, it.length)).collect();
        assert_eq!(
            found,
            [(0, PAGE + 5, PAGE - 5), (2, 0, PAGE), (3, 0, PAGE + 5)]
        );
        assert_eq!(files.extents(PAGE, 0).count(), 0);
        let mut byte = [0];
        assert!(PageFiles::new([]).read_exact_at(&mut byte, 0).is_err());
    }
}
