//! `run` and `create`: arguments, and the request that they make.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use clap::{Arg, ArgMatches, Command};
use engine::parse::{self, SecurityOption};
use engine::{
    Access, ConfinementRequest, HealthRequest, IpcRequest, NamespacesRequest, NetworkRequest,
    PidRequest, ProcessRequest, PullPolicy, RunRequest, SeccompRequest, StopRequest,
};
use spec::image::Platform;
use state::{
    DnsConfig, HealthAction, LogConfig, LogDriver, ResourceLimits, RestartPolicy, StdinMode,
};
use sys::{Context as _, Error, ErrorKind, Result};

use super::{Given, flag, list, shape, short_flag, short_list, short_value, value, words};
use crate::environment;

const RUN_EXAMPLES: &str = "
Examples:
  wharf run -it --rm debian bash            a shell that leaves nothing behind
  wharf run -d --name web -p 8080:80 nginx  a server, reachable at port 8080
  wharf run --rm -v \"$PWD\":/work -w /work gcc make
  wharf run -e POSTGRES_PASSWORD postgres   the value comes from here
";

/// `wharf run`.
pub(crate) fn run(command: Command) -> Command {
    let command = shape(command, "[OPTIONS] IMAGE [COMMAND] [ARG...]")
        .after_help(RUN_EXAMPLES)
        .arg(short_flag(
            'd',
            "detach",
            "Run in the background and print the container's id",
        ))
        .arg(value(
            "detach-keys",
            "KEYS",
            "Keys that leave it running (default ctrl-p,ctrl-q)",
        ))
        .arg(flag(
            "sig-proxy",
            "Pass signals on to the container (default true)",
        ));
    shared(command)
}

/// `wharf create`.
pub(crate) fn create(command: Command) -> Command {
    shared(shape(command, "[OPTIONS] IMAGE [COMMAND] [ARG...]"))
}

fn shared(command: Command) -> Command {
    command
        .args(process_arguments())
        .args(changeable_limits())
        .arg(restart_policy())
        .args(resource_arguments())
        .args(health_arguments())
        .args(outside_arguments())
        .args(network_arguments())
        .arg(words("IMAGE", 1))
}

/// What runs, and as whom.
fn process_arguments() -> [Arg; 22] {
    [
        list(
            "annotation",
            "KEY=VALUE",
            "Add an annotation for the OCI runtime",
        ),
        short_list(
            'a',
            "attach",
            "STREAM",
            "Attach to stdin, stdout or stderr only",
        ),
        list("cap-add", "CAP", "Add a Linux capability"),
        list("cap-drop", "CAP", "Drop a Linux capability"),
        value("cidfile", "FILE", "Write the container's id to a new file"),
        value("entrypoint", "COMMAND", "Replace the image's entrypoint"),
        variables(),
        variable_files(),
        list("group-add", "GROUP", "Add a supplementary group"),
        flag(
            "init",
            "Run a small init that forwards signals and reaps processes",
        ),
        short_flag('i', "interactive", "Keep stdin open"),
        short_list('l', "label", "KEY[=VALUE]", "Set a label"),
        list("label-file", "FILE", "Read labels from a file"),
        value("name", "NAME", "Name of the container"),
        value("platform", "OS/ARCH", "Platform of the image"),
        flag("privileged", "Give the container every privilege"),
        value(
            "pull",
            "WHEN",
            "Pull the image: always, missing or never (default missing)",
        ),
        short_flag('q', "quiet", "Say nothing while pulling"),
        flag("rm", "Remove the container when it exits"),
        short_flag('t', "tty", "Give it a terminal"),
        short_value('u', "user", "USER[:GROUP]", "User by name or number"),
        short_value('w', "workdir", "DIR", "Working directory"),
    ]
}

