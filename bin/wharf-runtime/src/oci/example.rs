//! `spec`: a configuration to begin with.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use spec::runtime::{
    Capabilities, DeviceRule, IdMapping, Linux, Mount, Namespace, NamespaceKind, Process,
    Resources, Root, Spec,
};
use sys::{Context as _, Result};

use super::output;

const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
/// Destination, type, source, options.
const MOUNTS: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &[]),
    (
        "/dev",
        "tmpfs",
        "tmpfs",
        &["nosuid", "strictatime", "mode=755", "size=65536k"],
    ),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &[
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ],
    ),
    (
        "/dev/shm",
        "tmpfs",
        "shm",
        &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    ),
    (
        "/dev/mqueue",
        "mqueue",
        "mqueue",
        &["nosuid", "noexec", "nodev"],
    ),
    (
        "/sys",
        "sysfs",
        "sysfs",
        &["nosuid", "noexec", "nodev", "ro"],
    ),
    (
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["nosuid", "noexec", "nodev", "relatime", "ro"],
    ),
];

/// Writes `config.json` into `bundle`; one that is there stays.
pub(super) fn write(bundle: &Path, rootless: bool) -> Result<()> {
    let mut spec = example();
    if rootless {
        make_rootless(&mut spec);
    }
    let text = output::json(&spec)?;
    let path = bundle.join("config.json");
    let mut file = fs::File::create_new(&path).context(|| format!("create {}", path.display()))?;
    file.write_all(text.as_bytes())
        .context(|| format!("write {}", path.display()))
}

/// For a user without rights: a user namespace in which only that user exists,
/// as root, with the host's network and what of /sys can be had without it.
fn make_rootless(spec: &mut Spec) {
    let map = |host_id: u32| IdMapping {
        container_id: 0,
        host_id,
        size: 1,
    };
    if let Some(linux) = &mut spec.linux {
        linux
            .namespaces
            .retain(|namespace| namespace.kind != NamespaceKind::Network);
        linux.namespaces.push(Namespace {
            kind: NamespaceKind::User,
            path: None,
        });
        linux.uid_mappings = vec![map(rustix::process::getuid().as_raw())];
        linux.gid_mappings = vec![map(rustix::process::getgid().as_raw())];
        linux.resources = None;
    }
    for mount in &mut spec.mounts {
        if mount.destination == Path::new("/sys") {
            mount.kind = Some("none".to_owned());
            mount.source = Some("/sys".into());
            mount.options = ["rbind", "nosuid", "noexec", "nodev", "ro"]
                .map(str::to_owned)
                .to_vec();
        }
        // The group of terminals does not exist in there.
        mount.options.retain(|option| option != "gid=5");
    }
}

/// A shell in `rootfs`, confined as usual.
fn example() -> Spec {
    let texts = |list: &[&str]| {
        list.iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    let kinds = [
        NamespaceKind::Pid,
        NamespaceKind::Network,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Mount,
        NamespaceKind::Cgroup,
    ];
    Spec {
        oci_version: spec::runtime::VERSION.to_owned(),
        process: Some(Process {
            terminal: true,
            args: texts(&["sh"]),
            env: texts(&[
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ]),
            cwd: "/".to_owned(),
            capabilities: Some(Capabilities {
                bounding: texts(&CAPABILITIES),
                effective: texts(&CAPABILITIES),
                permitted: texts(&CAPABILITIES),
                ..Capabilities::default()
            }),
            no_new_privileges: true,
            ..Process::default()
        }),
        root: Some(Root {
            path: "rootfs".into(),
            readonly: true,
        }),
        hostname: Some("wharf".to_owned()),
        mounts: MOUNTS
            .iter()
            .map(|(destination, kind, source, options)| Mount {
                destination: destination.into(),
                kind: Some((*kind).to_owned()),
                source: Some(source.into()),
                options: texts(options),
                ..Mount::default()
            })
            .collect(),
        linux: Some(Linux {
            resources: Some(Resources {
                devices: vec![DeviceRule {
                    allow: false,
                    access: Some("rwm".to_owned()),
                    ..DeviceRule::default()
                }],
                ..Resources::default()
            }),
            namespaces: kinds
                .into_iter()
                .map(|kind| Namespace { kind, path: None })
                .collect(),
            masked_paths: MASKED.iter().map(Into::into).collect(),
            readonly_paths: READ_ONLY.iter().map(Into::into).collect(),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}
