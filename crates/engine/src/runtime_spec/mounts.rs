//! The mounts of a container: Docker's defaults, the network's files, then
//! what the user asked for, outer ones first.

use std::path::{Path, PathBuf};

use spec::runtime::Mount;
use state::{IpcMode, MountKind, MountRequest};

use super::SpecInput;
use crate::volumes::Backing;

/// Bytes of /dev/shm unless asked otherwise.
pub(crate) const SHM_SIZE: u64 = 64 << 20;

/// Not to be read by a container.
pub(crate) const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Not to be written by a container.
pub(crate) const READONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// All mounts, in order.
pub(super) fn mounts(input: &SpecInput<'_>) -> Vec<Mount> {
    let config = input.config;
    let mut mounts = defaults(input);
    let files = input.files;
    for (target, source) in [
        ("/etc/resolv.conf", &files.resolv_conf),
        ("/etc/hostname", &files.hostname),
        ("/etc/hosts", &files.hosts),
    ] {
        let options = if config.confinement.read_only_root {
            &["rbind", "rprivate", "ro"][..]
        } else {
            &["rbind", "rprivate"]
        };
        mounts.push(mount(target, "bind", Some(source), options));
    }
    match &config.namespaces.ipc {
        IpcMode::Private | IpcMode::Shareable => {}
        // Its queues come with the namespace.
        IpcMode::Container(_) => {
            mounts.retain(|one| one.destination != Path::new("/dev/shm"));
            let namespace = super::given(config, super::Given::Mount);
            let namespace = format!("namespace={}", namespace.display());
            let options = ["bind", "rprivate", &namespace];
            let shm = Path::new("/dev/shm");
            mounts.push(mount("/dev/shm", "bind", Some(shm), &options));
        }
        IpcMode::None => mounts.retain(|one| one.destination != Path::new("/dev/shm")),
        // With the host's queues and semaphores comes its shared memory.
        IpcMode::Host => {
            for place in ["/dev/shm", "/dev/mqueue"] {
                mounts.retain(|one| one.destination != Path::new(place));
                if Path::new(place).exists() {
                    let options = ["rbind", "rprivate", "nosuid", "noexec", "nodev"];
                    mounts.push(mount(place, "bind", Some(Path::new(place)), &options));
                }
            }
        }
    }
    // The user's mount takes the place of ours.
    mounts.retain(|one| {
        let taken = |request: &MountRequest| request.target == one.destination;
        !config.mounts.iter().any(taken)
    });
    let mut own: Vec<&MountRequest> = config.mounts.iter().collect();
    own.sort_by_key(|request| request.target.components().count());
    mounts.extend(own.into_iter().map(|request| requested(input, request)));
    mounts
}

