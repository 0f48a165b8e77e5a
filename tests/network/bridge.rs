//! The default bridge: addresses, routes, reachability, names.

use black_box_tests::{BUSYBOX, bed, eventually};

#[test]
fn an_address_a_route_and_a_gateway() {
    bed!(|bed| {
        let id = bed.start(&[]);
        let address = bed.inspect(&id, "{{.NetworkSettings.IPAddress}}");
        let gateway = bed.inspect(&id, "{{.NetworkSettings.Gateway}}");
        let inside = bed.run(&["exec", &id, "ip", "addr", "show", "eth0"]).ok();
        assert!(inside.contains(&format!("inet {address}/")), "{inside}");
        assert!(inside.contains("UP"), "{inside}");
        let routes = bed.run(&["exec", &id, "ip", "route"]).ok();
        assert!(
            routes.contains(&format!("default via {gateway}")),
            "{routes}"
        );
        bed.run(&["exec", &id, "ping", "-c", "1", "-W", "2", &gateway])
            .ok();
        // And from the host to the container.
        bed.host("busybox", &["ping", "-c", "1", "-W", "2", &address])
            .ok();
    });
}

#[test]
fn ipv6_too() {
    bed!(|bed| {
        let (one, two) = (bed.start(&[]), bed.start(&[]));
        let address = bed.inspect(&one, "{{.NetworkSettings.GlobalIPv6Address}}");
        assert!(address.contains(':'), "an IPv6 address, not {address:?}");
        eventually(5, "IPv6 to be usable", || {
            bed.run(&["exec", &two, "ping", "-6", "-c", "1", "-W", "2", &address])
                .status
                .success()
                .then_some(())
        });
    });
}

#[test]
fn containers_reach_each_other() {
    bed!(|bed| {
        let server = bed
            .run(&[
                "run",
                "-d",
                BUSYBOX,
                "sh",
                "-c",
                "while :; do echo hello | nc -l -p 80; done",
            ])
            .ok();
        let address = bed.inspect(&server, "{{.NetworkSettings.IPAddress}}");
        eventually(10, "an answer", || {
            (bed.shell(
                &["--network", "bridge"],
                &format!("nc -w 2 {address} 80 < /dev/null"),
            )
            .text()
                == "hello\n")
                .then_some(())
        });
    });
}

#[test]
fn nat_to_the_outside() {
    bed!(|bed| {
        // A second machine: a namespace that answers pings.
        let script = "set -e
            unshare --net sleep 1000 > /dev/null 2>&1 & pid=$!; sleep 0.3
            ip link add far0 type veth peer name far1 netns $pid
            busybox ip addr add 198.51.100.1/24 dev far0; busybox ip link set far0 up
            nsenter --net=/proc/$pid/ns/net busybox ip addr add 198.51.100.2/24 dev far1
            nsenter --net=/proc/$pid/ns/net busybox ip link set far1 up
            echo $pid";
        let mut world = std::process::Command::new("sh")
            .args(["-c", script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(world.stdout.take().unwrap()),
            &mut line,
        )
        .unwrap();
        let outcome = bed.shell(&["--network", "bridge"], "ping -c 1 -W 3 198.51.100.2");
        bed.host("kill", &["-9", line.trim()]);
        world.wait().unwrap();
        // The far machine has no route back to a container: without NAT no answer could come.
        outcome.ok();
        eventually(5, "the link to be gone", || {
            bed.host("busybox", &["ip", "link", "del", "far0"]);
            (!std::path::Path::new("/sys/class/net/far0").exists()).then_some(())
        });
    });
}

#[test]
fn files_about_names() {
    bed!(|bed| {
        let id = bed.start(&["--hostname", "box", "--add-host", "db:192.0.2.7"]);
        let hosts = bed.run(&["exec", &id, "cat", "/etc/hosts"]).ok();
        let address = bed.inspect(&id, "{{.NetworkSettings.IPAddress}}");
        for (address, name) in [
            ("127.0.0.1", "localhost"),
            ("192.0.2.7", "db"),
            (address.as_str(), "box"),
        ] {
            let found = hosts.lines().any(|line| {
                line.starts_with(address) && line.split_whitespace().any(|word| word == name)
            });
            assert!(found, "{address} {name} is missing:\n{hosts}");
        }
        let resolv = bed.run(&["exec", &id, "cat", "/etc/resolv.conf"]).ok();
        assert!(resolv.contains("nameserver "), "{resolv}");
        assert_eq!(bed.run(&["exec", &id, "cat", "/etc/hostname"]).ok(), "box");
        // They are the container's to change, and its alone.
        bed.run(&["exec", &id, "sh", "-c", "echo 192.0.2.8 more >> /etc/hosts"])
            .ok();
    });
}

#[test]
fn a_name_server_on_loopback_is_no_use_inside() {
    bed!(|bed| {
        let file = bed.file(
            "resolv.conf",
            "nameserver 127.0.0.53\nnameserver 192.0.2.1\noptions edns0\n",
        );
        bed.host("mount", &["--bind", &file, "/etc/resolv.conf"])
            .ok();
        let resolv = bed
            .shell(&["--network", "bridge"], "cat /etc/resolv.conf")
            .ok();
        bed.host("umount", &["/etc/resolv.conf"]).ok();
        // The network's resolver is asked, and asks these; what else the file says stays.
        let servers = resolv
            .lines()
            .filter(|line| line.starts_with("nameserver "));
        assert_eq!(servers.count(), 1, "{resolv}");
        assert!(
            !resolv.contains("127.0.0.53") && resolv.contains("options edns0"),
            "{resolv}"
        );
    });
}

#[test]
fn forwarding_between_other_links_is_not_our_business() {
    bed!(|bed| {
        let before = bed.host("nft", &["list", "ruleset"]).ok();
        assert_eq!(before, "");
        bed.host(
            "sh",
            &[
                "-c",
                "nft add table inet theirs; nft add chain inet theirs c",
            ],
        )
        .ok();
        bed.run(&["run", "--rm", "-p", "127.0.0.1:9100:80", BUSYBOX, "true"])
            .ok();
        let after = bed.host("nft", &["list", "tables"]).ok();
        assert!(after.contains("theirs"), "{after}");
        let ours: Vec<_> = after
            .lines()
            .filter(|line| !line.contains("theirs"))
            .collect();
        assert!(
            ours.iter().all(|line| line.contains("wharf")) && ours.len() <= 3,
            "own tables only: {after}"
        );
        bed.host("nft", &["delete", "table", "inet", "theirs"]).ok();
    });
}

#[test]
fn addresses_that_are_free_again() {
    bed!(|bed| {
        let one = bed.start(&[]);
        let address = bed.inspect(&one, "{{.NetworkSettings.IPAddress}}");
        bed.run(&["rm", "-f", &one]).ok();
        // Freed addresses come back.
        let gateway = address.split('.').take(2).collect::<Vec<_>>().join(".");
        for _ in 0..3 {
            let said = bed
                .shell(&["--network", "bridge"], "ip -4 addr show eth0")
                .ok();
            assert!(said.contains(&format!("inet {gateway}.")), "{said}");
        }
    });
}
