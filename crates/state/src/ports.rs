//! Published ports: what the user asked for and what it became.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sys::{Error, ErrorKind, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// From `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    /// Number of ports.
    pub fn count(self) -> usize {
        usize::from(self.last - self.first) + 1
    }
}

/// `-p [[host-ip:][host-port[-last]]:]container-port[-last][/tcp|udp]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortRequest {
    /// Every address of the host if absent.
    pub host_ip: Option<IpAddr>,
    /// A free port of the kernel's choice if absent.
    pub host: Option<PortRange>,
    pub container: PortRange,
    pub protocol: Protocol,
}

/// One published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortMapping {
    pub host: SocketAddr,
    pub container: u16,
    pub protocol: Protocol,
}

impl FromStr for PortRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            let shown: String = text.chars().take(80).collect();
            Error::new(
                ErrorKind::InvalidInput,
                format!("invalid port {shown:?}: {why}"),
            )
        };
        let (ports, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp" | "TCP")) => (ports, Protocol::Tcp),
            Some((ports, "udp" | "UDP")) => (ports, Protocol::Udp),
            Some(_) => return Err(wrong("the protocol is tcp or udp")),
        };
        let (before, container) = match ports.rsplit_once(':') {
            Some((before, container)) => (Some(before), container),
            None => (None, ports),
        };
        let container = range(container).ok_or_else(|| wrong("write ports as 80 or 8000-8010"))?;
        let (host_ip, host) = match before {
            None => (None, ""),
            Some(before) => split_host(before).ok_or_else(|| {
                wrong("write [host-ip:]host-port:container-port, an IPv6 address in brackets")
            })?,
        };
        let host = match host {
            "" | "0" => None,
            host => Some(range(host).ok_or_else(|| wrong("write ports as 80 or 8000-8010"))?),
        };
        // A host range for one container port means: the first that is free.
        if let Some(host) = host
            && container.count() != 1
            && host.count() != container.count()
        {
            return Err(wrong("the two ranges differ in length"));
        }
        Ok(Self {
            host_ip,
            host,
            container,
            protocol,
        })
    }
}

/// Address and port text before the last colon.
fn split_host(text: &str) -> Option<(Option<IpAddr>, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: std::net::Ipv6Addr = address.parse().ok()?;
        return Some((
            Some(IpAddr::V6(address)),
            port.strip_prefix(':').unwrap_or(port),
        ));
    }
    match text.split_once(':') {
        Some(("", port)) => Some((None, port)),
        Some((address, port)) => Some((Some(address.parse().ok()?), port)),
        None if text.contains('.') => Some((Some(text.parse().ok()?), "")),
        None => Some((None, text)),
    }
}

fn range(text: &str) -> Option<PortRange> {
    let port = |digits: &str| -> Option<u16> {
        let digits_only = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits_only
            .then(|| digits.parse().ok())?
            .filter(|port| *port != 0)
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    (first <= last).then_some(PortRange { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::type_complexity)]
    fn read(text: &str) -> (Option<String>, Option<(u16, u16)>, (u16, u16), Protocol) {
        let request: PortRequest = text.parse().unwrap();
        (
            request.host_ip.map(|ip| ip.to_string()),
            request.host.map(|range| (range.first, range.last)),
            (request.container.first, request.container.last),
            request.protocol,
        )
    }

    #[test]
    fn reads_dockers_forms() {
        use Protocol::{Tcp, Udp};
        assert_eq!(read("80"), (None, None, (80, 80), Tcp));
        assert_eq!(read("8080:80"), (None, Some((8080, 8080)), (80, 80), Tcp));
        assert_eq!(read("53:53/udp"), (None, Some((53, 53)), (53, 53), Udp));
        assert_eq!(
            read("8000-8002:80-82"),
            (None, Some((8000, 8002)), (80, 82), Tcp)
        );
        assert_eq!(
            read("8000-8010:80"),
            (None, Some((8000, 8010)), (80, 80), Tcp)
        );
        assert_eq!(
            read("127.0.0.1:15432:5432"),
            (
                Some("127.0.0.1".into()),
                Some((15432, 15432)),
                (5432, 5432),
                Tcp
            )
        );
        assert_eq!(
            read("127.0.0.1::80"),
            (Some("127.0.0.1".into()), None, (80, 80), Tcp)
        );
        assert_eq!(
            read("[::1]:8080:80"),
            (Some("::1".into()), Some((8080, 8080)), (80, 80), Tcp)
        );
        assert_eq!(read("0:80"), (None, None, (80, 80), Tcp));
        assert_eq!(read(":80"), (None, None, (80, 80), Tcp));
    }

    #[test]
    fn refuses_the_rest() {
        for bad in [
            "",
            "x",
            "0",
            "80:",
            "70000:80",
            "80:0",
            "9-8:9-8",
            "1-3:1-2",
            "80/sctp",
            "::1:80:80",
            "host:80:80",
            "+80",
            "1:2:3:4:5",
        ] {
            assert!(bad.parse::<PortRequest>().is_err(), "{bad}");
        }
    }
}
