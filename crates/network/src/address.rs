//! Addresses and who holds them.
//!
//! A lease is a file named after the address, in a directory per network. It
//! is created exclusively, so two processes never get the same address, and
//! no list has to be kept or locked. Where the search for a free address
//! begins follows from the container's id: an address is rarely taken at the
//! first try, the lease is found again without an index, and an address that
//! was just given up is not given out next.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind as Io, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use state::{ContainerId, Lease, MacAddress, Record};
use sys::{Context as _, Error, ErrorKind, Result};

/// Places tried before the whole network is searched from its beginning.
const PLACES: u32 = 8;

/// An IPv4 network with room for a gateway and at least a few containers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ipv4Subnet {
    first: u32,
    prefix: u8,
}

impl Ipv4Subnet {
    /// The network `address` lies in; `InvalidInput` unless the prefix is 8
    /// to 29 and the address the network's first.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Self> {
        let wrong = |why| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("invalid subnet {address}/{prefix}: {why}"),
            )
        };
        if !(8..=29).contains(&prefix) {
            return Err(wrong("the prefix is from 8 to 29"));
        }
        if address.is_loopback() || address.is_multicast() || address.octets()[0] == 0 {
            return Err(wrong("these addresses are no container's"));
        }
        let subnet = Self {
            first: address.to_bits(),
            prefix,
        };
        if subnet.first & subnet.host_mask() != 0 {
            return Err(wrong("the address has host bits set"));
        }
        Ok(subnet)
    }

    /// Length of the prefix.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The network's own address.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first)
    }

    /// The bridge's address: the first usable one.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first + 1)
    }

    /// The bits that tell the network.
    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(!self.host_mask())
    }

    /// Whether an address lies in both.
    pub fn overlaps(self, address: Ipv4Addr, prefix: u8) -> bool {
        let shorter = self.prefix.min(prefix);
        let ignored = u32::MAX.checked_shr(shorter.into()).unwrap_or(0);
        (self.first ^ address.to_bits()) & !ignored == 0
    }

    /// Which place an address has in the network.
    pub(crate) fn host_number(self, address: Ipv4Addr) -> u32 {
        address.to_bits() & self.host_mask()
    }

    /// Whether an address lies in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        self.overlaps(address, 32)
    }

    /// The address with this number, if there is one.
    pub(crate) fn numbered(self, number: u32) -> Option<Ipv4Addr> {
        (number <= self.host_mask()).then(|| Ipv4Addr::from_bits(self.first + number))
    }

    /// The last address that is not the broadcast address.
    pub(crate) fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits((self.first | self.host_mask()) - 1)
    }

    /// Whether an address may be anybody's: neither the network's nor the
    /// broadcast address.
    pub(crate) fn is_host(self, address: Ipv4Addr) -> bool {
        let number = self.host_number(address);
        self.contains(address) && number != 0 && number != self.host_mask()
    }

    fn host_mask(self) -> u32 {
        u32::MAX >> self.prefix
    }
}

impl fmt::Display for Ipv4Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.prefix)
    }
}

impl fmt::Debug for Ipv4Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Ipv4Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text
            .split_once('/')
            .and_then(|(address, prefix)| Some((address.parse().ok()?, prefix.parse().ok()?)));
        let (address, prefix) = parts.ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            Error::new(
                ErrorKind::InvalidInput,
                format!("invalid subnet {shown:?}: write it as 10.87.0.0/16"),
            )
        })?;
        Self::new(address, prefix)
    }
}

impl Serialize for Ipv4Subnet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ipv4Subnet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// What asking for an address gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The address is the container's.
    Fresh(Ipv4Addr),
    /// The container holds an address from an attachment nobody undid.
    Stale(Ipv4Addr),
}

/// The addresses that containers of a network get.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    subnet: Ipv4Subnet,
    first: u32,
    count: u32,
    excluded: Vec<Ipv4Addr>,
    /// As the administrator wrote it.
    range: Ipv4Subnet,
}

