//! What front ends ask for: the command line and Docker's API build these,
//! the engine alone decides what they become.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use spec::image::Platform;
use spec::runtime::ConsoleSize;
use state::{
    AppArmorProfile, ContainerName, DeviceRequest, DnsConfig, Endpoint, LogConfig, MountRequest,
    PortRange, PortRequest, Protocol, ResourceLimits, RestartPolicy, StdinMode, Timestamp,
};
use sys::{Error, ErrorKind, Result};

pub use super::health::HealthRequest;
use crate::parse::DockerSeccomp;

/// A container to create (`create`, `run`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunRequest {
    /// Reference, id or unique prefix of an id.
    pub image: String,
    /// A random one if absent.
    pub name: Option<ContainerName>,
    pub pull: PullPolicy,
    /// The host's if absent.
    pub platform: Option<Platform>,
    pub process: ProcessRequest,
    /// The first 12 digits of the id if absent.
    pub hostname: Option<String>,
    pub domainname: String,
    /// A volume without a name is anonymous: it gets one on create.
    pub mounts: Vec<MountRequest>,
    pub devices: Vec<DeviceRequest>,
    pub network: NetworkRequest,
    pub dns: DnsConfig,
    pub namespaces: NamespacesRequest,
    /// `--volumes-from`: another container's mounts, and whether to change
    /// their access.
    pub volumes_from: Vec<(String, Option<Access>)>,
    pub ports: Vec<PortRequest>,
    /// `--expose`.
    pub exposed: Vec<(PortRange, Protocol)>,
    /// `-P`: publish every exposed port.
    pub publish_all: bool,
    /// `--add-host`.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// `--link`: other containers, and what they are called by this one.
    pub links: Vec<(String, String)>,
    pub resources: ResourceLimits,
    pub confinement: ConfinementRequest,
    pub stop: StopRequest,
    pub restart: RestartPolicy,
    pub health: HealthRequest,
    /// The configuration's default if absent.
    pub log: Option<LogConfig>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// `--rm`.
    pub auto_remove: bool,
}

/// What overrides the image's process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessRequest {
    /// `Some` and empty: the image's entrypoint is dropped.
    pub entrypoint: Option<Vec<String>>,
    /// Empty: the image's (unless the entrypoint was overridden).
    pub command: Vec<String>,
    /// `NAME=value`; a later one wins, and `NAME` alone removes it.
    pub env: Vec<String>,
    pub workdir: Option<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// `--group-add`.
    pub groups: Vec<String>,
    pub tty: bool,
    pub stdin: StdinMode,
    pub init: bool,
}

/// What the container may do, before the image's platform and Docker's
/// defaults are put in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfinementRequest {
    pub privileged: bool,
    /// As `NET_ADMIN`, `CAP_NET_ADMIN` or `ALL`.
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub no_new_privileges: bool,
    pub seccomp: SeccompRequest,
    pub apparmor: AppArmorProfile,
    pub read_only_root: bool,
}

/// `--security-opt seccomp=…`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum SeccompRequest {
    #[default]
    Builtin,
    Unconfined,
    /// A profile in Docker's form.
    Custom(Box<DockerSeccomp>),
}

/// How it is asked to stop; absent means the image's wish, then Docker's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopRequest {
    /// Number of the signal.
    pub signal: Option<i32>,
    pub timeout: Option<Duration>,
}

/// `--network`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NetworkRequest {
    #[default]
    Bridge,
    None,
    Host,
    /// Name, id or prefix of another container.
    Container(String),
    /// Named networks, in the order of the container's links.
    On(Vec<Endpoint>),
}

/// `--pid`, `--ipc`, `--uts`, `--cgroupns`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespacesRequest {
    pub pid: PidRequest,
    pub ipc: IpcRequest,
    pub uts_of_host: bool,
    pub cgroup_of_host: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PidRequest {
    #[default]
    Private,
    Host,
    /// Name, id or prefix of another container.
    Container(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IpcRequest {
    #[default]
    Private,
    Shareable,
    None,
    Host,
    /// Name, id or prefix of another container.
    Container(String),
}

/// How mounts of another container are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

impl FromStr for NetworkRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" | "default" | "bridge" => Ok(Self::Bridge),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            other => match other.strip_prefix("container:") {
                Some(container) if !container.is_empty() => {
                    Ok(Self::Container(container.to_owned()))
                }
                _ => endpoint(other).map(|endpoint| Self::On(vec![endpoint])),
            },
        }
    }
}

