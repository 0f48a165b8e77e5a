//! Request and image become a [`ContainerConfig`], by Docker's rules. Pure.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spec::image::ImageConfig;
use state::container::CONFIG_VERSION;
use state::{
    Confinement, ContainerConfig, ContainerId, ContainerName, Endpoint, ImageUse, IpcMode, Link,
    LogConfig, MountKind, MountRequest, NamespaceModes, NetworkMode, PidMode, PortRange,
    ProcessConfig, Protocol, ResourceLimits, SeccompProfile, StopConfig, Timestamp, VolumeMount,
};
use sys::{Error, ErrorKind, Result};

use super::health::health;
use super::request::{ProcessRequest, RunRequest, SeccompRequest};
use crate::Settings;
use crate::parse;
use crate::runtime_spec::capabilities;

/// What is known besides the request.
pub(super) struct Known<'a> {
    pub(super) id: ContainerId,
    pub(super) name: ContainerName,
    pub(super) created: Timestamp,
    pub(super) image: ImageUse,
    pub(super) image_config: &'a ImageConfig,
    /// The request's, with the container looked up.
    pub(super) network: NetworkMode,
    /// Its networks, looked up; the default one if absent.
    pub(super) endpoints: Option<Vec<Endpoint>>,
    pub(super) links: Vec<Link>,
    /// Likewise.
    pub(super) pid: PidMode,
    pub(super) ipc: IpcMode,
    /// What `--volumes-from` brings.
    pub(super) more_mounts: Vec<MountRequest>,
    /// Of whose network it shares, if it has none of its own.
    pub(super) shared_host_name: Option<String>,
    pub(super) settings: &'a Settings,
}

/// The smallest memory limit that lets anything start.
const MEMORY_MIN: u64 = 6 << 20;

/// What the container will be. A volume without a name still has none.
pub(super) fn resolve(request: &RunRequest, known: Known<'_>) -> Result<ContainerConfig> {
    let defaults = &known.image_config.config;
    let process = process(&request.process, known.image_config)?;
    let hostname = match (&request.hostname, known.shared_host_name) {
        (Some(_), _) if request.namespaces.uts_of_host => {
            return Err(invalid("--uts host excludes --hostname"));
        }
        (Some(name), _) => check_hostname(name)?,
        (None, Some(shared)) => shared,
        (None, None) => known.id.short(),
    };
    check_network(request, &known.network)?;
    let mut labels = defaults.labels.clone();
    labels.extend(request.labels.clone());
    Ok(ContainerConfig {
        version: CONFIG_VERSION,
        id: known.id,
        name: known.name,
        created: known.created,
        image: known.image,
        process,
        hostname,
        domainname: check_domain(&request.domainname)?,
        mounts: mounts(&request.mounts, known.more_mounts, &defaults.volumes)?,
        devices: request.devices.clone(),
        network: known.network,
        endpoints: known.endpoints,
        dns: request.dns.clone(),
        namespaces: NamespaceModes {
            pid: known.pid,
            ipc: known.ipc,
            uts_of_host: request.namespaces.uts_of_host,
            cgroup_of_host: request.namespaces.cgroup_of_host,
        },
        ports: request.ports.clone(),
        exposed: exposed(request, known.image_config)?,
        publish_all: request.publish_all,
        extra_hosts: request.extra_hosts.clone(),
        links: known.links,
        resources: resources(&request.resources)?,
        confinement: confinement(request)?,
        stop: stop(request, known.image_config, known.settings)?,
        restart: restart(request)?,
        health: health(&request.health, defaults.healthcheck.as_ref())?,
        log: request
            .log
            .clone()
            .unwrap_or_else(|| LogConfig::from(&known.settings.log)),
        labels,
        annotations: request.annotations.clone(),
        auto_remove: request.auto_remove,
        clone_of: None,
        warm: None,
    })
}

fn process(request: &ProcessRequest, image: &ImageConfig) -> Result<ProcessConfig> {
    let defaults = &image.config;
    let words = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
    let (entrypoint, image_command) = match &request.entrypoint {
        // `--entrypoint ""` is how Docker spells "none".
        Some(own) if own.iter().all(String::is_empty) => (Vec::new(), Vec::new()),
        Some(own) => (own.clone(), Vec::new()),
        None => (words(&defaults.entrypoint), words(&defaults.cmd)),
    };
    let command = if request.command.is_empty() {
        image_command
    } else {
        request.command.clone()
    };
    if entrypoint.is_empty() && command.is_empty() {
        return Err(invalid("no command: neither the image nor you name one"));
    }
    if entrypoint
        .iter()
        .chain(&command)
        .any(|word| word.contains('\0'))
    {
        return Err(invalid("the command holds a zero byte"));
    }
    let workdir = match &request.workdir {
        Some(own) => own.as_str(),
        None if defaults.working_dir.is_empty() => "/",
        None => defaults.working_dir.as_str(),
    };
    if !workdir.starts_with('/') {
        return Err(invalid(format!(
            "the working directory {workdir:?} is not an absolute path"
        )));
    }
    Ok(ProcessConfig {
        entrypoint,
        command,
        env: merge_env(&defaults.env, &request.env),
        workdir: workdir.to_owned(),
        user: request
            .user
            .clone()
            .unwrap_or_else(|| defaults.user.clone()),
        groups: request.groups.clone(),
        tty: request.tty,
        stdin: request.stdin,
        init: request.init,
    })
}

