//! What to build: the specification, validated once and understood. Pure but
//! for opening namespaces to join.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use spec::runtime::{Device, IdMapping, Linux, NamespaceKind, Process, Spec};
use sys::caps::Caps;
use sys::mount::{Depth, Propagation};
use sys::rlimit::{Limit, Resource};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::mounts::plan::{self, PlannedMount};

/// How a kind of namespace is had.
#[derive(Debug, Default)]
pub(crate) enum NamespaceUse {
    /// The caller's.
    #[default]
    Host,
    New,
    Join(OwnedFd),
}

impl NamespaceUse {
    pub(crate) fn is_new(&self) -> bool {
        matches!(self, Self::New)
    }
}

/// Per kind; the mount namespace is always new.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    pub(crate) pid: NamespaceUse,
    pub(crate) network: NamespaceUse,
    pub(crate) ipc: NamespaceUse,
    pub(crate) uts: NamespaceUse,
    pub(crate) user: NamespaceUse,
    pub(crate) cgroup: NamespaceUse,
}

/// The container, ready to be built.
#[derive(Debug)]
pub(crate) struct Sandbox<'a> {
    pub(crate) linux: &'a Linux,
    pub(crate) namespaces: Namespaces,
    pub(crate) uid_mappings: &'a [IdMapping],
    pub(crate) gid_mappings: &'a [IdMapping],
    pub(crate) mounts: Vec<PlannedMount>,
    pub(crate) masked: Vec<PathBuf>,
    pub(crate) read_only: Vec<PathBuf>,
    pub(crate) root_read_only: bool,
    /// Of the host's mounts in the new namespace.
    pub(crate) propagation: Propagation,
    pub(crate) devices: &'a [Device],
    pub(crate) sysctls: Vec<(String, String)>,
    pub(crate) hostname: Option<&'a str>,
    pub(crate) domainname: Option<&'a str>,
    pub(crate) process: Identity<'a>,
}

/// What the kernel keeps per process, understood.
#[derive(Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) process: &'a Process,
    pub(crate) bounding: Caps,
    pub(crate) effective: Caps,
    pub(crate) permitted: Caps,
    pub(crate) ambient: Caps,
    pub(crate) limits: Vec<(&'a str, Resource, Limit)>,
}

impl<'a> Sandbox<'a> {
    /// Understands `spec` or says which field it cannot honour. `network`
    /// overrides the namespace that the specification names.
    pub(crate) fn plan(spec: &'a Spec, bundle: &Path, network: Option<OwnedFd>) -> Result<Self> {
        static NO_LINUX: std::sync::OnceLock<Linux> = std::sync::OnceLock::new();
        let linux = spec
            .linux
            .as_ref()
            .unwrap_or_else(|| NO_LINUX.get_or_init(Linux::default));
        let process = spec
            .process
            .as_ref()
            .ok_or_else(|| invalid("process is missing: nothing to run"))?;
        refuse_unsupported(linux)?;
        let mut namespaces = namespaces(linux)?;
        if let Some(network) = network {
            namespaces.network = NamespaceUse::Join(network);
        }
        let user_is_new = namespaces.user.is_new();
        if user_is_new && (linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty()) {
            return Err(invalid(
                "linux.uidMappings and linux.gidMappings are needed by a new user namespace",
            ));
        }
        if (spec.hostname.is_some() || spec.domainname.is_some())
            && matches!(namespaces.uts, NamespaceUse::Host)
        {
            return Err(invalid("hostname needs a uts namespace of its own"));
        }
        Ok(Self {
            linux,
            uid_mappings: if user_is_new {
                &linux.uid_mappings
            } else {
                &[]
            },
            gid_mappings: if user_is_new {
                &linux.gid_mappings
            } else {
                &[]
            },
            mounts: plan::plan(&spec.mounts, bundle)?,
            masked: inside("linux.maskedPaths", &linux.masked_paths)?,
            read_only: inside("linux.readonlyPaths", &linux.readonly_paths)?,
            root_read_only: spec.root.as_ref().is_some_and(|root| root.readonly),
            propagation: root_propagation(linux)?,
            devices: &linux.devices,
            sysctls: sysctls(linux, &namespaces)?,
            hostname: spec.hostname.as_deref(),
            domainname: spec.domainname.as_deref(),
            process: Identity::plan(process)?,
            namespaces,
        })
    }
}

