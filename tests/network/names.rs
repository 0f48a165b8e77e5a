//! Names: found on every network, kept inside, never another's.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use black_box_tests::{BUSYBOX, Bed, bed, eventually};

/// What `nslookup` in a container says.
fn lookup(bed: &Bed, container: &str, name: &str) -> String {
    let outcome = bed.run(&["exec", container, "nslookup", name]);
    format!("{}{}", outcome.text(), outcome.error())
}

fn address(bed: &Bed, container: &str) -> String {
    bed.inspect(container, "{{.NetworkSettings.IPAddress}}")
}

#[test]
fn names_aliases_and_ids_are_found_on_every_network() {
    bed!(|bed| {
        bed.run(&["network", "create", "net"]).ok();
        for network in ["bridge", "net"] {
            let (a, b) = (format!("a-{network}"), format!("b-{network}"));
            let id = bed.start(&["--name", &a, "--network", network, "--network-alias", "web"]);
            bed.start(&["--name", &b, "--network", network]);
            let wanted = address(bed, &a);
            let full = format!("{a}.{network}");
            for name in [a.as_str(), "web", &id[..12], &full, &a.to_uppercase()] {
                let said = lookup(bed, &b, name);
                assert!(said.contains(&wanted), "{name} is not {wanted}:\n{said}");
            }
            let reverse = lookup(bed, &b, &wanted);
            assert!(reverse.contains(&full), "{reverse}");
            bed.run(&["rename", &a, "other"]).ok();
            eventually(2, "the new name", || {
                lookup(bed, &b, "other").contains(&wanted).then_some(())
            });
            assert!(!lookup(bed, &b, &a).contains(&wanted));
            bed.run(&["rm", "-f", "other", &b]).ok();
        }
    });
}

#[test]
fn one_alias_of_many_takes_turns() {
    bed!(|bed| {
        bed.run(&["network", "create", "net"]).ok();
        for _ in 0..3 {
            bed.start(&["--network", "net", "--network-alias", "web"]);
        }
        // The server's own address comes first.
        let script = "for i in 1 2 3 4 5 6 7 8 9; do nslookup -type=a web | grep ^Address | sed -n 2p; done | sort -u | wc -l";
        let different = bed.shell(&["--network", "net"], script).ok();
        assert!(different.trim().parse::<u32>().unwrap() > 1, "{different}");
    });
}

#[test]
fn the_resolver_ends_with_the_last_container_and_is_replaced_when_it_dies() {
    bed!(|bed| {
        bed.run(&["network", "create", "net"]).ok();
        bed.start(&["--name", "a", "--network", "net"]);
        let record = bed.runroot().join("resolvers/net.json");
        let pid = || -> String {
            let record: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(&record).unwrap()).unwrap();
            record["process"]["pid"].to_string()
        };
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid())).unwrap();
        assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        bed.start(&["--name", "b", "--network", "net"]);
        let killed = pid();
        bed.host("kill", &["-9", &killed]).ok();
        eventually(5, "its end", || {
            (!std::path::Path::new(&format!("/proc/{killed}")).exists()).then_some(())
        });
        bed.run(&["system", "repair"]).ok();
        assert_ne!(pid(), killed);
        let wanted = address(bed, "a");
        eventually(5, "an answer", || {
            lookup(bed, "b", "a").contains(&wanted).then_some(())
        });
        bed.run(&["rm", "-f", "a"]).ok();
        assert!(record.exists());
        bed.run(&["rm", "-f", "b"]).ok();
        assert!(!record.exists());
        bed.nothing_runs();
    });
}

/// A name server of the outside, which counts and answers everything with one address.
struct Outside<'a> {
    asked: &'a AtomicUsize,
    stop: &'a AtomicBool,
}

impl Outside<'_> {
    fn serve(&self, at: &str) {
        let socket = UdpSocket::bind(at).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let mut buffer = [0; 512];
        while !self.stop.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            self.asked.fetch_add(1, Ordering::Relaxed);
            let question = &buffer[12..length];
            let end = question.iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_a = question[end - 4..end - 2] == [0, 1];
            let mut answer = buffer[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            answer.extend(&question[..end]);
            if is_a {
                answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 203, 0, 113, 5]);
            }
            socket.send_to(&answer, from).unwrap();
        }
    }
}

