//! What a checkpoint from elsewhere asks for beyond what `wharf run IMAGE`
//! gives: that has to be granted by whoever imports it.

use state::{
    AppArmorProfile, Confinement, ContainerConfig, LogConfig, MountKind, MountRequest,
    NamespaceModes, NetworkMode, ResourceLimits, SeccompProfile,
};

/// Each of them in words.
pub(super) fn demands(config: &ContainerConfig) -> Vec<String> {
    let mut demands = Vec::new();
    confinement(&config.confinement, &mut demands);
    for mount in &config.mounts {
        demands.extend(demand_of(mount));
    }
    for device in &config.devices {
        demands.push(format!("device {}", device.host.display()));
    }
    match &config.network {
        NetworkMode::Bridge | NetworkMode::None => {}
        NetworkMode::Host => demands.push("the host's network".to_owned()),
        NetworkMode::Container(other) => {
            demands.push(format!("the network of container {}", other.short()));
        }
    }
    for endpoint in config.endpoints.iter().flatten() {
        if endpoint.network != network::DEFAULT_NETWORK {
            demands.push(format!("network {}", endpoint.network));
        }
    }
    if config.namespaces != NamespaceModes::default() {
        demands.push("namespaces of the host or of other containers".to_owned());
    }
    if harmless(&config.resources) != config.resources {
        demands.push("limits, sysctls or places that are not the usual ones".to_owned());
    }
    if !config.annotations.is_empty() {
        demands.push("annotations".to_owned());
    }
    if config.log != LogConfig::default() {
        demands.push("a log that is not the usual one".to_owned());
    }
    demands
}

fn confinement(asked: &Confinement, demands: &mut Vec<String>) {
    if asked.privileged {
        demands.push("every privilege (--privileged)".to_owned());
    }
    for capability in &asked.cap_add {
        demands.push(format!("capability {capability}"));
    }
    if asked.seccomp != SeccompProfile::Builtin {
        demands.push("another filter of system calls".to_owned());
    }
    if asked.apparmor != AppArmorProfile::Default {
        demands.push("another AppArmor profile".to_owned());
    }
    // Named so that a new field is looked at here.
    let Confinement {
        privileged: _,
        cap_add: _,
        cap_drop: _,
        no_new_privileges: _,
        seccomp: _,
        apparmor: _,
        read_only_root: _,
    } = asked;
}

fn demand_of(mount: &MountRequest) -> Option<String> {
    match &mount.kind {
        MountKind::Bind { source, .. } => Some(format!("the host's {}", source.display())),
        MountKind::Volume(volume) if !volume.anonymous => Some(format!("volume {}", volume.name)),
        MountKind::Volume(volume) => {
            let is_plain = volume.options.is_empty()
                && volume.subpath.as_os_str().is_empty()
                && mount.id_map.is_none();
            (!is_plain).then(|| "a volume with options".to_owned())
        }
        // Checkpoints have none; whoever restores one does not get it.
        MountKind::Cloned(volume) => Some(format!("the volume {} of a clone", volume.name)),
        MountKind::Tmpfs { .. } => None,
        MountKind::Image(image) => Some(format!("image {}", image.name)),
    }
}

/// What only takes from the container.
fn harmless(asked: &ResourceLimits) -> ResourceLimits {
    ResourceLimits {
        memory: asked.memory,
        memory_reservation: asked.memory_reservation,
        memory_swap: asked.memory_swap.filter(|swap| *swap >= 0),
        nano_cpus: asked.nano_cpus,
        cpu_period: asked.cpu_period,
        cpu_quota: asked.cpu_quota,
        pids: asked.pids,
        shm_size: asked.shm_size,
        storage: asked.storage,
        ..ResourceLimits::default()
    }
}

#[cfg(test)]
mod tests {
    use state::{DeviceRequest, VolumeMount};

    use super::*;

    #[test]
    fn a_plain_container_demands_nothing_and_each_demand_is_named() {
        let plain = crate::containers::test_config();
        assert_eq!(demands(&plain), Vec::<String>::new());
        let with = |change: &dyn Fn(&mut ContainerConfig)| {
            let mut config = plain.clone();
            change(&mut config);
            demands(&config).join("; ")
        };
        let volume = |name: &str, anonymous| MountRequest {
            kind: MountKind::Volume(VolumeMount {
                name: name.into(),
                anonymous,
                ..VolumeMount::default()
            }),
            ..crate::parse::tmpfs("/data").unwrap()
        };
        for (said, wanted) in [
            (
                with(&|config| config.confinement.privileged = true),
                "every privilege",
            ),
            (
                with(&|config| config.confinement.cap_add = vec!["SYS_ADMIN".into()]),
                "SYS_ADMIN",
            ),
            (
                with(&|config| config.confinement.seccomp = SeccompProfile::Unconfined),
                "filter",
            ),
            (
                with(&|config| config.confinement.apparmor = AppArmorProfile::Unconfined),
                "AppArmor",
            ),
            (
                with(&|config| config.network = NetworkMode::Host),
                "the host's network",
            ),
            (
                with(&|config| config.namespaces.uts_of_host = true),
                "namespaces",
            ),
            (
                with(&|config| config.mounts = vec![volume("db", false)]),
                "volume db",
            ),
            (
                with(&|config| config.resources.oom_score_adj = Some(-999)),
                "limits",
            ),
            (
                with(&|config| config.resources.cgroup_parent = Some("x".into())),
                "limits",
            ),
            (
                with(&|config| {
                    config.devices = vec![DeviceRequest {
                        host: "/dev/sda".into(),
                        container: "/dev/x".into(),
                        access: "rw".into(),
                    }];
                }),
                "device /dev/sda",
            ),
        ] {
            assert!(said.contains(wanted), "{said:?} lacks {wanted:?}");
        }
        assert_eq!(with(&|config| config.mounts = vec![volume("x", true)]), "");
        assert_eq!(with(&|config| config.resources.memory = Some(1 << 30)), "");
    }
}
