//! The verbs about networks, and a start that takes an address and a port.

use black_box_tests::{BUSYBOX, Bed, bed, crash_everywhere, eventually};

use crate::whole;

/// Bridges, wires and firewall tables of networks that are on the host.
fn on_the_host(bed: &Bed) -> Vec<String> {
    let links = bed.host("ip", &["-o", "link"]).ok();
    let links = links.lines().filter(|line| line.contains(": wh"));
    let tables = bed.host("nft", &["list", "tables"]).ok();
    let tables = tables.lines().filter(|line| line.contains("wharf"));
    links.chain(tables).map(str::to_owned).collect()
}

/// A wire that was cut goes with its namespace, which the kernel takes its time for.
fn nothing_on_the_host(bed: &Bed) {
    eventually(10, "an end of bridges, wires and tables", || {
        on_the_host(bed).is_empty().then_some(())
    });
}

/// How often rules of the host are about a container.
fn rules(bed: &Bed, id: &str) -> usize {
    bed.host("nft", &["list", "ruleset"])
        .ok()
        .matches(id)
        .count()
}

fn members(bed: &Bed, network: &str) -> usize {
    let count = bed.run(&["network", "inspect", "-f", "{{len .Containers}}", network]);
    count.ok().parse().unwrap()
}

#[test]
fn create_and_remove() {
    bed!(|bed| {
        crash_everywhere(bed, &["network", "create", "net"], |bed| {
            whole(bed);
            let there = bed.run(&["network", "ls", "-q", "-f", "name=net"]).ok();
            if !there.is_empty() {
                // It is one that works.
                let run = ["run", "--rm", "--network", "net", BUSYBOX, "ip", "route"];
                assert!(bed.run(&run).ok().contains("default via"));
                bed.run(&["network", "rm", "net"]).ok();
            }
            nothing_on_the_host(bed);
        });
        // With bridge and tables.
        let make = |bed: &Bed| {
            bed.run(&["network", "create", "net"]).ok();
            bed.run(&["run", "--rm", "--network", "net", BUSYBOX, "true"])
                .ok();
        };
        make(bed);
        crash_everywhere(bed, &["network", "rm", "net"], |bed| {
            whole(bed);
            let there = bed.run(&["network", "ls", "-q", "-f", "name=net"]).ok();
            if there.is_empty() {
                nothing_on_the_host(bed);
                make(bed);
            } else {
                bed.run(&["run", "--rm", "--network", "net", BUSYBOX, "true"])
                    .ok();
            }
        });
        bed.run(&["network", "rm", "net"]).ok();
    });
}

#[test]
fn connect_and_disconnect() {
    bed!(|bed| {
        bed.run(&["network", "create", "net"]).ok();
        bed.start(&["--name", "one", "-p", "127.0.0.1:7010:1"]);
        bed.start(&["--name", "two", "--network", "net"]);
        let one_of_both = |bed: &Bed| {
            bed.run(&["system", "check", "--repair"]).ok();
            let is_on = members(bed, "net") == 2;
            let said = bed.inspect("one", "{{len .NetworkSettings.Networks}}");
            assert_eq!(said == "2", is_on, "{said}");
            let inside = bed.run(&["exec", "one", "ls", "/sys/class/net"]).ok();
            assert_eq!(inside.contains("eth1"), is_on, "{inside}");
            let names = bed.run(&["exec", "two", "nslookup", "one"]);
            assert_eq!(names.status.success(), is_on, "{}", names.text());
            is_on
        };
        crash_everywhere(bed, &["network", "connect", "net", "one"], |bed| {
            if one_of_both(bed) {
                bed.run(&["network", "disconnect", "net", "one"]).ok();
            }
            assert_eq!(members(bed, "net"), 1);
        });
        bed.run(&["network", "connect", "net", "one"]).ok();
        crash_everywhere(bed, &["network", "disconnect", "net", "one"], |bed| {
            if !one_of_both(bed) {
                bed.run(&["network", "connect", "net", "one"]).ok();
            }
            assert_eq!(members(bed, "net"), 2);
        });
        bed.run(&["rm", "-f", "one", "two"]).ok();
        bed.run(&["network", "rm", "net"]).ok();
    });
}

#[test]
fn start_with_an_address_and_a_port() {
    bed!(|bed| {
        bed.run(&["network", "create", "net"]).ok();
        let create = [
            "create",
            "--name",
            "one",
            "--network",
            "net",
            "-p",
            "127.0.0.1:7010:1",
            BUSYBOX,
            "sleep",
            "0.5",
        ];
        // It ends by itself: strace waits for all that the command started.
        let id = bed.run(&create).ok();
        crash_everywhere(bed, &["start", "one"], |bed| {
            bed.run(&["stop", "-t", "0", "one"]).ok();
            whole(bed);
            assert_eq!((members(bed, "net"), rules(bed, &id[..12])), (0, 0));
            // Its address, its port, its name: all are to be had.
            bed.run(&["start", "one"]).ok();
            bed.run(&["stop", "-t", "0", "one"]).ok();
            assert_eq!((members(bed, "net"), rules(bed, &id[..12])), (0, 0));
        });
        bed.run(&["rm", "-f", "one"]).ok();
        bed.run(&["network", "rm", "net"]).ok();
    });
}

#[test]
fn update_of_ports() {
    bed!(|bed| {
        let id = bed.start(&["--name", "one", "-p", "127.0.0.1:7010:1"]);
        let (old, new) = ("1/tcp -> 127.0.0.1:7010", "2/tcp -> 127.0.0.1:7011");
        let update = [
            "update",
            "--unpublish",
            "1",
            "-p",
            "127.0.0.1:7011:2",
            "one",
        ];
        crash_everywhere(bed, &update, |bed| {
            bed.run(&["system", "check", "--repair"]).ok();
            let asked = bed.inspect("one", "{{json .HostConfig.PortBindings}}");
            let (is, other) = if asked.contains("7010") {
                (old, "127.0.0.1:7011")
            } else {
                (new, "127.0.0.1:7010")
            };
            assert_eq!(bed.run(&["port", "one"]).ok(), is);
            assert_eq!(rules(bed, &id[..12]), 1);
            // Nobody holds the other one.
            std::net::TcpListener::bind(other).unwrap();
            if is == new {
                bed.run(&[
                    "update",
                    "--unpublish",
                    "2",
                    "-p",
                    "127.0.0.1:7010:1",
                    "one",
                ])
                .ok();
            }
        });
        bed.run(&["rm", "-f", "one"]).ok();
    });
}
