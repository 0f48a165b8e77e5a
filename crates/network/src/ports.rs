//! Published ports: which process of the host owns which port.
//!
//! The packet filter forwards the traffic, and it would do so for two
//! containers with the same port or over the head of a server on the host.
//! Therefore each port is reserved by a socket that is bound and nothing
//! else. The sockets live as long as the container.

use std::io::ErrorKind as Io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt,
};
use state::{PortMapping, PortRange, PortRequest, Protocol};
use sys::{Error, ErrorKind, Result};

/// Tries to find a port that is free for both IP versions.
const EPHEMERAL_TRIES: usize = 32;

/// A port that belongs to a container as long as the socket is open.
#[derive(Debug)]
pub struct Reserved {
    /// What is published where.
    pub mapping: PortMapping,
    /// Bound to the host's side of it.
    pub socket: OwnedFd,
}

/// Reserves all ports or none. Ranges become single ports; a port of every
/// host address becomes one of `0.0.0.0` and one of `::` with the same number.
/// A port that is taken is `Unavailable`.
pub fn reserve_ports(requests: &[PortRequest]) -> Result<Vec<Reserved>> {
    let mut reserved = Vec::new();
    for request in requests {
        let addresses = addresses(request)?;
        match request.host {
            Some(host) if request.container.count() == 1 && host.count() > 1 => {
                let ports = host.first..=host.last;
                reserved.extend(first_free(request, &addresses, ports)?);
            }
            Some(host) if host.count() != request.container.count() => {
                return Err(uneven(request, host));
            }
            Some(host) => {
                let pairs =
                    (host.first..=host.last).zip(request.container.first..=request.container.last);
                for (host, container) in pairs {
                    reserved.extend(everywhere(request.protocol, &addresses, host, container)?);
                }
            }
            None => {
                for container in request.container.first..=request.container.last {
                    reserved.extend(ephemeral(request.protocol, &addresses, container)?);
                }
            }
        }
    }
    Ok(reserved)
}

/// Reserves ports that were reserved before, the same numbers.
pub fn reserve_again(mappings: &[PortMapping]) -> Result<Vec<Reserved>> {
    mappings
        .iter()
        .map(|one| reserve(one.protocol, one.host, one.container))
        .collect()
}

/// How what is held stands to what is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Held and asked for.
    pub kept: Vec<PortMapping>,
    /// Held and not asked for.
    pub gone: Vec<PortMapping>,
    /// Asked for and not held, or not all that belongs together of it.
    pub missing: Vec<PortRequest>,
}

/// What `requests` mean for ports that are held already.
pub fn standing(requests: &[PortRequest], held: &[PortMapping]) -> Result<Standing> {
    let mut standing = Standing::default();
    for request in requests {
        for single in singles(request)? {
            match answered(&single, held)? {
                Some(mappings) => standing.kept.extend(mappings),
                None => standing.missing.push(single),
            }
        }
    }
    let is_kept = |port: &&PortMapping| standing.kept.contains(port);
    standing.gone = held.iter().filter(|port| !is_kept(port)).copied().collect();
    // Two requests may be answered by the same.
    standing.kept = held.iter().filter(is_kept).copied().collect();
    Ok(standing)
}

/// The same request, a port of the container at a time.
fn singles(request: &PortRequest) -> Result<Vec<PortRequest>> {
    let ports = request.container.first..=request.container.last;
    let single = |container, host| PortRequest {
        container: PortRange {
            first: container,
            last: container,
        },
        host,
        ..request.clone()
    };
    match request.host {
        None => Ok(ports.map(|port| single(port, None)).collect()),
        Some(host) if request.container.count() == 1 => {
            Ok(ports.map(|port| single(port, Some(host))).collect())
        }
        Some(host) if host.count() != request.container.count() => Err(uneven(request, host)),
        Some(host) => {
            let pairs = (host.first..=host.last).zip(ports);
            let one = |(host, port)| {
                let host = PortRange {
                    first: host,
                    last: host,
                };
                single(port, Some(host))
            };
            Ok(pairs.map(one).collect())
        }
    }
}

