//! Names to addresses without the C library: its resolver loads shared objects
//! (NSS), which a static binary cannot.
//!
//! In order: an address written out, `localhost`, the hosts file, then the
//! name servers of `resolv.conf` over UDP, and TCP when an answer is cut.

pub mod message;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sys::{Context, Error, ErrorKind, Result};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use self::message::{Answer, Family};

/// Sizes of the two files that are believed.
const LARGEST_FILE: u64 = 1024 * 1024;
/// What ureq takes.
const MOST_ADDRESSES: usize = 16;
const MOST_SERVERS: usize = 3;
const MOST_DOMAINS: usize = 6;
const PORT: u16 = 53;

/// Looks names up.
#[derive(Clone, Debug)]
pub struct Lookup {
    pub hosts_file: PathBuf,
    pub resolv_conf: PathBuf,
    /// For the whole search of one name.
    pub timeout: Duration,
}

impl Lookup {
    /// The addresses of `host`, IPv4 first; `NotFound` or `Unavailable`.
    pub fn addresses(&self, host: &str) -> Result<Vec<IpAddr>> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let named = addresses_in_hosts(&read_limited(&self.hosts_file), &name);
        if !named.is_empty() {
            return Ok(named);
        }
        if crate::url::is_loopback(&name) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let settings = Settings::parse(&read_limited(&self.resolv_conf));
        let deadline = Instant::now() + self.timeout;
        for candidate in settings.candidates(&name, host.ends_with('.')) {
            let found = settings
                .ask(&candidate, deadline)
                .context(|| format!("look up {host}"))?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(Error::new(ErrorKind::NotFound, "no such host").wrap(format!("look up {host}")))
    }
}

impl Resolver for Lookup {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let wrong = || ureq::Error::BadUri("no host".to_owned());
        let host = uri.host().ok_or_else(wrong)?;
        let port = match (uri.port_u16(), uri.scheme_str()) {
            (Some(port), _) => port,
            (None, Some("https")) => 443,
            (None, _) => 80,
        };
        let found = self
            .addresses(host)
            .map_err(|error| ureq::Error::Other(Box::new(LookupFailed(error))))?;
        let mut addresses = self.empty();
        for address in found.into_iter().take(MOST_ADDRESSES) {
            addresses.push(SocketAddr::new(address, port));
        }
        Ok(addresses)
    }
}

/// Carries our error through the HTTP client.
#[derive(Debug)]
pub(crate) struct LookupFailed(pub(crate) Error);

impl fmt::Display for LookupFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for LookupFailed {}

/// The addresses that the text of a hosts file gives to `name`, IPv4 first.
pub fn addresses_in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        if words.any(|word| word.eq_ignore_ascii_case(name)) {
            found.insert(address);
        }
    }
    found.into_iter().take(MOST_ADDRESSES).collect()
}

/// What `resolv.conf` says.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    timeout: Duration,
    attempts: u32,
}

