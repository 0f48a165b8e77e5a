//! [`ContainerConfig`] becomes the specification that the runtime carries
//! out, with Docker's defaults. Pure: what has to be looked up on the host
//! comes in [`SpecInput`].

pub(crate) mod capabilities;
pub(crate) mod devices;
mod mounts;

use std::collections::BTreeMap;
use std::path::PathBuf;

use spec::runtime::{
    BlockIo, Capabilities, ConsoleSize, Cpu, DeviceRule, Linux, Memory, Namespace, NamespaceKind,
    Pids, Process, Resources, Rlimit, Root, Spec, User,
};
use state::message::FIRST_EXTRA_FD;
use state::{ContainerConfig, IpcMode, Layout, NetworkMode, PidMode, ResourceLimits};
use sys::Result;

use crate::containers::merge_env;
use crate::volumes::MountSources;
use devices::HostDevice;
pub(crate) use mounts::{MASKED_PATHS, READONLY_PATHS, SHM_SIZE};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the specification is made of.
pub(crate) struct SpecInput<'a> {
    pub(crate) config: &'a ContainerConfig,
    pub(crate) layout: &'a Layout,
    /// The files that become /etc/hosts and its kin.
    pub(crate) files: &'a NetworkFiles,
    /// Of the request, or all of the host if privileged.
    pub(crate) devices: &'a [HostDevice],
    pub(crate) size: Option<ConsoleSize>,
    /// What the mounts stand for.
    pub(crate) sources: &'a MountSources,
}

/// Files on the host that containers find names by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkFiles {
    pub(crate) hosts: PathBuf,
    pub(crate) hostname: PathBuf,
    pub(crate) resolv_conf: PathBuf,
}

/// Where `runtime` puts a container, below the root of each hierarchy.
pub(crate) fn cgroup_path(config: &ContainerConfig) -> String {
    let parent = config.resources.cgroup_parent.as_deref();
    format!("/{}/{}", parent.unwrap_or("wharf"), config.id)
}

/// As [`cgroup_path`] of a container that names no parent.
pub(crate) fn usual_cgroup_path(id: &state::ContainerId) -> String {
    format!("/wharf/{id}")
}

/// The specification of a container's first process.
pub(crate) fn runtime_spec(input: &SpecInput<'_>) -> Result<Spec> {
    let config = input.config;
    let privileged = config.confinement.privileged;
    let paths = |paths: &[&str]| -> Vec<PathBuf> {
        if privileged {
            return Vec::new();
        }
        paths.iter().map(PathBuf::from).collect()
    };
    Ok(Spec {
        oci_version: spec::runtime::VERSION.to_owned(),
        process: Some(process(config, input.size)?),
        root: Some(Root {
            path: PathBuf::from("rootfs"),
            readonly: config.confinement.read_only_root,
        }),
        hostname: (!config.namespaces.uts_of_host).then(|| config.hostname.clone()),
        domainname: (!config.domainname.is_empty()).then(|| config.domainname.clone()),
        mounts: mounts::mounts(input),
        annotations: config.annotations.clone(),
        linux: Some(Linux {
            sysctl: sysctls(config),
            resources: Some(resources(config, input.devices)),
            cgroups_path: Some(cgroup_path(config)),
            namespaces: namespaces(config),
            devices: input.devices.iter().map(|one| one.device.clone()).collect(),
            masked_paths: paths(&MASKED_PATHS),
            readonly_paths: paths(&READONLY_PATHS),
            ..Linux::default()
        }),
        ..Spec::default()
    })
}

/// The first process; what `exec` adds starts from it too.
pub(crate) fn process(config: &ContainerConfig, size: Option<ConsoleSize>) -> Result<Process> {
    let own = &config.process;
    let confinement = &config.confinement;
    let args = own.entrypoint.iter().chain(&own.command).cloned().collect();
    Ok(Process {
        terminal: own.tty,
        console_size: size,
        user: User::default(),
        args,
        env: environment(config, own.tty, &[]),
        cwd: own.workdir.clone(),
        capabilities: Some(capabilities(config)?),
        rlimits: rlimits(&config.resources),
        no_new_privileges: confinement.no_new_privileges,
        oom_score_adj: config.resources.oom_score_adj,
        ..Process::default()
    })
}

/// Docker's additions, then the container's, then `extra`. HOME is the
/// runtime's affair, which looks the user up.
pub(crate) fn environment(config: &ContainerConfig, tty: bool, extra: &[String]) -> Vec<String> {
    let mut base = vec![
        DEFAULT_PATH.to_owned(),
        format!("HOSTNAME={}", config.hostname),
    ];
    if tty {
        base.push("TERM=xterm".to_owned());
    }
    merge_env(&merge_env(&base, &config.process.env), extra)
}

