//! `--mac-address`: whose it is, who gets it, and that it goes with its container.

use black_box_tests::{Bed, bed};

const MAC: &str = "92:d0:c6:0a:29:33";

fn guard(bed: &Bed) -> String {
    bed.host("nft", &["list", "ruleset", "bridge"]).ok()
}

#[test]
fn a_hardware_address_that_was_asked_for_carries_traffic_and_goes_again() {
    bed!(|bed| {
        bed.start(&["--name", "web", "--mac-address", MAC]);
        assert_eq!(bed.inspect("web", "{{.NetworkSettings.MacAddress}}"), MAC);
        let shown = bed
            .run(&["exec", "web", "cat", "/sys/class/net/eth0/address"])
            .ok();
        assert_eq!(shown.trim(), MAC);
        // Both ways and with both versions: its guard lets nothing else out.
        for version in ["-4", "-6"] {
            let ping = format!("ping {version} -c 1 -W 2 web");
            bed.shell(&["--network", "bridge"], &ping).ok();
        }
        assert!(guard(bed).contains(MAC));
        let address = bed.inspect("web", "{{.NetworkSettings.IPAddress}}");
        bed.run(&["restart", "-t", "0", "web"]).ok();
        assert_eq!(bed.inspect("web", "{{.NetworkSettings.MacAddress}}"), MAC);
        bed.run(&["rm", "-f", "web"]).ok();
        assert!(
            !guard(bed).contains(MAC),
            "the next one with {address} could use it"
        );
        bed.start(&[
            "--name",
            "next",
            "--network",
            &format!("name=bridge,mac-address={MAC}"),
        ]);
        assert_eq!(bed.inspect("next", "{{.NetworkSettings.MacAddress}}"), MAC);
    });
}

#[test]
fn nobody_gets_anothers_hardware_address() {
    bed!(|bed| {
        bed.start(&["--name", "first", "--mac-address", MAC]);
        let theirs = bed.inspect("first", "{{.NetworkSettings.IPAddress}}");
        let octets: Vec<u8> = theirs
            .split('.')
            .map(|octet| octet.parse().unwrap())
            .collect();
        let [a, b, c, d] = octets[..] else {
            panic!("{theirs}")
        };
        let goes_with = format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}");
        for (wanted, why) in [
            (MAC, "is in use"),
            (&goes_with, "goes with"),
            (
                "01:00:5e:00:00:01",
                "cannot be the hardware address of one link",
            ),
            ("here", "is no hardware address"),
        ] {
            let refused = bed.shell(&["--network", "bridge", "--mac-address", wanted], "true");
            assert!(
                refused.error().contains(why),
                "{wanted}: {}",
                refused.error()
            );
        }
        let refused = bed.shell(&["--mac-address", MAC, "--network", "none"], "true");
        assert!(
            refused.error().contains("need a network"),
            "{}",
            refused.error()
        );
        // The one that goes with the address that is asked for is one's own.
        bed.run(&["rm", "-f", "first"]).ok();
        bed.shell(
            &[
                "--network",
                "bridge",
                "--ip",
                &theirs,
                "--mac-address",
                &goes_with,
            ],
            "true",
        )
        .ok();
    });
}

#[test]
fn repair_gives_up_the_hardware_address_of_one_that_was_killed() {
    bed!(|bed| {
        let id = bed.start(&["--mac-address", MAC]);
        let facts = bed.runroot().join("containers").join(id).join("facts.json");
        let facts: serde_json::Value =
            serde_json::from_slice(&std::fs::read(facts).unwrap()).unwrap();
        // Its processes end with their monitor, and nobody writes that down.
        bed.host("kill", &["-9", &facts["monitor"]["pid"].to_string()])
            .ok();
        bed.run(&["system", "repair"]).ok();
        assert!(!guard(bed).contains(MAC));
        bed.shell(&["--network", "bridge", "--mac-address", MAC], "true")
            .ok();
    });
}
