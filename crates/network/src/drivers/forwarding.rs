//! Settings below /proc/sys that let the host pass packets on.
//!
//! They belong to the network namespace of the calling thread.

use std::fs;
use std::path::Path;

use sys::{Context as _, Error, ErrorKind, Result};

const IPV4: &str = "/proc/sys/net/ipv4";
const IPV6: &str = "/proc/sys/net/ipv6";

/// Whether the kernel has IPv6 at all.
pub(crate) fn has_ipv6() -> bool {
    Path::new(IPV6).is_dir()
}

/// Lets the host pass IPv4 packets on, if it does not yet.
pub(crate) fn enable_ipv4() -> Result<()> {
    turn_on("IPv4 forwarding", &format!("{IPV4}/ip_forward"))
}

/// Lets the host pass IPv6 packets on, if it does not yet.
///
/// A host that forwards stops listening to routers unless told to go on
/// (`accept_ra` 2), and would lose its own way out; links that listen now
/// keep listening.
pub(crate) fn enable_ipv6() -> Result<()> {
    let all = format!("{IPV6}/conf/all/forwarding");
    if is(&all, "1") {
        return Ok(());
    }
    let links = fs::read_dir(format!("{IPV6}/conf")).context(|| format!("list {IPV6}/conf"))?;
    for link in links.flatten() {
        let name = link.file_name();
        let setting = link.path().join("accept_ra");
        // `all` has no effect, and links made later should not listen.
        if name != "all" && name != "default" && setting.to_str().is_some_and(|path| is(path, "1"))
        {
            fs::write(&setting, "2").context(|| format!("set {}", setting.display()))?;
        }
    }
    turn_on("IPv6 forwarding", &all)
}

/// Lets connections that began at 127.0.0.1 leave by the link. Without a rule
/// against it this opens the host's loopback to the link as well
/// (CVE-2020-8558); the rules drop such packets before anything else.
pub(crate) fn route_loopback(link: &str) -> Result<()> {
    turn_on(
        "forwarding from loopback",
        &format!("{IPV4}/conf/{link}/route_localnet"),
    )
}

/// Makes IPv6 work on the link whatever the default is, and lets nobody on it
/// pretend to be a router (CVE-2020-13401).
pub(crate) fn guard_ipv6(link: &str) -> Result<()> {
    for (setting, value) in [("disable_ipv6", "0"), ("accept_ra", "0")] {
        let path = format!("{IPV6}/conf/{link}/{setting}");
        if !is(&path, value) {
            fs::write(&path, value).context(|| format!("set {path}"))?;
        }
    }
    Ok(())
}

fn turn_on(what: &str, path: &str) -> Result<()> {
    if is(path, "1") {
        return Ok(());
    }
    fs::write(path, "1").map_err(|error| {
        let error = Error::from(error);
        // A read-only /proc/sys means the same as a lacking right.
        let kind = match error.errno() {
            Some(errno) if errno == rustix::io::Errno::ROFS.raw_os_error() => ErrorKind::Denied,
            _ => error.kind(),
        };
        error
            .with_kind(kind)
            .wrap(format!("turn on {what}: write {path}"))
    })
}

fn is(path: &str, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim_end() == value)
}