impl<'a> Identity<'a> {
    pub(crate) fn plan(process: &'a Process) -> Result<Self> {
        let unsupported = [
            (
                process.apparmor_profile.is_some(),
                "process.apparmorProfile",
            ),
            (process.selinux_label.is_some(), "process.selinuxLabel"),
            (process.scheduler.is_some(), "process.scheduler"),
            (process.io_priority.is_some(), "process.ioPriority"),
            (
                process.exec_cpu_affinity.is_some(),
                "process.execCPUAffinity",
            ),
        ];
        refuse(&unsupported)?;
        if process.args.is_empty() {
            return Err(invalid("process.args is empty: no program to run"));
        }
        if !process.cwd.starts_with('/') {
            return Err(invalid(format!(
                "process.cwd {:?} is not absolute",
                process.cwd
            )));
        }
        let caps = process.capabilities.as_ref();
        let set = |names: Option<&Vec<String>>| {
            names.map_or(Ok(Caps::default()), |names| Caps::from_names(names))
        };
        let bounding = set(caps.map(|caps| &caps.bounding))?;
        let permitted = set(caps.map(|caps| &caps.permitted))?;
        let effective = set(caps.map(|caps| &caps.effective))?;
        let ambient = set(caps.map(|caps| &caps.ambient))?;
        if !permitted.contains(effective) {
            return Err(invalid(
                "process.capabilities: an effective capability is not permitted",
            ));
        }
        let limits = process
            .rlimits
            .iter()
            .map(|limit| {
                if limit.soft > limit.hard {
                    return Err(invalid(format!(
                        "process.rlimits: {} has a soft limit above its hard limit",
                        limit.kind
                    )));
                }
                let resource = Resource::from_name(&limit.kind)?;
                let values = Limit {
                    soft: limit.soft,
                    hard: limit.hard,
                };
                Ok((limit.kind.as_str(), resource, values))
            })
            .collect::<Result<_>>()?;
        // Whether we have a capability ourselves bounds what we can give.
        let ours = sys::caps::permitted()?;
        Ok(Self {
            process,
            bounding,
            effective: effective & ours,
            permitted: permitted & ours,
            ambient: ambient & permitted & ours,
            limits,
        })
    }
}

fn namespaces(linux: &Linux) -> Result<Namespaces> {
    let mut all = Namespaces::default();
    let mut has_mount = false;
    for namespace in &linux.namespaces {
        let field = format!("linux.namespaces ({:?})", namespace.kind).to_lowercase();
        let usage = match &namespace.path {
            None => NamespaceUse::New,
            Some(path) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let fd = openat(CWD, path, flags, Mode::empty())
                    .context(|| format!("{field}: open {}", path.display()))?;
                NamespaceUse::Join(fd)
            }
        };
        let joins = matches!(usage, NamespaceUse::Join(_));
        let place = match namespace.kind {
            NamespaceKind::Mount | NamespaceKind::User if joins => {
                return Err(unsupported(&format!("{field}: joining by path")));
            }
            NamespaceKind::Mount => {
                has_mount = true;
                continue;
            }
            NamespaceKind::Time => return Err(unsupported(&field)),
            NamespaceKind::Pid => &mut all.pid,
            NamespaceKind::Network => &mut all.network,
            NamespaceKind::Ipc => &mut all.ipc,
            NamespaceKind::Uts => &mut all.uts,
            NamespaceKind::User => &mut all.user,
            NamespaceKind::Cgroup => &mut all.cgroup,
        };
        *place = usage;
    }
    if !has_mount {
        return Err(unsupported(
            "linux.namespaces: sharing the host's mount namespace",
        ));
    }
    Ok(all)
}

/// Only what is the container's own may be set.
fn sysctls(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<(String, String)>> {
    let is_host = |usage: &NamespaceUse| matches!(usage, NamespaceUse::Host);
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
                is_host(&namespaces.network)
            } else if path.starts_with("fs/mqueue/")
                || path.starts_with("kernel/shm")
                || path.starts_with("kernel/msg")
                || path == "kernel/sem"
            {
                is_host(&namespaces.ipc)
            } else if path == "kernel/domainname" || path == "kernel/hostname" {
                is_host(&namespaces.uts)
            } else if path.starts_with("user/") {
                is_host(&namespaces.user)
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

fn root_propagation(linux: &Linux) -> Result<Propagation> {
    match linux.rootfs_propagation.as_deref() {
        None | Some("") => Ok(Propagation::Private),
        Some(text) => match plan::propagation(text) {
            Some((propagation, Depth::Tree | Depth::One)) => Ok(propagation),
            None => Err(invalid(format!(
                "linux.rootfsPropagation: unknown {text:?}"
            ))),
        },
    }
}

fn inside(field: &str, paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    paths
        .iter()
        .map(|path| plan::normalise(path).context(|| field))
        .collect()
}

fn refuse_unsupported(linux: &Linux) -> Result<()> {
    refuse(&[
        (!linux.net_devices.is_empty(), "linux.netDevices"),
        (
            linux
                .mount_label
                .as_ref()
                .is_some_and(|label| !label.is_empty()),
            "linux.mountLabel",
        ),
        (linux.intel_rdt.is_some(), "linux.intelRdt"),
        (linux.personality.is_some(), "linux.personality"),
        (!linux.time_offsets.is_empty(), "linux.timeOffsets"),
        (linux.memory_policy.is_some(), "linux.memoryPolicy"),
    ])
}

fn refuse(fields: &[(bool, &str)]) -> Result<()> {
    match fields.iter().find(|(present, _)| *present) {
        Some((_, field)) => Err(unsupported(field)),
        None => Ok(()),
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn unsupported(field: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{field} is not supported yet"),
    )
}