#[test]
fn what_is_not_here_is_asked_of_the_hosts_servers_and_never_from_within() {
    bed!(|bed| {
        let resolv = bed.file("resolv.conf", "nameserver 127.0.0.1\n");
        bed.host("mount", &["--bind", &resolv, "/etc/resolv.conf"])
            .ok();
        bed.run(&["network", "create", "net"]).ok();
        bed.run(&["network", "create", "--internal", "closed"]).ok();
        let (first, second) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (asked, at) in [(&first, "127.0.0.1:53"), (&second, "127.0.0.2:53")] {
                let outside = Outside { asked, stop: &stop };
                scope.spawn(move || outside.serve(at));
            }
            let checks = || {
                bed.start(&["--name", "a", "--network", "net"]);
                // A server on the host's loopback is of use from here.
                let said = lookup(bed, "a", "www.example.org");
                assert!(said.contains("203.0.113.5"), "{said}");
                assert!(first.load(Ordering::Relaxed) > 0);
                // The file changes: so does who is asked.
                std::fs::write(&resolv, "nameserver 127.0.0.2\n").unwrap();
                assert!(lookup(bed, "a", "www.example.org").contains("203.0.113.5"));
                assert!(second.load(Ordering::Relaxed) > 0);
                // Names of our own are no business of theirs.
                let before = second.load(Ordering::Relaxed);
                let own = address(bed, "a");
                assert!(lookup(bed, "a", "a").contains(&own));
                assert_eq!(second.load(Ordering::Relaxed), before);
                bed.start(&["--name", "b", "--network", "closed"]);
                let said = lookup(bed, "b", "www.example.org");
                assert!(!said.contains("203.0.113.5"), "{said}");
                assert_eq!(
                    second.load(Ordering::Relaxed),
                    before,
                    "an internal network asked outside"
                );
                // A server of its own.
                std::fs::write(&resolv, "nameserver 192.0.2.1\n").unwrap();
                bed.start(&[
                    "--name",
                    "c",
                    "--network",
                    "net",
                    "--dns",
                    "127.0.0.1",
                    "--dns-search",
                    "lan",
                ]);
                assert!(lookup(bed, "c", "www.example.org").contains("203.0.113.5"));
                let file = bed.run(&["exec", "c", "cat", "/etc/resolv.conf"]).ok();
                assert!(file.contains("search lan"), "{file}");
            };
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(checks));
            stop.store(true, Ordering::Relaxed);
            if let Err(panic) = outcome {
                std::panic::resume_unwind(panic);
            }
        });
        bed.host("umount", &["/etc/resolv.conf"]).ok();
    });
}

#[test]
fn servers_talk_over_names() {
    bed!(|bed| {
        bed.run(&["network", "create", "app"]).ok();
        for (name, answer) in [("db", "rows"), ("cache", "values")] {
            let script = format!("while :; do echo {answer} | nc -l -p 5432; done");
            bed.run(&[
                "run",
                "-d",
                "--name",
                name,
                "--network",
                "app",
                BUSYBOX,
                "sh",
                "-c",
                &script,
            ])
            .ok();
        }
        let script = "nc -w 2 db 5432 < /dev/null; nc -w 2 cache 5432 < /dev/null";
        eventually(5, "both servers", || {
            (bed.shell(&["--network", "app"], script).text() == "rows\nvalues\n").then_some(())
        });
    });
}

#[test]
fn a_link_is_a_name_for_one_container_alone() {
    bed!(|bed| {
        bed.run(&["network", "create", "net"]).ok();
        for network in ["bridge", "net"] {
            let (db, web) = (format!("db-{network}"), format!("web-{network}"));
            bed.start(&["--name", &db, "--network", network]);
            let link = format!("{db}:database");
            bed.start(&[
                "--name",
                &web,
                "--network",
                network,
                "--link",
                &link,
                "--link",
                &db,
            ]);
            bed.start(&["--name", "other", "--network", network]);
            let wanted = address(bed, &db);
            for name in ["database", &db] {
                let said = lookup(bed, &web, name);
                assert!(said.contains(&wanted), "{name} is not {wanted}:\n{said}");
            }
            let said = lookup(bed, "other", "database");
            assert!(!said.contains(&wanted), "{said}");
            // It means the container, whatever that is called, wherever it is by now.
            bed.run(&["rename", &db, "renamed"]).ok();
            bed.run(&["restart", "-t", "0", "renamed"]).ok();
            let wanted = address(bed, "renamed");
            eventually(2, "the new address", || {
                lookup(bed, &web, "database")
                    .contains(&wanted)
                    .then_some(())
            });
            let links = bed.inspect(&web, "{{json .HostConfig.Links}}");
            assert!(links.contains(&format!(":/{web}/database")), "{links}");
            bed.run(&["rm", "-f", "renamed", &web, "other"]).ok();
        }
        let refused = bed.shell(&["--link", "nobody:x"], "true");
        assert!(refused.error().contains("nobody"), "{}", refused.error());
    });
}

#[test]
fn a_link_comes_with_a_network_that_is_joined_later() {
    bed!(|bed| {
        bed.run(&["network", "create", "net"]).ok();
        bed.start(&["--name", "db", "--network", "net"]);
        bed.start(&["--name", "web"]);
        bed.run(&["network", "connect", "--link", "db:database", "net", "web"])
            .ok();
        let wanted = bed.inspect("db", "{{.NetworkSettings.Networks.net.IPAddress}}");
        eventually(2, "the name", || {
            lookup(bed, "web", "database")
                .contains(&wanted)
                .then_some(())
        });
    });
}
