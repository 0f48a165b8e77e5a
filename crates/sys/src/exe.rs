//! Running our own program from a mount that nobody can write to.
//!
//! A process inside a container can reach the file that a program of ours was
//! started from through /proc/PID/exe, and with the rights of root overwrite
//! it for the next start on the host (CVE-2019-5736). Started from a
//! read-only mount of its own the same link leads to a file that cannot be
//! opened for writing. The mount is a detached copy of one file: it is in no
//! namespace, costs no memory, and its pages are those of the file.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::mount::OpenTreeFlags;

use crate::{Context as _, Error, ErrorKind, Result};

/// Where the kernel shows the program that runs.
pub const SELF: &str = "/proc/self/exe";

/// Where a protected program keeps the descriptor of its own file. The last
/// close takes the mount apart and waits for a grace period of the kernel, so
/// it stays open until the end.
pub const PLACE: i32 = 63;

/// statfs(2).
const TMPFS_MAGIC: u32 = 0x0102_1994;

/// True if the file that this process runs lies on a read-only mount or is
/// sealed.
pub fn is_protected() -> Result<bool> {
    let check = || -> Result<bool> {
        let mount = rustix::fs::statfs(SELF)?;
        if u64::try_from(mount.f_flags).unwrap_or_default() & libc::ST_RDONLY != 0 {
            return Ok(true);
        }
        // Files in memory lie on a tmpfs of the kernel's own.
        if u32::try_from(mount.f_type).ok() != Some(TMPFS_MAGIC) {
            return Ok(false);
        }
        let exe = rustix::fs::open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        // Only files in memory have seals; others refuse to tell.
        Ok(rustix::fs::fcntl_get_seals(&exe).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
    };
    check().context(|| "look at our own program")
}

/// A descriptor of the program at `path` on a read-only mount of its own, for
/// [`execute`], or for a spawn of `/proc/self/fd/N` that hands it over at
/// [`PLACE`].
pub fn protect(path: &Path) -> Result<OwnedFd> {
    let protect = || -> Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(rustix::fs::CWD, path, flags)?;
        make_read_only(&tree)?;
        Ok(tree)
    };
    protect().context(|| format!("protect {}", path.display()))
}

/// A sealed copy of the program at `path` in memory, for where a mount cannot
/// be made. Each copy takes its size in memory.
pub fn copy(path: &Path) -> Result<OwnedFd> {
    let copy = || -> Result<OwnedFd> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // MFD_EXEC (Linux 6.3) has to be said where vm.memfd_noexec is set.
        let fd = memfd_create("program", flags | MemfdFlags::EXEC)
            .or_else(|_| memfd_create("program", flags))?;
        let mut file = std::fs::File::from(fd);
        std::io::copy(&mut std::fs::File::open(path)?, &mut file)?;
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(&file, seals)?;
        // What somebody has open for writing counts as busy and is not run.
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(link, flags, Mode::empty())?)
    };
    copy().context(|| format!("copy {}", path.display()))
}

unsafe extern "C" {
    static environ: *mut *const libc::c_char;
}

/// Replaces this program by the one behind `program`, with the arguments and
/// the environment that we have ([`crate::entry!`]); it finds the descriptor at
/// [`PLACE`].
pub fn execute(program: &OwnedFd) -> Result<Infallible> {
    // SAFETY: the new number, at or after PLACE, is nobody else's.
    let place = unsafe { libc::fcntl(program.as_raw_fd(), libc::F_DUPFD, PLACE) };
    if place < 0 {
        let error = std::io::Error::last_os_error();
        return Err(error).context(|| "keep our own program open");
    }
    let argv = crate::entry::argv();
    if argv.is_null() {
        return Err(Error::new(ErrorKind::Internal, "there are no arguments"));
    }
    // SAFETY: arguments and environment are the lists that we were started
    // with; the call returns only if it failed.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            place,
            c"".as_ptr(),
            argv,
            environ.cast_const(),
            libc::AT_EMPTY_PATH,
        );
    }
    Err(std::io::Error::last_os_error()).context(|| "run our own program from its protected place")
}

fn make_read_only(tree: impl AsFd) -> Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the descriptor is borrowed, the path is an empty string, and
    // the structure is initialised and of the size that is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root.
    #[test]
    fn a_protected_program_cannot_be_opened_for_writing() {
        let directory = std::env::temp_dir().join(format!("exe-test-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let program = directory.join("program");
        std::fs::write(&program, "content").unwrap();
        let protected = protect(&program).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        let link = format!("/proc/self/fd/{}", protected.as_raw_fd());
        let error = std::fs::OpenOptions::new()
            .write(true)
            .open(&link)
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
        assert_eq!(std::fs::read(&link).unwrap(), b"content");
    }

    #[test]
    fn a_copy_cannot_be_changed() {
        let copy = copy(Path::new(SELF)).unwrap();
        let seals = rustix::fs::fcntl_get_seals(&copy).unwrap();
        assert!(seals.contains(SealFlags::WRITE));
        assert!(rustix::io::write(&copy, b"x").is_err());
    }
}
