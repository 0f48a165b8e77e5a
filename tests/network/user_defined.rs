//! Networks of one's own: verbs, addresses, isolation, several per container.

use black_box_tests::{BUSYBOX, Bed, bed, eventually};

/// A container that answers at port 80 with its own name.
fn serve(bed: &Bed, name: &str, options: &[&str]) -> String {
    let script = format!("while :; do echo {name} | nc -l -p 80; done");
    let mut arguments = vec!["run", "-d", "--name", name];
    arguments.extend(options);
    arguments.extend([BUSYBOX, "sh", "-c", &script]);
    bed.run(&arguments).ok()
}

fn asks(bed: &Bed, container: &str, whom: &str) -> Option<String> {
    let script = format!("nc -w 2 {whom} 80 < /dev/null");
    let outcome = bed.run(&["exec", container, "sh", "-c", &script]);
    Some(outcome.text().trim().to_owned()).filter(|text| !text.is_empty())
}

fn ping(bed: &Bed, container: &str, whom: &str) -> bool {
    bed.run(&["exec", container, "ping", "-c", "1", "-W", "1", whom])
        .status
        .success()
}

#[test]
fn made_shown_and_removed() {
    bed!(|bed| {
        let network = |arguments: &[&str]| {
            let mut all = vec!["network"];
            all.extend(arguments);
            bed.run(&all)
        };
        let id = network(&["create", "--label", "a=b", "front"]).ok();
        assert_eq!(id.len(), 64);
        let list = network(&["ls"]).ok();
        let names: Vec<&str> = list
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().nth(1))
            .collect();
        assert_eq!(names, ["bridge", "front", "host", "none"], "{list}");
        assert!(list.starts_with("NETWORK ID     NAME"), "{list}");
        assert_eq!(network(&["ls", "-q", "-f", "label=a=b"]).ok(), id[..12]);
        assert_eq!(
            network(&["ls", "-q", "--no-trunc", "-f", "name=fro"]).ok(),
            id
        );
        let shown = network(&["inspect", "front"]).json();
        assert_eq!(shown[0]["Name"], "front");
        assert_eq!(shown[0]["Id"], id.as_str());
        assert_eq!(shown[0]["Driver"], "bridge");
        assert_eq!(shown[0]["EnableIPv6"], true);
        assert!(
            shown[0]["IPAM"]["Config"][0]["Subnet"]
                .as_str()
                .unwrap()
                .ends_with("/20")
        );
        assert_eq!(bed.inspect(&id[..10], "{{.Name}}"), "front");
        network(&["create", "front"]).fails(1, &["front is there already"]);
        network(&["rm", "front"]).ok();
        network(&["rm", "front"]).fails(1, &["no such network: front"]);
        network(&["rm", "-f", "front"]).ok();
        network(&["inspect", "front"]).fails(1, &["no such network"]);
        for name in ["bridge", "host", "none"] {
            network(&["inspect", name]).ok();
            network(&["rm", name]).fails(1, &["cannot be removed"]);
            network(&["create", name]).fails(1, &["means something else"]);
        }
        let left: Vec<_> = std::fs::read_dir(bed.root().join("networks"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("front"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn what_cannot_be_is_said_in_one_sentence() {
    bed!(|bed| {
        bed.run(&["network", "create", "--subnet", "10.9.0.0/24", "one"])
            .ok();
        for (arguments, words) in [
            (
                &["--subnet", "10.9.0.128/25", "x1"][..],
                "overlaps with 10.9.0.0/24 of network one",
            ),
            (&["--subnet", "10.9.1.1/24", "x1"], "host bits"),
            (&["--subnet", "10.8.0.0/30", "x1"], "prefix"),
            (
                &["--subnet", "10.8.0.0/24", "--gateway", "10.7.0.1", "x1"],
                "gateway 10.7.0.1 is not in",
            ),
            (
                &["--subnet", "10.8.0.0/24", "--ip-range", "10.7.0.0/25", "x1"],
                "range",
            ),
            (
                &[
                    "--subnet",
                    "10.8.0.0/24",
                    "--aux-address",
                    "a=10.7.0.1",
                    "x1",
                ],
                "10.7.0.1",
            ),
            (&["--subnet", "127.0.0.0/24", "x1"], "no container's"),
            (&["-d", "nonsense", "x1"], "no network driver"),
            (&["-d", "macvlan", "x1"], "parent"),
            (&["-o", "com.docker.network.driver.mtu=9", "x1"], "MTU"),
            (&["a/b"], "name"),
        ] {
            let mut all = vec!["network", "create"];
            all.extend(arguments);
            let error = bed.run(&all).fails(1, &[words]);
            assert_eq!(error.trim_end().lines().count(), 1, "{error}");
        }
        bed.run(&["run", "--rm", "--network", "missing", BUSYBOX, "true"])
            .fails(125, &["no such network: missing"]);
        bed.start(&["--name", "a", "--network", "one", "--ip", "10.9.0.5"]);
        bed.run(&[
            "run",
            "--rm",
            "--network",
            "one",
            "--ip",
            "10.9.0.5",
            BUSYBOX,
            "true",
        ])
        .fails(125, &["address 10.9.0.5 is in use"]);
        bed.run(&[
            "run",
            "--rm",
            "--network",
            "one",
            "--ip",
            "10.8.0.5",
            BUSYBOX,
            "true",
        ])
        .fails(125, &["10.8.0.5 is not in the subnet"]);
        bed.run(&[
            "run",
            "--rm",
            "--network",
            "one",
            "--ip",
            "10.9.0.1",
            BUSYBOX,
            "true",
        ])
        .fails(125, &["network's own"]);
        bed.run(&["network", "rm", "one"])
            .fails(1, &["in use by a"]);
        bed.run(&["network", "connect", "one", "a"])
            .fails(1, &["on network one already"]);
        bed.run(&["network", "disconnect", "bridge", "a"])
            .fails(1, &["is not on network bridge"]);
        bed.run(&["rm", "-f", "a"]).ok();
        bed.run(&["network", "rm", "one"]).ok();
        // Nothing of all that stays on the host.
        eventually(5, "the links to be gone", || {
            let links = bed.host("busybox", &["ip", "link"]).ok();
            (!links.contains("wh0a09")).then_some(())
        });
    });
}

#[test]
fn a_network_is_used_to_its_last_address() {
    bed!(|bed| {
        bed.run(&["network", "create", "--subnet", "10.9.0.0/29", "small"])
            .ok();
        for _ in 0..5 {
            bed.start(&["--network", "small"]);
        }
        bed.run(&["run", "--rm", "--network", "small", BUSYBOX, "true"])
            .fails(125, &["no address is free in 10.9.0.0/29"]);
        bed.run(&[
            "network",
            "create",
            "--subnet",
            "10.8.0.0/24",
            "--ip-range",
            "10.8.0.128/29",
            "ranged",
        ])
        .ok();
        let address = bed
            .shell(&["--network", "ranged"], "ip -4 addr show eth0")
            .ok();
        assert!(address.contains("inet 10.8.0.1"), "{address}");
    });
}

#[test]
fn networks_are_apart() {
    bed!(|bed| {
        for name in ["one", "two"] {
            bed.run(&["network", "create", name]).ok();
        }
        serve(bed, "a", &["--network", "one"]);
        bed.start(&["--name", "b", "--network", "one"]);
        bed.start(&["--name", "c", "--network", "two"]);
        let address = |format: &str| bed.inspect("a", format);
        let ipv4 = address("{{(index .NetworkSettings.Networks \"one\").IPAddress}}");
        let ipv6 = address("{{(index .NetworkSettings.Networks \"one\").GlobalIPv6Address}}");
        assert_eq!(asks(bed, "b", &ipv4).as_deref(), Some("a"));
        assert!(ping(bed, "b", &ipv6), "IPv6 within the network");
        assert!(
            !ping(bed, "c", &ipv4),
            "{ipv4} was reached from another network"
        );
        assert!(
            !ping(bed, "c", &ipv6),
            "{ipv6} was reached from another network"
        );
        assert_eq!(asks(bed, "c", &ipv4), None);
    });
}

#[test]
fn several_networks_come_and_go() {
    bed!(|bed| {
        for name in ["one", "two"] {
            bed.run(&["network", "create", name]).ok();
        }
        serve(bed, "a", &["--network", "one"]);
        serve(bed, "b", &["--network", "two"]);
        bed.start(&[
            "--name",
            "c",
            "--network",
            "one",
            "--network",
            "name=two,alias=both",
        ]);
        eventually(5, "servers", || {
            (asks(bed, "c", "a").is_some() && asks(bed, "c", "b").is_some()).then_some(())
        });
        assert_eq!(
            bed.run(&["ps", "--filter", "name=c", "--format", "{{.Networks}}"])
                .ok(),
            "one,two"
        );
        let links = bed.run(&["exec", "c", "ls", "/sys/class/net"]).ok();
        assert_eq!(
            links.split_whitespace().collect::<Vec<_>>(),
            ["eth0", "eth1", "lo"]
        );

        assert_eq!(asks(bed, "a", "b"), None);
        bed.run(&["network", "connect", "--alias", "visitor", "two", "a"])
            .ok();
        assert_eq!(asks(bed, "a", "b").as_deref(), Some("b"));
        assert!(ping(bed, "b", "visitor"));
        let members = bed.run(&["network", "inspect", "two"]).json();
        assert_eq!(members[0]["Containers"].as_object().unwrap().len(), 3);
        bed.run(&["network", "disconnect", "two", "a"]).ok();
        assert_eq!(asks(bed, "a", "b"), None);
        assert!(!ping(bed, "b", "visitor"));
        let links = bed.run(&["exec", "a", "ls", "/sys/class/net"]).ok();
        assert_eq!(links.split_whitespace().collect::<Vec<_>>(), ["eth0", "lo"]);

        // The one that led out goes: the other one leads out then.
        bed.run(&["network", "disconnect", "one", "c"]).ok();
        assert!(
            bed.run(&["exec", "c", "ip", "route"])
                .ok()
                .contains("default via")
        );
        assert_eq!(asks(bed, "c", "b").as_deref(), Some("b"));

        // It is remembered for the next start.
        bed.run(&["stop", "-t", "0", "a"]).ok();
        bed.run(&["network", "connect", "two", "a"]).ok();
        bed.run(&["start", "a"]).ok();
        assert_eq!(
            bed.inspect(
                "a",
                "{{range $name, $net := .NetworkSettings.Networks}}{{$name}} {{end}}"
            ),
            "one two "
        );
        bed.run(&["create", "--name", "n", "--network", "none", BUSYBOX])
            .ok();
        bed.run(&["network", "connect", "one", "n"])
            .fails(1, &["has no network"]);
    });
}

#[test]
fn addresses_that_were_asked_for() {
    bed!(|bed| {
        bed.run(&[
            "network",
            "create",
            "--subnet",
            "10.9.0.0/24",
            "--gateway",
            "10.9.0.254",
            "--subnet",
            "fd00:9::/64",
            "--gateway",
            "fd00:9::fe",
            "net",
        ])
        .ok();
        bed.start(&[
            "--name",
            "a",
            "--network",
            "net",
            "--ip",
            "10.9.0.77",
            "--ip6",
            "fd00:9::1234",
        ]);
        let addresses = bed.run(&["exec", "a", "ip", "addr", "show", "eth0"]).ok();
        assert!(
            addresses.contains("inet 10.9.0.77/24") && addresses.contains("inet6 fd00:9::1234/64"),
            "{addresses}"
        );
        let routes = bed.run(&["exec", "a", "ip", "route"]).ok();
        assert!(routes.contains("default via 10.9.0.254"), "{routes}");
        // The IPv6 address is nobody else's, nor one that would follow from an IPv4 address.
        bed.run(&[
            "run",
            "--rm",
            "--network",
            "net",
            "--ip6",
            "fd00:9::1234",
            BUSYBOX,
            "true",
        ])
        .fails(125, &["fd00:9::1234 is in use"]);
        bed.start(&["--name", "b", "--network", "net", "--ip6", "fd00:9::20"]);
        bed.run(&[
            "run",
            "--rm",
            "--network",
            "net",
            "--ip",
            "10.9.0.32",
            BUSYBOX,
            "true",
        ])
        .fails(125, &["10.9.0.32 is in use"]);
        assert!(ping(bed, "a", "fd00:9::20"));
        bed.run(&["rm", "-f", "b"]).ok();
        bed.shell(&["--network", "net", "--ip", "10.9.0.32"], "true")
            .ok();
        bed.run(&["restart", "-t", "0", "a"]).ok();
        assert_eq!(
            bed.inspect("a", "{{.NetworkSettings.IPAddress}}"),
            "10.9.0.77"
        );
    });
}

#[test]
fn an_internal_network_leads_nowhere() {
    bed!(|bed| {
        bed.run(&["network", "create", "--internal", "closed"]).ok();
        serve(bed, "a", &["--network", "closed", "-p", "18080:80"]);
        bed.start(&["--name", "b", "--network", "closed"]);
        assert_eq!(
            asks(bed, "b", "a").as_deref(),
            Some("a"),
            "within it all is well"
        );
        assert_eq!(
            bed.run(&["exec", "b", "ip", "route"]).ok().lines().count(),
            1
        );
        bed.host(
            "busybox",
            &["ip", "addr", "add", "198.51.100.1/32", "dev", "lo"],
        )
        .ok();
        let gateway = bed.run(&[
            "network",
            "inspect",
            "-f",
            "{{(index .IPAM.Config 0).Gateway}}",
            "closed",
        ]);
        let gateway = gateway.ok();
        for whom in ["198.51.100.1", &gateway] {
            assert!(!ping(bed, "b", whom), "{whom} was reached");
        }
        // Also not by a route of its own.
        bed.start(&[
            "--name",
            "c",
            "--network",
            "closed",
            "--cap-add",
            "NET_ADMIN",
        ]);
        bed.run(&[
            "exec", "c", "ip", "route", "add", "default", "via", &gateway,
        ])
        .ok();
        assert!(!ping(bed, "c", "198.51.100.1"));
        // The host reaches it.
        let address = bed.inspect("b", "{{.NetworkSettings.IPAddress}}");
        bed.host("busybox", &["ping", "-c", "1", "-W", "2", &address])
            .ok();
        // Nothing is published from it.
        let refused = bed.host("busybox", &["nc", "-w", "1", "127.0.0.1", "18080"]);
        assert!(!refused.status.success());
        bed.host(
            "busybox",
            &["ip", "addr", "del", "198.51.100.1/32", "dev", "lo"],
        )
        .ok();
    });
}

#[test]
fn macvlan_is_on_the_wire_of_the_parent() {
    bed!(|bed| {
        bed.host(
            "ip",
            &[
                "link", "add", "wire0", "type", "veth", "peer", "name", "wire1",
            ],
        )
        .ok();
        bed.host("ip", &["link", "set", "wire1", "up"]).ok();
        bed.host("busybox", &["ip", "link", "set", "wire0", "up"])
            .ok();
        bed.run(&[
            "network",
            "create",
            "-d",
            "macvlan",
            "-o",
            "parent=wire0",
            "--subnet",
            "192.0.2.0/24",
            "lan",
        ])
        .ok();
        bed.start(&["--name", "a", "--network", "lan"]);
        bed.start(&["--name", "b", "--network", "lan", "--ip", "192.0.2.9"]);
        assert!(ping(bed, "a", "192.0.2.9"));
        assert!(ping(bed, "a", "b"), "by name");
        bed.run(&["rm", "-f", "a", "b"]).ok();
        bed.run(&["network", "rm", "lan"]).ok();
        bed.host("busybox", &["ip", "link", "del", "wire0"]).ok();
        bed.run(&[
            "network",
            "create",
            "-d",
            "macvlan",
            "-o",
            "parent=wire0",
            "--subnet",
            "192.0.2.0/24",
            "lan",
        ])
        .ok();
        bed.run(&["run", "--rm", "--network", "lan", BUSYBOX, "true"])
            .fails(125, &["no link wire0"]);
    });
}

#[test]
fn prune_takes_what_nobody_has() {
    bed!(|bed| {
        for name in ["used", "free"] {
            bed.run(&["network", "create", name]).ok();
        }
        bed.run(&["create", "--name", "c", "--network", "used", BUSYBOX])
            .ok();
        let young = bed.run(&["network", "prune", "-f", "--filter", "until=1h"]);
        assert_eq!(young.ok(), "");
        let pruned = bed.run(&["network", "prune", "-f"]).ok();
        assert_eq!(pruned, "Deleted Networks:\nfree");
        bed.run(&["rm", "c"]).ok();
        assert_eq!(
            bed.run(&["network", "prune", "-f"]).ok(),
            "Deleted Networks:\nused"
        );
    });
}

#[test]
fn joined_as_asked() {
    bed!(|bed| {
        bed.run(&[
            "network",
            "create",
            "--ipv4",
            "--ipv6",
            "--subnet",
            "10.9.1.0/24",
            "--subnet",
            "fd00:91::/64",
            "--aux-address",
            "router=10.9.1.9",
            "net",
        ])
        .ok();
        bed.run(&["network", "create", "--ipv6=false", "four"]).ok();
        let shown = bed.run(&["network", "inspect", "net", "four"]).json();
        assert_eq!(
            shown[0]["IPAM"]["Config"][0]["AuxiliaryAddresses"]["router"],
            "10.9.1.9"
        );
        assert_eq!(
            (&shown[0]["EnableIPv6"], &shown[1]["EnableIPv6"]),
            (&true.into(), &false.into())
        );
        let table = "table {{.Name}} {{.Driver}}";
        let listed = bed.run(&["network", "ls", "-f", "name=four", "--format", table]);
        assert_eq!(listed.ok().lines().last(), Some("four bridge"));

        bed.start(&["--name", "a", "--network", "four"]);
        bed.run(&["network", "connect", "--ip", "10.9.1.9", "net", "a"])
            .fails(1, &["10.9.1.9"]);
        let way_out = || bed.run(&["exec", "a", "ip", "route"]).ok();
        let before = way_out();
        bed.run(&[
            "network",
            "connect",
            "--ip",
            "10.9.1.77",
            "--ip6",
            "fd00:91::77",
            "--gw-priority",
            "10",
            "net",
            "a",
        ])
        .ok();
        let addresses = bed.run(&["exec", "a", "ip", "addr", "show", "eth1"]).ok();
        for address in ["inet 10.9.1.77/24", "inet6 fd00:91::77/64"] {
            assert!(addresses.contains(address), "{addresses}");
        }
        assert!(!before.contains("10.9.1.1"), "{before}");
        assert!(way_out().contains("default via 10.9.1.1 "), "{}", way_out());
        bed.run(&["network", "disconnect", "-f", "net", "a"]).ok();
        assert_eq!(way_out(), before);
    });
}

#[test]
fn links_are_called_as_asked() {
    const KEY: &str = "com.docker.network.endpoint.ifname";
    bed!(|bed| {
        bed.run(&["network", "create", "one"]).ok();
        bed.run(&["network", "create", "two"]).ok();
        let first = format!("name=one,driver-opt={KEY}=front0");
        bed.start(&["--name", "web", "--network", &first]);
        let option = format!("{KEY}=back0");
        bed.run(&["network", "connect", "--driver-opt", &option, "two", "web"])
            .ok();
        let links = || {
            let names = bed.run(&["exec", "web", "ls", "/sys/class/net"]).ok();
            names
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(links(), ["back0", "front0", "lo"]);
        bed.run(&["restart", "-t", "0", "web"]).ok();
        assert_eq!(links(), ["back0", "front0", "lo"]);
        bed.run(&["network", "disconnect", "two", "web"]).ok();
        assert_eq!(links(), ["front0", "lo"]);
        for (option, why) in [
            ("com.docker.network.endpoint.sysctls=a=1", "is the only one"),
            (&format!("{KEY}=a/b"), "1 to 15 letters"),
            (&format!("{KEY}=lo"), "1 to 15 letters"),
            (&format!("{KEY}=longer-than-a-link"), "1 to 15 letters"),
        ] {
            bed.run(&["network", "connect", "--driver-opt", option, "two", "web"])
                .fails(1, &[why]);
        }
        // The name of one that is there.
        let taken = format!("{KEY}=front0");
        let outcome = bed.run(&["network", "connect", "--driver-opt", &taken, "two", "web"]);
        outcome.fails(1, &["front0"]);
        assert_eq!(links(), ["front0", "lo"]);
        bed.run(&["rm", "-f", "web"]).ok();
        bed.run(&["network", "rm", "one", "two"]).ok();
    });
}
