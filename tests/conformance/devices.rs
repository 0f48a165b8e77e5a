//! `linux.devices` and the default devices.

use std::fs;

use black_box_tests::{Bundle, bed};
use serde_json::json;

#[test]
fn default_devices_and_links_are_there() {
    bed!(|bed| {
        let script = "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$d; done; \
                      for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done";
        let seen = Bundle::shell(bed, script).output();
        let expected = "/dev/null character special file 1:3 666\n/dev/zero character special file 1:5 666\n\
                        /dev/full character special file 1:7 666\n/dev/random character special file 1:8 666\n\
                        /dev/urandom character special file 1:9 666\n/dev/tty character special file 5:0 666\n\
                        /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx";
        assert_eq!(seen, expected);
    });
}

#[test]
fn devices_have_their_type_numbers_mode_and_owner() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(
            bed,
            "for d in /dev/fuse /dev/disk /dev/pipe /other/raw; do stat -c '%F %t:%T %a %u:%g' $d; done",
        );
        bundle.set("/linux/devices", json!([
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 5, "gid": 6},
            {"path": "/dev/disk", "type": "b", "major": 7, "minor": 0},
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
            {"path": "/other/raw", "type": "u", "major": 1, "minor": 5, "fileMode": 0o2666},
        ]));
        let expected = "character special file a:e5 640 5:6\nblock special file 7:0 666 0:0\nfifo 0:0 600 0:0\n\
                        character special file 1:5 2666 0:0";
        assert_eq!(bundle.output(), expected);
    });
}

#[test]
fn what_is_there_already_has_to_be_the_same() {
    bed!(|bed| {
        for (device, part) in [
            (
                json!({"path": "/etc/file", "type": "c", "major": 1, "minor": 3}),
                "/etc/file",
            ),
            (
                json!({"path": "/dev/x", "type": "z", "major": 1, "minor": 3}),
                "/dev/x",
            ),
            (
                json!({"path": "/dev/x", "type": "c", "major": -1, "minor": 3}),
                "major",
            ),
            (
                json!({"path": "/", "type": "c", "major": 1, "minor": 3}),
                "name",
            ),
        ] {
            let mut bundle = Bundle::new(bed, &["true"]);
            fs::write(bundle.root().join("etc/file"), "").unwrap();
            bundle.set("/linux/devices", json!([device]));
            bundle.is_refused(&["device", part]);
        }
    });
}

#[test]
fn a_user_namespace_gets_the_hosts_nodes_and_fifos_of_its_own() {
    bed!(|bed| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let mut bundle = Bundle::shell(
            bed,
            "echo x >/dev/null; stat -c '%F %a' /dev/pipe; stat -c '%t:%T' /dev/zero",
        );
        bundle.push("/linux/namespaces", json!({"type": "user"}));
        bundle
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map);
        bundle.set(
            "/linux/devices",
            json!([{"path": "/dev/pipe", "type": "p", "fileMode": 0o620}]),
        );
        assert_eq!(bundle.output(), "fifo 620\n1:5");
        bundle.set(
            "/linux/devices",
            json!([{"path": "/dev/nowhere", "type": "c", "major": 1, "minor": 3}]),
        );
        bundle.is_refused(&["/dev/nowhere"]);
        // What cannot be changed about a node of the host is said.
        bundle.set(
            "/linux/devices",
            json!([{"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "uid": 7}]),
        );
        let outcome = bundle.run();
        assert!(outcome.error().contains("/dev/full"), "{}", outcome.story());
    });
}