impl Pool {
    /// `range` lies in `subnet`; `excluded` are others' addresses.
    pub(crate) fn new(subnet: Ipv4Subnet, range: Ipv4Subnet, excluded: Vec<Ipv4Addr>) -> Self {
        let lowest = subnet.first + 1;
        let highest = subnet.last().to_bits();
        let first = range.first.max(lowest);
        let last = (range.first | range.host_mask()).min(highest);
        Self {
            subnet,
            first,
            count: last.saturating_sub(first) + 1,
            excluded,
            range,
        }
    }

    /// `None` for the places of others.
    fn address(&self, place: u32) -> Option<Ipv4Addr> {
        let address = Ipv4Addr::from_bits(self.first + place % self.count);
        (!self.excluded.contains(&address)).then_some(address)
    }

    /// Whether a container may ask for this address.
    fn check(&self, address: Ipv4Addr) -> Result<()> {
        if !self.subnet.is_host(address) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("address {address} is not in the subnet {}", self.subnet),
            ));
        }
        if self.excluded.contains(&address) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("address {address} is the network's own"),
            ));
        }
        Ok(())
    }
}

/// The addresses of one network and who holds them.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    directory: PathBuf,
    pool: Pool,
}

/// Which address a container wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Any,
    /// This one and no other.
    This(Ipv4Addr),
}

impl Leases {
    pub(crate) fn new(directory: PathBuf, pool: Pool) -> Self {
        Self { directory, pool }
    }

