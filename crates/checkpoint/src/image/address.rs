//! Addresses of sockets for people.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// An address of the internet as the kernel has it.
pub(crate) fn address(bytes: &[u8]) -> String {
    parse(bytes).map_or_else(|| "an unknown address".to_owned(), |it| it.to_string())
}

/// struct sockaddr_in: family, port, address; of version 6: family, port,
/// flow, address, scope.
pub(crate) fn parse(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let ip = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?)),
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(
            <[u8; 16]>::try_from(bytes.get(8..24)?).ok()?,
        )),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}
