//! Looking at memory that others write to, without a system call for each look.

use std::os::fd::{AsFd, AsRawFd as _};

use crate::{Context as _, Error, ErrorKind, Result};

/// A shared mapping of a file from its beginning, to be read; unmapped when
/// dropped. A byte that another process just writes is read as it was or as it
/// will be.
///
/// Where there is nothing in a file of a memory file system, reading makes a
/// page of zeros. If somebody makes the file shorter and what is behind its end
/// is read, the kernel ends this process (SIGBUS).
#[derive(Debug)]
pub struct View {
    start: usize,
    length: usize,
}

impl View {
    /// Of the first `length` bytes of `file`, at least one.
    pub fn of(file: impl AsFd, length: u64) -> Result<Self> {
        let length = usize::try_from(length).map_err(|_| outside())?;
        let file = file.as_fd().as_raw_fd();
        let (place, protection) = (std::ptr::null_mut(), libc::PROT_READ);
        // SAFETY: a new mapping at a place that the kernel chooses.
        let start = unsafe { libc::mmap(place, length, protection, libc::MAP_SHARED, file, 0) };
        if start == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context(|| "map a file");
        }
        Ok(Self {
            start: start.expose_provenance(),
            length,
        })
    }

    /// Reads on from byte `at`; all of `into` has to be within it.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let at = usize::try_from(at).map_err(|_| outside())?;
        let end = at.checked_add(into.len()).ok_or_else(outside)?;
        if end > self.length {
            return Err(outside());
        }
        let from = std::ptr::with_exposed_provenance::<u8>(self.start + at);
        // SAFETY: both are that long, and the mapping is there for as long as
        // `self`. Nothing in this program refers to what is mapped: others may
        // write to it meanwhile, and what comes of that are just bytes.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let start = std::ptr::with_exposed_provenance_mut(self.start);
        // SAFETY: our own mapping, to which nothing refers.
        unsafe { libc::munmap(start, self.length) };
    }
}

fn outside() -> Error {
    Error::new(ErrorKind::Internal, "outside of what is mapped")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn shows_what_is_written_later_and_nothing_beyond() {
        let file = rustix::fs::memfd_create("view", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = std::fs::File::from(file);
        file.set_len(8192).unwrap();
        let view = View::of(&file, 8192).unwrap();
        let mut bytes = [7; 4];
        view.read(8188, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 4]);
        file.write_all(b"word").unwrap();
        view.read(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"word");
        assert!(view.read(8189, &mut bytes).is_err());
        assert!(view.read(u64::MAX, &mut bytes).is_err());
    }
}
