//! What to build: the specification, validated once and understood. Pure;
//! only [`Namespaces::open`] touches the host.

mod identity;
mod namespaces;

pub(crate) use identity::{Identity, Labels, apply_scheduling};
pub(crate) use namespaces::{KINDS, NamespaceUse, Namespaces};

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use spec::runtime::{Device, IdMapping, Linux, Spec};
use sys::caps::Caps;
use sys::mount::{Depth, Propagation};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::init::landlock::{self, Landlock};
use crate::mounts::plan::{self, PlannedMount};
use crate::{hooks, net_devices};

/// More lines than this the kernel does not take (user_namespaces(7)).
const MOST_MAPPINGS: usize = 340;

/// The container, ready to be built.
#[derive(Debug)]
pub(crate) struct Sandbox<'a> {
    pub(crate) linux: &'a Linux,
    pub(crate) namespaces: Namespaces<'a>,
    pub(crate) uid_mappings: &'a [IdMapping],
    pub(crate) gid_mappings: &'a [IdMapping],
    pub(crate) mounts: Vec<PlannedMount>,
    pub(crate) masked: Vec<PathBuf>,
    pub(crate) read_only: Vec<PathBuf>,
    pub(crate) root_read_only: bool,
    /// Of the host's mounts in the new namespace, and of the root at the end.
    pub(crate) propagation: (Propagation, Depth),
    pub(crate) mount_label: Option<&'a str>,
    pub(crate) devices: &'a [Device],
    pub(crate) sysctls: Vec<(String, String)>,
    /// Lines of /proc/self/timens_offsets.
    pub(crate) time_offsets: Vec<String>,
    pub(crate) hostname: Option<&'a str>,
    pub(crate) domainname: Option<&'a str>,
    /// Links that move in: their names outside and inside.
    pub(crate) net_devices: Vec<(&'a str, &'a str)>,
    pub(crate) landlock: Option<Landlock>,
    pub(crate) process: Identity<'a>,
}

impl<'a> Sandbox<'a> {
    /// Understands `spec` or says which field it cannot honour. `network` is
    /// in place of the namespace that the specification names.
    pub(crate) fn plan(
        spec: &'a Spec,
        bundle: &Path,
        network: Option<std::os::fd::OwnedFd>,
    ) -> Result<Self> {
        check_version(&spec.oci_version)?;
        refuse_other_platforms(spec)?;
        let linux = linux_of(spec);
        let process = spec
            .process
            .as_ref()
            .ok_or_else(|| invalid("process is missing: nothing to run"))?;
        refuse_unsupported(linux)?;
        let mut namespaces = Namespaces::plan(linux)?;
        if let Some(network) = network {
            namespaces.network = NamespaceUse::Join(network);
        }
        check_mappings(linux, &namespaces)?;
        let names = [
            (&spec.hostname, "hostname"),
            (&spec.domainname, "domainname"),
        ];
        for (name, field) in names {
            if name.is_some() && namespaces.uts.is_host() {
                return Err(invalid(format!(
                    "{field} needs a uts namespace of the container's own"
                )));
            }
        }
        if let Some(hooks) = &spec.hooks {
            hooks::check(hooks)?;
        }
        // In a user namespace that is joined too.
        let available = if namespaces.user.is_host() {
            sys::caps::permitted()?
        } else {
            Caps::ALL
        };
        let sandbox = Self {
            linux,
            uid_mappings: &linux.uid_mappings,
            gid_mappings: &linux.gid_mappings,
            mounts: plan::plan(&spec.mounts, bundle)?,
            masked: inside("linux.maskedPaths", &linux.masked_paths)?,
            read_only: inside("linux.readonlyPaths", &linux.readonly_paths)?,
            root_read_only: spec.root.as_ref().is_some_and(|root| root.readonly),
            propagation: root_propagation(linux)?,
            mount_label: linux
                .mount_label
                .as_deref()
                .filter(|label| !label.is_empty()),
            devices: &linux.devices,
            sysctls: sysctls(linux, &namespaces)?,
            time_offsets: time_offsets(linux, &namespaces)?,
            hostname: spec.hostname.as_deref(),
            domainname: spec.domainname.as_deref(),
            net_devices: net_devices(linux, &namespaces)?,
            landlock: landlock::plan(&spec.annotations)?,
            process: Identity::plan(process, linux, available)?,
            namespaces,
        };
        sandbox.check_mount_namespace()?;
        sandbox.check_id_maps()?;
        Ok(sandbox)
    }

    /// Whether the root is mounted, and not only entered.
    pub(crate) fn has_mounts(&self) -> bool {
        !self.namespaces.mount.is_host()
    }

