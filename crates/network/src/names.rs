//! The content of the files by which a container finds names: `/etc/hosts`
//! and `/etc/resolv.conf`. Pure text; the caller reads and writes the files.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Asked when the host has no name server a container can reach.
const FALLBACK_SERVERS: [&str; 4] = [
    "8.8.8.8",
    "8.8.4.4",
    "2001:4860:4860::8888",
    "2001:4860:4860::8844",
];

/// What `/etc/hosts` says about a container.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostsFile<'a> {
    /// The container's own name.
    pub hostname: &'a str,
    /// The container's own domain, if it has one.
    pub domain: Option<&'a str>,
    /// The container's own addresses.
    pub addresses: &'a [IpAddr],
    /// `--add-host`: name and address.
    pub extra: &'a [(String, IpAddr)],
}

/// The text of `/etc/hosts`.
pub fn hosts_file(hosts: &HostsFile<'_>) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         ff00::0\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    // Writing to a String cannot fail.
    for (name, address) in hosts.extra {
        let _ = writeln!(text, "{address}\t{name}");
    }
    if !hosts.hostname.is_empty() {
        for address in hosts.addresses {
            let _ = match hosts.domain {
                Some(domain) if !domain.is_empty() => {
                    writeln!(text, "{address}\t{0}.{domain} {0}", hosts.hostname)
                }
                _ => writeln!(text, "{address}\t{}", hosts.hostname),
            };
        }
    }
    text
}

/// The text of `/etc/resolv.conf` for a container with a network of its own,
/// made from the host's: name servers that only the host itself can reach are
/// left out, and public ones stand in if none remains. Search domains and
/// options stay as they are.
///
/// A host with systemd-resolved lists just its own loopback address;
/// [`has_reachable_server`] tells so, and the file to pass then is
/// `/run/systemd/resolve/resolv.conf`.
pub fn resolv_conf(host: &str) -> String {
    let mut text = String::new();
    let kept = settings(host).filter(|setting| reachable(setting) != Some(false));
    for (word, rest) in kept {
        let _ = writeln!(text, "{word} {rest}");
    }
    if !has_reachable_server(host) {
        for server in FALLBACK_SERVERS {
            let _ = writeln!(text, "nameserver {server}");
        }
    }
    text
}

/// The text of a `resolv.conf` with other servers, search domains or options
/// in place of its own, where there are any.
pub fn with(base: &str, servers: &[IpAddr], search: &[String], options: &[String]) -> String {
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    let replaced = |word: &str| match word {
        "nameserver" => !servers.is_empty(),
        "search" | "domain" => !search.is_empty(),
        "options" => !options.is_empty(),
        _ => false,
    };
    for (word, rest) in settings(base).filter(|(word, _)| !replaced(word)) {
        let _ = writeln!(text, "{word} {rest}");
    }
    // A dot alone is how Docker spells "none".
    if !search.is_empty() && search != ["."] {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// Whether a host's `/etc/resolv.conf` names a server containers can reach.
pub fn has_reachable_server(host: &str) -> bool {
    settings(host).any(|setting| reachable(&setting) == Some(true))
}

/// The lines that say something: first word and the rest.
fn settings(text: &str) -> impl Iterator<Item = (&str, String)> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let word = words.next()?;
        let rest: Vec<&str> = words.collect();
        let comment = word.starts_with(['#', ';']);
        (!comment && !rest.is_empty()).then(|| (word, rest.join(" ")))
    })
}

/// `None` if the line is not about a server. A server on a link of the host
/// (`fe80::1%eth0`) does not exist inside either.
fn reachable((word, rest): &(&str, String)) -> Option<bool> {
    (*word == "nameserver").then(|| match rest.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => !v4.is_loopback() && !v4.is_unspecified(),
        Ok(IpAddr::V6(v6)) => {
            !v6.is_loopback() && !v6.is_unspecified() && !v6.is_unicast_link_local()
        }
        Err(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_names_the_container_by_all_its_addresses() {
        let addresses = ["10.87.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let extra = [("db".to_owned(), "192.0.2.1".parse().unwrap())];
        let text = hosts_file(&HostsFile {
            hostname: "web",
            domain: None,
            addresses: &addresses,
            extra: &extra,
        });
        assert!(text.starts_with("127.0.0.1\tlocalhost\n::1\t"));
        assert!(text.ends_with("192.0.2.1\tdb\n10.87.0.2\tweb\nfd00::2\tweb\n"));
    }

    #[test]
    fn a_domain_gives_the_full_name_first() {
        let text = hosts_file(&HostsFile {
            hostname: "web",
            domain: Some("example.org"),
            addresses: &["10.87.0.2".parse().unwrap()],
            extra: &[],
        });
        assert!(text.ends_with("10.87.0.2\tweb.example.org web\n"));
    }

    #[test]
    fn servers_of_the_host_alone_are_left_out() {
        let host = "# comment\n; another\nnameserver 127.0.0.53\nnameserver  192.0.2.1 \n\
                    nameserver ::1\nnameserver fe80::1%eth0\nsearch a.example  b.example\n\
                    options ndots:2\nbroken\n";
        assert_eq!(
            resolv_conf(host),
            "nameserver 192.0.2.1\nsearch a.example b.example\noptions ndots:2\n"
        );
    }

    #[test]
    fn what_is_asked_for_takes_the_place_of_the_hosts() {
        let base = "nameserver 192.0.2.1\nsearch lan\noptions ndots:2\n";
        let servers = ["10.0.0.9".parse().unwrap()];
        assert_eq!(
            with(base, &servers, &["a.example".into()], &["timeout:1".into()]),
            "nameserver 10.0.0.9\nsearch a.example\noptions timeout:1\n"
        );
        assert_eq!(with(base, &[], &[], &[]), base);
        assert_eq!(
            with("", &servers, &[".".into()], &[]),
            "nameserver 10.0.0.9\n"
        );
    }

    #[test]
    fn public_servers_stand_in_when_none_remains() {
        let text = resolv_conf("search lan\nnameserver 127.0.0.1\n");
        assert!(text.starts_with("search lan\nnameserver 8.8.8.8\n"));
        assert!(resolv_conf("").starts_with("nameserver 8.8.8.8\n"));
        assert!(!has_reachable_server("nameserver 127.0.0.53"));
    }
}
