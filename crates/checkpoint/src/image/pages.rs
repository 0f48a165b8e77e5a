//! The file `pages`: pages one after the other, nothing else. Which page is
//! where, the metadata says.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use sys::pagemap::PAGE;
use sys::{Context as _, Error, ErrorKind, Result};

use super::{PAGES, open_beneath};

const PAGE_SIZE: usize = 4096;
const _: () = assert!(PAGE == 4096);
const ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// Appends pages; zero pages cost nothing.
#[derive(Debug)]
pub(crate) struct PageWriter {
    file: OwnedFd,
    pages: u64,
}

impl PageWriter {
    pub(crate) fn create(directory: impl AsFd) -> Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = openat(
            directory,
            PAGES,
            flags | OFlags::NOFOLLOW,
            Mode::from(0o600),
        )
        .context(|| "make the file for pages")?;
        Ok(Self { file, pages: 0 })
    }

    /// How many are in the file.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    /// Writes `bytes`, whole pages that begin as page number `first` of
    /// whatever they belong to (counted in steps of `step`), and notes in
    /// `runs` where they went.
    pub(crate) fn write(
        &mut self,
        bytes: &[u8],
        first: u64,
        step: u64,
        runs: &mut Vec<(u64, u64, u64)>,
    ) -> Result<()> {
        let (pages, _) = bytes.as_chunks::<PAGE_SIZE>();
        let mut at = 0;
        while at < pages.len() {
            if pages[at] == ZEROS {
                at += 1;
                continue;
            }
            let count = pages[at..]
                .iter()
                .take_while(|page| **page != ZEROS)
                .count();
            let place = first + at as u64 * step;
            self.note(place, count as u64, step, runs);
            self.append(pages[at..at + count].as_flattened())?;
            at += count;
        }
        Ok(())
    }

    fn note(&self, place: u64, count: u64, step: u64, runs: &mut Vec<(u64, u64, u64)>) {
        match runs.last_mut() {
            Some((start, pages, stored))
                if *start + *pages * step == place && *stored + *pages == self.pages =>
            {
                *pages += count;
            }
            _ => runs.push((place, count, self.pages)),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = rustix::io::write(&self.file, rest).context(|| "write pages")?;
            rest = &rest[count..];
        }
        self.pages += bytes.len() as u64 / PAGE;
        Ok(())
    }
}

/// The file for reading, and how many pages it has.
pub(crate) fn open_pages(directory: impl AsFd) -> Result<(OwnedFd, u64)> {
    let open = || -> Result<(OwnedFd, u64)> {
        let file = open_beneath(directory, PAGES)?;
        let size = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
        if !size.is_multiple_of(PAGE) {
            return Err(Error::new(ErrorKind::Corrupt, "it is cut off"));
        }
        Ok((file, size / PAGE))
    };
    open().context(|| "open the checkpoint's pages")
}
