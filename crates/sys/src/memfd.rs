//! Files in memory that nobody can change any more.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

use crate::{Context as _, Error, ErrorKind, Result};

/// A close-on-exec memfd that holds `content` and is sealed against every
/// change; its offset is at the beginning.
pub fn sealed(name: &str, content: &[u8]) -> Result<OwnedFd> {
    let make = || -> Result<OwnedFd> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // MFD_NOEXEC_SEAL (Linux 6.3) keeps it from being run.
        let fd = memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL)
            .or_else(|_| memfd_create(name, flags))?;
        let mut done = 0;
        while done < content.len() {
            done += rustix::io::pwrite(&fd, &content[done..], done as u64)?;
        }
        fcntl_add_seals(&fd, all_seals())?;
        Ok(fd)
    };
    make().context(|| format!("make sealed file {name}"))
}

/// The content of a sealed memfd, at most `limit` bytes; refuses anything that
/// its writer could still change.
pub fn read_sealed(fd: impl AsFd, limit: usize) -> Result<Vec<u8>> {
    let refuse = |why: &str| Err(Error::new(ErrorKind::InvalidInput, why));
    match fcntl_get_seals(&fd) {
        Ok(seals) if seals.contains(all_seals()) => {}
        _ => return refuse("the descriptor is not a sealed memory file"),
    }
    let size = usize::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(usize::MAX);
    if size > limit {
        return refuse("the sealed memory file is too large");
    }
    let mut content = vec![0; size];
    let mut done = 0;
    while done < size {
        match rustix::io::pread(&fd, &mut content[done..], done as u64)? {
            0 => break,
            count => done += count,
        }
    }
    content.truncate(done);
    Ok(content)
}

fn all_seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_back_and_never_changed() {
        let fd = sealed("job", b"hello").unwrap();
        assert_eq!(read_sealed(&fd, 10).unwrap(), b"hello");
        assert!(rustix::io::pwrite(&fd, b"x", 0).is_err());
        assert!(read_sealed(&fd, 4).is_err());
        let open = memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        assert!(read_sealed(&open, 10).is_err());
    }
}