/// `own` over `base`: same name in its place, new ones behind; a name
/// without `=` takes the variable away.
pub(crate) fn merge_env(base: &[String], own: &[String]) -> Vec<String> {
    fn name(entry: &str) -> &str {
        entry.split_once('=').map_or(entry, |(name, _)| name)
    }
    let mut merged: Vec<String> = Vec::with_capacity(base.len() + own.len());
    for entry in base.iter().chain(own) {
        let place = merged.iter().position(|known| name(known) == name(entry));
        match (place, entry.contains('=')) {
            (Some(place), true) => merged[place].clone_from(entry),
            (Some(place), false) => drop(merged.remove(place)),
            (None, true) => merged.push(entry.clone()),
            (None, false) => {}
        }
    }
    merged
}

/// The request's mounts, those of other containers and the image's volumes
/// that they do not cover.
fn mounts(
    request: &[MountRequest],
    more: Vec<MountRequest>,
    volumes: &BTreeMap<String, spec::image::Empty>,
) -> Result<Vec<MountRequest>> {
    let mut targets = HashSet::new();
    for mount in request {
        if !targets.insert(mount.target.as_path()) {
            return Err(invalid(format!(
                "two mounts have the target {}",
                mount.target.display()
            )));
        }
    }
    let mut mounts = request.to_vec();
    for mount in more {
        if !mounts.iter().any(|known| known.target == mount.target) {
            mounts.push(mount);
        }
    }
    let targets: HashSet<PathBuf> = mounts.iter().map(|mount| mount.target.clone()).collect();
    for path in volumes.keys() {
        // The same rules as for `-v PATH`: nothing relative, no root.
        let anonymous = parse::volume(path, Path::new("/"))?;
        let plain = matches!(
            &anonymous.kind,
            MountKind::Volume(VolumeMount {
                anonymous: true,
                ..
            })
        );
        if !plain {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("the image has a volume at {path:?}, which is no path"),
            ));
        }
        if !targets.contains(anonymous.target.as_path()) {
            mounts.push(anonymous);
        }
    }
    Ok(mounts)
}

fn exposed(request: &RunRequest, image: &ImageConfig) -> Result<Vec<(PortRange, Protocol)>> {
    let mut exposed = request.exposed.clone();
    for port in image.config.exposed_ports.keys() {
        exposed.push(parse::expose(port)?);
    }
    exposed.sort_unstable();
    exposed.dedup();
    Ok(exposed)
}

pub(super) fn resources(request: &ResourceLimits) -> Result<ResourceLimits> {
    let mut resources = request.clone();
    if let Some(memory) = resources.memory {
        if memory < MEMORY_MIN {
            return Err(invalid("the smallest memory limit is 6m"));
        }
        let limit = i64::try_from(memory).map_err(|_| invalid("the memory limit is too large"))?;
        match resources.memory_swap {
            // As Docker: as much swap as memory.
            None => resources.memory_swap = Some(limit.saturating_mul(2)),
            Some(swap) if swap != -1 && swap < limit => {
                return Err(invalid(
                    "the limit of memory and swap is below that of memory",
                ));
            }
            Some(_) => {}
        }
        if resources
            .memory_reservation
            .is_some_and(|soft| soft > memory)
        {
            return Err(invalid("the memory reservation is above the limit"));
        }
    } else if resources.memory_swap.is_some_and(|swap| swap > 0) {
        return Err(invalid("a limit of swap needs a limit of memory"));
    }
    if resources.nano_cpus.is_some() {
        if resources.cpu_quota.is_some() || resources.cpu_period.is_some() {
            return Err(invalid("--cpus excludes a period and a quota"));
        }
        if resources.nano_cpus.is_some_and(|nano| nano < 10_000_000) {
            return Err(invalid("the smallest number of processors is 0.01"));
        }
    }
    if resources.pids.is_some_and(|pids| pids <= 0) {
        resources.pids = None;
    }
    if resources
        .blkio_weight
        .is_some_and(|weight| !(10..=1000).contains(&weight))
    {
        return Err(invalid("the block I/O weight is between 10 and 1000"));
    }
    if resources
        .oom_score_adj
        .is_some_and(|adjustment| !(-1000..=1000).contains(&adjustment))
    {
        return Err(invalid(
            "the OOM score adjustment is between -1000 and 1000",
        ));
    }
    Ok(resources)
}

