//! The layers of an overlay, told to the kernel in the best way that it knows.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{chdir, fchdir};

use crate::mount::FileSystem;
use crate::{Context as _, Error, ErrorKind, Result};

/// Most bytes of an option's value in fsconfig(2).
const VALUE_MAX: usize = 255;

/// Directories by descriptor, so that no name has to be escaped.
#[derive(Clone, Copy, Debug)]
pub struct OverlayLayers<'a> {
    /// The topmost first.
    pub lower: &'a [OwnedFd],
    /// The upper and the work directory; without them it is read-only.
    pub writable: Option<(&'a OwnedFd, &'a OwnedFd)>,
}

impl OverlayLayers<'_> {
    /// Names the layers; `finish` sets what else there is and mounts. It may
    /// be called again after a failure.
    ///
    /// Before Linux 6.13 the working directory is changed meanwhile: to be
    /// called by a process with one thread, or by a thread with a working
    /// directory of its own ([`crate::namespace::own_working_directory`]).
    pub fn mount(&self, finish: &dyn Fn(&FileSystem) -> Result<OwnedFd>) -> Result<OwnedFd> {
        match self.by_descriptor(finish) {
            // Linux 6.5: option unknown, or known with a path only.
            Err(error) if error.errno() == Some(libc::EINVAL) => {}
            // Before, when overlay did not have the new mount API: what comes
            // by it is gathered into one option string.
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => {}
            done => return done,
        }
        // A value is short, so names are: the numbers of the descriptors,
        // seen from the directory that has them. 85 layers fit.
        let back = openat(
            CWD,
            ".",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .context(|| "open the working directory")?;
        chdir("/proc/self/fd").context(|| "enter /proc/self/fd")?;
        let mounted = self.by_name(finish);
        fchdir(&back).context(|| "return to the working directory")?;
        mounted
    }

    /// Linux 6.13.
    fn by_descriptor(&self, finish: &dyn Fn(&FileSystem) -> Result<OwnedFd>) -> Result<OwnedFd> {
        let overlay = FileSystem::open("overlay")?;
        for layer in self.lower {
            overlay.set_fd("lowerdir+", layer.as_fd())?;
        }
        if let Some((upper, work)) = self.writable {
            overlay.set_fd("upperdir", upper.as_fd())?;
            overlay.set_fd("workdir", work.as_fd())?;
        }
        finish(&overlay)
    }

    fn by_name(&self, finish: &dyn Fn(&FileSystem) -> Result<OwnedFd>) -> Result<OwnedFd> {
        let name = |fd: &OwnedFd| fd.as_raw_fd().to_string();
        let lower = self.lower.iter().map(name).collect::<Vec<_>>().join(":");
        if lower.len() > VALUE_MAX {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{} layers are too many for this kernel (Linux 6.13 takes 500)",
                    self.lower.len()
                ),
            ));
        }
        let overlay = FileSystem::open("overlay")?;
        overlay.set("lowerdir", &lower)?;
        if let Some((upper, work)) = self.writable {
            overlay.set("upperdir", &name(upper))?;
            overlay.set("workdir", &name(work))?;
        }
        finish(&overlay)
    }
}