/// What Docker calls a driver's option of an endpoint: the name of the link.
pub fn endpoint_option(endpoint: &mut Endpoint, key: &str, value: &str) -> Result<()> {
    let wrong = |why: &str| {
        let shown: String = format!("{key}={value}").chars().take(80).collect();
        Error::new(
            ErrorKind::InvalidInput,
            format!("invalid driver option {shown:?}: {why}"),
        )
    };
    if key != "com.docker.network.endpoint.ifname" {
        return Err(wrong("com.docker.network.endpoint.ifname is the only one"));
    }
    // As the kernel's dev_valid_name, of which a path in /proc/sys is made.
    let is_name = (1..=15).contains(&value.len())
        && !matches!(value, "." | ".." | "lo")
        && value
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'));
    if !is_name {
        return Err(wrong("a link has a name of 1 to 15 letters"));
    }
    endpoint.interface = Some(value.to_owned());
    Ok(())
}

/// A network's name, or `name=NET[,alias=NAME][,ip=…][,ip6=…][,mac-address=…][,gw-priority=N]`.
pub fn endpoint(text: &str) -> Result<Endpoint> {
    let wrong = |why: &str| {
        let shown: String = text.chars().take(80).collect();
        Error::new(
            ErrorKind::InvalidInput,
            format!("invalid network {shown:?}: {why}"),
        )
    };
    let mut endpoint = Endpoint::default();
    if !text.contains('=') {
        text.clone_into(&mut endpoint.network);
        return Ok(endpoint);
    }
    for field in text.split(',') {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| wrong("write fields as key=value"))?;
        match key {
            "name" => value.clone_into(&mut endpoint.network),
            "alias" => endpoint.aliases.push(crate::parse::network_alias(value)?),
            "ip" => {
                let address = value.parse();
                endpoint.ipv4 = Some(address.map_err(|_| wrong("ip is an IPv4 address"))?);
            }
            "ip6" => {
                let address = value.parse();
                endpoint.ipv6 = Some(address.map_err(|_| wrong("ip6 is an IPv6 address"))?);
            }
            "mac-address" => endpoint.mac = Some(value.parse()?),
            "gw-priority" => {
                let priority = value.parse();
                endpoint.priority = priority.map_err(|_| wrong("gw-priority is a number"))?;
            }
            "driver-opt" => {
                let (key, value) = value
                    .split_once('=')
                    .ok_or_else(|| wrong("write driver-opt=KEY=VALUE"))?;
                endpoint_option(&mut endpoint, key, value)?;
            }
            _ => {
                return Err(wrong(
                    "use name, alias, ip, ip6, mac-address, driver-opt or gw-priority",
                ));
            }
        }
    }
    if endpoint.network.is_empty() {
        return Err(wrong("name is missing"));
    }
    Ok(endpoint)
}

/// `--pull`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    #[default]
    Missing,
    Never,
}

impl FromStr for PullPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "always" => Ok(Self::Always),
            "missing" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            other => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("invalid pull policy {other:?}: use always, missing or never"),
            )),
        }
    }
}

/// How a client takes part in what it starts or attaches to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachRequest {
    /// Whether the client sends input.
    pub stdin: bool,
    /// Of the client's terminal.
    pub size: Option<ConsoleSize>,
}

/// A process to add to a running container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    pub command: Vec<String>,
    /// As in [`ProcessRequest`].
    pub env: Vec<String>,
    pub workdir: Option<String>,
    pub user: Option<String>,
    pub tty: bool,
    /// Whether input is sent.
    pub stdin: bool,
    pub privileged: bool,
    pub size: Option<ConsoleSize>,
}

/// Which lines of the log are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogsRequest {
    /// The last so many lines; all if absent.
    pub tail: Option<usize>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Go on until the container ends.
    pub follow: bool,
    pub streams: Streams,
}

/// Standard output, standard error, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Streams {
    #[default]
    Both,
    Stdout,
    Stderr,
}

/// What becomes of anonymous volumes and of a container that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveRequest {
    /// `-f`: kill it first.
    pub force: bool,
    /// `-v`: with its anonymous volumes.
    pub volumes: bool,
}

/// What `commit` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRequest {
    /// No name if absent.
    pub name: Option<String>,
    pub author: Option<String>,
    pub message: Option<String>,
    /// Dockerfile instructions (`CMD ["sh"]`).
    pub changes: Vec<String>,
    /// Stand still while the file system is read.
    pub pause: bool,
    pub compression: CommitCompression,
}

impl Default for CommitRequest {
    fn default() -> Self {
        Self {
            name: None,
            author: None,
            message: None,
            changes: Vec::new(),
            pause: true,
            compression: CommitCompression::Gzip,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitCompression {
    #[default]
    Gzip,
    Zstd,
}