/// Limits that can change while it runs.
pub(crate) fn changeable_limits() -> [Arg; 13] {
    [
        value("blkio-weight", "WEIGHT", "Share of block I/O (10 to 1000)"),
        value("cpu-period", "USEC", "CPU period in microseconds"),
        value("cpu-quota", "USEC", "CPU time per period in microseconds"),
        value("cpu-rt-period", "USEC", "Period of real-time CPU time"),
        value("cpu-rt-runtime", "USEC", "Real-time CPU time per period"),
        short_value('c', "cpu-shares", "WEIGHT", "CPU weight (1024 is normal)"),
        value("cpus", "NUMBER", "Number of CPUs, as 1.5"),
        value("cpuset-cpus", "LIST", "CPUs to run on (0-3, 0,1)"),
        value("cpuset-mems", "LIST", "Memory nodes to use"),
        short_value('m', "memory", "SIZE", "Memory limit (b, k, m, g)"),
        value(
            "memory-reservation",
            "SIZE",
            "Memory that is kept longest under pressure",
        ),
        value(
            "memory-swap",
            "SIZE",
            "Memory and swap together, -1 for no limit",
        ),
        value(
            "pids-limit",
            "NUMBER",
            "Most processes at a time, -1 for no limit",
        ),
    ]
}

/// `--env`, of every verb that makes or changes an environment.
pub(super) fn variables() -> Arg {
    short_list(
        'e',
        "env",
        "NAME[=VALUE]",
        "Set a variable; NAME alone takes ours",
    )
}

/// `--env-file`.
pub(super) fn variable_files() -> Arg {
    list("env-file", "FILE", "Read variables from a file")
}

/// `--restart`.
pub(crate) fn restart_policy() -> Arg {
    value(
        "restart",
        "POLICY",
        "no, always, unless-stopped, on-failure[:MAX]",
    )
}

/// How much else of the machine it may use.
fn resource_arguments() -> [Arg; 6] {
    [
        value("cgroup-parent", "GROUP", "Control group to make its own in"),
        flag(
            "oom-kill-disable",
            "Let it wait for memory instead of being killed",
        ),
        value(
            "oom-score-adj",
            "NUMBER",
            "Preference of the out-of-memory killer (-1000 to 1000)",
        ),
        value("shm-size", "SIZE", "Size of /dev/shm"),
        list(
            "sysctl",
            "KEY=VALUE",
            "Set a kernel parameter of its namespaces",
        ),
        list("ulimit", "NAME=SOFT[:HARD]", "Set a resource limit"),
    ]
}

/// How its health is looked after.
fn health_arguments() -> [Arg; 8] {
    [
        value(
            "health-cmd",
            "COMMAND",
            "Command that tells whether it is healthy",
        ),
        value(
            "health-interval",
            "TIME",
            "Time between two checks (default 30s)",
        ),
        value(
            "health-on-failure",
            "ACTION",
            "What follows when it is unhealthy: none, restart or stop (default none)",
        ),
        value(
            "health-retries",
            "COUNT",
            "Failures in a row that make it unhealthy (default 3)",
        ),
        value(
            "health-start-interval",
            "TIME",
            "Time between two checks in the start period (default 5s)",
        ),
        value(
            "health-start-period",
            "TIME",
            "Time in which failures do not count (default 0s)",
        ),
        value(
            "health-timeout",
            "TIME",
            "Longest time of a check (default 30s)",
        ),
        flag("no-healthcheck", "Do not use the image's health check"),
    ]
}

