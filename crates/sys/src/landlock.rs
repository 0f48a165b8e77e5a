//! Landlock (Linux 5.13): a process that gives up access to files and ports.

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use crate::{Error, Result};

/// `LANDLOCK_ACCESS_FS_*` that this module hands out, by what they are about.
pub mod access {
    /// Reading files and directories.
    pub const READ: u64 = 1 << 2 | 1 << 3;
    /// Executing files.
    pub const EXECUTE: u64 = 1;
    /// Writing, making, removing, renaming, cutting files, and ioctl(2) on
    /// devices.
    pub const WRITE: u64 = 1 << 1 | 0xfff0;
    /// `LANDLOCK_ACCESS_NET_*`.
    pub const BIND_TCP: u64 = 1;
    pub const CONNECT_TCP: u64 = 1 << 1;
    /// What means something for a file that is no directory.
    pub const OF_FILES: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15;
}

/// Rights about files by the version that brought them.
const FILES_BY_VERSION: [u64; 5] = [0x1fff, 0x3fff, 0x7fff, 0x7fff, 0xffff];

/// The version of the kernel's Landlock; an error where it has none.
pub fn version() -> Result<u32> {
    // SAFETY: with this flag no structure is read.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            1_u32,
        )
    };
    check(version).map(|version| u32::try_from(version).unwrap_or_default())
}

/// `struct landlock_ruleset_attr` of version 4.
#[repr(C)]
struct RulesetAttributes {
    files: u64,
    ports: u64,
}

/// What may still be done; everything else of what it handles is refused.
#[derive(Debug)]
pub struct Ruleset {
    fd: OwnedFd,
    files: u64,
}

impl Ruleset {
    /// Handles all of `files` and `ports` that a kernel of `version` knows.
    pub fn new(version: u32, files: u64, ports: u64) -> Result<Self> {
        let place = usize::try_from(version.clamp(1, 5) - 1).unwrap_or_default();
        let files = files & FILES_BY_VERSION[place];
        let attributes = RulesetAttributes { files, ports };
        let size: libc::size_t = if version < 4 { 8 } else { 16 };
        // SAFETY: the structure is alive and at least as long as said.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                &raw const attributes,
                size,
                0_u32,
            )
        };
        let fd = i32::try_from(check(fd)?).unwrap_or(-1);
        // SAFETY: the kernel just made this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, files })
    }

    /// Allows `files` to everything below `path` (any descriptor).
    pub fn allow_path(&self, path: BorrowedFd<'_>, files: u64) -> Result<()> {
        let files = files & self.files;
        if files == 0 {
            return Ok(());
        }
        let mut rule = [0_u8; 12];
        rule[..8].copy_from_slice(&files.to_ne_bytes());
        rule[8..].copy_from_slice(&path.as_raw_fd().to_ne_bytes());
        // `LANDLOCK_RULE_PATH_BENEATH`, whose structure is packed.
        self.add(1, &rule)
    }

    /// Allows `ports` for one port.
    pub fn allow_port(&self, port: u16, ports: u64) -> Result<()> {
        let mut rule = [0_u8; 16];
        rule[..8].copy_from_slice(&ports.to_ne_bytes());
        rule[8..].copy_from_slice(&u64::from(port).to_ne_bytes());
        // `LANDLOCK_RULE_NET_PORT`.
        self.add(2, &rule)
    }

    fn add(&self, kind: u32, rule: &[u8]) -> Result<()> {
        // SAFETY: the rule is alive and laid out as its kind says.
        let result = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.fd.as_raw_fd(),
                kind,
                rule.as_ptr(),
                0_u32,
            )
        };
        check(result).map(|_| ())
    }

    /// In force for the calling thread and all that come from it, for good.
    /// Needs CAP_SYS_ADMIN or no_new_privs.
    pub fn restrict_self(&self) -> Result<()> {
        // SAFETY: plain numbers.
        let result =
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.fd.as_raw_fd(), 0_u32) };
        check(result).map(|_| ())
    }
}

fn check(result: libc::c_long) -> Result<libc::c_long> {
    match result {
        -1 => Err(Error::from(std::io::Error::last_os_error())),
        result => Ok(result),
    }
}
