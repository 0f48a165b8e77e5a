//! AppArmor profiles and SELinux labels: what the program shall run as. The
//! files are opened through the host's procfs, which nobody in the container
//! can have put something over, and written at the end.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::sandbox::Labels;

/// What AppArmor calls having no profile; without AppArmor that is so anyway.
const UNCONFINED: &str = "unconfined";

/// Whether the security modules that are asked for are active here.
pub(crate) fn check(labels: Labels<'_>, mount_label: Option<&str>) -> Result<()> {
    let inactive = |field: &str, module: &str| {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{field} needs {module}, which is not active on this host; leave it out"),
        ))
    };
    if confining(labels).is_some() && !has_apparmor() {
        return inactive("process.apparmorProfile", "AppArmor");
    }
    if labels.selinux.is_some() && !has_selinux() {
        return inactive("process.selinuxLabel", "SELinux");
    }
    if mount_label.is_some() && !has_selinux() {
        return inactive("linux.mountLabel", "SELinux");
    }
    Ok(())
}

/// The AppArmor profile that is asked for, if it is one.
pub(crate) fn confining(labels: Labels<'_>) -> Option<&str> {
    labels.apparmor.filter(|profile| *profile != UNCONFINED)
}

/// Whether AppArmor is active.
pub(crate) fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// Whether SELinux is active.
pub(crate) fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Files of our own, open, with what is to be written to them.
#[derive(Debug, Default)]
pub(crate) struct Open(Vec<(OwnedFd, String)>);

/// Opens the files while the host's /proc is the only one in sight.
pub(crate) fn open(labels: Labels<'_>) -> Result<Open> {
    let mut files = Vec::new();
    if let Some(profile) = labels.apparmor
        && (profile != UNCONFINED || has_apparmor())
    {
        // A file of AppArmor's own where modules are stacked (Linux 5.8).
        let fd = open_attribute("apparmor/exec").or_else(|_| open_attribute("exec"))?;
        files.push((fd, format!("exec {profile}")));
    }
    if let Some(label) = labels.selinux {
        files.push((open_attribute("exec")?, label.to_owned()));
    }
    Ok(Open(files))
}

fn open_attribute(name: &str) -> Result<OwnedFd> {
    let path = format!("/proc/self/attr/{name}");
    openat(CWD, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open {path}"))
}

impl Open {
    /// In force from the next execve on.
    pub(crate) fn write(&self) -> Result<()> {
        for (fd, label) in &self.0 {
            rustix::io::write(fd, label.as_bytes())
                .context(|| format!("run the program as {label:?}: is it loaded?"))?;
        }
        Ok(())
    }
}