    /// A mount without maps of its own has those of the user namespace.
    fn check_id_maps(&self) -> Result<()> {
        let lacks_maps = |mount: &PlannedMount| {
            let own = mount.id_map.as_ref().map(|map| !map.uids.is_empty());
            own == Some(false) && self.uid_mappings.is_empty()
        };
        match self.mounts.iter().position(lacks_maps) {
            None => Ok(()),
            Some(index) => Err(invalid(format!(
                "mounts[{index}]: idmap needs uidMappings and gidMappings, of the mount or of \
                 the container's user namespace"
            ))),
        }
    }

    /// Nothing is mounted where the host would see it.
    fn check_mount_namespace(&self) -> Result<()> {
        if self.has_mounts() {
            return Ok(());
        }
        let needs = [
            (!self.mounts.is_empty(), "mounts"),
            (!self.masked.is_empty(), "linux.maskedPaths"),
            (!self.read_only.is_empty(), "linux.readonlyPaths"),
            (self.root_read_only, "root.readonly"),
            (
                self.linux.rootfs_propagation.is_some(),
                "linux.rootfsPropagation",
            ),
            (self.process.process.terminal, "process.terminal"),
            (!self.namespaces.user.is_host(), "linux.namespaces (user)"),
        ];
        match needs.iter().find(|(needed, _)| *needed) {
            None => Ok(()),
            Some((_, field)) => Err(invalid(format!(
                "{field} needs a mount namespace of the container's own: add {{\"type\": \
                 \"mount\"}} to linux.namespaces"
            ))),
        }
    }
}

/// The Linux part, or an empty one.
pub(crate) fn linux_of(spec: &Spec) -> &Linux {
    static NONE: OnceLock<Linux> = OnceLock::new();
    spec.linux
        .as_ref()
        .unwrap_or_else(|| NONE.get_or_init(Linux::default))
}

/// Versions 1.x, in the form of semver.org.
fn check_version(version: &str) -> Result<()> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if numbers.len() != 3 || !numbers.iter().all(is_number) {
        return Err(invalid(format!(
            "ociVersion {version:?} is not a version such as {:?}",
            spec::runtime::VERSION
        )));
    }
    if numbers[0] != "1" {
        return Err(invalid(format!(
            "ociVersion {version:?} is not one that this runtime knows: it knows 1.0.0 to {}",
            spec::runtime::VERSION
        )));
    }
    Ok(())
}

fn refuse_other_platforms(spec: &Spec) -> Result<()> {
    let others = [
        (spec.vm.is_some(), "vm"),
        (spec.windows.is_some(), "windows"),
        (spec.solaris.is_some(), "solaris"),
        (spec.freebsd.is_some(), "freebsd"),
        (spec.zos.is_some(), "zos"),
    ];
    match others.iter().find(|(present, _)| *present) {
        None => Ok(()),
        Some((_, field)) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("{field}: this runtime makes Linux containers and nothing else"),
        )),
    }
}

fn check_mappings(linux: &Linux, namespaces: &Namespaces<'_>) -> Result<()> {
    let all = [
        ("linux.uidMappings", &linux.uid_mappings),
        ("linux.gidMappings", &linux.gid_mappings),
    ];
    for (field, mappings) in all {
        if mappings.is_empty() && namespaces.user.is_new() {
            return Err(invalid(format!(
                "{field} is needed by a new user namespace"
            )));
        }
        if !mappings.is_empty() && namespaces.user.is_host() {
            return Err(invalid(format!(
                "{field} means nothing without a user namespace: add {{\"type\": \"user\"}} to \
                 linux.namespaces"
            )));
        }
        check_ranges(mappings).context(|| field)?;
    }
    Ok(())
}

/// What the kernel would refuse without a word.
pub(crate) fn check_ranges(mappings: &[IdMapping]) -> Result<()> {
    if mappings.len() > MOST_MAPPINGS {
        return Err(invalid(format!(
            "{} ranges are more than the {MOST_MAPPINGS} that the kernel takes",
            mappings.len()
        )));
    }
    for (index, one) in mappings.iter().enumerate() {
        let in_words = format!("{}:{}:{}", one.container_id, one.host_id, one.size);
        if one.size == 0 {
            return Err(invalid(format!("range {in_words} is empty")));
        }
        let ends = [one.container_id, one.host_id].map(|start| start.checked_add(one.size));
        if ends.contains(&None) {
            return Err(invalid(format!("range {in_words} goes beyond the last id")));
        }
        let overlaps = |start: u32, other: u32, size: u32| {
            u64::from(start) < u64::from(other) + u64::from(size)
                && u64::from(other) < u64::from(start) + u64::from(one.size)
        };
        if mappings[..index].iter().any(|other| {
            overlaps(one.container_id, other.container_id, other.size)
                || overlaps(one.host_id, other.host_id, other.size)
        }) {
            return Err(invalid(format!("range {in_words} overlaps with another")));
        }
    }
    Ok(())
}