/// What it has to do with the outside.
fn outside_arguments() -> [Arg; 20] {
    [
        list(
            "device",
            "HOST[:CONTAINER[:rwm]]",
            "Add a device of the host",
        ),
        value("domainname", "NAME", "NIS domain name"),
        short_value('h', "hostname", "NAME", "Host name"),
        value("log-driver", "DRIVER", "json-file, local, journald or none"),
        list(
            "log-opt",
            "KEY=VALUE",
            "max-size=SIZE, max-file=COUNT, labels=NAMES, env=NAMES, tag=TEMPLATE",
        ),
        list(
            "mount",
            "MOUNT",
            "As type=bind,source=DIR,target=DIR or type=volume|tmpfs|image,…",
        ),
        flag("read-only", "Mount the root file system read-only"),
        list(
            "security-opt",
            "OPTION",
            "seccomp=FILE|unconfined, apparmor=PROFILE|unconfined, no-new-privileges",
        ),
        list(
            "storage-opt",
            "size=SIZE",
            "Limit its own files (XFS or ext4 with prjquota)",
        ),
        value("stop-signal", "SIGNAL", "Signal that stops it"),
        value(
            "stop-timeout",
            "SECONDS",
            "Time between stop signal and SIGKILL",
        ),
        list("tmpfs", "DIR[:OPTIONS]", "Mount a tmpfs"),
        short_list(
            'v',
            "volume",
            "[SOURCE:]DIR[:ro|idmap]",
            "Mount a directory of the host or a volume",
        ),
        list(
            "volumes-from",
            "CONTAINER[:ro]",
            "Mount what another container mounts",
        ),
        value(
            "ipc",
            "MODE",
            "private, shareable, none (without /dev/shm), host or container:NAME",
        ),
        value("cgroupns", "MODE", "private or host"),
        value(
            "pid",
            "MODE",
            "host or container:NAME: whose processes it sees",
        ),
        value("uts", "MODE", "host: whose name it has"),
        value(
            "userns",
            "MODE",
            "host: it has no user namespace of its own",
        ),
        // What Docker's users write and what is the only way here.
        value("runtime", "NAME", "wharf-runtime").hide(true),
    ]
}

/// How it is on networks.
fn network_arguments() -> [Arg; 14] {
    [
        list("expose", "PORT", "Say that a port is used"),
        list("dns-search", "DOMAIN", "Domain to look names up in"),
        list("dns-option", "OPTION", "Option of resolv.conf").alias("dns-opt"),
        list("dns", "ADDRESS", "Ask this server instead of the host's"),
        list("add-host", "HOST:IP", "Add a line to /etc/hosts"),
        list(
            "network",
            "NETWORK",
            "Network by name (more than one), none, host or container:NAME",
        )
        .alias("net"),
        list(
            "link",
            "CONTAINER[:NAME]",
            "Find another container by a name that is for this one alone",
        ),
        list(
            "network-alias",
            "NAME",
            "One more name on the first network",
        ),
        value("ip", "ADDRESS", "IPv4 address on the first network"),
        value("ip6", "ADDRESS", "IPv6 address on the first network"),
        value(
            "mac-address",
            "MAC",
            "Hardware address on the first network",
        ),
        value(
            "network-rate",
            "RATE",
            "Limit its traffic, as 10mbit in either direction",
        ),
        short_list(
            'p',
            "publish",
            "[[IP:]PORT:]PORT[/udp]",
            "Publish a port on the host",
        ),
        short_flag('P', "publish-all", "Publish all exposed ports"),
    ]
}

/// Turns arguments into a request; reads the files that they name.
pub(crate) fn request(given: &ArgMatches) -> Result<RunRequest> {
    only(
        given,
        "userns",
        &["host", ""],
        "containers have no user namespace of their own; for mounts with other owners there is -v SOURCE:DIR:idmap",
    )?;
    only(given, "runtime", &["wharf-runtime", ""], "leave it out")?;
    let mut words = given.texts("IMAGE").into_iter().map(str::to_owned);
    let image = words.next().unwrap_or_default();
    if image.is_empty() {
        return Err(invalid("the image has no name"));
    }
    let restart = given.text("restart").map(parse::restart).transpose()?;
    let restart = restart.unwrap_or_default();
    let auto_remove = given.on("rm");
    if auto_remove && restart != RestartPolicy::No {
        return Err(invalid("--restart and --rm exclude each other"));
    }
    Ok(RunRequest {
        image,
        name: parsed(given, "name")?,
        pull: parsed(given, "pull")?.unwrap_or(PullPolicy::Missing),
        platform: platform(given)?,
        process: process(given, words.collect())?,
        hostname: given.text("hostname").map(str::to_owned),
        domainname: given.text("domainname").unwrap_or_default().to_owned(),
        mounts: mounts(given)?,
        devices: each(given, "device", parse::device)?,
        network: network(given)?,
        dns: dns(given)?,
        namespaces: namespaces(given)?,
        volumes_from: each(given, "volumes-from", volumes_from)?,
        ports: each(given, "publish", str::parse)?,
        exposed: each(given, "expose", parse::expose)?,
        publish_all: given.on("publish-all"),
        extra_hosts: each(given, "add-host", parse::extra_host)?,
        links: each(given, "link", parse::link)?,
        resources: resources(given)?,
        confinement: confinement(given)?,
        stop: StopRequest {
            signal: given.text("stop-signal").map(parse::signal).transpose()?,
            timeout: given.text("stop-timeout").map(parse::seconds).transpose()?,
        },
        restart,
        health: health(given)?,
        log: log(given)?,
        labels: labels(given)?,
        annotations: each(given, "annotation", parse::label)?
            .into_iter()
            .collect(),
        auto_remove,
    })
}

