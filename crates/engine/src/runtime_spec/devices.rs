//! Devices of the host that a container may use.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use spec::runtime::Device;
use state::DeviceRequest;
use sys::{Context as _, Error, ErrorKind, Result};

/// A device node and what may be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostDevice {
    pub(crate) device: Device,
    /// Of `r`, `w` and `m`.
    pub(crate) access: String,
}

/// Those of `--device`; a directory means all devices below it.
pub(crate) fn requested(requests: &[DeviceRequest]) -> Result<Vec<HostDevice>> {
    let mut devices = Vec::new();
    for request in requests {
        let metadata = fs::metadata(&request.host)
            .context(|| format!("use device {}", request.host.display()))?;
        if metadata.is_dir() {
            below(
                &request.host,
                &request.container,
                &request.access,
                &mut devices,
            )?;
            continue;
        }
        let device = node(&metadata, request.container.clone()).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{} is not a device", request.host.display()),
            )
        })?;
        devices.push(HostDevice {
            device,
            access: request.access.clone(),
        });
    }
    Ok(devices)
}

/// Every device of the host, for privileged containers.
pub(crate) fn all() -> Result<Vec<HostDevice>> {
    let mut devices = Vec::new();
    below(Path::new("/dev"), Path::new("/dev"), "rwm", &mut devices)?;
    Ok(devices)
}

/// What the runtime makes itself, or what is another file system.
const OURS: [&str; 10] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/console",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/shm",
];

fn below(host: &Path, container: &Path, access: &str, into: &mut Vec<HostDevice>) -> Result<()> {
    let read = || format!("read {}", host.display());
    for entry in fs::read_dir(host).context(read)? {
        let entry = entry.context(read)?;
        let path = entry.path();
        let target: PathBuf = container.join(entry.file_name());
        if OURS
            .iter()
            .any(|ours| path == Path::new(ours) || target == Path::new(ours))
        {
            continue;
        }
        // Links are not followed: what they lead to is found by itself.
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            below(&path, &target, access, into)?;
        } else if let Some(device) = node(&metadata, target) {
            into.push(HostDevice {
                device,
                access: access.to_owned(),
            });
        }
    }
    Ok(())
}

fn node(metadata: &fs::Metadata, path: PathBuf) -> Option<Device> {
    let kind = metadata.file_type();
    let kind = if kind.is_char_device() {
        "c"
    } else if kind.is_block_device() {
        "b"
    } else {
        return None;
    };
    let number = metadata.rdev();
    Some(Device {
        kind: kind.to_owned(),
        path,
        major: i64::from(rustix::fs::major(number)),
        minor: i64::from(rustix::fs::minor(number)),
        file_mode: Some(metadata.mode() & 0o7777),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_devices_and_refuses_files() {
        let request = crate::parse::device("/dev/null:/dev/nothing:r").unwrap();
        let devices = requested(&[request]).unwrap();
        assert_eq!((devices[0].device.major, devices[0].device.minor), (1, 3));
        assert_eq!(devices[0].device.path, Path::new("/dev/nothing"));
        let request = crate::parse::device("/proc/version").unwrap();
        assert_eq!(
            requested(&[request]).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        let request = crate::parse::device("/dev/does-not-exist").unwrap();
        assert_eq!(
            requested(&[request]).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
}