fn defaults(input: &SpecInput<'_>) -> Vec<Mount> {
    let privileged = input.config.confinement.privileged;
    let shm = input.config.resources.shm_size.unwrap_or(SHM_SIZE);
    let shm = format!("size={shm}");
    let read_only = |options: &[&'static str]| -> Vec<&'static str> {
        let mut options = options.to_vec();
        if !privileged {
            options.push("ro");
        }
        options
    };
    let flags = ["nosuid", "noexec", "nodev"];
    vec![
        mount("/proc", "proc", Some(Path::new("proc")), &flags),
        mount(
            "/dev",
            "tmpfs",
            Some(Path::new("tmpfs")),
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            Some(Path::new("devpts")),
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount(
            "/sys",
            "sysfs",
            Some(Path::new("sysfs")),
            &read_only(&flags),
        ),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            Some(Path::new("cgroup")),
            &read_only(&flags),
        ),
        mount("/dev/mqueue", "mqueue", Some(Path::new("mqueue")), &flags),
        mount(
            "/dev/shm",
            "tmpfs",
            Some(Path::new("shm")),
            &["nosuid", "noexec", "nodev", "mode=1777", &shm],
        ),
    ]
}

fn requested(input: &SpecInput<'_>, request: &MountRequest) -> Mount {
    let access = if request.read_only { "ro" } else { "rw" };
    // As Docker: read-only means all that is mounted below, too.
    let tree_access = match (request.read_only, request.writable_below) {
        (true, false) => "rro",
        _ => access,
    };
    match &request.kind {
        MountKind::Bind {
            source,
            propagation,
            non_recursive,
            ..
        } => {
            let bind = if *non_recursive { "bind" } else { "rbind" };
            let propagation = match propagation.as_str() {
                "" => "rprivate",
                own => own,
            };
            let access = if *non_recursive { access } else { tree_access };
            let options = [bind, propagation, access];
            let mount = mount(&request.target, "bind", Some(source), &options);
            with_ids(input, mount, bind)
        }
        MountKind::Volume(volume) => {
            let source = match input.sources.backings.get(&request.target) {
                Some(Backing::FileSystem {
                    kind,
                    device,
                    options,
                }) => {
                    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
                    options.push(access);
                    return mount(&request.target, kind, Some(Path::new(device)), &options);
                }
                Some(Backing::Bind(path)) => path.clone(),
                Some(Backing::Own) | None => crate::volumes::data(input.layout, &volume.name),
            };
            let options = ["rbind", "rprivate", tree_access];
            let mut mount = mount(&request.target, "bind", Some(&source), &options);
            mount.options.extend(subpath(&volume.subpath));
            with_ids(input, mount, "rbind")
        }
        MountKind::Image(image) => {
            let mut mount = mount(&request.target, "overlay", None, &["rprivate", "ro"]);
            let layers = input.sources.layers.get(&request.target);
            for layer in layers.into_iter().flatten() {
                mount.options.push(format!("lowerdir+={}", layer.display()));
            }
            mount.options.extend(subpath(&image.subpath));
            mount
        }
        MountKind::Cloned(volume) => {
            let mut mount = mount(&request.target, "overlay", None, &["rprivate", access]);
            let below = crate::volumes::below_clone(input.layout, volume);
            for layer in below.iter().rev() {
                mount.options.push(format!("lowerdir+={}", layer.display()));
            }
            let own = input.layout.cloned_volume(&input.config.id, volume.number);
            for (key, name) in [("upperdir", "upper"), ("workdir", "work")] {
                let path = own.join(name);
                mount.options.push(format!("{key}={}", path.display()));
            }
            mount.options.extend(subpath(&volume.subpath));
            mount
        }
        MountKind::Tmpfs {
            size,
            mode,
            options,
        } => {
            let mut all = vec!["nosuid".to_owned(), "nodev".into(), "noexec".into()];
            all.extend(options.iter().cloned());
            all.push(access.to_owned());
            if let Some(size) = size {
                all.push(format!("size={size}"));
            }
            if let Some(mode) = mode {
                all.push(format!("mode={mode:o}"));
            }
            let options: Vec<&str> = all.iter().map(String::as_str).collect();
            mount(&request.target, "tmpfs", Some(Path::new("tmpfs")), &options)
        }
    }
}

/// The runtime's option for a part of the source.
fn subpath(path: &Path) -> Option<String> {
    (!path.as_os_str().is_empty()).then(|| format!("subpath={}", path.display()))
}

/// With the maps of ids that were asked for.
fn with_ids(input: &SpecInput<'_>, mut mount: Mount, bind: &str) -> Mount {
    if let Some((uids, gids)) = input.sources.ids.get(&mount.destination) {
        let depth = if bind == "rbind" { "ridmap" } else { "idmap" };
        mount.options.push(depth.to_owned());
        mount.uid_mappings = vec![*uids];
        mount.gid_mappings = vec![*gids];
    }
    mount
}

fn mount(
    destination: impl Into<PathBuf>,
    kind: &str,
    source: Option<&Path>,
    options: &[&str],
) -> Mount {
    Mount {
        destination: destination.into(),
        kind: Some(kind.to_owned()),
        source: source.map(Path::to_path_buf),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    }
}

#[cfg(test)]
mod tests {
    use state::Layout;

    use super::super::NetworkFiles;
    use super::*;
    use crate::containers::test_config;
    use crate::parse;
    use crate::volumes::MountSources;

    #[test]
    fn the_users_mounts_replace_ours_and_come_outer_first() {
        let mut config = test_config();
        config.mounts = vec![
            parse::tmpfs("/a/b/c").unwrap(),
            parse::volume("/etc/hosts:/etc/hosts:ro", Path::new("/")).unwrap(),
            parse::tmpfs("/a:exec,size=1m,mode=700").unwrap(),
        ];
        let layout = Layout::new("/r", "/run/r");
        let files = NetworkFiles {
            hosts: "/h".into(),
            hostname: "/n".into(),
            resolv_conf: "/c".into(),
        };
        let all = mounts(&SpecInput {
            config: &config,
            layout: &layout,
            files: &files,
            devices: &[],
            size: None,
            sources: &MountSources::default(),
        });
        let targets: Vec<_> = all
            .iter()
            .map(|mount| mount.destination.display().to_string())
            .collect();
        assert_eq!(
            targets
                .iter()
                .filter(|target| *target == "/etc/hosts")
                .count(),
            1
        );
        let at = |wanted: &str| targets.iter().position(|target| target == wanted).unwrap();
        assert!(at("/a") < at("/a/b/c"));
        let tmpfs = &all[at("/a")].options;
        assert!(tmpfs.contains(&"size=1048576".into()) && tmpfs.contains(&"mode=700".into()));
        let noexec = tmpfs.iter().position(|option| option == "noexec").unwrap();
        let exec = tmpfs.iter().position(|option| option == "exec").unwrap();
        assert!(noexec < exec);
        assert!(all[at("/etc/hosts")].options.contains(&"rro".into()));
    }
}