fn confinement(request: &RunRequest) -> Result<Confinement> {
    let wish = &request.confinement;
    let names = capabilities::effective(wish.privileged, &wish.cap_add, &wish.cap_drop)?;
    let seccomp = match &wish.seccomp {
        // As Docker: a privileged container is filtered only if asked.
        SeccompRequest::Builtin if wish.privileged => SeccompProfile::Unconfined,
        SeccompRequest::Builtin => SeccompProfile::Builtin,
        SeccompRequest::Unconfined => SeccompProfile::Unconfined,
        SeccompRequest::Custom(profile) => {
            SeccompProfile::Custom(Box::new(profile.for_capabilities(&names)))
        }
    };
    Ok(Confinement {
        privileged: wish.privileged,
        cap_add: wish.cap_add.clone(),
        cap_drop: wish.cap_drop.clone(),
        no_new_privileges: wish.no_new_privileges,
        seccomp,
        apparmor: wish.apparmor.clone(),
        read_only_root: wish.read_only_root,
    })
}

fn stop(request: &RunRequest, image: &ImageConfig, settings: &Settings) -> Result<StopConfig> {
    let signal = match (request.stop.signal, &image.config.stop_signal) {
        (Some(own), _) => own,
        (None, Some(text)) if !text.is_empty() => parse::signal(text)?,
        _ => rustix::process::Signal::TERM.as_raw(),
    };
    let timeout = match (request.stop.timeout, image.config.stop_timeout) {
        (Some(own), _) => own,
        (None, Some(seconds)) => Duration::from_secs(seconds),
        (None, None) => settings.containers.stop_timeout(),
    };
    Ok(StopConfig { signal, timeout })
}

fn restart(request: &RunRequest) -> Result<state::RestartPolicy> {
    if request.auto_remove && request.restart != state::RestartPolicy::No {
        return Err(invalid("--rm and a restart policy exclude each other"));
    }
    Ok(request.restart)
}

fn check_network(request: &RunRequest, network: &NetworkMode) -> Result<()> {
    let publishes = !request.ports.is_empty() || request.publish_all;
    if !publishes {
        return Ok(());
    }
    let what = match network {
        NetworkMode::Container(_) => "with the network of another container",
        // As Docker on the last two: the ports are there anyway, or nobody
        // can come.
        NetworkMode::Bridge | NetworkMode::Host | NetworkMode::None => return Ok(()),
    };
    Err(invalid(format!("ports cannot be published {what}")))
}

/// It becomes part of a line of /etc/hosts.
fn check_domain(name: &str) -> Result<String> {
    let name = name.trim_end_matches('.');
    if name.is_empty() {
        return Ok(String::new());
    }
    check_hostname(name).map_err(|_| {
        let shown: String = name.chars().take(80).collect();
        invalid(format!("{shown:?} is not a domain name"))
    })
}

pub(super) fn check_hostname(name: &str) -> Result<String> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // The kernel keeps 64 bytes.
    if name.len() <= 64 && name.split('.').all(label) {
        return Ok(name.to_owned());
    }
    let shown: String = name.chars().take(80).collect();
    Err(invalid(format!("{shown:?} is not a host name")))
}

fn invalid(words: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, words)
}

#[cfg(test)]
mod tests {
    use spec::Digest;

    use super::*;
    use crate::containers::request::ConfinementRequest;

