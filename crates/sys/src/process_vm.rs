//! Another process's memory: process_vm_readv(2) and its kin.

use crate::{Error, ErrorKind, Result};

/// The most ranges that one call takes (`UIO_MAXIOV`).
pub const RANGES_MAX: usize = 1024;

/// Fills `into` from the ranges (address, bytes) of `pid`, one after the
/// other; how much could be read.
pub fn read(pid: i32, ranges: &[(u64, usize)], into: &mut [u8]) -> Result<usize> {
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let remote = vectors(pid, ranges)?;
    // SAFETY: the kernel writes at most `into.len()` bytes to `into`; the
    // remote addresses are of another process and only checked there.
    let result = unsafe {
        libc::process_vm_readv(
            pid,
            &raw const local,
            1,
            remote.as_ptr(),
            remote.len() as u64,
            0,
        )
    };
    done(result)
}

/// Reads exactly `into.len()` bytes at `address` of `pid`.
pub fn read_exact(pid: i32, address: u64, into: &mut [u8]) -> Result<()> {
    let wanted = into.len();
    if read(pid, &[(address, wanted)], into)? == wanted {
        return Ok(());
    }
    Err(Error::from_errno(libc::EFAULT))
}

/// Writes `from` at `address` of `pid`.
pub fn write(pid: i32, address: u64, from: &[u8]) -> Result<()> {
    let local = libc::iovec {
        iov_base: from.as_ptr().cast_mut().cast(),
        iov_len: from.len(),
    };
    let remote = vectors(pid, &[(address, from.len())])?;
    // SAFETY: the kernel reads `from.len()` bytes of `from`; what is written
    // is the memory of another process (`vectors` refuses our own).
    let result = unsafe {
        libc::process_vm_writev(
            pid,
            &raw const local,
            1,
            remote.as_ptr(),
            remote.len() as u64,
            0,
        )
    };
    if done(result)? == from.len() {
        return Ok(());
    }
    Err(Error::from_errno(libc::EFAULT))
}

fn vectors(pid: i32, ranges: &[(u64, usize)]) -> Result<Vec<libc::iovec>> {
    if i64::from(pid) == i64::from(std::process::id()) || pid <= 0 {
        return Err(Error::new(ErrorKind::Internal, "not another process"));
    }
    Ok(ranges
        .iter()
        .map(|(address, length)| libc::iovec {
            iov_base: std::ptr::null_mut::<libc::c_void>()
                .wrapping_byte_add(usize::try_from(*address).unwrap_or(0)),
            iov_len: *length,
        })
        .collect())
}

fn done(result: isize) -> Result<usize> {
    usize::try_from(result).map_err(|_| Error::from(std::io::Error::last_os_error()))
}
