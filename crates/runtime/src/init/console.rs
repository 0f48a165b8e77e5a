//! Standard input, output and error.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags, fstatfs};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use sys::mount::{Depth, attach, copy_tree};
use sys::{Context as _, Error, ErrorKind, Result};

use super::Console;
use crate::create::ProcessStdio;
use crate::mounts::devices::place_for_node;
use crate::mounts::root::Root;

const DEVPTS_MAGIC: u32 = 0x1cd1;

/// Makes a terminal in the container's devpts, if one is asked for. No path of
/// the container names the slave: it comes from the master.
pub(crate) fn open(stdio: &ProcessStdio, root: &Root) -> Result<Option<Console>> {
    let ProcessStdio::Terminal { size } = stdio else {
        return Ok(None);
    };
    let make = || -> Result<Console> {
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let master = root.open_without_symlinks(Path::new("/dev/pts/ptmx"), flags)?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        if fstatfs(&master)?.f_type as u32 != DEVPTS_MAGIC {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "/dev/pts in the container is not a devpts file system",
            ));
        }
        rustix::pty::unlockpt(&master)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
        if let Some(size) = size {
            let size = Winsize {
                ws_row: size.height,
                ws_col: size.width,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            rustix::termios::tcsetwinsize(&master, size)?;
        }
        Ok(Console { master, slave })
    };
    make().context(|| "make a terminal").map(Some)
}

/// Puts the terminal on /dev/console of the container, by descriptor.
pub(super) fn bind(console: Option<&Console>, root: &Root) -> Result<()> {
    let Some(console) = console else {
        return Ok(());
    };
    let bind = || -> Result<()> {
        let dev = root.plain_mount_point(Path::new("/dev"))?;
        let place = place_for_node(&dev, "console")?;
        let tree = copy_tree(console.slave.as_fd(), Depth::One)?;
        attach(tree.as_fd(), place.as_fd())
    };
    bind().context(|| "make /dev/console")
}

/// Makes descriptors 0, 1 and 2 what they shall be.
pub(crate) fn attach_stdio(stdio: &ProcessStdio, console: Option<&Console>) -> Result<()> {
    let put = |from: &OwnedFd, to: i32| -> Result<()> {
        sys::process::duplicate_to(from.as_fd(), to).context(|| format!("set up descriptor {to}"))
    };
    match (stdio, console) {
        (ProcessStdio::Inherit, _) => Ok(()),
        (
            ProcessStdio::Fds {
                stdin,
                stdout,
                stderr,
            },
            _,
        ) => {
            // A source that sits on a place of another would be overwritten.
            if [stdin, stdout, stderr].iter().any(|fd| fd.as_raw_fd() <= 2) {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "stdio descriptors overlap with 0 to 2",
                ));
            }
            put(stdin, 0)?;
            put(stdout, 1)?;
            put(stderr, 2)
        }
        (ProcessStdio::Terminal { .. }, Some(console)) => {
            rustix::process::ioctl_tiocsctty(&console.slave)
                .context(|| "make the terminal ours")?;
            for place in 0..=2 {
                put(&console.slave, place)?;
            }
            Ok(())
        }
        (ProcessStdio::Terminal { .. }, None) => {
            Err(Error::new(ErrorKind::Internal, "no terminal was made"))
        }
    }
}

/// The terminal, and pipes behind descriptors 0 to 2, belong to the user:
/// otherwise a program that is not root cannot open /dev/stdout. Failing to
/// give them away is no reason to stop.
pub(crate) fn give_to(console: Option<&Console>, uid: u32) {
    let owner = Some(rustix::fs::Uid::from_raw(uid));
    if let Some(console) = console {
        let _ = rustix::fs::fchown(&console.slave, owner, None);
    }
    let (stdin, stdout, stderr) = (
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    );
    for stdio in [stdin, stdout, stderr] {
        // Nothing else: what the caller opened on the host stays the caller's.
        if let Ok(stat) = rustix::fs::fstat(stdio)
            && FileType::from_raw_mode(stat.st_mode) == FileType::Fifo
            && stat.st_uid != uid
        {
            let _ = rustix::fs::fchown(stdio, owner, None);
        }
    }
}
