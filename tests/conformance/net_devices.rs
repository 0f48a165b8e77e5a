//! `linux.netDevices`: links that move in.

use black_box_tests::{Bed, Bundle, bed};
use serde_json::json;

fn make_links(bed: &Bed, names: &[&str]) {
    for name in names {
        bed.host(
            "ip",
            &[
                "link",
                "add",
                name,
                "mtu",
                "1400",
                "type",
                "veth",
                "peer",
                "name",
                &format!("{name}p"),
            ],
        )
        .ok();
    }
}

#[test]
fn links_move_in_with_their_addresses() {
    bed!(|bed| {
        make_links(bed, &["one", "two", "three"]);
        bed.host("ip", &["addr", "add", "10.9.0.1/24", "dev", "one"])
            .ok();
        bed.host("ip", &["addr", "add", "fd00::5/64", "dev", "one", "nodad"])
            .ok();
        bed.host("ip", &["link", "set", "onep", "up"]).ok();
        let mut bundle = Bundle::shell(bed, "ip addr show; ip link show");
        bundle.set(
            "/linux/netDevices",
            json!({"one": {"name": "inner"}, "two": {}, "three": {"name": "t%d"}}),
        );
        let seen = bundle.output();
        for part in [
            "inner@",
            " two@",
            " t0@",
            "mtu 1400",
            "10.9.0.1/24",
            "fd00::5/64",
        ] {
            assert!(seen.contains(part), "{part}: {seen}");
        }
        let inner = seen.lines().find(|line| line.contains("inner@")).unwrap();
        assert!(inner.contains("UP"), "{inner}");
        // Virtual links end with the namespace; nothing was left on the host.
        assert!(!bed.host("ip", &["link"]).ok().contains("one@"));
    });
}

#[test]
fn what_cannot_move_is_named_and_nothing_else_moves() {
    bed!(|bed| {
        make_links(bed, &["one"]);
        let all = ["one"];
        for (devices, parts) in [
            (
                json!({"one": {}, "nowhere": {}}),
                ["linux.netDevices", "nowhere"],
            ),
            (json!({"one": {"name": "lo"}}), ["linux.netDevices", "lo"]),
            (
                json!({"one": {"name": "far-too-long-a-name"}}),
                ["linux.netDevices", "far-too-long"],
            ),
            (json!({"lo": {"name": "other"}}), ["linux.netDevices", "lo"]),
        ] {
            let mut bundle = Bundle::new(bed, &["true"]);
            bundle.set("/linux/netDevices", devices);
            bundle.is_refused(&parts);
            for name in all {
                bed.host("ip", &["link", "show", name]).ok();
            }
        }
        let mut bundle = Bundle::new(bed, &["true"]);
        bundle.set("/linux/namespaces", json!([{"type": "mount"}]));
        bundle.set("/linux/netDevices", json!({"one": {}}));
        bundle.is_refused(&["linux.netDevices", "network namespace"]);
        bed.host("ip", &["link", "del", "one"]).ok();
    });
}
