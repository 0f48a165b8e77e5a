//! `--network none`, `host` and `container:X`.

use black_box_tests::{BUSYBOX, bed};

#[test]
fn none_has_loopback_only() {
    bed!(|bed| {
        assert_eq!(
            bed.shell(&["--network", "none"], "ls /sys/class/net").ok(),
            "lo"
        );
        bed.shell(&["--network", "none"], "ping -c 1 -W 1 127.0.0.1")
            .ok();
        let id = bed.start(&["--network=none"]);
        assert_eq!(bed.inspect(&id, "{{.NetworkSettings.IPAddress}}"), "");
        assert_eq!(bed.inspect(&id, "{{.HostConfig.NetworkMode}}"), "none");
    });
}

#[test]
fn host_is_the_hosts() {
    bed!(|bed| {
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        assert_eq!(
            bed.shell(&["--network", "host"], "readlink /proc/self/ns/net")
                .ok(),
            own.to_str().unwrap()
        );
        assert_eq!(
            bed.shell(&["--net", "host"], "hostname").ok(),
            bed.host("hostname", &[]).ok()
        );
    });
}

#[test]
fn the_network_of_another_container() {
    bed!(|bed| {
        bed.start(&["--name", "first"]);
        let there = bed
            .run(&["exec", "first", "readlink", "/proc/self/ns/net"])
            .ok();
        assert_eq!(
            bed.shell(
                &["--network", "container:first"],
                "readlink /proc/self/ns/net"
            )
            .ok(),
            there
        );
        let address = bed.inspect("first", "{{.NetworkSettings.IPAddress}}");
        assert!(
            bed.shell(&["--network", "container:first"], "cat /etc/hosts; ip addr")
                .ok()
                .contains(&address)
        );
        bed.run(&[
            "run",
            "--rm",
            "--network",
            "container:first",
            "-p",
            "80:80",
            BUSYBOX,
            "true",
        ])
        .fails(125, &["port"]);
        bed.run(&["stop", "-t", "0", "first"]).ok();
        bed.run(&[
            "run",
            "--rm",
            "--network",
            "container:first",
            BUSYBOX,
            "true",
        ])
        .fails(125, &["first", "not running"]);
        bed.run(&["run", "--rm", "--network", "nonsense", BUSYBOX, "true"])
            .fails(125, &["nonsense"]);
    });
}