/// `--platform`.
pub(crate) fn platform(given: &ArgMatches) -> Result<Option<Platform>> {
    given
        .text("platform")
        .filter(|text| !text.is_empty())
        .map(|text| {
            text.parse::<Platform>()
                .map_err(|error| invalid(&error.to_string()))
        })
        .transpose()
}

/// `-e` and `--env-file`, as `run` and `exec` have them.
pub(crate) fn environment_of(given: &ArgMatches) -> Result<Vec<String>> {
    let mut env = Vec::new();
    for path in given.texts("env-file") {
        let content = read(path)?;
        env.extend(parse::env_file(&content, &environment::lookup).context(|| path.to_owned())?);
    }
    for text in given.texts("env") {
        env.extend(parse::env(text, &environment::lookup)?);
    }
    Ok(env)
}

fn process(given: &ArgMatches, command: Vec<String>) -> Result<ProcessRequest> {
    let detached = given.try_contains_id("detach").is_ok() && given.on("detach");
    let stdin = match (given.on("interactive"), detached) {
        (false, _) => StdinMode::Closed,
        (true, false) => StdinMode::Once,
        (true, true) => StdinMode::Open,
    };
    Ok(ProcessRequest {
        entrypoint: given.text("entrypoint").map(|text| match text {
            "" => Vec::new(),
            program => vec![program.to_owned()],
        }),
        command,
        env: environment_of(given)?,
        workdir: given.text("workdir").map(str::to_owned),
        user: given.text("user").map(str::to_owned),
        groups: each(given, "group-add", |group| Ok(group.to_owned()))?,
        tty: given.on("tty"),
        stdin,
        init: given.on("init"),
    })
}

pub(crate) fn mounts(given: &ArgMatches) -> Result<Vec<state::MountRequest>> {
    let base = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
    let mut mounts = each(given, "volume", |text| parse::volume(text, &base))?;
    mounts.extend(each(given, "mount", parse::mount)?);
    mounts.extend(each(given, "tmpfs", parse::tmpfs)?);
    Ok(mounts)
}

fn namespaces(given: &ArgMatches) -> Result<NamespacesRequest> {
    let wrong = |name: &str, value: &str, words: &str| {
        invalid(&format!("--{name} takes {words}, not {value:?}"))
    };
    let is_host = |name: &str, otherwise: &[&str], words: &str| match given.text(name) {
        Some("host") => Ok(true),
        None | Some("") => Ok(false),
        Some(other) if otherwise.contains(&other) => Ok(false),
        Some(other) => Err(wrong(name, other, words)),
    };
    Ok(NamespacesRequest {
        pid: match given.text("pid") {
            None | Some("") => PidRequest::Private,
            Some("host") => PidRequest::Host,
            Some(other) => match other.strip_prefix("container:") {
                Some(name) if !name.is_empty() => PidRequest::Container(name.to_owned()),
                _ => return Err(wrong("pid", other, "host or container:NAME")),
            },
        },
        ipc: match given.text("ipc") {
            None | Some("" | "private") => IpcRequest::Private,
            Some("shareable") => IpcRequest::Shareable,
            Some("none") => IpcRequest::None,
            Some("host") => IpcRequest::Host,
            Some(other) => match other.strip_prefix("container:") {
                Some(name) if !name.is_empty() => IpcRequest::Container(name.to_owned()),
                _ => {
                    let words = "private, shareable, none, host or container:NAME";
                    return Err(wrong("ipc", other, words));
                }
            },
        },
        uts_of_host: is_host("uts", &[], "host")?,
        cgroup_of_host: is_host("cgroupns", &["private"], "private or host")?,
    })
}

