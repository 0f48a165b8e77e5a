//! The short options: environment, labels, devices, limits, hosts.

use std::net::IpAddr;
use std::path::PathBuf;

use state::{
    AppArmorProfile, DeviceRequest, PortRange, PortRequest, Protocol, RestartPolicy, Ulimit,
};
use sys::Result;

use super::invalid;

/// `NAME=value`; `NAME` alone takes the value that `lookup` knows, and says
/// nothing (`None`) if it knows none, as Docker does.
pub fn env(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>> {
    let wrong = |why: &str| invalid("environment variable", text, why);
    if text.contains('\0') {
        return Err(wrong("it holds a zero byte"));
    }
    match text.split_once('=') {
        Some(("", _)) => Err(wrong("the name is empty")),
        Some(_) => Ok(Some(text.to_owned())),
        None if text.is_empty() => Err(wrong("it is empty")),
        None => Ok(lookup(text).map(|value| format!("{text}={value}"))),
    }
}

/// The lines of an environment file: `NAME=value` or `NAME`, `#` begins a
/// comment line. Values are taken as they are: no quotes are removed.
pub fn env_file(content: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    let content = content.strip_prefix('\u{feff}').unwrap_or(content);
    let mut variables = Vec::new();
    for (number, line) in content.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.contains(char::is_whitespace) {
            let why = format!("line {}: the name {name:?} holds white space", number + 1);
            return Err(invalid("environment file", line, why));
        }
        variables.extend(env(line, lookup)?);
    }
    Ok(variables)
}

/// `key[=value]`.
pub fn label(text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(invalid("label", text, "the key is empty"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// A group below the roots of the hierarchies, without slashes at the ends.
pub fn cgroup(text: &str) -> Result<String> {
    let path = text.trim_matches('/');
    let is_name = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    if !path.split('/').all(is_name) {
        return Err(invalid(
            "control group",
            text,
            "write it as group or parent/group",
        ));
    }
    Ok(path.to_owned())
}

/// `host[:container][:rwm]`.
pub fn device(text: &str) -> Result<DeviceRequest> {
    let wrong = |why: &str| invalid("device", text, why);
    let is_access = |text: &str| {
        !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| b"rwm".contains(&byte))
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, access) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, access] if is_access(access) => (host, host, access),
        [host, container] => (host, container, "rwm"),
        [host, container, access] if is_access(access) => (host, container, access),
        [_, _, _] => return Err(wrong("the access is made of r, w and m")),
        _ => return Err(wrong("write host[:container][:rwm]")),
    };
    if !host.starts_with('/') || !container.starts_with('/') {
        return Err(wrong("both paths have to be absolute"));
    }
    if container.split('/').any(|part| part == "..") {
        return Err(wrong("the path in the container may not hold .."));
    }
    Ok(DeviceRequest {
        host: PathBuf::from(host),
        container: PathBuf::from(container),
        access: access.to_owned(),
    })
}

/// `name=soft[:hard]`, -1 for unlimited.
pub fn ulimit(text: &str) -> Result<Ulimit> {
    const NAMES: [&str; 16] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
        "as",
    ];
    let wrong = |why: &str| invalid("ulimit", text, why);
    let value = |text: &str| match text {
        "-1" | "unlimited" => Some(u64::MAX),
        digits => digits.parse().ok(),
    };
    let (name, limits) = text
        .split_once('=')
        .ok_or_else(|| wrong("write name=soft[:hard]"))?;
    if !NAMES.contains(&name) {
        return Err(wrong(&format!("there is no limit called {name}")));
    }
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (value(soft), value(hard)),
        None => (value(limits), value(limits)),
    };
    let (Some(soft), Some(hard)) = (soft, hard) else {
        return Err(wrong("write numbers, or -1 for unlimited"));
    };
    if soft > hard {
        return Err(wrong("the soft limit is above the hard limit"));
    }
    Ok(Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}

/// `port[-port][/tcp|udp]`.
pub fn expose(text: &str) -> Result<(PortRange, Protocol)> {
    let request: PortRequest = text.parse()?;
    if text.contains(':') {
        return Err(invalid("port to expose", text, "write 80 or 80/udp"));
    }
    Ok((request.container, request.protocol))
}

/// `name:address`.
pub fn extra_host(text: &str) -> Result<(String, IpAddr)> {
    let wrong = |why: &str| invalid("host entry", text, why);
    let (name, address) = text
        .split_once([':', '='])
        .ok_or_else(|| wrong("write name:address"))?;
    if name.is_empty() || name.contains(|letter: char| letter.is_whitespace() || letter == '#') {
        return Err(wrong("that is no host name"));
    }
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let address = address
        .parse()
        .map_err(|_| wrong("the address is neither IPv4 nor IPv6"))?;
    Ok((name.to_owned(), address))
}