    const IMAGE: &str = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},
        "config":{"Entrypoint":["/entry"],"Cmd":["serve"],"Env":["PATH=/bin","LANG=C"],
        "WorkingDir":"/srv","User":"app","ExposedPorts":{"5432/tcp":{}},"Volumes":{"/data":{}},
        "Labels":{"a":"1","b":"2"},"StopSignal":"SIGINT"}}"#;

    fn known(image: &ImageConfig) -> Known<'_> {
        let digest = Digest::sha256([0; 32]);
        Known {
            pid: PidMode::Private,
            ipc: IpcMode::Private,
            more_mounts: Vec::new(),
            id: ContainerId::from_bytes([7; 32]),
            name: "db".parse().unwrap(),
            created: Timestamp::from_nanos(0),
            image: ImageUse {
                name: "img".into(),
                id: digest,
                manifest: digest,
                chain: Vec::new(),
            },
            image_config: image,
            network: NetworkMode::Bridge,
            endpoints: None,
            links: Vec::new(),
            shared_host_name: None,
            settings: Box::leak(Box::default()),
        }
    }

    fn with(change: impl FnOnce(&mut RunRequest)) -> Result<ContainerConfig> {
        let image: ImageConfig = serde_json::from_str(IMAGE).unwrap();
        let mut request = RunRequest::default();
        change(&mut request);
        resolve(&request, known(&image))
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn puts_entrypoint_and_command_together_as_docker_does() {
        type Words = &'static [&'static str];
        // Asked: entrypoint, command. Given: entrypoint, command.
        let table: [(Option<Words>, Words, Words, Words); 6] = [
            (None, &[], &["/entry"], &["serve"]),
            (None, &["x"], &["/entry"], &["x"]),
            (Some(&["/own"]), &[], &["/own"], &[]),
            (Some(&["/own"]), &["x"], &["/own"], &["x"]),
            (Some(&[""]), &["x"], &[], &["x"]),
            (Some(&[]), &["x"], &[], &["x"]),
        ];
        for (entrypoint, command, expected, arguments) in table {
            let config = with(|request| {
                request.process.entrypoint = entrypoint.map(words);
                request.process.command = words(command);
            })
            .unwrap();
            assert_eq!(config.process.entrypoint, words(expected));
            assert_eq!(config.process.command, words(arguments));
        }
        let error = with(|request| request.process.entrypoint = Some(Vec::new())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn takes_the_images_defaults() {
        let config = with(|_| {}).unwrap();
        assert_eq!(config.process.workdir, "/srv");
        assert_eq!(config.process.user, "app");
        assert_eq!(config.hostname, "070707070707");
        assert_eq!(config.stop.signal, 2);
        assert_eq!(config.exposed.len(), 1);
        assert_eq!(config.mounts.len(), 1);
        assert_eq!(config.mounts[0].target, Path::new("/data"));
    }

    #[test]
    fn the_request_wins() {
        let config = with(|request| {
            request.process.env = words(&["LANG=de", "NEW=1", "PATH"]);
            request.process.workdir = Some("/".into());
            request.process.user = Some("0".into());
            request.labels.insert("b".into(), "3".into());
            request.mounts.push(parse::tmpfs("/data").unwrap());
            request.stop.signal = Some(9);
            request.hostname = Some("web.example".into());
        })
        .unwrap();
        assert_eq!(config.process.env, ["LANG=de", "NEW=1"]);
        assert_eq!(
            (
                config.process.workdir.as_str(),
                config.process.user.as_str()
            ),
            ("/", "0")
        );
        assert_eq!(config.labels["a"], "1");
        assert_eq!(config.labels["b"], "3");
        assert_eq!(config.mounts.len(), 1);
        assert_eq!(
            (config.stop.signal, config.hostname.as_str()),
            (9, "web.example")
        );
    }

    #[test]
    fn fills_in_and_checks_limits() {
        let limits = |change: fn(&mut ResourceLimits)| {
            with(|request| change(&mut request.resources)).map(|config| config.resources)
        };
        let memory = limits(|limits| limits.memory = Some(64 << 20)).unwrap();
        assert_eq!(memory.memory_swap, Some(128 << 20));
        assert_eq!(limits(|limits| limits.pids = Some(-1)).unwrap().pids, None);
        let bad: [fn(&mut ResourceLimits); 6] = [
            |limits| limits.memory = Some(1 << 20),
            |limits| limits.memory_swap = Some(1 << 30),
            |limits| (limits.memory, limits.memory_swap) = (Some(64 << 20), Some(1 << 20)),
            |limits| limits.nano_cpus = Some(1),
            |limits| (limits.nano_cpus, limits.cpu_quota) = (Some(1_000_000_000), Some(1)),
            |limits| limits.oom_score_adj = Some(2000),
        ];
        for change in bad {
            assert!(limits(change).is_err());
        }
    }

    #[test]
    fn refuses_what_cannot_be() {
        let bad: [fn(&mut RunRequest); 6] = [
            |request| request.process.workdir = Some("srv".into()),
            |request| request.hostname = Some("a b".into()),
            |request| request.confinement.cap_add = vec!["NOPE".into()],
            |request| {
                request.auto_remove = true;
                request.restart = state::RestartPolicy::Always;
            },
            |request| request.mounts = vec![parse::tmpfs("/x").unwrap(); 2],
            |request| request.process.command = vec!["a\0b".into()],
        ];
        for change in bad {
            assert_eq!(with(change).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn privileged_is_unfiltered_unless_asked() {
        let seccomp = |confinement: ConfinementRequest| {
            with(|request| request.confinement = confinement)
                .unwrap()
                .confinement
                .seccomp
        };
        let privileged = ConfinementRequest {
            privileged: true,
            ..ConfinementRequest::default()
        };
        assert_eq!(seccomp(privileged), SeccompProfile::Unconfined);
        assert_eq!(
            seccomp(ConfinementRequest::default()),
            SeccompProfile::Builtin
        );
    }
}