/// `CONTAINER[:ro|rw]`.
fn volumes_from(text: &str) -> Result<(String, Option<Access>)> {
    match text.rsplit_once(':') {
        Some((name, "ro")) => Ok((name.to_owned(), Some(Access::ReadOnly))),
        Some((name, "rw")) => Ok((name.to_owned(), Some(Access::ReadWrite))),
        Some(_) => Err(invalid(&format!(
            "--volumes-from takes CONTAINER, CONTAINER:ro or CONTAINER:rw, not {text:?}"
        ))),
        None => Ok((text.to_owned(), None)),
    }
}

fn health(given: &ArgMatches) -> Result<HealthRequest> {
    let time = |name| {
        given
            .text(name)
            .map(|text| parse::duration(text).context(|| format!("--{name}")))
            .transpose()
    };
    Ok(HealthRequest {
        command: given.text("health-cmd").map(str::to_owned),
        interval: time("health-interval")?,
        timeout: time("health-timeout")?,
        start_period: time("health-start-period")?,
        start_interval: time("health-start-interval")?,
        retries: number(given, "health-retries")?,
        on_failure: match given.text("health-on-failure") {
            None | Some("none" | "") => HealthAction::None,
            Some("restart") => HealthAction::Restart,
            Some("stop") => HealthAction::Stop,
            Some(other) => {
                return Err(invalid(&format!(
                    "--health-on-failure takes none, restart or stop, not {other:?}"
                )));
            }
        },
        off: given.on("no-healthcheck"),
    })
}

fn limit(given: &ArgMatches, name: &str) -> Result<Option<u64>> {
    // Docker takes zero for "no limit".
    let bytes = given.text(name).map(parse::bytes).transpose()?;
    Ok(bytes.filter(|limit| *limit != 0))
}

/// What [`changeable_limits`] were given.
pub(crate) fn limits(given: &ArgMatches) -> Result<ResourceLimits> {
    let limit = |name| limit(given, name);
    Ok(ResourceLimits {
        memory: limit("memory")?,
        memory_reservation: limit("memory-reservation")?,
        memory_swap: given
            .text("memory-swap")
            .map(parse::swap)
            .transpose()?
            .filter(|swap| *swap != 0),
        nano_cpus: given
            .text("cpus")
            .map(parse::cpus)
            .transpose()?
            .filter(|cpus| *cpus != 0),
        cpu_shares: number(given, "cpu-shares")?.filter(|shares| *shares != 0),
        cpu_period: number(given, "cpu-period")?.filter(|period| *period != 0),
        cpu_quota: number(given, "cpu-quota")?.filter(|quota| *quota != 0),
        cpuset_cpus: given.text("cpuset-cpus").map(str::to_owned),
        cpuset_mems: given.text("cpuset-mems").map(str::to_owned),
        pids: number(given, "pids-limit")?.filter(|pids| *pids != 0),
        blkio_weight: number(given, "blkio-weight")?.filter(|weight| *weight != 0),
        cpu_rt_period: number(given, "cpu-rt-period")?.filter(|period| *period != 0),
        cpu_rt_runtime: number(given, "cpu-rt-runtime")?.filter(|runtime| *runtime != 0),
        ..ResourceLimits::default()
    })
}