/// A name that a container has on a network beside its own.
pub fn network_alias(text: &str) -> Result<String> {
    let is_good = (1..=253).contains(&text.len())
        && !text.starts_with(['-', '.'])
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if is_good {
        return Ok(text.to_owned());
    }
    Err(invalid(
        "network alias",
        text,
        "it has letters, digits, - _ . and begins with a letter or digit",
    ))
}

/// A container, by name or id, and the name that it is to be found by:
/// `db:database`, or `db` for the name that it has.
pub fn link(text: &str) -> Result<(String, String)> {
    let (container, alias) = text.split_once(':').unwrap_or((text, text));
    // Inspection shows both with a slash in front.
    let container = container.trim_start_matches('/');
    if container.is_empty() {
        return Err(invalid("link", text, "write CONTAINER or CONTAINER:NAME"));
    }
    let alias = network_alias(alias.rsplit('/').next().unwrap_or_default())?;
    Ok((container.to_owned(), alias))
}

/// Bits per second: `10mbit`, `500kbit`, `1gbit`, `64000bit`.
pub fn network_rate(text: &str) -> Result<u64> {
    let wrong = || invalid("network rate", text, "write it as 10mbit, 500kbit or 1gbit");
    let lower = text.to_ascii_lowercase();
    let units = [
        ("kbit", 1_000),
        ("mbit", 1_000_000),
        ("gbit", 1_000_000_000),
        ("bit", 1),
    ];
    let (digits, factor) = units
        .into_iter()
        .find_map(|(unit, factor)| Some((lower.strip_suffix(unit)?, factor)))
        .ok_or_else(wrong)?;
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number
        .checked_mul(factor)
        .filter(|rate| *rate >= 8_000)
        .ok_or_else(wrong)
}