/// Only what is the container's own may be set.
fn sysctls(linux: &Linux, namespaces: &Namespaces<'_>) -> Result<Vec<(String, String)>> {
    linux
        .sysctl
        .iter()
        .map(|(name, value)| {
            let refuse = |why: &str| Err(invalid(format!("linux.sysctl: {name} {why}")));
            if name.contains("..") || name.starts_with('/') || name.contains('\0') {
                return refuse("is not a name");
            }
            // Names with dots, or with slashes where a part holds a dot.
            let path = if name.contains('/') {
                name.clone()
            } else {
                name.replace('.', "/")
            };
            let shared = if path.starts_with("net/") {
                namespaces.network.is_host()
            } else if path.starts_with("fs/mqueue/")
                || path.starts_with("kernel/shm")
                || path.starts_with("kernel/msg")
                || path == "kernel/sem"
            {
                namespaces.ipc.is_host()
            } else if path == "kernel/domainname" || path == "kernel/hostname" {
                namespaces.uts.is_host()
            } else if path.starts_with("user/") {
                namespaces.user.is_host()
            } else {
                return refuse("is not separate for each container");
            };
            if shared {
                return refuse("belongs to a namespace that is shared with the host");
            }
            Ok((path, value.clone()))
        })
        .collect()
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces<'_>) -> Result<Vec<String>> {
    if !linux.time_offsets.is_empty() && !namespaces.time.is_new() {
        return Err(invalid(
            "linux.timeOffsets needs a new time namespace: add {\"type\": \"time\"} to \
             linux.namespaces",
        ));
    }
    let line = |(clock, offset): (&String, &spec::runtime::TimeOffset)| {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(invalid(format!(
                "linux.timeOffsets: clock {clock:?} is none of monotonic, boottime"
            )));
        }
        if offset.nanosecs >= 1_000_000_000 {
            return Err(invalid(format!(
                "linux.timeOffsets.{clock}: {} nanoseconds are a second or more",
                offset.nanosecs
            )));
        }
        Ok(format!("{clock} {} {}", offset.secs, offset.nanosecs))
    };
    linux.time_offsets.iter().map(line).collect()
}

fn root_propagation(linux: &Linux) -> Result<(Propagation, Depth)> {
    match linux.rootfs_propagation.as_deref() {
        None | Some("") => Ok((Propagation::Private, Depth::Tree)),
        Some(text) => plan::propagation(text)
            .ok_or_else(|| invalid(format!("linux.rootfsPropagation: unknown value {text:?}"))),
    }
}

fn inside(field: &str, paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    paths
        .iter()
        .map(|path| plan::normalise(path).context(|| field))
        .collect()
}

fn refuse_unsupported(linux: &Linux) -> Result<()> {
    if linux.intel_rdt.is_some() {
        return Err(unsupported("linux.intelRdt"));
    }
    Ok(())
}

fn net_devices<'a>(
    linux: &'a Linux,
    namespaces: &Namespaces<'_>,
) -> Result<Vec<(&'a str, &'a str)>> {
    if !linux.net_devices.is_empty() && namespaces.network.is_host() {
        return Err(invalid(
            "linux.netDevices needs a network namespace of the container's own: add {\"type\": \
             \"network\"} to linux.namespaces",
        ));
    }
    net_devices::plan(&linux.net_devices)
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn unsupported(field: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{field} is not supported yet"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(container_id: u32, host_id: u32, size: u32) -> IdMapping {
        IdMapping {
            container_id,
            host_id,
            size,
        }
    }

    #[test]
    fn ranges_that_the_kernel_would_refuse_are_named() {
        assert!(check_ranges(&[map(0, 1000, 1), map(1, 100_000, 65536)]).is_ok());
        for bad in [
            vec![map(0, 0, 0)],
            vec![map(0, u32::MAX, 2)],
            vec![map(0, 0, 10), map(9, 100, 1)],
            vec![map(0, 0, 10), map(10, 9, 1)],
            vec![map(0, 0, 1); 341],
        ] {
            assert!(check_ranges(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn versions_are_read_as_semver_has_them() {
        for good in ["1.0.0", "1.3.0", "1.0.2-dev", "1.2.0+dev", "1.9.0"] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for bad in [
            "", "1", "1.0", "2.0.0", "0.9.0", "1.x.0", "v1.0.0", "1.0.0.0",
        ] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }
}