fn resources(given: &ArgMatches) -> Result<ResourceLimits> {
    Ok(ResourceLimits {
        oom_score_adj: number(given, "oom-score-adj")?,
        oom_kill_disable: given.on("oom-kill-disable"),
        cgroup_parent: given
            .text("cgroup-parent")
            .filter(|group| !group.is_empty())
            .map(parse::cgroup)
            .transpose()?,
        ulimits: each(given, "ulimit", parse::ulimit)?,
        shm_size: limit(given, "shm-size")?,
        sysctls: each(given, "sysctl", parse::sysctl)?.into_iter().collect(),
        storage: storage(given)?,
        network_rate: given
            .text("network-rate")
            .map(parse::network_rate)
            .transpose()?,
        ..limits(given)?
    })
}

/// `--network`, once or several times, and what is said about the first one.
fn network(given: &ArgMatches) -> Result<NetworkRequest> {
    let wanted: Vec<NetworkRequest> = each(given, "network", str::parse)?;
    let address = |name| -> Result<Option<IpAddr>> {
        let wrong = |text: &str| invalid(&format!("--{name} takes an address, not {text:?}"));
        let read = |text: &str| text.parse().map_err(|_| wrong(text));
        given.text(name).map(read).transpose()
    };
    let aliases = each(given, "network-alias", parse::network_alias)?;
    let (ipv4, ipv6) = (address("ip")?, address("ip6")?);
    let mac = given.text("mac-address").map(str::parse).transpose()?;
    let says_more = !aliases.is_empty() || ipv4.is_some() || ipv6.is_some() || mac.is_some();
    let mut endpoints = Vec::new();
    for request in &wanted {
        match request {
            NetworkRequest::On(more) => endpoints.extend(more.iter().cloned()),
            NetworkRequest::Bridge if wanted.len() > 1 || says_more => {
                endpoints.push(engine::endpoint("bridge")?);
            }
            alone if wanted.len() == 1 && !says_more => return Ok(alone.clone()),
            _ if says_more => {
                return Err(invalid(
                    "--network-alias, --ip, --ip6 and --mac-address need a network with a name",
                ));
            }
            _ => {
                return Err(invalid(
                    "none, host and container:NAME exclude other networks",
                ));
            }
        }
    }
    if endpoints.is_empty() && !says_more {
        return Ok(NetworkRequest::Bridge);
    }
    if endpoints.is_empty() {
        endpoints.push(engine::endpoint("bridge")?);
    }
    let first = &mut endpoints[0];
    first.aliases.extend(aliases);
    first.mac = mac.or(first.mac);
    match ipv4 {
        Some(IpAddr::V4(address)) => first.ipv4 = Some(address),
        Some(IpAddr::V6(_)) => return Err(invalid("--ip takes an IPv4 address")),
        None => {}
    }
    match ipv6 {
        Some(IpAddr::V6(address)) => first.ipv6 = Some(address),
        Some(IpAddr::V4(_)) => return Err(invalid("--ip6 takes an IPv6 address")),
        None => {}
    }
    Ok(NetworkRequest::On(endpoints))
}

/// `--dns` and its kin.
fn dns(given: &ArgMatches) -> Result<DnsConfig> {
    let address = |text: &str| {
        text.parse()
            .map_err(|_| invalid(&format!("--dns takes an address, not {text:?}")))
    };
    let word = |text: &str| {
        let is_word = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        is_word
            .then(|| text.to_owned())
            .ok_or_else(|| invalid("--dns-search and --dns-option take one word each"))
    };
    Ok(DnsConfig {
        servers: each(given, "dns", address)?,
        search: each(given, "dns-search", word)?,
        options: each(given, "dns-option", word)?,
    })
}

/// `--storage-opt size=…`.
fn storage(given: &ArgMatches) -> Result<Option<u64>> {
    let mut size = None;
    for option in given.texts("storage-opt") {
        let Some(("size", text)) = option.split_once('=') else {
            let why = format!("there is no storage option {option:?}: use size=SIZE");
            return Err(invalid(&why));
        };
        size = Some(parse::bytes(text)?);
    }
    Ok(size.filter(|size| *size != 0))
}