/// `key=value`, only of those that belong to the container's namespaces.
pub fn sysctl(text: &str) -> Result<(String, String)> {
    let wrong = |why: &str| invalid("sysctl", text, why);
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| wrong("write key=value"))?;
    let key = key.trim();
    let ipc = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let safe = key
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte))
        && !key.split(['.', '/']).any(str::is_empty);
    let namespaced = ipc.contains(&key) || key.starts_with("fs.mqueue.") || key.starts_with("net.");
    if !safe || !namespaced {
        return Err(wrong("it is not one that belongs to a container"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `no`, `always`, `unless-stopped`, `on-failure[:count]`.
pub fn restart(text: &str) -> Result<RestartPolicy> {
    match text {
        "" | "no" => Ok(RestartPolicy::No),
        "always" => Ok(RestartPolicy::Always),
        "unless-stopped" => Ok(RestartPolicy::UnlessStopped),
        "on-failure" => Ok(RestartPolicy::OnFailure { at_most: None }),
        other => other
            .strip_prefix("on-failure:")
            .and_then(|count| count.parse().ok())
            .map(|count: u32| RestartPolicy::OnFailure {
                at_most: (count > 0).then_some(count),
            })
            .ok_or_else(|| {
                invalid(
                    "restart policy",
                    text,
                    "use no, always, unless-stopped or on-failure[:count]",
                )
            }),
    }
}

/// One `--security-opt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityOption {
    NoNewPrivileges(bool),
    SeccompUnconfined,
    SeccompBuiltin,
    /// The caller reads the file and gives it to [`super::seccomp_profile`].
    SeccompFile(PathBuf),
    AppArmor(AppArmorProfile),
    /// Of a security module that is not in use here: nothing to confine by.
    Ignored,
}

/// `seccomp=…`, `no-new-privileges[=…]`, `apparmor=…`, `label=disable`.
pub fn security_option(text: &str) -> Result<SecurityOption> {
    let wrong = |why: &str| invalid("security option", text, why);
    let (key, value) = match text.split_once(['=', ':']) {
        Some((key, value)) => (key, Some(value)),
        None => (text, None),
    };
    match (key, value) {
        ("no-new-privileges", None | Some("true")) => Ok(SecurityOption::NoNewPrivileges(true)),
        ("no-new-privileges", Some("false")) => Ok(SecurityOption::NoNewPrivileges(false)),
        ("seccomp", Some("unconfined")) => Ok(SecurityOption::SeccompUnconfined),
        ("seccomp", Some("builtin" | "default")) => Ok(SecurityOption::SeccompBuiltin),
        ("seccomp", Some(path)) if !path.is_empty() => {
            Ok(SecurityOption::SeccompFile(PathBuf::from(path)))
        }
        ("apparmor", Some(profile)) => apparmor(profile)
            .map(SecurityOption::AppArmor)
            .ok_or_else(|| wrong("a profile's name has no white space")),
        ("label", Some("disable")) => Ok(SecurityOption::Ignored),
        ("label", _) => Err(wrong("SELinux labels are not supported")),
        _ => Err(wrong("use seccomp=…, apparmor=… or no-new-privileges")),
    }
}

fn apparmor(name: &str) -> Option<AppArmorProfile> {
    match name {
        "" | "default" => Some(AppArmorProfile::Default),
        "unconfined" => Some(AppArmorProfile::Unconfined),
        // It is written to the kernel as one of several words.
        name if name.contains(|c: char| c.is_whitespace() || c.is_control()) => None,
        name => Some(AppArmorProfile::Named(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn reads_environments() {
        let lookup = |name: &str| (name == "HOME").then(|| "/me".to_owned());
        assert_eq!(env("A=b=c", &lookup).unwrap().as_deref(), Some("A=b=c"));
        assert_eq!(env("A=", &lookup).unwrap().as_deref(), Some("A="));
        assert_eq!(env("HOME", &lookup).unwrap().as_deref(), Some("HOME=/me"));
        assert_eq!(env("NOPE", &lookup).unwrap(), None);
        assert!(env("=x", &nothing).is_err() && env("", &nothing).is_err());
        let file = "\u{feff}# comment\n\nA=1\n  B=\"x y\"\nHOME\r\nNOPE\n";
        assert_eq!(
            env_file(file, &lookup).unwrap(),
            ["A=1", "B=\"x y\"", "HOME=/me"]
        );
        assert!(env_file("A B=1\n", &nothing).is_err());
    }

    #[test]
    fn reads_devices() {
        let read = |text: &str| {
            let device = device(text).unwrap();
            (
                device.host.display().to_string(),
                device.container.display().to_string(),
                device.access,
            )
        };
        let fuse = |container: &str, access: &str| {
            (
                "/dev/fuse".to_owned(),
                container.to_owned(),
                access.to_owned(),
            )
        };
        assert_eq!(read("/dev/fuse"), fuse("/dev/fuse", "rwm"));
        assert_eq!(read("/dev/fuse:r"), fuse("/dev/fuse", "r"));
        assert_eq!(read("/dev/fuse:/dev/x"), fuse("/dev/x", "rwm"));
        assert_eq!(read("/dev/fuse:/dev/x:rw"), fuse("/dev/x", "rw"));
        for bad in [
            "",
            "fuse",
            "/dev/fuse:x",
            "/dev/fuse:/dev/x:q",
            "/a:/b/../c",
            "/a:/b:r:w",
        ] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_ulimits() {
        let limit = ulimit("nofile=1024:2048").unwrap();
        assert_eq!((limit.soft, limit.hard), (1024, 2048));
        assert_eq!(ulimit("core=-1").unwrap().hard, u64::MAX);
        for bad in ["nofile", "x=1", "nofile=a", "nofile=5:4", "nofile=1:2:3"] {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_the_rest() {
        assert_eq!(label("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert_eq!(label("a").unwrap(), ("a".into(), String::new()));
        assert!(label("=b").is_err());
        assert_eq!(expose("53/udp").unwrap().1, Protocol::Udp);
        assert!(expose("1:2").is_err());
        assert_eq!(extra_host("db:10.0.0.1").unwrap().0, "db");
        assert!(extra_host("db:::1").unwrap().1.is_ipv6());
        assert!(extra_host("db").is_err() && extra_host("d b:1.1.1.1").is_err());
        assert!(sysctl("net.ipv4.ip_forward=1").is_ok());
        assert!(sysctl("kernel.panic=1").is_err() && sysctl("net/../kernel.panic=1").is_err());
        assert_eq!(
            restart("on-failure:3").unwrap(),
            RestartPolicy::OnFailure { at_most: Some(3) }
        );
        assert!(restart("sometimes").is_err() && restart("on-failure:x").is_err());
        assert_eq!(
            security_option("no-new-privileges").unwrap(),
            SecurityOption::NoNewPrivileges(true)
        );
        assert_eq!(
            security_option("seccomp=/p.json").unwrap(),
            SecurityOption::SeccompFile("/p.json".into())
        );
        assert!(security_option("what").is_err());
        assert_eq!(
            security_option("apparmor=mine").unwrap(),
            SecurityOption::AppArmor(AppArmorProfile::Named("mine".to_owned()))
        );
        assert_eq!(
            security_option("apparmor:unconfined").unwrap(),
            SecurityOption::AppArmor(AppArmorProfile::Unconfined)
        );
        assert!(
            security_option("apparmor=a exec b").is_err() && security_option("label=x").is_err()
        );
    }
}
