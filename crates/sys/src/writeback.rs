//! When what was written to a file goes to the disk.

use std::os::fd::{AsFd, AsRawFd as _};

/// Has the kernel begin to write a part of a file to the disk, and does not wait
/// for it (sync_file_range(2)). Nothing is promised: whoever wants it there
/// syncs it later, and waits for less then.
pub fn begin(file: impl AsFd, from: u64, bytes: u64) {
    let fd = file.as_fd().as_raw_fd();
    let (from, bytes) = (from.cast_signed(), bytes.cast_signed());
    // SAFETY: the call takes numbers alone, and looks at no memory of ours.
    let _ = unsafe { libc::sync_file_range(fd, from, bytes, libc::SYNC_FILE_RANGE_WRITE) };
}