/// Bounding, effective and permitted alike; nothing is inheritable
/// (CVE-2022-29162) or ambient.
pub(crate) fn capabilities(config: &ContainerConfig) -> Result<Capabilities> {
    let confinement = &config.confinement;
    let names = capabilities::effective(
        confinement.privileged,
        &confinement.cap_add,
        &confinement.cap_drop,
    )?;
    Ok(same_everywhere(names))
}

/// The sets of a privileged process.
pub(crate) fn all_capabilities() -> Result<Capabilities> {
    Ok(same_everywhere(capabilities::effective(true, &[], &[])?))
}

fn same_everywhere(names: Vec<String>) -> Capabilities {
    Capabilities {
        bounding: names.clone(),
        effective: names.clone(),
        permitted: names,
        inheritable: Vec::new(),
        ambient: Vec::new(),
    }
}

fn rlimits(resources: &ResourceLimits) -> Vec<Rlimit> {
    resources
        .ulimits
        .iter()
        .map(|limit| Rlimit {
            kind: format!("RLIMIT_{}", limit.name.to_ascii_uppercase()),
            hard: limit.hard,
            soft: limit.soft,
        })
        .collect()
}

/// The network namespace is in the list even if its descriptor comes with the
/// job: the container is not on the host's.
fn namespaces(config: &ContainerConfig) -> Vec<Namespace> {
    use NamespaceKind::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    let modes = &config.namespaces;
    let pid = matches!(modes.pid, PidMode::Container(_)).then(|| given(config, Given::Pid));
    let ipc = matches!(modes.ipc, IpcMode::Container(_)).then(|| given(config, Given::Ipc));
    [
        (Pid, modes.pid != PidMode::Host),
        (Mount, true),
        (Ipc, modes.ipc != IpcMode::Host),
        (Uts, !modes.uts_of_host),
        (Cgroup, !modes.cgroup_of_host),
        (Network, config.network != NetworkMode::Host),
    ]
    .into_iter()
    .filter(|(_, own)| *own)
    .map(|(kind, _)| Namespace {
        kind,
        path: match kind {
            Pid => pid.clone(),
            Ipc => ipc.clone(),
            _ => None,
        },
    })
    .collect()
}

/// A namespace of another container that the monitor is given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Given {
    Pid,
    Ipc,
    /// Where the shared memory is mounted that goes with that one.
    Mount,
}

/// Where the monitor has it: in this order, behind that of the network, if it
/// was given one.
fn given(config: &ContainerConfig, which: Given) -> PathBuf {
    let has_network = matches!(
        config.network,
        NetworkMode::Bridge | NetworkMode::Container(_)
    );
    let joins_pid = matches!(config.namespaces.pid, PidMode::Container(_));
    let before = [
        has_network,
        joins_pid && which > Given::Pid,
        which > Given::Ipc,
    ];
    let number = before.into_iter().map(i32::from).sum::<i32>() + FIRST_EXTRA_FD;
    PathBuf::from(format!("/proc/self/fd/{number}"))
}

/// Low ports and ping without capabilities, as Docker has it, where the
/// namespace is the container's own.
fn sysctls(config: &ContainerConfig) -> BTreeMap<String, String> {
    let mut sysctls = BTreeMap::new();
    if matches!(config.network, NetworkMode::Bridge | NetworkMode::None) {
        for (key, value) in [
            ("net.ipv4.ip_unprivileged_port_start", "0"),
            ("net.ipv4.ping_group_range", "0 2147483647"),
        ] {
            sysctls.insert(key.to_owned(), value.to_owned());
        }
    }
    sysctls.extend(config.resources.sysctls.clone());
    sysctls
}

/// The limits as the cgroup gets them.
pub(crate) fn resources(config: &ContainerConfig, devices: &[HostDevice]) -> Resources {
    let limits = &config.resources;
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let memory = Memory {
        limit: limits.memory.map(signed),
        reservation: limits.memory_reservation.map(signed),
        swap: limits.memory_swap,
        disable_oom_killer: (limits.oom_kill_disable && crate::cgroup::can_disable_oom_kill())
            .then_some(true),
        ..Memory::default()
    };
    let (period, quota) = match limits.nano_cpus {
        // A tenth of a second, as Docker.
        Some(nano) => (Some(100_000), Some(signed(nano / 10_000))),
        None => (limits.cpu_period, limits.cpu_quota),
    };
    let cpu = Cpu {
        shares: limits.cpu_shares,
        period,
        quota,
        cpus: limits.cpuset_cpus.clone(),
        mems: limits.cpuset_mems.clone(),
        realtime_period: limits.cpu_rt_period,
        realtime_runtime: limits.cpu_rt_runtime,
        ..Cpu::default()
    };
    Resources {
        devices: device_rules(config.confinement.privileged, devices),
        memory: (memory != Memory::default()).then_some(memory),
        cpu: (cpu != Cpu::default()).then_some(cpu),
        pids: limits.pids.map(|limit| Pids { limit: Some(limit) }),
        block_io: limits.blkio_weight.map(|weight| BlockIo {
            weight: Some(weight),
            ..BlockIo::default()
        }),
        ..Resources::default()
    }
}

