//! What a checkpoint needs of inotify(7) beyond the usual: watches under
//! numbers of our choice, and files by the handles that the kernel names
//! watched ones with.

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use crate::{Error, ErrorKind, Result};

/// `INOTIFY_IOC_SETNEXTWD`: `_IOW('I', 0, __s32)` (Linux 4.17).
const SET_NEXT: u64 = 0x4004_4900;
/// `MAX_HANDLE_SZ`
const HANDLE_MAX: usize = 128;

/// The watch that is added next gets this number, or the next one that is
/// free.
pub fn set_next(inotify: BorrowedFd<'_>, number: i32) -> Result<()> {
    // SAFETY: this request takes a number, no pointer.
    let result = unsafe { libc::ioctl(inotify.as_raw_fd(), SET_NEXT, i64::from(number)) };
    if result < 0 {
        return Err(Error::from(std::io::Error::last_os_error()));
    }
    Ok(())
}

/// `struct file_handle`.
#[repr(C)]
struct Handle {
    length: u32,
    kind: i32,
    bytes: [u8; HANDLE_MAX],
}

/// The file behind a handle of the file system that directory `mount` is on,
/// both without rights (`O_PATH`), so that nobody hears of an open directory.
/// Needs `CAP_DAC_READ_SEARCH`.
///
/// The working directory is changed meanwhile: the process must have one
/// thread only.
pub fn open_handle(mount: BorrowedFd<'_>, kind: i32, bytes: &[u8]) -> Result<OwnedFd> {
    let mut handle = Handle {
        length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        kind,
        bytes: [0; HANDLE_MAX],
    };
    let Some(place) = handle.bytes.get_mut(..bytes.len()) else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the handle is too long",
        ));
    };
    place.copy_from_slice(bytes);
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let directory = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let back = rustix::fs::open(".", directory, rustix::fs::Mode::empty())?;
    // The call takes no such descriptor, but it takes where we are.
    rustix::process::fchdir(mount)?;
    // SAFETY: the kernel reads the handle, of which the length tells how many
    // bytes there are, and `length` is not beyond them.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            libc::AT_FDCWD,
            &raw const handle,
            flags,
        )
    };
    let error = std::io::Error::last_os_error();
    rustix::process::fchdir(&back)?;
    let Ok(fd @ 0..) = i32::try_from(fd) else {
        return Err(Error::from(error));
    };
    // SAFETY: the call succeeded: it is an open descriptor that nobody else
    // knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::fs::inotify;

    #[test]
    fn watches_get_the_number_that_was_asked_for() {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
        super::set_next(fd.as_fd(), 41).unwrap();
        let number = inotify::add_watch(&fd, "/", inotify::WatchFlags::CREATE).unwrap();
        assert_eq!(number, 41);
    }

    #[test]
    fn handles_are_bounded() {
        let root = std::fs::File::open("/").unwrap();
        assert!(super::open_handle(root.as_fd(), 1, &[0; 129]).is_err());
        assert!(super::open_handle(root.as_fd(), 1, &[0; 3]).is_err());
    }
}