    /// Takes a free address for a container; `lease` gives what is written
    /// down for an address.
    pub(crate) fn take(
        &self,
        container: &ContainerId,
        wish: Wish,
        lease: &dyn Fn(Ipv4Addr) -> Lease,
    ) -> Result<Taken> {
        let create = |address| self.create(address, &lease(address));
        if let Wish::This(address) = wish {
            self.pool.check(address)?;
            if let Some((held, _)) = self.find(container)? {
                return Ok(Taken::Stale(held));
            }
            if create(address)? {
                return Ok(Taken::Fresh(address));
            }
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("address {address} is in use"),
            ));
        }
        for address in self.places(container) {
            if create(address)? {
                return Ok(Taken::Fresh(address));
            }
            if self
                .read(address)
                .is_some_and(|held| held.container == *container)
            {
                return Ok(Taken::Stale(address));
            }
        }
        // Only a small network that is nearly full comes here.
        if let Some((address, _)) = self.search(container)? {
            return Ok(Taken::Stale(address));
        }
        for address in (0..self.pool.count).filter_map(|place| self.pool.address(place)) {
            if create(address)? {
                return Ok(Taken::Fresh(address));
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("no address is free in {}", self.pool.range),
        ))
    }

    /// Takes an address for its IPv6 part alone; false if it is taken.
    pub(crate) fn take_ipv6(&self, address: Ipv4Addr, lease: &Lease) -> Result<bool> {
        self.create(address, lease)
    }

    /// How many addresses are held, without a look at by whom.
    pub(crate) fn count(&self) -> Result<usize> {
        match fs::read_dir(&self.directory) {
            Ok(entries) => Ok(entries.count()),
            Err(error) if error.kind() == Io::NotFound => Ok(0),
            Err(error) => Err(error).context(|| self.naming("list")),
        }
    }

    /// Whether nobody has an address.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        Ok(self.count()? == 0)
    }

    /// The container's lease.
    pub(crate) fn find(&self, container: &ContainerId) -> Result<Option<(Ipv4Addr, Lease)>> {
        for address in self.places(container) {
            if let Some(lease) = self.read(address)
                && lease.container == *container
                && !lease.ipv6_only
            {
                return Ok(Some((address, lease)));
            }
        }
        self.search(container)
    }

    /// All leases. `None` stands for one that cannot be read: its holder died
    /// while it wrote it.
    pub(crate) fn list(&self) -> Result<Vec<(Ipv4Addr, Option<Lease>)>> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == Io::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).context(|| self.naming("list")),
        };
        let mut leases = Vec::new();
        for entry in entries {
            let name = entry.context(|| self.naming("list"))?.file_name();
            if let Some(address) = name.to_str().and_then(|name| name.parse().ok()) {
                leases.push((address, self.read(address)));
            }
        }
        Ok(leases)
    }

    /// Replaces what is known about the holder of an address.
    pub(crate) fn replace(&self, address: Ipv4Addr, lease: &Lease) -> Result<()> {
        Record::write(&self.path(address), lease, state::Durability::Fast)
    }

    /// Gives an address up.
    pub(crate) fn release(&self, address: Ipv4Addr) -> Result<()> {
        remove(&self.path(address))
    }

    /// Takes an IPv6 or a hardware address that was asked for, as text; false
    /// if somebody else did.
    pub(crate) fn claim(&self, address: &str, lease: &Lease) -> Result<bool> {
        self.create_file(&self.directory.join(address), lease)
    }

    /// Gives up whatever a container has for IPv6 and hardware addresses that
    /// it asked for.
    pub(crate) fn release_claims(&self, container: &ContainerId) -> Result<()> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == Io::NotFound => return Ok(()),
            Err(error) => return Err(error).context(|| self.naming("list")),
        };
        for entry in entries {
            let entry = entry.context(|| self.naming("list"))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Ok(lease) = Record::read::<Lease>(&entry.path()) else {
                continue;
            };
            let is_meant = lease.ipv6_only
                || name.parse::<Ipv6Addr>().is_ok()
                || name.parse::<MacAddress>().is_ok();
            if is_meant && lease.container == *container {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Where a container's address may be, in the order they are tried.
    fn places(&self, container: &ContainerId) -> impl Iterator<Item = Ipv4Addr> + '_ {
        let bytes = container.as_bytes();
        let number = |at: usize| {
            let mut part = [0; 4];
            part.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(part)
        };
        // The id's beginning names the link; the rest is independent of it.
        let (start, step) = (number(8), number(12) | 1);
        (0..PLACES).filter_map(move |index| {
            self.pool
                .address(start.wrapping_add(index.wrapping_mul(step)))
        })
    }

    /// The lease of a container, wherever it is.
    fn search(&self, container: &ContainerId) -> Result<Option<(Ipv4Addr, Lease)>> {
        Ok(self.list()?.into_iter().find_map(|(address, lease)| {
            let lease = lease?;
            (lease.container == *container && !lease.ipv6_only).then_some((address, lease))
        }))
    }

    fn create(&self, address: Ipv4Addr, lease: &Lease) -> Result<bool> {
        self.create_file(&self.path(address), lease)
    }

    fn create_file(&self, path: &Path, lease: &Lease) -> Result<bool> {
        let text = serde_json::to_vec(lease)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let opened = match options.open(path) {
            Err(error) if error.kind() == Io::NotFound => {
                let mut builder = DirBuilder::new();
                builder
                    .recursive(true)
                    .mode(0o700)
                    .create(&self.directory)
                    .context(|| self.naming("make"))?;
                options.open(path)
            }
            opened => opened,
        };
        match opened {
            Ok(mut file) => {
                let written = file.write_all(&text);
                if written.is_err() {
                    // The failed write is what the user needs to know.
                    let _ = fs::remove_file(path);
                }
                written.context(|| format!("write lease {}", path.display()))?;
                Ok(true)
            }
            Err(error) if error.kind() == Io::AlreadyExists => Ok(false),
            Err(error) => Err(error).context(|| format!("make lease {}", path.display())),
        }
    }

    fn read(&self, address: Ipv4Addr) -> Option<Lease> {
        Record::read(&self.path(address)).ok()
    }

    fn path(&self, address: Ipv4Addr) -> PathBuf {
        self.directory.join(address.to_string())
    }

    fn naming(&self, act: &str) -> String {
        format!("{act} {}", Path::display(&self.directory))
    }
}