/// What of `held` is just what a request for one port of the container asks
/// for.
fn answered(request: &PortRequest, held: &[PortMapping]) -> Result<Option<Vec<PortMapping>>> {
    let addresses = addresses(request)?;
    let may_be = |port: u16| {
        let range = request.host;
        range.is_none_or(|range| (range.first..=range.last).contains(&port))
    };
    let fits: Vec<&PortMapping> = held
        .iter()
        .filter(|one| {
            (one.protocol, one.container) == (request.protocol, request.container.first)
                && may_be(one.host.port())
        })
        .collect();
    let on_all = |port: u16| -> Option<Vec<PortMapping>> {
        let on = |address: &IpAddr| {
            let host = SocketAddr::new(*address, port);
            fits.iter().find(|one| one.host == host).map(|one| **one)
        };
        addresses.iter().map(on).collect()
    };
    Ok(fits.iter().find_map(|one| on_all(one.host.port())))
}

fn uneven(request: &PortRequest, host: PortRange) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!(
            "host ports {}-{} and container ports {}-{} differ in number",
            host.first, host.last, request.container.first, request.container.last
        ),
    )
}

/// The host's addresses a request is about.
fn addresses(request: &PortRequest) -> Result<Vec<IpAddr>> {
    match request.host_ip {
        Some(IpAddr::V6(address)) if address.is_loopback() => Err(Error::new(
            ErrorKind::Unsupported,
            "cannot publish a port on ::1: the kernel forwards no IPv6 loopback traffic; \
             use 127.0.0.1",
        )),
        Some(address) => Ok(vec![address]),
        None if has_ipv6() => Ok(vec![
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv6Addr::UNSPECIFIED.into(),
        ]),
        None => Ok(vec![Ipv4Addr::UNSPECIFIED.into()]),
    }
}

/// A host range for one container port: the first number that is free.
fn first_free(
    request: &PortRequest,
    addresses: &[IpAddr],
    mut ports: impl Iterator<Item = u16>,
) -> Result<Vec<Reserved>> {
    let container = request.container.first;
    let attempt = |port| everywhere(request.protocol, addresses, port, container);
    let mut last = attempt(ports.next().unwrap_or_default());
    for port in ports {
        match last {
            Err(error) if error.kind() == ErrorKind::Unavailable => last = attempt(port),
            decided => return decided,
        }
    }
    last
}

/// A number of the kernel's choice, the same for all addresses.
fn ephemeral(protocol: Protocol, addresses: &[IpAddr], container: u16) -> Result<Vec<Reserved>> {
    let (first, others) = addresses
        .split_first()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "no host address to publish on"))?;
    for _ in 0..EPHEMERAL_TRIES {
        let chosen = reserve(protocol, SocketAddr::new(*first, 0), container)?;
        let port = chosen.mapping.host.port();
        match everywhere(protocol, others, port, container) {
            Ok(mut rest) => {
                rest.insert(0, chosen);
                return Ok(rest);
            }
            // Another process has the number in the other IP version.
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "no host port is free for both IPv4 and IPv6",
    ))
}

fn everywhere(
    protocol: Protocol,
    addresses: &[IpAddr],
    host: u16,
    container: u16,
) -> Result<Vec<Reserved>> {
    addresses
        .iter()
        .map(|address| reserve(protocol, SocketAddr::new(*address, host), container))
        .collect()
}

fn reserve(protocol: Protocol, host: SocketAddr, container: u16) -> Result<Reserved> {
    let (socket, host) = bound(protocol, host).map_err(|error| in_words(host, error))?;
    Ok(Reserved {
        mapping: PortMapping {
            host,
            container,
            protocol,
        },
        socket,
    })
}

