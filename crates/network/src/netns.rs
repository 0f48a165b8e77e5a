//! The network namespace of a container.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use sys::{ErrorKind, Result};

/// Makes a network namespace in which links speak only when told to. It lives
/// as long as the descriptor or a process in it.
pub fn create_namespace() -> Result<OwnedFd> {
    sys::netns::create(quiet_links)
}

/// Lets links made later believe no router (a neighbor may pretend to be one,
/// CVE-2020-13401) and use their IPv6 addresses without a second of waiting.
/// Acts on the network namespace of the calling thread.
pub(crate) fn quiet_links() -> Result<()> {
    for (setting, value) in [("accept_ra", "0"), ("accept_dad", "0")] {
        set("/proc/sys/net/ipv6/conf/default", setting, value)?;
    }
    Ok(())
}

/// Writes a setting below /proc/sys; without IPv6 in the kernel its settings
/// are not there and not needed.
fn set(directory: &str, setting: &str, value: &str) -> Result<()> {
    let path = Path::new(directory).join(setting);
    match fs::write(&path, value).map_err(sys::Error::from) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.wrap(format!("set {}", path.display()))),
        Ok(()) => Ok(()),
    }
}
