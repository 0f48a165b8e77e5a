//! `inspect`: everything about a container, in the shape of Docker's JSON.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use spec::image::{Empty, Healthcheck};
use state::{
    AppArmorProfile, ContainerConfig, Endpoint, HealthConfig, HealthStatus, IpcMode, LogDriver,
    MountKind, MountRequest, NetworkMode, NetworkRecord, PidMode, PortMapping, PortRange, Protocol,
    RestartPolicy, RootFs, SeccompProfile, Status, StdinMode, Timestamp,
};
use sys::Result;

use super::Containers;
use super::list::network_name;
use super::observe::{self, Observed};
use super::stop::no_such;
use super::words::state_word;
use crate::apparmor;
use crate::parse::signal_name;
use crate::runtime_spec::{MASKED_PATHS, READONLY_PATHS, SHM_SIZE};
use crate::volumes;

/// Docker's `ContainerInspect`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerInspect {
    pub id: String,
    pub created: String,
    pub path: String,
    pub args: Vec<String>,
    pub state: InspectState,
    /// The image's id.
    pub image: String,
    pub resolv_conf_path: String,
    pub hostname_path: String,
    pub hosts_path: String,
    pub log_path: String,
    /// With a slash in front, as Docker has it.
    pub name: String,
    pub restart_count: u32,
    pub driver: String,
    pub platform: String,
    pub mount_label: String,
    pub process_label: String,
    pub app_armor_profile: String,
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    pub host_config: InspectHostConfig,
    pub graph_driver: InspectGraphDriver,
    pub mounts: Vec<InspectMount>,
    pub config: InspectConfig,
    pub network_settings: InspectNetworkSettings,
    /// Where it comes from, if it is a clone. Not Docker's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clone_of: Option<InspectCloneOf>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectCloneOf {
    /// The container that was copied, and how it was called then.
    pub id: String,
    pub name: String,
    /// Whose files lie below its own.
    pub template: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectState {
    /// `created`, `running`, `paused`, `restarting`, `exited`.
    pub status: String,
    pub running: bool,
    pub paused: bool,
    pub restarting: bool,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    pub dead: bool,
    pub pid: i32,
    pub exit_code: i32,
    pub error: String,
    pub started_at: String,
    pub finished_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<InspectHealth>,
    /// Ours: its memory is on the disk. To Docker's clients it is `exited`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<InspectSuspended>,
    /// Ours, as podman's: a checkpoint ended it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub checkpointed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectSuspended {
    pub at: String,
    pub processes: u64,
    /// Bytes of memory on the disk.
    pub size: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectHealth {
    /// `starting`, `healthy`, `unhealthy`.
    pub status: String,
    pub failing_streak: u32,
    /// The last probes, oldest first.
    pub log: Vec<InspectProbe>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectProbe {
    pub start: String,
    pub end: String,
    pub exit_code: i32,
    pub output: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectHostConfig {
    /// The short form of bind mounts and named volumes.
    pub binds: Option<Vec<String>>,
    #[serde(rename = "ContainerIDFile")]
    pub container_id_file: String,
    pub log_config: InspectLogConfig,
    pub network_mode: String,
    pub port_bindings: BTreeMap<String, Option<Vec<InspectPort>>>,
    pub restart_policy: InspectRestartPolicy,
    pub auto_remove: bool,
    pub cap_add: Option<Vec<String>>,
    pub cap_drop: Option<Vec<String>>,
    pub extra_hosts: Option<Vec<String>>,
    pub links: Option<Vec<String>>,
    pub group_add: Option<Vec<String>>,
    pub ipc_mode: String,
    pub pid_mode: String,
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    pub cgroupns_mode: String,
    pub oom_kill_disable: bool,
    pub blkio_weight: u16,
    pub cgroup_parent: String,
    pub cpu_realtime_period: u64,
    pub cpu_realtime_runtime: i64,
    pub oom_score_adj: i32,
    pub privileged: bool,
    pub publish_all_ports: bool,
    pub readonly_rootfs: bool,
    pub security_opt: Option<Vec<String>>,
    pub tmpfs: BTreeMap<String, String>,
    pub shm_size: u64,
    pub sysctls: BTreeMap<String, String>,
    pub runtime: String,
    pub cpu_shares: u64,
    pub memory: u64,
    pub nano_cpus: u64,
    pub cpu_period: u64,
    pub cpu_quota: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub devices: Vec<InspectDevice>,
    pub memory_reservation: u64,
    pub memory_swap: i64,
    pub pids_limit: Option<i64>,
    pub ulimits: Vec<InspectUlimit>,
    pub init: bool,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectLogConfig {
    #[serde(rename = "Type")]
    pub kind: String,
    pub config: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectRestartPolicy {
    pub name: String,
    pub maximum_retry_count: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectPort {
    pub host_ip: String,
    pub host_port: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectDevice {
    pub path_on_host: String,
    pub path_in_container: String,
    pub cgroup_permissions: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectUlimit {
    pub name: String,
    pub hard: i64,
    pub soft: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectGraphDriver {
    pub name: String,
    /// `LowerDir`, `UpperDir`, `WorkDir`.
    pub data: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectMount {
    /// `bind`, `volume`, `tmpfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub source: String,
    pub destination: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    pub mode: String,
    #[serde(rename = "RW")]
    pub writable: bool,
    pub propagation: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectConfig {
    pub hostname: String,
    pub domainname: String,
    pub user: String,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    pub tty: bool,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub env: Vec<String>,
    pub cmd: Option<Vec<String>>,
    /// As the user wrote it.
    pub image: String,
    pub volumes: Option<BTreeMap<String, Empty>>,
    pub working_dir: String,
    pub entrypoint: Option<Vec<String>>,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: String,
    pub stop_timeout: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectNetworkSettings {
    pub bridge: String,
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    pub sandbox_key: String,
    pub ports: BTreeMap<String, Option<Vec<InspectPort>>>,
    pub gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    pub mac_address: String,
    pub networks: BTreeMap<String, InspectEndpoint>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InspectEndpoint {
    pub aliases: Option<Vec<String>>,
    pub mac_address: String,
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    pub gateway: String,
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    #[serde(rename = "DNSNames")]
    pub dns_names: Option<Vec<String>>,
}

/// Docker's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Containers<'_> {
    /// Its published ports; none if it does not run.
    pub fn ports(&self, container: &str) -> Result<Vec<PortMapping>> {
        let id = self.resolve(container)?;
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        if !observed.is_running() {
            return Ok(Vec::new());
        }
        let records = observe::networks(self.engine, &id)?;
        Ok(records
            .into_iter()
            .flat_map(|record| record.ports)
            .collect())
    }

    /// Everything about it, in the shape of Docker's `inspect`. No lock is
    /// taken.
    pub fn inspect(&self, container: &str) -> Result<ContainerInspect> {
        let id = self.resolve(container)?;
        let engine = self.engine;
        let observed = observe::observe(engine, &id)?.ok_or_else(|| no_such(container))?;
        let networks = if observed.is_running() {
            observe::networks(engine, &id)?
        } else {
            Vec::new()
        };
        let layout = engine.layout();
        let config = &observed.config;
        let run = layout.run_container(&id);
        let file = |name: &str| run.join(name).display().to_string();
        let mut words = config
            .process
            .entrypoint
            .iter()
            .chain(&config.process.command);
        let rootfs = engine
            .images()
            .store()?
            .snapshots()
            .rootfs(&id, &config.image.chain)
            .ok();
        Ok(ContainerInspect {
            id: id.to_string(),
            created: config.created.to_string(),
            path: words.next().cloned().unwrap_or_default(),
            args: words.cloned().collect(),
            state: InspectState {
                health: health_of(engine, &observed)?,
                ..state_of(&observed)
            },
            image: config.image.id.to_string(),
            resolv_conf_path: file("resolv.conf"),
            hostname_path: file("hostname"),
            hosts_path: file("hosts"),
            log_path: match config.log.driver {
                LogDriver::JsonFile | LogDriver::Local => {
                    layout.container_log(&id).display().to_string()
                }
                LogDriver::Journald | LogDriver::None => String::new(),
            },
            name: format!("/{}", config.name),
            restart_count: observed.facts.as_ref().map_or(0, |facts| facts.restarts),
            driver: "overlay2".to_owned(),
            platform: "linux".to_owned(),
            mount_label: String::new(),
            process_label: String::new(),
            app_armor_profile: apparmor::shown(&config.confinement),
            exec_ids: None,
            host_config: host_config(config),
            graph_driver: graph_driver(rootfs),
            mounts: config
                .mounts
                .iter()
                .map(|mount| mount_of(mount, &config.id, layout))
                .collect(),
            config: config_of(config),
            network_settings: network_settings(config, &networks),
            clone_of: config.clone_of.as_ref().map(|origin| InspectCloneOf {
                id: origin.parent.to_string(),
                name: origin.parent_name.to_string(),
                template: origin.template.to_string(),
            }),
        })
    }
}

fn healthcheck(health: &HealthConfig) -> Healthcheck {
    let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Healthcheck {
        test: health.test.clone(),
        interval: nanos(health.interval),
        timeout: nanos(health.timeout),
        start_period: nanos(health.start_period),
        start_interval: nanos(health.start_interval),
        retries: health.retries,
    }
}

/// As `--log-opt` has them.
fn log_options(log: &state::LogConfig) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    if matches!(log.driver, LogDriver::JsonFile | LogDriver::Local) {
        options.insert("max-size".to_owned(), log.max_size.to_string());
        options.insert("max-file".to_owned(), log.max_files.to_string());
    }
    for (name, list) in [("labels", &log.labels), ("env", &log.env)] {
        if !list.is_empty() {
            options.insert(name.to_owned(), list.join(","));
        }
    }
    if let Some(tag) = &log.tag {
        options.insert("tag".to_owned(), tag.clone());
    }
    options
}

fn host_or(is_host: bool, otherwise: &str) -> String {
    if is_host { "host" } else { otherwise }.to_owned()
}

fn health_of(engine: &crate::Engine, observed: &Observed) -> Result<Option<InspectHealth>> {
    if observed.config.health.is_none() || !observed.is_running() {
        return Ok(None);
    }
    // Nothing was found out before the first probe.
    let Some(record) = observe::health(engine, &observed.config.id)? else {
        return Ok(Some(InspectHealth {
            status: HealthStatus::Starting.word().to_owned(),
            ..InspectHealth::default()
        }));
    };
    Ok(Some(InspectHealth {
        status: record.status.word().to_owned(),
        failing_streak: record.failing_streak,
        log: record
            .log
            .into_iter()
            .map(|probe| InspectProbe {
                start: probe.start.to_string(),
                end: probe.end.to_string(),
                exit_code: probe.exit_code,
                output: probe.output,
            })
            .collect(),
    }))
}

fn state_of(observed: &Observed) -> InspectState {
    let exit = observed.exit.as_ref();
    let (mut state, started, finished) = match &observed.status {
        Status::Created => (
            InspectState::default(),
            None,
            exit.map(|exit| exit.finished),
        ),
        Status::Running { since } | Status::Paused { since } => {
            let state = InspectState {
                running: true,
                paused: matches!(observed.status, Status::Paused { .. }),
                pid: observed
                    .facts
                    .as_ref()
                    .and_then(|facts| facts.sandbox.as_ref())
                    .map_or(0, |sandbox| sandbox.init.pid),
                ..InspectState::default()
            };
            (state, Some(*since), None)
        }
        Status::Suspended(suspended) => {
            let state = InspectState {
                suspended: Some(InspectSuspended {
                    at: suspended.at.to_string(),
                    processes: suspended.memory.processes,
                    size: suspended.memory.size,
                }),
                ..InspectState::default()
            };
            (state, suspended.started, Some(suspended.at))
        }
        Status::Restarting(exit) | Status::Exited(exit) => {
            let waits = matches!(observed.status, Status::Restarting(_));
            let state = InspectState {
                // Docker counts what waits for a restart as running.
                running: waits,
                restarting: waits,
                oom_killed: exit.out_of_memory,
                exit_code: i32::from(exit.status.code()),
                checkpointed: exit.checkpointed,
                ..InspectState::default()
            };
            (state, exit.started, Some(exit.finished))
        }
    };
    if let (Status::Created, Some(exit)) = (&observed.status, exit) {
        state.exit_code = i32::from(exit.status.code());
    }
    if !state.running
        && let Some(error) = exit.and_then(|exit| exit.error.as_ref())
    {
        state.error = error.to_string();
    }
    let time =
        |time: Option<Timestamp>| time.map_or_else(|| NEVER.to_owned(), |time| time.to_string());
    let word = match &observed.status {
        Status::Suspended(_) => "exited",
        status => state_word(status),
    };
    word.clone_into(&mut state.status);
    state.started_at = time(started);
    state.finished_at = time(finished);
    state
}

fn host_config(config: &ContainerConfig) -> InspectHostConfig {
    let resources = &config.resources;
    let confinement = &config.confinement;
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let paths = |paths: &[&str]| -> Vec<String> {
        let paths = if confinement.privileged { &[] } else { paths };
        paths.iter().map(|path| (*path).to_owned()).collect()
    };
    let hosts: Vec<String> = config
        .extra_hosts
        .iter()
        .map(|(name, address)| format!("{name}:{address}"))
        .collect();
    let links: Vec<String> = config
        .links
        .iter()
        .map(|link| {
            format!(
                "/{}:/{}/{}",
                link.container.short(),
                config.name,
                link.alias
            )
        })
        .collect();
    InspectHostConfig {
        binds: binds(config),
        container_id_file: String::new(),
        log_config: InspectLogConfig {
            kind: config.log.driver.name().to_owned(),
            config: log_options(&config.log),
        },
        network_mode: network_name(config),
        port_bindings: port_bindings(config),
        restart_policy: restart_policy(config.restart),
        auto_remove: config.auto_remove,
        cap_add: some(&confinement.cap_add),
        cap_drop: some(&confinement.cap_drop),
        extra_hosts: some(&hosts),
        links: some(&links),
        group_add: some(&config.process.groups),
        ipc_mode: match &config.namespaces.ipc {
            IpcMode::Private => "private".to_owned(),
            IpcMode::Shareable => "shareable".to_owned(),
            IpcMode::None => "none".to_owned(),
            IpcMode::Host => "host".to_owned(),
            IpcMode::Container(other) => format!("container:{other}"),
        },
        pid_mode: match &config.namespaces.pid {
            PidMode::Private => String::new(),
            PidMode::Host => "host".to_owned(),
            PidMode::Container(other) => format!("container:{other}"),
        },
        uts_mode: host_or(config.namespaces.uts_of_host, ""),
        cgroupns_mode: host_or(config.namespaces.cgroup_of_host, "private"),
        oom_kill_disable: resources.oom_kill_disable,
        blkio_weight: resources.blkio_weight.unwrap_or(0),
        cgroup_parent: resources
            .cgroup_parent
            .as_ref()
            .map(|parent| format!("/{parent}"))
            .unwrap_or_default(),
        cpu_realtime_period: resources.cpu_rt_period.unwrap_or(0),
        cpu_realtime_runtime: resources.cpu_rt_runtime.unwrap_or(0),
        oom_score_adj: resources.oom_score_adj.unwrap_or(0),
        privileged: confinement.privileged,
        publish_all_ports: config.publish_all,
        readonly_rootfs: confinement.read_only_root,
        security_opt: security_options(config),
        tmpfs: tmpfs(config),
        shm_size: resources.shm_size.unwrap_or(SHM_SIZE),
        sysctls: resources.sysctls.clone(),
        runtime: "wharf-runtime".to_owned(),
        cpu_shares: resources.cpu_shares.unwrap_or(0),
        memory: resources.memory.unwrap_or(0),
        nano_cpus: resources.nano_cpus.unwrap_or(0),
        cpu_period: resources.cpu_period.unwrap_or(0),
        cpu_quota: resources.cpu_quota.unwrap_or(0),
        cpuset_cpus: resources.cpuset_cpus.clone().unwrap_or_default(),
        cpuset_mems: resources.cpuset_mems.clone().unwrap_or_default(),
        devices: config
            .devices
            .iter()
            .map(|device| InspectDevice {
                path_on_host: device.host.display().to_string(),
                path_in_container: device.container.display().to_string(),
                cgroup_permissions: device.access.clone(),
            })
            .collect(),
        memory_reservation: resources.memory_reservation.unwrap_or(0),
        memory_swap: resources.memory_swap.unwrap_or(0),
        pids_limit: resources.pids,
        ulimits: resources
            .ulimits
            .iter()
            .map(|limit| InspectUlimit {
                name: limit.name.clone(),
                // Docker's -1 is unlimited.
                hard: limit.hard.cast_signed(),
                soft: limit.soft.cast_signed(),
            })
            .collect(),
        init: config.process.init,
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READONLY_PATHS),
        annotations: config.annotations.clone(),
    }
}

fn binds(config: &ContainerConfig) -> Option<Vec<String>> {
    let binds: Vec<String> = config
        .mounts
        .iter()
        .filter_map(|mount| {
            let source = match &mount.kind {
                MountKind::Bind { source, .. } => source.display().to_string(),
                MountKind::Volume(volume) if !volume.anonymous => volume.name.clone(),
                _ => return None,
            };
            let access = if mount.read_only { ":ro" } else { "" };
            Some(format!("{source}:{}{access}", mount.target.display()))
        })
        .collect();
    (!binds.is_empty()).then_some(binds)
}

fn restart_policy(policy: RestartPolicy) -> InspectRestartPolicy {
    let (name, count) = match policy {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure { at_most } => ("on-failure", at_most.unwrap_or(0)),
    };
    InspectRestartPolicy {
        name: name.to_owned(),
        maximum_retry_count: count,
    }
}

fn security_options(config: &ContainerConfig) -> Option<Vec<String>> {
    let mut options = Vec::new();
    if config.confinement.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    match &config.confinement.seccomp {
        SeccompProfile::Builtin => {}
        SeccompProfile::Unconfined => options.push("seccomp=unconfined".to_owned()),
        SeccompProfile::Custom(profile) => {
            let text = serde_json::to_string(profile).unwrap_or_default();
            options.push(format!("seccomp={text}"));
        }
    }
    match &config.confinement.apparmor {
        AppArmorProfile::Default => {}
        AppArmorProfile::Unconfined => options.push("apparmor=unconfined".to_owned()),
        AppArmorProfile::Named(name) => options.push(format!("apparmor={name}")),
    }
    (!options.is_empty()).then_some(options)
}

fn tmpfs(config: &ContainerConfig) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for mount in &config.mounts {
        if let MountKind::Tmpfs {
            size,
            mode,
            options,
        } = &mount.kind
        {
            let mut words = options.clone();
            words.extend(mount.read_only.then(|| "ro".to_owned()));
            words.extend(size.map(|size| format!("size={size}")));
            words.extend(mode.map(|mode| format!("mode={mode:o}")));
            all.insert(mount.target.display().to_string(), words.join(","));
        }
    }
    all
}

fn graph_driver(rootfs: Option<RootFs>) -> InspectGraphDriver {
    let mut data = BTreeMap::new();
    if let Some(RootFs::Overlay(overlay)) = rootfs {
        let lower: Vec<String> = overlay
            .lower
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        data.insert("LowerDir".to_owned(), lower.join(":"));
        data.insert("UpperDir".to_owned(), overlay.upper.display().to_string());
        data.insert("WorkDir".to_owned(), overlay.work.display().to_string());
    }
    InspectGraphDriver {
        name: "overlay2".to_owned(),
        data,
    }
}

fn mount_of(mount: &MountRequest, id: &state::ContainerId, layout: &state::Layout) -> InspectMount {
    let path = |path: &Path| path.display().to_string();
    let mut inspect = InspectMount {
        destination: path(&mount.target),
        writable: !mount.read_only,
        mode: if mount.read_only { "ro" } else { "" }.to_owned(),
        ..InspectMount::default()
    };
    match &mount.kind {
        MountKind::Bind {
            source,
            propagation,
            ..
        } => {
            "bind".clone_into(&mut inspect.kind);
            inspect.source = path(source);
            inspect.propagation = match propagation.as_str() {
                "" => "rprivate".to_owned(),
                own => own.to_owned(),
            };
        }
        MountKind::Volume(volume) => {
            "volume".clone_into(&mut inspect.kind);
            inspect.name.clone_from(&volume.name);
            inspect.source = path(&volumes::data(layout, &volume.name));
            "local".clone_into(&mut inspect.driver);
        }
        MountKind::Cloned(volume) => {
            "volume".clone_into(&mut inspect.kind);
            inspect.name.clone_from(&volume.name);
            let own = layout.cloned_volume(id, volume.number);
            inspect.source = path(&own.join("upper"));
            "local".clone_into(&mut inspect.driver);
        }
        MountKind::Tmpfs { .. } => "tmpfs".clone_into(&mut inspect.kind),
        MountKind::Image(image) => {
            "image".clone_into(&mut inspect.kind);
            inspect.source.clone_from(&image.name);
        }
    }
    inspect
}

fn config_of(config: &ContainerConfig) -> InspectConfig {
    let process = &config.process;
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let anonymous: BTreeMap<String, Empty> = config
        .mounts
        .iter()
        .filter(|mount| matches!(&mount.kind, MountKind::Volume(volume) if volume.anonymous))
        .map(|mount| (mount.target.display().to_string(), Empty {}))
        .collect();
    InspectConfig {
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        user: process.user.clone(),
        attach_stdin: process.stdin == StdinMode::Once,
        attach_stdout: true,
        attach_stderr: true,
        exposed_ports: exposed(config).map(|key| (key, Empty {})).collect(),
        tty: process.tty,
        open_stdin: process.stdin != StdinMode::Closed,
        stdin_once: process.stdin == StdinMode::Once,
        env: process.env.clone(),
        cmd: some(&process.command),
        image: config.image.name.clone(),
        volumes: (!anonymous.is_empty()).then_some(anonymous),
        working_dir: process.workdir.clone(),
        entrypoint: some(&process.entrypoint),
        labels: config.labels.clone(),
        stop_signal: signal_name(config.stop.signal),
        stop_timeout: config.stop.timeout.as_secs(),
        healthcheck: config.health.as_ref().map(healthcheck),
    }
}

/// `80/tcp` for every exposed or published port.
fn exposed(config: &ContainerConfig) -> impl Iterator<Item = String> {
    let published = config
        .ports
        .iter()
        .map(|port| (port.container, port.protocol));
    published
        .chain(config.exposed.iter().copied())
        .flat_map(|(range, protocol)| keys(range, protocol))
}

fn keys(range: PortRange, protocol: Protocol) -> impl Iterator<Item = String> {
    (range.first..=range.last).map(move |port| format!("{port}/{protocol}"))
}

fn port_bindings(config: &ContainerConfig) -> BTreeMap<String, Option<Vec<InspectPort>>> {
    let mut bindings: BTreeMap<String, Option<Vec<InspectPort>>> = BTreeMap::new();
    for request in &config.ports {
        for (offset, key) in (0..).zip(keys(request.container, request.protocol)) {
            let port = match request.host {
                Some(host) if host.count() == request.container.count() => {
                    (host.first + offset).to_string()
                }
                Some(host) => format!("{}-{}", host.first, host.last),
                None => String::new(),
            };
            bindings
                .entry(key)
                .or_default()
                .get_or_insert_default()
                .push(InspectPort {
                    host_ip: request.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
                    host_port: port,
                });
        }
    }
    bindings
}

fn network_settings(config: &ContainerConfig, records: &[NetworkRecord]) -> InspectNetworkSettings {
    let mut settings = InspectNetworkSettings::default();
    if !records.is_empty() {
        for key in exposed(config) {
            settings.ports.insert(key, None);
        }
    }
    if matches!(config.network, NetworkMode::Container(_)) {
        return settings;
    }
    for port in records.iter().flat_map(|record| &record.ports) {
        settings
            .ports
            .entry(format!("{}/{}", port.container, port.protocol))
            .or_default()
            .get_or_insert_default()
            .push(InspectPort {
                host_ip: port.host.ip().to_string(),
                host_port: port.host.port().to_string(),
            });
    }
    if config.network == NetworkMode::Bridge {
        for endpoint in config.networks() {
            let record = records
                .iter()
                .find(|record| record.network == endpoint.network);
            let shown = inspect_endpoint(config, &endpoint, record);
            settings.networks.insert(endpoint.network, shown);
        }
    } else {
        let name = network_name(config);
        settings.networks.insert(name, InspectEndpoint::default());
    }
    // As Docker once had it for its one network: here the one that leads out.
    let leading = records
        .iter()
        .find(|record| record.ipv4_gateway.is_some())
        .or(records.first());
    if let Some(leading) = leading
        && let Some(shown) = settings.networks.get(&leading.network).cloned()
    {
        settings.ip_address = shown.ip_address;
        settings.ip_prefix_len = shown.ip_prefix_len;
        settings.gateway = shown.gateway;
        settings.global_ipv6_address = shown.global_ipv6_address;
        settings.global_ipv6_prefix_len = shown.global_ipv6_prefix_len;
        settings.ipv6_gateway = shown.ipv6_gateway;
        settings.mac_address = shown.mac_address;
    }
    settings
}

fn inspect_endpoint(
    config: &ContainerConfig,
    endpoint: &Endpoint,
    record: Option<&NetworkRecord>,
) -> InspectEndpoint {
    let mut shown = InspectEndpoint {
        aliases: (!endpoint.aliases.is_empty()).then(|| endpoint.aliases.clone()),
        ..InspectEndpoint::default()
    };
    let Some(record) = record else {
        return shown;
    };
    let text = |address: Option<std::net::IpAddr>| {
        address
            .map(|address| address.to_string())
            .unwrap_or_default()
    };
    shown.mac_address.clone_from(&record.mac);
    shown.network_id = record
        .network_id
        .map(|id| id.to_string())
        .unwrap_or_default();
    shown.endpoint_id = crate::networks::endpoint_id(&shown.network_id, &config.id);
    shown.gateway = text(record.ipv4_gateway);
    shown.ip_address = text(record.ipv4);
    shown.ip_prefix_len = record.ipv4_prefix;
    shown.ipv6_gateway = text(record.ipv6_gateway);
    shown.global_ipv6_address = text(record.ipv6);
    shown.global_ipv6_prefix_len = record.ipv6_prefix;
    shown.dns_names = Some(super::networking::names(config, endpoint));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn tells_ports_and_mounts_in_dockers_form() {
        let mut config = super::super::test_config();
        config.ports = vec!["127.0.0.1:8000-8001:80-81".parse().unwrap()];
        config.exposed = vec![parse::expose("53/udp").unwrap()];
        config.mounts = vec![
            parse::volume("/a:/b:ro", Path::new("/")).unwrap(),
            parse::volume("data:/c", Path::new("/")).unwrap(),
        ];
        let host = host_config(&config);
        assert_eq!(
            host.port_bindings["81/tcp"].as_ref().unwrap()[0].host_port,
            "8001"
        );
        assert_eq!(host.binds.unwrap(), ["/a:/b:ro", "data:/c"]);
        let keys: Vec<String> = config_of(&config).exposed_ports.into_keys().collect();
        assert_eq!(keys, ["53/udp", "80/tcp", "81/tcp"]);
        let record = NetworkRecord {
            network: "bridge".into(),
            ipv4: Some("10.1.0.2".parse().unwrap()),
            ports: vec![PortMapping {
                host: "127.0.0.1:8000".parse().unwrap(),
                container: 80,
                protocol: Protocol::Tcp,
            }],
            ..NetworkRecord::default()
        };
        let network = network_settings(&config, &[record]);
        assert_eq!(network.networks["bridge"].ip_address, "10.1.0.2");
        assert_eq!(network.ports["53/udp"], None);
        assert_eq!(
            network.ports["80/tcp"].as_ref().unwrap()[0].host_port,
            "8000"
        );
    }

    #[test]
    fn has_dockers_keys() {
        let json = serde_json::to_value(ContainerInspect::default()).unwrap();
        assert!(json["State"]["OOMKilled"].is_boolean());
        assert!(json["NetworkSettings"]["IPAddress"].is_string());
        assert!(json["HostConfig"]["NanoCpus"].is_number());
    }
}