/// A socket that holds the port. Without `SO_REUSEADDR` the kernel lets no
/// second one have it; TCP does not listen, so who comes in past the packet
/// filter is refused.
fn bound(protocol: Protocol, host: SocketAddr) -> std::io::Result<(OwnedFd, SocketAddr)> {
    let family = match host {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if host.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Udp {
        // Nobody reads what may arrive.
        sockopt::set_socket_recv_buffer_size(&socket, 0)?;
    }
    bind(&socket, &host)?;
    let address = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((socket, address))
}

fn in_words(host: SocketAddr, error: std::io::Error) -> Error {
    let (ip, port) = (host.ip(), host.port());
    match error.kind() {
        Io::AddrInUse => Error::new(
            ErrorKind::Unavailable,
            format!("port {port} on {ip} is already in use"),
        ),
        Io::AddrNotAvailable => Error::new(
            ErrorKind::InvalidInput,
            format!("cannot publish port {port}: {ip} is not an address of this host"),
        ),
        Io::PermissionDenied => Error::new(
            ErrorKind::Denied,
            format!("not permitted to publish port {port} on {ip}"),
        ),
        _ => Error::from(error).wrap(format!("reserve port {port} on {ip}")),
    }
}

fn has_ipv6() -> bool {
    let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
    bound(Protocol::Udp, any).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> PortRequest {
        text.parse().unwrap()
    }

    #[test]
    fn a_taken_port_is_named_and_unavailable() {
        let first = reserve_ports(&[request("127.0.0.1::80")]).unwrap();
        let port = first[0].mapping.host.port();
        let error = reserve_ports(&[request(&format!("127.0.0.1:{port}:81"))]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(
            error.to_string(),
            format!("port {port} on 127.0.0.1 is already in use")
        );
        drop(first);
        reserve_ports(&[request(&format!("127.0.0.1:{port}:81"))]).unwrap();
    }

    #[test]
    fn tcp_and_udp_do_not_exclude_each_other() {
        let tcp = reserve_ports(&[request("127.0.0.1::80")]).unwrap();
        let port = tcp[0].mapping.host.port();
        reserve_ports(&[request(&format!("127.0.0.1:{port}:80/udp"))]).unwrap();
    }

    #[test]
    fn every_address_means_one_number_for_both_versions() {
        let reserved = reserve_ports(&[request("80")]).unwrap();
        let ports: Vec<u16> = reserved.iter().map(|one| one.mapping.host.port()).collect();
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0));
        assert_eq!(reserved.len(), if has_ipv6() { 2 } else { 1 });
    }

    #[test]
    fn a_range_for_one_port_gives_the_first_free() {
        let taken = reserve_ports(&[request("127.0.0.1::80")]).unwrap();
        let port = taken[0].mapping.host.port();
        let Some(next) = port.checked_add(20) else {
            return;
        };
        let one = reserve_ports(&[request(&format!("127.0.0.1:{port}-{next}:80"))]).unwrap();
        assert_eq!(one.len(), 1);
        assert!((port + 1..=next).contains(&one[0].mapping.host.port()));
    }

    #[test]
    fn what_is_asked_for_and_held_stays() {
        let mapping = |host: &str, container| PortMapping {
            host: host.parse().unwrap(),
            container,
            protocol: Protocol::Tcp,
        };
        let held = [
            mapping("127.0.0.1:8080", 80),
            mapping("127.0.0.1:8081", 81),
            mapping("127.0.0.1:40000", 82),
        ];
        let asked = [
            request("127.0.0.1:8080-8082:80-82"),
            request("127.0.0.1::82"),
            request("127.0.0.2:8081:81"),
        ];
        let found = standing(&asked, &held).unwrap();
        assert_eq!(found.kept, held);
        assert_eq!(found.gone, []);
        let missing = [request("127.0.0.1:8082:82"), request("127.0.0.2:8081:81")];
        assert_eq!(found.missing, missing);
        // A port of one address is none of every address.
        let wide = standing(&[request("8080:80")], &held[..1]).unwrap();
        assert_eq!(wide.missing, [request("8080:80")]);
        assert_eq!(wide.gone, held[..1]);
        // Any of a range will do.
        let any = standing(&[request("127.0.0.1:8000-8100:80")], &held).unwrap();
        assert_eq!((&*any.kept, &*any.gone), (&held[..1], &held[1..]));
        assert!(any.missing.is_empty());
    }

    #[test]
    fn refuses_what_cannot_work() {
        let loopback = reserve_ports(&[request("[::1]:8080:80")]).unwrap_err();
        assert_eq!(loopback.kind(), ErrorKind::Unsupported);
        let foreign = reserve_ports(&[request("203.0.113.7:8080:80")]).unwrap_err();
        assert_eq!(foreign.kind(), ErrorKind::InvalidInput);
        let mut uneven = request("8000-8001:80-81");
        uneven.container.last = 82;
        let error = reserve_ports(&[uneven]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
