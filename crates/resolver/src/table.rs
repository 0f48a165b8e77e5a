//! Who is on which network, as the leases say; kept up by inotify(7).

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use state::Lease;
use sys::{Context as _, Result};

/// Networks that are known at a time beside our own.
const NETWORKS_MAX: usize = 64;
/// A lease is smaller.
const LEASE_MAX: u64 = 1 << 20;

/// All that is known.
#[derive(Debug)]
pub(crate) struct Table {
    directory: PathBuf,
    own: String,
    networks: HashMap<String, Network>,
    inotify: OwnedFd,
    watches: HashMap<i32, String>,
}

/// One network.
#[derive(Debug, Default)]
struct Network {
    leases: HashMap<Ipv4Addr, Lease>,
    names: HashMap<String, Vec<Ipv4Addr>>,
}

impl Table {
    /// Knows the network `own`, whose leases are in a directory of that name.
    pub(crate) fn open(directory: &Path, own: &str) -> Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let mut table = Self {
            directory: directory.to_owned(),
            own: own.to_owned(),
            networks: HashMap::new(),
            inotify: inotify::init(flags).context(|| "watch leases")?,
            watches: HashMap::new(),
        };
        table.load(own);
        Ok(table)
    }

    /// Readable when something changed.
    pub(crate) fn changes(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Takes note of what changed.
    pub(crate) fn refresh(&mut self) {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 8192];
        let mut changed = Vec::new();
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let name = event.file_name().and_then(|name| name.to_str().ok());
            changed.push((event.wd(), event.events(), name.map(str::to_owned)));
        }
        for (watch, events, name) in changed {
            if events.contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                self.reload();
                return;
            }
            let Some(network) = self.watches.get(&watch).cloned() else {
                continue;
            };
            if events.contains(inotify::ReadFlags::IGNORED) {
                self.watches.remove(&watch);
                self.networks.remove(&network);
                continue;
            }
            if let Some(address) = name.and_then(|name| name.parse().ok()) {
                self.read(&network, address);
            }
        }
    }

    /// The lease of a container of our own network.
    pub(crate) fn client(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.networks.get(&self.own)?.leases.get(&address)
    }

    /// The networks that a client may look at, its own first.
    fn visible(&self, client: &Lease) -> Vec<String> {
        let mut visible = vec![self.own.clone()];
        visible.extend(
            client
                .also
                .iter()
                .filter(|other| **other != self.own)
                .cloned(),
        );
        visible
    }

    /// Addresses of the containers that a name stands for on the first
    /// network that knows it; `None` if none does.
    pub(crate) fn find(&mut self, client: &Lease, name: &str) -> Option<Vec<IpAddr>> {
        let link = client
            .links
            .iter()
            .find(|(alias, _)| alias.eq_ignore_ascii_case(name));
        let name = link.map_or(name, |(_, meant)| meant);
        for network in self.visible(client) {
            if !self.networks.contains_key(&network) {
                self.load(&network);
            }
            let Some(known) = self.networks.get(&network) else {
                continue;
            };
            let short = name
                .strip_suffix(network.to_ascii_lowercase().as_str())
                .and_then(|name| name.strip_suffix('.'));
            let Some(addresses) = [Some(name), short]
                .into_iter()
                .flatten()
                .find_map(|name| known.names.get(name))
            else {
                continue;
            };
            let leases = addresses
                .iter()
                .filter_map(|address| known.leases.get_key_value(address));
            let found = leases
                .flat_map(|(ipv4, lease)| [Some(IpAddr::V4(*ipv4)), lease.ipv6.map(IpAddr::V6)]);
            return Some(found.flatten().collect());
        }
        None
    }

    /// The name of the container with an address.
    pub(crate) fn name_of(&mut self, client: &Lease, address: IpAddr) -> Option<String> {
        for network in self.visible(client) {
            if !self.networks.contains_key(&network) {
                self.load(&network);
            }
            let Some(known) = self.networks.get(&network) else {
                continue;
            };
            let lease = match address {
                IpAddr::V4(address) => known.leases.get(&address),
                IpAddr::V6(address) => known
                    .leases
                    .values()
                    .find(|lease| lease.ipv6 == Some(address)),
            };
            if let Some(name) = lease.and_then(|lease| lease.names.first()) {
                return Some(format!("{name}.{network}"));
            }
        }
        None
    }

    fn reload(&mut self) {
        let names: Vec<String> = self.networks.drain().map(|(name, _)| name).collect();
        for name in names {
            self.load(&name);
        }
    }

    /// Watches a network and reads all of its leases.
    fn load(&mut self, network: &str) {
        if self.networks.len() > NETWORKS_MAX || network.contains('/') || network.starts_with('.') {
            return;
        }
        let directory = self.directory.join(network);
        let events = inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::ONLYDIR;
        let Ok(watch) = inotify::add_watch(&self.inotify, &directory, events) else {
            return;
        };
        self.watches.insert(watch, network.to_owned());
        self.networks.insert(network.to_owned(), Network::default());
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if let Some(address) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            {
                self.read(network, address);
            }
        }
    }

    /// Reads one lease, which may be gone.
    fn read(&mut self, network: &str, address: Ipv4Addr) {
        let path = self.directory.join(network).join(address.to_string());
        let lease = fs::metadata(&path)
            .ok()
            .filter(|metadata| metadata.len() <= LEASE_MAX)
            .and_then(|_| fs::read(&path).ok())
            .and_then(|text| serde_json::from_slice::<Lease>(&text).ok())
            .filter(|lease| !lease.ipv6_only);
        let Some(known) = self.networks.get_mut(network) else {
            return;
        };
        if let Some(old) = known.leases.remove(&address) {
            for name in &old.names {
                let name = name.to_ascii_lowercase();
                if let Some(addresses) = known.names.get_mut(&name) {
                    addresses.retain(|known| *known != address);
                    if addresses.is_empty() {
                        known.names.remove(&name);
                    }
                }
            }
        }
        if let Some(lease) = lease {
            for name in &lease.names {
                let addresses = known.names.entry(name.to_ascii_lowercase()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            known.leases.insert(address, lease);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use state::ContainerId;

    use super::*;

    pub(crate) fn lease(first: u8, names: &[&str], also: &[&str]) -> Lease {
        Lease {
            container: ContainerId::from_bytes([first; 32]),
            ports: Vec::new(),
            ipv6: Some(format!("fd00::{first}").parse().unwrap()),
            interface: "eth0".into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            mac: None,
            links: Vec::new(),
            servers: Vec::new(),
            also: also.iter().map(|name| (*name).to_owned()).collect(),
            ipv6_only: false,
        }
    }

    pub(crate) fn write(directory: &Path, network: &str, address: &str, lease: &Lease) {
        fs::create_dir_all(directory.join(network)).unwrap();
        let text = serde_json::to_vec(lease).unwrap();
        let temporary = directory.join(network).join(".new");
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, directory.join(network).join(address)).unwrap();
    }

    #[test]
    fn leases_are_followed_as_they_come_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        write(
            at,
            "front",
            "10.0.0.2",
            &lease(2, &["Web", "www"], &["back"]),
        );
        write(at, "back", "10.1.0.2", &lease(3, &["db"], &[]));
        let mut table = Table::open(at, "front").unwrap();
        let client = table.client(Ipv4Addr::new(10, 0, 0, 2)).unwrap().clone();
        let found = table.find(&client, "web").unwrap();
        assert_eq!(
            found,
            [
                "10.0.0.2".parse::<IpAddr>().unwrap(),
                "fd00::2".parse().unwrap()
            ]
        );
        assert!(table.find(&client, "web.front").is_some());
        assert!(table.find(&client, "db").is_some() && table.find(&client, "db.back").is_some());
        let stranger = lease(9, &["x"], &[]);
        assert!(table.find(&stranger, "db").is_none(), "not on that network");
        assert!(table.find(&client, "nobody").is_none());
        assert!(table.find(&client, "database").is_none());
        let linked = Lease {
            links: vec![("Database".into(), "db".into())],
            ..client.clone()
        };
        assert_eq!(table.find(&linked, "database"), table.find(&client, "db"));
        let back = "10.1.0.2".parse().unwrap();
        assert_eq!(table.name_of(&client, back).as_deref(), Some("db.back"));

        write(at, "front", "10.0.0.3", &lease(4, &["web"], &[]));
        fs::write(at.join("front/10.0.0.9"), "half a lea").unwrap();
        table.refresh();
        assert_eq!(table.find(&client, "web").unwrap().len(), 4);
        fs::remove_file(at.join("front/10.0.0.3")).unwrap();
        table.refresh();
        assert_eq!(table.find(&client, "web").unwrap().len(), 2);
        write(at, "front", "10.0.0.2", &lease(2, &["renamed"], &[]));
        table.refresh();
        assert!(table.find(&client, "web").is_none());
        assert!(table.find(&client, "renamed").is_some());
    }
}
