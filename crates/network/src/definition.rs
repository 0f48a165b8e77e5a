//! What a network is, as it is written down: `<root>/networks/<name>.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use state::{ContainerId, Timestamp};
use sys::{Error, ErrorKind, Result};

use crate::address::{Ipv4Subnet, Pool};

/// Everything that was decided when the network was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    pub name: String,
    #[serde(default = "no_id")]
    pub id: ContainerId,
    #[serde(default = "no_time")]
    pub created: Timestamp,
    #[serde(default)]
    pub driver: Driver,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// As given.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Nothing leads out of it.
    #[serde(default)]
    pub internal: bool,
    /// The link on the host.
    pub bridge: String,
    /// The table in the packet filter.
    pub table: String,
    pub subnet: Ipv4Subnet,
    /// The first address of the subnet if absent.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    /// Where addresses are taken from; all of the subnet if absent.
    #[serde(default)]
    pub range: Option<Ipv4Subnet>,
    /// Addresses of others (`--aux-address`).
    #[serde(default)]
    pub reserved: BTreeMap<String, IpAddr>,
    pub ipv6: Option<Ipv6Prefix>,
    #[serde(default)]
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// Where its names are resolved.
    #[serde(default)]
    pub resolver: Option<Ipv4Addr>,
    /// Bytes.
    pub mtu: Option<u32>,
}

/// How containers are on the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// By a bridge on the host.
    #[default]
    Bridge,
    /// On the wire of a link of the host, each with a hardware address.
    Macvlan { parent: String, mode: String },
}

impl Driver {
    /// Docker's word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan { .. } => "macvlan",
        }
    }
}

fn no_id() -> ContainerId {
    ContainerId::from_bytes([0; 32])
}

fn no_time() -> Timestamp {
    Timestamp::from_nanos(0)
}

impl Definition {
    /// Through which everything else is reached.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway.unwrap_or_else(|| self.subnet.gateway())
    }

    /// As [`Definition::gateway`].
    pub fn ipv6_gateway(&self) -> Option<Ipv6Addr> {
        let prefix = self.ipv6?;
        Some(self.ipv6_gateway.unwrap_or_else(|| prefix.address(1)))
    }

    /// Packets leave by the host's address.
    pub(crate) fn masquerades(&self) -> bool {
        !self.internal && self.option_is_on("com.docker.network.bridge.enable_ip_masquerade")
    }

    /// Containers of the network talk to each other.
    pub(crate) fn connects_containers(&self) -> bool {
        self.option_is_on("com.docker.network.bridge.enable_icc")
    }

    /// Containers send from their own addresses only.
    pub(crate) fn guards_addresses(&self) -> bool {
        self.option_is_on("wharf.guard-addresses")
    }

    fn option_is_on(&self, key: &str) -> bool {
        !self
            .options
            .get(key)
            .is_some_and(|value| matches!(value.as_str(), "false" | "0" | "f" | "F" | "False"))
    }

    /// The addresses that containers get.
    pub(crate) fn pool(&self) -> Pool {
        let range = self.range.unwrap_or(self.subnet);
        let mut excluded = vec![self.gateway()];
        excluded.extend(self.resolver);
        excluded.extend(self.reserved.values().filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        }));
        Pool::new(self.subnet, range, excluded)
    }

    /// The IPv6 address that goes with an IPv4 address of the subnet.
    pub(crate) fn ipv6_of(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        Some(self.ipv6?.address(self.subnet.host_number(address)))
    }
}

/// The network part of a network's IPv6 addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Prefix {
    address: Ipv6Addr,
    length: u8,
}

impl Ipv6Prefix {
    /// `InvalidInput` unless there is room for 24 bits of host numbers and
    /// none of them is set.
    pub fn new(address: Ipv6Addr, length: u8) -> Result<Self> {
        let wrong = |why| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("invalid subnet {address}/{length}: {why}"),
            )
        };
        if !(16..=104).contains(&length) {
            return Err(wrong("the prefix of an IPv6 subnet is from 16 to 104"));
        }
        if address.to_bits() & (u128::MAX >> length) != 0 {
            return Err(wrong("the address has host bits set"));
        }
        if address.is_multicast() || address.is_loopback() || address.is_unicast_link_local() {
            return Err(wrong("these addresses are no container's"));
        }
        Ok(Self { address, length })
    }

    /// A private one (RFC 4193) from 40 random bits.
    pub(crate) fn private(random: [u8; 5]) -> Self {
        let mut octets = [0; 16];
        octets[0] = 0xfd;
        octets[1..6].copy_from_slice(&random);
        Self {
            address: octets.into(),
            length: 64,
        }
    }

    /// Bits of the network part.
    pub fn length(self) -> u8 {
        self.length
    }

    pub(crate) fn address(self, host: u32) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.address.to_bits() | u128::from(host))
    }

    pub(crate) fn contains(self, address: Ipv6Addr) -> bool {
        (address.to_bits() ^ self.address.to_bits()) & !(u128::MAX >> self.length) == 0
    }

    /// The part of an address that is not the network's.
    pub(crate) fn host_number(self, address: Ipv6Addr) -> u128 {
        address.to_bits() & (u128::MAX >> self.length)
    }

    /// The bits that tell the network.
    pub(crate) fn mask(self) -> [u8; 16] {
        (!(u128::MAX >> self.length)).to_be_bytes()
    }

    /// Whether an address lies in both.
    pub(crate) fn overlaps(self, address: Ipv6Addr, length: u8) -> bool {
        let shorter = self.length.min(length);
        let ignored = u128::MAX.checked_shr(shorter.into()).unwrap_or(0);
        (address.to_bits() ^ self.address.to_bits()) & !ignored == 0
    }
}

impl fmt::Display for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Debug for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Ipv6Prefix {
    type Err = Error;

    /// Without a length it is 64: the form of older records.
    fn from_str(text: &str) -> Result<Self> {
        let (address, length) = text.split_once('/').unwrap_or((text, "64"));
        let (Ok(address), Ok(length)) = (address.parse(), length.parse()) else {
            let shown: String = text.chars().take(80).collect();
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("invalid subnet {shown:?}: write it as fd00:1::/64"),
            ));
        };
        Self::new(address, length)
    }
}

impl Serialize for Ipv6Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ipv6Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_checked_when_read() {
        let prefix: Ipv6Prefix = "fd00:1::/64".parse().unwrap();
        assert_eq!(prefix.address(0x304).to_string(), "fd00:1::304");
        assert_eq!(prefix.host_number("fd00:1::5".parse().unwrap()), 5);
        assert!(prefix.contains("fd00:1::ffff:1".parse().unwrap()));
        assert!(!prefix.contains("fd00:2::1".parse().unwrap()));
        assert!(prefix.overlaps("fd00::".parse().unwrap(), 16));
        assert_eq!("fd00:1::".parse::<Ipv6Prefix>().unwrap(), prefix);
        for bad in [
            "fd00::1/64",
            "fd00::/8",
            "fd00::/120",
            "ff02::/64",
            "x/64",
            "fe80::/64",
            "",
        ] {
            assert!(bad.parse::<Ipv6Prefix>().is_err(), "{bad}");
        }
    }
}
