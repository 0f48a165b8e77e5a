//! Where a container's cgroup goes: what `linux.cgroupsPath` says, else below
//! `/wharf`, else, without the rights for that, where a cgroup was delegated
//! to us.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use state::CgroupManager;
use sys::{Error, ErrorKind, Result};

use super::apply::write_file;
use super::hierarchy::{Hierarchies, ROOT};
use super::{CgroupPath, systemd};

/// Who makes a cgroup, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub manager: CgroupManager,
    pub path: CgroupPath,
}

/// Whether cgroups are ours to make wherever we like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rights {
    /// To be found out.
    #[default]
    Unknown,
    All,
    /// Only where a cgroup was delegated to us.
    Delegated,
}

impl Placement {
    /// For container `id` whose specification says `wanted`. An absolute path
    /// is taken as it is; a relative one is below `/wharf`; `slice:prefix:name`
    /// is for systemd. A user to whom no cgroup was delegated and who names no
    /// place gets [`CgroupManager::Disabled`].
    pub fn choose(
        manager: CgroupManager,
        rights: Rights,
        wanted: Option<&str>,
        id: &str,
    ) -> Result<Self> {
        let wanted = wanted.filter(|path| !path.is_empty());
        let place = |path: CgroupPath| Self { manager, path };
        match (manager, wanted) {
            (CgroupManager::Disabled, _) => Ok(place(CgroupPath::of_container(id)?)),
            (CgroupManager::Systemd, wanted) => systemd::path_of(wanted, id).map(place),
            (CgroupManager::Cgroupfs, Some(path)) if path.starts_with('/') => {
                CgroupPath::parse(path).map(place)
            }
            (CgroupManager::Cgroupfs, Some(path)) if path.contains(':') => Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "linux.cgroupsPath {path:?} names a unit of systemd: use the systemd cgroup \
                     manager (--systemd-cgroup), or a path"
                ),
            )),
            (CgroupManager::Cgroupfs, wanted) if rights.are_delegated() => {
                let Some(base) = delegated()? else {
                    return Ok(Self {
                        manager: CgroupManager::Disabled,
                        path: CgroupPath::of_container(id)?,
                    });
                };
                let name = wanted.map_or_else(|| format!("wharf-{id}"), str::to_owned);
                CgroupPath::parse(&format!("{}/{name}", base.trim_end_matches('/'))).map(place)
            }
            (CgroupManager::Cgroupfs, Some(path)) => {
                CgroupPath::parse(&format!("/wharf/{path}")).map(place)
            }
            (CgroupManager::Cgroupfs, None) => CgroupPath::of_container(id).map(place),
        }
    }
}

impl Rights {
    fn are_delegated(self) -> bool {
        match self {
            // Not root, or root of a user namespace to which the hierarchy
            // does not belong.
            Self::Unknown => !rustix::process::geteuid().is_root() || !may_write(Path::new(ROOT)),
            Self::All => false,
            Self::Delegated => true,
        }
    }
}

/// The nearest group from ours upwards that is ours to divide: we may write to
/// it, and it has no processes, for a group with processes hands no controllers
/// down. On version 1 nothing is delegated: it is not safe there
/// (Documentation/admin-guide/cgroup-v1).
fn delegated() -> Result<Option<String>> {
    let hierarchies = Hierarchies::find()?;
    let [only] = hierarchies.all.as_slice() else {
        return Ok(None);
    };
    if !only.is_unified() {
        return Ok(None);
    }
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(own) = own.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return Ok(None);
    };
    if own.split('/').any(|part| part == "..") {
        // Outside of the cgroup namespace that is mounted here.
        return Ok(None);
    }
    let mut group = own;
    while !group.is_empty() && is_ours(&only.mountpoint().join(group)) {
        let directory = only.mountpoint().join(group);
        match members(&directory).as_slice() {
            [] => return Ok(Some(format!("/{group}"))),
            [alone] if *alone == std::process::id() && step_aside(&directory) => {
                return Ok(Some(format!("/{group}")));
            }
            _ => {}
        }
        group = group.rsplit_once('/').map_or("", |(above, _)| above);
    }
    Ok(None)
}

fn is_ours(directory: &Path) -> bool {
    ["", "cgroup.procs", "cgroup.subtree_control"]
        .iter()
        .all(|name| may_write(&directory.join(name)))
}

fn may_write(path: &Path) -> bool {
    accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

fn members(directory: &Path) -> Vec<u32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Into a group below, to leave this one without processes. It goes with the
/// group above it.
fn step_aside(directory: &Path) -> bool {
    let leaf: PathBuf = directory.join("wharf-runtime");
    let made = rustix::fs::mkdir(&leaf, rustix::fs::Mode::from(0o755));
    matches!(made, Ok(()) | Err(rustix::io::Errno::EXIST))
        && write_file(&leaf.join("cgroup.procs"), "0").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_the_path_has_its_place() {
        let at = |manager, wanted| {
            Placement::choose(manager, Rights::All, wanted, "web")
                .map(|place| place.path.to_string())
        };
        let cgroupfs = CgroupManager::Cgroupfs;
        assert_eq!(at(cgroupfs, Some("/pods/web")).unwrap(), "/pods/web");
        let error = at(cgroupfs, Some("system.slice:wharf:web")).unwrap_err();
        assert!(error.to_string().contains("--systemd-cgroup"), "{error}");
        assert!(at(cgroupfs, Some("/pods/../web")).is_err());
        assert_eq!(at(cgroupfs, Some("pods/web")).unwrap(), "/wharf/pods/web");
        assert_eq!(at(cgroupfs, Some("")).unwrap(), "/wharf/web");
        assert_eq!(at(cgroupfs, None).unwrap(), "/wharf/web");
    }
}
