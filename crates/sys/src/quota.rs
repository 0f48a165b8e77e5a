//! Project quotas: limits on the disk space of the files of a directory
//! (XFS, ext4 and others with `prjquota`; quotactl_fd(2), Linux 5.14).

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use crate::{Error, Result};

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `struct if_dqblk` of linux/quota.h: limits in blocks of 1 KiB.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Limits {
    hard_blocks: u64,
    soft_blocks: u64,
    bytes_used: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    inodes_used: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

/// `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR`.
const GET_ATTRIBUTES: libc::Ioctl = 0x801c_581f;
const SET_ATTRIBUTES: libc::Ioctl = 0x401c_5820;
/// `FS_XFLAG_PROJINHERIT`: what is made in the directory belongs to it.
const INHERIT: u32 = 0x200;
/// `FS_XFLAG_COWEXTSIZE`, and the usual block of XFS.
const COPY_SIZE: u32 = 0x1_0000;
const BLOCK: u32 = 4096;
/// `QCMD(Q_GETQUOTA, PRJQUOTA)` and `QCMD(Q_SETQUOTA, PRJQUOTA)`.
const GET_QUOTA: u32 = 0x0080_0007 << 8 | 2;
const SET_QUOTA: u32 = 0x0080_0008 << 8 | 2;
/// `QIF_BLIMITS`.
const BLOCK_LIMITS: u32 = 1;

/// Makes a directory, and what is made in it from now on, part of a project.
pub fn set_project(directory: impl AsFd, project: u32) -> Result<()> {
    let mut attributes = attributes(directory.as_fd())?;
    attributes.project = project;
    attributes.flags |= INHERIT;
    set_attributes(directory.as_fd(), &attributes)
}

/// Has XFS copy what a file shares with others block by block, where it takes
/// 128 KiB for the first byte otherwise. Other file systems refuse.
pub fn copy_single_blocks(file: impl AsFd) -> Result<()> {
    let mut attributes = attributes(file.as_fd())?;
    attributes.cow_extent_size = BLOCK;
    attributes.flags |= COPY_SIZE;
    set_attributes(file.as_fd(), &attributes)
}

fn set_attributes(file: BorrowedFd<'_>, attributes: &Attributes) -> Result<()> {
    // SAFETY: the kernel reads a structure of the size that the number of the
    // request says.
    match unsafe { libc::ioctl(file.as_raw_fd(), SET_ATTRIBUTES, &raw const *attributes) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

/// The project that a file or directory belongs to; 0 is none.
pub fn project(file: impl AsFd) -> Result<u32> {
    Ok(attributes(file.as_fd())?.project)
}

fn attributes(file: BorrowedFd<'_>) -> Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the kernel fills the structure, which has the size that the
    // number of the request says.
    match unsafe { libc::ioctl(file.as_raw_fd(), GET_ATTRIBUTES, &raw mut attributes) } {
        0 => Ok(attributes),
        _ => Err(last_error()),
    }
}

/// Lets the files of a project take at most so many bytes; 0 is no limit.
/// `file` is any on its file system.
pub fn set_limit(file: impl AsFd, project: u32, bytes: u64) -> Result<()> {
    let mut limits = Limits {
        hard_blocks: bytes.div_ceil(1024),
        soft_blocks: bytes.div_ceil(1024),
        valid: BLOCK_LIMITS,
        ..Limits::default()
    };
    control(file, SET_QUOTA, project, &mut limits)
}

/// Whether a project has files or a limit.
pub fn is_used(file: impl AsFd, project: u32) -> Result<bool> {
    let mut limits = Limits::default();
    match control(file, GET_QUOTA, project, &mut limits) {
        Ok(()) => Ok(limits.inodes_used != 0 || limits.hard_blocks != 0),
        // XFS has nothing about a project that was never used.
        Err(error) if error.errno() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn control(file: impl AsFd, command: u32, project: u32, limits: &mut Limits) -> Result<()> {
    // SAFETY: the structure is what both commands take, and lives longer than
    // the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            file.as_fd().as_raw_fd(),
            command,
            project,
            std::ptr::from_mut(limits),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

fn last_error() -> Error {
    std::io::Error::last_os_error().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!(std::mem::size_of::<Attributes>(), 28);
        assert_eq!(std::mem::size_of::<Limits>(), 72);
    }

    #[test]
    fn a_file_system_without_projects_says_so() {
        let proc = std::fs::File::open("/proc").unwrap();
        assert!(set_project(&proc, 1).is_err());
        assert!(set_limit(&proc, 1, 1 << 20).is_err());
    }
}