fn confinement(given: &ArgMatches) -> Result<ConfinementRequest> {
    let owned = |name| each(given, name, |text| Ok(text.to_owned()));
    let mut confinement = ConfinementRequest {
        privileged: given.on("privileged"),
        cap_add: owned("cap-add")?,
        cap_drop: owned("cap-drop")?,
        read_only_root: given.on("read-only"),
        ..ConfinementRequest::default()
    };
    for text in given.texts("security-opt") {
        match parse::security_option(text)? {
            SecurityOption::NoNewPrivileges(on) => confinement.no_new_privileges = on,
            SecurityOption::SeccompUnconfined => confinement.seccomp = SeccompRequest::Unconfined,
            SecurityOption::SeccompBuiltin => confinement.seccomp = SeccompRequest::Builtin,
            SecurityOption::SeccompFile(path) => {
                let named = || format!("seccomp profile {}", path.display());
                let content = std::fs::read(&path).context(named)?;
                let profile = parse::seccomp_profile(&content).context(named)?;
                confinement.seccomp = SeccompRequest::Custom(Box::new(profile));
            }
            SecurityOption::AppArmor(profile) => confinement.apparmor = profile,
            SecurityOption::Ignored => {}
        }
    }
    Ok(confinement)
}

fn log(given: &ArgMatches) -> Result<Option<LogConfig>> {
    if given.text("log-driver").is_none() && given.texts("log-opt").is_empty() {
        return Ok(None);
    }
    let mut log = LogConfig::default();
    match given.text("log-driver").unwrap_or("json-file") {
        "json-file" | "" => log.driver = LogDriver::JsonFile,
        "local" => log.driver = LogDriver::Local,
        "journald" => log.driver = LogDriver::Journald,
        "none" => log.driver = LogDriver::None,
        other => {
            let why =
                format!("there is no log driver {other:?}: use json-file, local, journald or none");
            return Err(invalid(&why));
        }
    }
    let list = |text: &str| text.split(',').map(str::to_owned).collect();
    for option in given.texts("log-opt") {
        match option.split_once('=') {
            Some(("max-size", size)) => log.max_size = parse::bytes(size)?,
            Some(("max-file", count)) => {
                log.max_files = count
                    .parse()
                    .ok()
                    .filter(|count| *count > 0)
                    .ok_or_else(|| invalid("max-file of --log-opt is a number from 1"))?;
            }
            Some(("labels", names)) => log.labels = list(names),
            Some(("env", names)) => log.env = list(names),
            Some(("tag", tag)) => log.tag = Some(tag.to_owned()),
            // As it is anyway.
            Some(("mode", "blocking") | ("compress", "true")) => {}
            _ => {
                let why = format!(
                    "there is no log option {option:?}: use max-size=SIZE, max-file=COUNT, \
                     labels=NAMES, env=NAMES or tag=TEMPLATE"
                );
                return Err(invalid(&why));
            }
        }
    }
    Ok(Some(log))
}

fn labels(given: &ArgMatches) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for path in given.texts("label-file") {
        let content = read(path)?;
        for line in content.lines().map(str::trim) {
            if !line.is_empty() && !line.starts_with('#') {
                labels.extend([parse::label(line).context(|| path.to_owned())?]);
            }
        }
    }
    labels.extend(each(given, "label", parse::label)?);
    Ok(labels)
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).context(|| format!("read {path}"))
}

fn each<T>(given: &ArgMatches, name: &str, parse: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    given.texts(name).into_iter().map(parse).collect()
}

fn parsed<T: std::str::FromStr<Err = Error>>(given: &ArgMatches, name: &str) -> Result<Option<T>> {
    given.text(name).map(str::parse).transpose()
}

fn number<T: std::str::FromStr>(given: &ArgMatches, name: &str) -> Result<Option<T>> {
    let read = |text: &str| {
        text.parse()
            .map_err(|_| invalid(&format!("--{name} takes a whole number, not {text:?}")))
    };
    given.text(name).map(read).transpose()
}

/// Refuses other values of an option that exists for Docker's users.
fn only(given: &ArgMatches, name: &str, values: &[&str], why: &str) -> Result<()> {
    match given.text(name) {
        Some(value) if !values.contains(&value) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("--{name} {value} is not supported: {why}"),
        )),
        _ => Ok(()),
    }
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests;