fn remove(lease: &Path) -> Result<()> {
    match fs::remove_file(lease) {
        Err(error) if error.kind() != Io::NotFound => {
            Err(error).context(|| format!("give up lease {}", lease.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn subnet(text: &str) -> Ipv4Subnet {
        text.parse().unwrap()
    }

    fn lease(first: u8) -> Lease {
        let mut bytes = [first; 32];
        bytes[9] = first.wrapping_mul(37);
        Lease {
            container: ContainerId::from_bytes(bytes),
            ports: Vec::new(),
            ipv6: None,
            interface: String::new(),
            names: Vec::new(),
            servers: Vec::new(),
            mac: None,
            links: Vec::new(),
            also: Vec::new(),
            ipv6_only: false,
        }
    }

    fn leases(directory: PathBuf, text: &str) -> Leases {
        let subnet = subnet(text);
        Leases::new(directory, Pool::new(subnet, subnet, vec![subnet.gateway()]))
    }

    fn take(leases: &Leases, lease: &Lease) -> Result<Taken> {
        leases.take(&lease.container, Wish::Any, &|_| lease.clone())
    }

    #[test]
    fn subnets_are_checked_when_read() {
        let net = subnet("10.87.0.0/16");
        assert_eq!(net.to_string(), "10.87.0.0/16");
        assert_eq!(net.gateway(), Ipv4Addr::new(10, 87, 0, 1));
        assert_eq!(net.mask(), Ipv4Addr::new(255, 255, 0, 0));
        for bad in [
            "",
            "10.87.0.0",
            "10.87.0.0/7",
            "10.87.0.0/30",
            "127.0.0.0/8",
            "224.0.0.0/8",
            "0.0.0.0/8",
            "10.87.0.1/16",
            "x/16",
            "10.0.0.0/-1",
        ] {
            assert!(bad.parse::<Ipv4Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn overlap_is_seen_from_either_side() {
        let net = subnet("10.87.0.0/16");
        assert!(net.overlaps(Ipv4Addr::new(10, 0, 0, 0), 8));
        assert!(net.overlaps(Ipv4Addr::new(10, 87, 5, 0), 24));
        assert!(net.overlaps(Ipv4Addr::UNSPECIFIED, 0));
        assert!(!net.overlaps(Ipv4Addr::new(10, 86, 0, 0), 16));
    }

    #[test]
    fn an_address_has_one_holder_and_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let held = leases(directory.path().join("bridge"), "10.87.0.0/16");
        let mut addresses = HashSet::new();
        for first in 0..100 {
            let Taken::Fresh(address) = take(&held, &lease(first)).unwrap() else {
                panic!("not fresh");
            };
            assert!(addresses.insert(address));
            assert_ne!(address, Ipv4Addr::new(10, 87, 0, 1));
            let found = held.find(&lease(first).container).unwrap();
            assert_eq!(found, Some((address, lease(first))));
        }
        assert_eq!(held.list().unwrap().len(), 100);
        let (address, _) = held.find(&lease(7).container).unwrap().unwrap();
        assert_eq!(take(&held, &lease(7)).unwrap(), Taken::Stale(address));
        held.release(address).unwrap();
        held.release(address).unwrap();
        assert_eq!(held.find(&lease(7).container).unwrap(), None);
    }

    #[test]
    fn a_small_network_is_used_to_its_last_address() {
        let directory = tempfile::tempdir().unwrap();
        let held = leases(directory.path().to_owned(), "192.0.2.16/28");
        for first in 0..13 {
            assert!(matches!(
                take(&held, &lease(first)).unwrap(),
                Taken::Fresh(_)
            ));
        }
        let error = take(&held, &lease(13)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.to_string(), "no address is free in 192.0.2.16/28");
        assert!(!directory.path().join("192.0.2.17").exists());
        assert!(!directory.path().join("192.0.2.31").exists());
        for first in 0..13 {
            assert!(held.find(&lease(first).container).unwrap().is_some());
        }
    }

    #[test]
    fn many_at_once_get_different_addresses() {
        let directory = tempfile::tempdir().unwrap();
        let held = leases(directory.path().join("deep/er"), "192.0.2.0/27");
        let addresses: Vec<Taken> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..20)
                .map(|first| {
                    let held = &held;
                    scope.spawn(move || take(held, &lease(first)).unwrap())
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(
            addresses
                .iter()
                .all(|taken| matches!(taken, Taken::Fresh(_)))
        );
        assert_eq!(held.list().unwrap().len(), 20);
    }

    #[test]
    fn a_lease_of_a_crashed_writer_is_listed_as_unreadable() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("192.0.2.5"), "").unwrap();
        fs::write(directory.path().join("not an address"), "").unwrap();
        let held = leases(directory.path().to_owned(), "192.0.2.0/24");
        assert_eq!(
            held.list().unwrap(),
            vec![(Ipv4Addr::new(192, 0, 2, 5), None)]
        );
    }
}
