//! The resolver of a network: one process that answers for the names of its
//! containers while there are any.
//!
//! It sits in a network namespace of its own, on the bridge like a container
//! and with an address of the network: no server of the host is in its way,
//! the host's firewall does not stand between, and the guard of the bridge
//! lets nobody else answer from its address. What it asks others about it
//! asks by sockets of the host's namespace, where it was started.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use state::network::{RESOLVER_JOB_FD, RESOLVER_TCP_FD, RESOLVER_UDP_FD};
use state::{Durability, FileLock, ProcessRef, Record, ResolverJob, ResolverRecord};
use sys::spawn::Spawn;
use sys::{Context as _, Error, ErrorKind, Result};

use crate::Networks;
use crate::apply::{Host, create_private_directory};
use crate::attachment::AttachRequest;
use crate::definition::Driver;
use crate::drivers::bridge;
use crate::firewall::guard;
use crate::plan;
use crate::wire::Extras;

/// Where names are asked for.
const PORT: u16 = 53;
/// Connections that may wait.
const BACKLOG: i32 = 64;
/// Where hosts say whom to ask: the second one where a resolver of the host's
/// own answers on loopback.
const RESOLV_CONF: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

impl Networks {
    fn resolver_record(&self, network: &str) -> PathBuf {
        self.layout.resolvers().join(format!("{network}.json"))
    }

    /// Held by who makes what a network has once: its resolver, further
    /// bridges.
    pub(crate) fn side_lock(&self, network: &str) -> PathBuf {
        self.layout.resolvers().join(format!("{network}.lock"))
    }

    /// Starts the network's resolver if it does not run. The caller holds the
    /// network's lock and has, or knows of, a lease.
    pub(crate) fn ensure_resolver(&self, host: &mut Host) -> Result<()> {
        let (Some(address), Some(program)) = (host.network.resolver, &self.config.resolver) else {
            return Ok(());
        };
        let path = self.resolver_record(&host.network.name);
        if is_running(&path)? {
            return Ok(());
        }
        let _lock = host.lock_side()?;
        if is_running(&path)? {
            return Ok(());
        }
        let mut start = || -> Result<()> {
            let sockets = host.resolver_sockets(address)?;
            let job = ResolverJob {
                network: host.network.name.clone(),
                leases: self.layout.all_leases(),
                forwards: !host.network.internal,
                resolv_conf: RESOLV_CONF.iter().map(PathBuf::from).collect(),
            };
            let process = spawn(program, &job, &sockets)?;
            let record = ResolverRecord { process, address };
            Record::write(&path, &record, Durability::Fast)
        };
        start().context(|| "start its resolver")
    }

    /// Ends the network's resolver. The caller holds the network's lock
    /// exclusively.
    pub(crate) fn stop_resolver(&self, network: &str) -> Result<()> {
        let path = self.resolver_record(network);
        let Some(record) = Record::read_if_exists::<ResolverRecord>(&path)? else {
            return Ok(());
        };
        if let Some(process) = record.process.open()? {
            sys::process::signal_pidfd(process.as_fd(), 9)
                .context(|| format!("end the resolver of network {network}"))?;
        }
        for path in [path, self.side_lock(network)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).context(|| format!("remove {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_running(path: &std::path::Path) -> Result<bool> {
    let record = Record::read_if_exists::<ResolverRecord>(path)?;
    Ok(record.is_some_and(|record| record.process.is_alive()))
}

impl Host {
    /// Keeps others from making what there is once, the network's lock being
    /// shared.
    pub(crate) fn lock_side(&self) -> Result<FileLock> {
        if let Some(directory) = self.side_lock.parent() {
            create_private_directory(directory)?;
        }
        FileLock::exclusive(&self.side_lock)
    }

    /// Looks up what links are attached to.
    pub(crate) fn find_master(&mut self) -> Result<Option<u32>> {
        let found = match &self.network.driver {
            Driver::Bridge => bridge::find(&self.network, &mut self.route)?,
            Driver::Macvlan { parent, .. } => {
                let parent = parent.clone();
                self.link(&parent)?.map(|link| link.index)
            }
        };
        self.master = found.unwrap_or_default();
        Ok(found)
    }

    /// Sockets in a namespace of their own, which lives as long as they do.
    fn resolver_sockets(&mut self, address: Ipv4Addr) -> Result<[OwnedFd; 2]> {
        let netns = crate::create_namespace()?;
        let request = AttachRequest::new(self.network.id);
        let mut place = plan::attachment(&self.network, address, None, &request);
        if self.network.driver == Driver::Bridge {
            let addresses = guard::elements(address, None, None);
            self.firewall.add(&[], &addresses)?;
        }
        self.wire(netns.as_fd(), &mut place, Extras::default())?;
        sys::netns::within(netns.as_fd(), || {
            let here = SocketAddr::new(address.into(), PORT);
            let udp = open(SocketType::DGRAM, here)?;
            let tcp = open(SocketType::STREAM, here)?;
            listen(&tcp, BACKLOG)?;
            Ok([udp, tcp])
        })
    }
}

fn open(kind: SocketType, address: SocketAddr) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, kind, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address).context(|| format!("listen on {address}"))?;
    Ok(socket)
}

fn spawn(
    program: &std::path::Path,
    job: &ResolverJob,
    [udp, tcp]: &[OwnedFd; 2],
) -> Result<ProcessRef> {
    let text = serde_json::to_vec(job)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    let job = sys::memfd::sealed("wharf-resolver", &text)?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty()).context(|| "open /dev/null")?;
    let mut spawn = Spawn::new(program).arg("resolver").new_session();
    for place in 0..3 {
        spawn = spawn.fd(null.as_fd(), place);
    }
    let child = spawn
        .fd(job.as_fd(), RESOLVER_JOB_FD)
        .fd(udp.as_fd(), RESOLVER_UDP_FD)
        .fd(tcp.as_fd(), RESOLVER_TCP_FD)
        .start()?;
    ProcessRef::of(child.pid)
}