/// null, zero, full, random, urandom, tty, console, ptmx, pts.
const CHARACTERS: [(i64, Option<i64>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// Making nodes is allowed, using them only for those listed.
fn device_rules(privileged: bool, devices: &[HostDevice]) -> Vec<DeviceRule> {
    let rule =
        |allow, kind: Option<&str>, numbers: (Option<i64>, Option<i64>), access: &str| DeviceRule {
            allow,
            kind: kind.map(str::to_owned),
            major: numbers.0,
            minor: numbers.1,
            access: Some(access.to_owned()),
        };
    if privileged {
        return vec![rule(true, None, (None, None), "rwm")];
    }
    let mut rules = vec![
        rule(false, None, (None, None), "rwm"),
        rule(true, Some("c"), (None, None), "m"),
        rule(true, Some("b"), (None, None), "m"),
    ];
    for (major, minor) in CHARACTERS {
        rules.push(rule(true, Some("c"), (Some(major), minor), "rwm"));
    }
    for one in devices {
        let device = &one.device;
        let numbers = (Some(device.major), Some(device.minor));
        rules.push(rule(true, Some(&device.kind), numbers, &one.access));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::test_config;

    fn spec_of(config: &ContainerConfig) -> Spec {
        let layout = Layout::new("/r", "/run/r");
        let files = NetworkFiles {
            hosts: "/run/r/hosts".into(),
            hostname: "/run/r/hostname".into(),
            resolv_conf: "/run/r/resolv.conf".into(),
        };
        runtime_spec(&SpecInput {
            config,
            layout: &layout,
            files: &files,
            devices: &[],
            size: None,
            sources: &MountSources::default(),
        })
        .unwrap()
    }

    #[test]
    fn confines_as_docker_does() {
        let spec = spec_of(&test_config());
        let process = spec.process.unwrap();
        let capabilities = process.capabilities.unwrap();
        assert_eq!(capabilities.bounding.len(), 14);
        assert!(capabilities.inheritable.is_empty() && capabilities.ambient.is_empty());
        assert!(process.rlimits.is_empty() && !process.no_new_privileges);
        let linux = spec.linux.unwrap();
        assert_eq!(linux.namespaces.len(), 6);
        assert!(linux.masked_paths.contains(&"/proc/kcore".into()));
        assert!(linux.readonly_paths.contains(&"/proc/sys".into()));
        assert_eq!(linux.sysctl["net.ipv4.ip_unprivileged_port_start"], "0");
        let rules = linux.resources.unwrap().devices;
        assert!(!rules[0].allow && rules[0].access.as_deref() == Some("rwm"));
    }

    #[test]
    fn privileged_is_open() {
        let mut config = test_config();
        config.confinement.privileged = true;
        let spec = spec_of(&config);
        let linux = spec.linux.unwrap();
        assert!(linux.masked_paths.is_empty() && linux.readonly_paths.is_empty());
        assert_eq!(linux.resources.unwrap().devices.len(), 1);
        assert_eq!(
            spec.process.unwrap().capabilities.unwrap().effective.len(),
            41
        );
        let sys = spec
            .mounts
            .iter()
            .find(|mount| mount.destination.ends_with("sys"))
            .unwrap();
        assert!(!sys.options.iter().any(|option| option == "ro"));
    }

    #[test]
    fn limits_become_resources() {
        let mut config = test_config();
        config.resources.memory = Some(64 << 20);
        config.resources.nano_cpus = Some(1_500_000_000);
        config.resources.pids = Some(100);
        let resources = spec_of(&config).linux.unwrap().resources.unwrap();
        assert_eq!(resources.memory.unwrap().limit, Some(64 << 20));
        let cpu = resources.cpu.unwrap();
        assert_eq!((cpu.period, cpu.quota), (Some(100_000), Some(150_000)));
        assert_eq!(resources.pids.unwrap().limit, Some(100));
    }

    #[test]
    fn the_hosts_network_gets_no_namespace_and_no_sysctl() {
        let mut config = test_config();
        config.network = NetworkMode::Host;
        let linux = spec_of(&config).linux.unwrap();
        assert_eq!(linux.namespaces.len(), 5);
        assert!(linux.sysctl.is_empty());
    }

    #[test]
    fn the_environment_has_dockers_defaults_below_the_containers() {
        let mut config = test_config();
        config.process.env = vec!["PATH=/x".into(), "A=1".into()];
        let env = environment(&config, true, &["A=2".into()]);
        assert_eq!(env, ["PATH=/x", "HOSTNAME=test", "TERM=xterm", "A=2"]);
    }
}