impl Settings {
    /// From the text of a `resolv.conf` (resolv.conf(5)); without a name
    /// server in it, the one on this machine.
    pub fn parse(text: &str) -> Self {
        let mut settings = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(3),
            attempts: 2,
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(server_address);
                    settings.servers.extend(address);
                }
                Some("search" | "domain") => {
                    settings.search = words
                        .take(MOST_DOMAINS)
                        .map(str::to_ascii_lowercase)
                        .collect();
                }
                Some("options") => words.for_each(|option| settings.set(option)),
                _ => {}
            }
        }
        settings.servers.truncate(MOST_SERVERS);
        if settings.servers.is_empty() {
            settings.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        settings
    }

    fn set(&mut self, option: &str) {
        let Some((name, Ok(value))) = option
            .split_once(':')
            .map(|(name, value)| (name, value.parse::<u32>()))
        else {
            return;
        };
        match name {
            "ndots" => self.ndots = value.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(value.clamp(1, 30).into()),
            "attempts" => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// The full names to try for `name`, in order.
    fn candidates(&self, name: &str, rooted: bool) -> Vec<String> {
        let as_is = name.to_owned();
        if rooted {
            return vec![as_is];
        }
        let searched = self.search.iter().map(|domain| {
            let domain = domain.trim_matches('.');
            format!("{name}.{domain}")
        });
        if name.matches('.').count() >= self.ndots {
            std::iter::once(as_is).chain(searched).collect()
        } else {
            searched.chain([as_is]).collect()
        }
    }

    /// All addresses of `name`; empty if the servers say that it has none.
    fn ask(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>> {
        let mut failure = Error::new(ErrorKind::Unavailable, "no name server answers");
        for _ in 0..self.attempts {
            for server in &self.servers {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(failure);
                }
                match ask_server(*server, name, self.timeout.min(left)) {
                    Ok(found) => return Ok(found),
                    Err(error) => failure = error.wrap(format!("name server {}", server.ip())),
                }
            }
        }
        Err(failure)
    }
}

/// An address, IPv6 possibly with a zone (`fe80::1%eth0` is skipped: a zone
/// needs an interface index, and such servers come with a second one).
fn server_address(word: &str) -> Option<SocketAddr> {
    let address: IpAddr = word.parse().ok()?;
    Some(SocketAddr::new(address, PORT))
}

/// Asks one server for both families at once.
fn ask_server(server: SocketAddr, name: &str, timeout: Duration) -> Result<Vec<IpAddr>> {
    let here: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(here)?;
    // The kernel then drops what comes from elsewhere.
    socket.connect(server)?;
    let mut open = Vec::new();
    for family in [Family::V4, Family::V6] {
        let query = message::query(random_id()?, name, family)
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "not a host name"))?;
        socket.send(&query)?;
        open.push((family, query));
    }
    let deadline = Instant::now() + timeout;
    let mut found = Vec::new();
    let mut buffer = [0; 4096];
    while !open.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // One family is better than none: some servers drop AAAA.
            if found.is_empty() {
                return Err(Error::new(ErrorKind::Unavailable, "no answer"));
            }
            break;
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        let Some(at) = open
            .iter()
            .position(|(_, query)| message::answers(query, &buffer[..length]))
        else {
            continue;
        };
        let (family, query) = open.swap_remove(at);
        let mut answer = message::parse(&buffer[..length], name, family)?;
        if answer == Answer::Truncated {
            answer = message::parse(&ask_over_tcp(server, &query, left)?, name, family)?;
        }
        if let Answer::Addresses(addresses) = answer {
            found.extend(addresses);
        }
    }
    found.sort_by_key(IpAddr::is_ipv6);
    found.truncate(MOST_ADDRESSES);
    Ok(found)
}

fn ask_over_tcp(server: SocketAddr, query: &[u8], timeout: Duration) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    // A query is shorter than 300 bytes, see `message::query`.
    let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(query)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    if !message::answers(query, &answer) {
        return Err(Error::new(
            ErrorKind::Corrupt,
            "the answer is to another question",
        ));
    }
    Ok(answer)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn random_id() -> Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context(|| "read random bytes")?;
    Ok(u16::from_ne_bytes(bytes))
}

/// A missing file says nothing, and so does an unreadable one.
fn read_limited(path: &std::path::Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        // What was read before a failure still counts.
        let _ = file.take(LARGEST_FILE).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_hosts_file() {
        let text =
            "127.0.0.1 localhost\n::1 localhost ip6\n10.1.1.1\tReg.example reg # note\nx y\n";
        assert_eq!(
            addresses_in_hosts(text, "reg.example"),
            ["10.1.1.1".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(addresses_in_hosts(text, "localhost").len(), 2);
        assert!(addresses_in_hosts(text, "note").is_empty());
        assert!(addresses_in_hosts(text, "y").is_empty());
    }

    #[test]
    fn reads_resolv_conf() {
        let settings = Settings::parse(
            "# c\nnameserver 10.0.0.2\nnameserver fe80::1%eth0\nsearch a.example b.example\noptions ndots:2 timeout:1 attempts:9 rotate\n",
        );
        assert_eq!(settings.servers, ["10.0.0.2:53".parse().unwrap()]);
        assert_eq!(settings.attempts, 5);
        assert_eq!(
            settings.candidates("x", false),
            ["x.a.example", "x.b.example", "x"]
        );
        assert_eq!(settings.candidates("x.y.z", false)[0], "x.y.z");
        assert_eq!(settings.candidates("x", true), ["x"]);
        assert_eq!(
            Settings::parse("").servers,
            ["127.0.0.1:53".parse().unwrap()]
        );
    }

    #[test]
    fn needs_no_server_for_addresses_and_this_machine() {
        let lookup = Lookup {
            hosts_file: "/nonexistent".into(),
            resolv_conf: "/nonexistent".into(),
            timeout: Duration::from_millis(1),
        };
        assert_eq!(lookup.addresses("10.0.0.1").unwrap().len(), 1);
        assert_eq!(lookup.addresses("[::1]").unwrap().len(), 1);
        assert_eq!(lookup.addresses("LocalHost").unwrap().len(), 2);
    }
}
