//! `linux.namespaces` and what belongs to them.

use std::fs;

use black_box_tests::{Bundle, bed};
use serde_json::json;

#[test]
fn each_kind_is_new_if_asked_and_shared_if_not() {
    bed!(|bed| {
        let script = "for n in pid net ipc uts mnt cgroup time; do echo $n $(readlink /proc/self/ns/$n); done";
        let namespace = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.to_owned()
        };
        let host = bed.host("sh", &["-c", script]).ok();
        let mut bundle = Bundle::shell(bed, script);
        bundle.push("/linux/namespaces", json!({"type": "cgroup"}));
        bundle.push("/linux/namespaces", json!({"type": "time"}));
        let inside = bundle.output();
        for name in ["pid", "net", "ipc", "uts", "mnt", "cgroup", "time"] {
            assert_ne!(namespace(&host, name), namespace(&inside, name));
        }
        bundle.set("/linux/namespaces", json!([{"type": "mount"}]));
        let inside = bundle.output();
        for name in ["pid", "net", "ipc", "uts", "cgroup", "time"] {
            assert_eq!(namespace(&host, name), namespace(&inside, name));
        }
    });
}

#[test]
fn time_offsets_are_what_the_clocks_show() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(bed, "cut -d. -f1 /proc/uptime");
        bundle.push("/linux/namespaces", json!({"type": "time"}));
        bundle.set(
            "/linux/timeOffsets",
            json!({
                "boottime": {"secs": 1_000_000, "nanosecs": 5},
                "monotonic": {"secs": 2_000_000},
            }),
        );
        let inside: u64 = bundle.output().parse().unwrap();
        let outside: u64 = bed
            .host("cut", &["-d.", "-f1", "/proc/uptime"])
            .ok()
            .parse()
            .unwrap();
        assert!(
            inside >= 1_000_000 && inside <= outside + 1_000_001,
            "{inside}, {outside}"
        );
        // A process that joins is in it too.
        let mut bundle = Bundle::new(bed, &["sleep", "100"]);
        bundle.push("/linux/namespaces", json!({"type": "time"}));
        bundle.set(
            "/linux/timeOffsets",
            json!({"boottime": {"secs": 1_000_000}}),
        );
        bundle.create().ok();
        bundle.runtime(&["start", bundle.id()]).ok();
        let joined = bundle
            .runtime(&["exec", bundle.id(), "cut", "-d.", "-f1", "/proc/uptime"])
            .ok();
        assert!(joined.parse::<u64>().unwrap() >= 1_000_000, "{joined}");
        bundle.delete();
        bundle.set("/linux/timeOffsets", json!({"realtime": {"secs": 1}}));
        bundle.is_refused(&["linux.timeOffsets", "realtime"]);
        bundle.set("/linux/namespaces", json!([{"type": "mount"}]));
        bundle.set("/linux/timeOffsets", json!({"boottime": {"secs": 1}}));
        bundle.is_refused(&["linux.timeOffsets", "time namespace"]);
    });
}

#[test]
fn namespaces_are_joined_by_path() {
    bed!(|bed| {
        let mut first = Bundle::new(bed, &["sleep", "100"]);
        first.set("/hostname", json!("first"));
        first.push("/linux/namespaces", json!({"type": "cgroup"}));
        first.push("/linux/namespaces", json!({"type": "time"}));
        first.create().ok();
        first.runtime(&["start", first.id()]).ok();
        let pid = first.runtime(&["state", first.id()]).json()["pid"].to_string();
        let script =
            "for n in pid net ipc uts cgroup time; do readlink /proc/self/ns/$n; done; hostname";
        let mut second = Bundle::shell(bed, script);
        let kinds = [
            ("pid", "pid"),
            ("network", "net"),
            ("ipc", "ipc"),
            ("uts", "uts"),
            ("cgroup", "cgroup"),
            ("time", "time"),
        ];
        let mut list = vec![json!({"type": "mount"})];
        for (kind, file) in kinds {
            list.push(json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")}));
        }
        second.set("/linux/namespaces", json!(list));
        let links = kinds.map(|(_, file)| {
            let link = fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap();
            format!("{}\n", link.display())
        });
        let expected = links.concat();
        assert_eq!(second.output(), format!("{expected}first"));
        first.delete();
    });
}

#[test]
fn a_mount_namespace_is_joined_by_path() {
    bed!(|bed| {
        let holder = bed
            .host(
                "sh",
                &[
                    "-c",
                    "unshare -m sh -c 'mount -t tmpfs mark /mnt; echo m >/mnt/mark; \
                               exec sleep 100' >/dev/null 2>&1 & echo $!",
                ],
            )
            .ok();
        black_box_tests::eventually(10, "the other namespace", || {
            fs::read(format!("/proc/{holder}/root/mnt/mark")).ok()
        });
        let mut bundle = Bundle::shell(bed, "cat /data/mark; readlink /proc/self/ns/mnt");
        bundle.mount("/data", "bind", "/mnt", &["bind"]);
        let path = format!("/proc/{holder}/ns/mnt");
        bundle.set(
            "/linux/namespaces/4",
            json!({"type": "mount", "path": path}),
        );
        let theirs = fs::read_link(&path).unwrap();
        assert_eq!(bundle.output(), format!("m\n{}", theirs.display()));
        bed.host("kill", &[&holder]).ok();
    });
}

#[test]
fn a_user_namespace_is_joined_by_path() {
    bed!(|bed| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let mut first = Bundle::new(bed, &["sleep", "100"]);
        first.push("/linux/namespaces", json!({"type": "user"}));
        first
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map.clone());
        first.create().ok();
        first.runtime(&["start", first.id()]).ok();
        let pid = first.runtime(&["state", first.id()]).json()["pid"].to_string();
        let mut second = Bundle::shell(
            bed,
            "id -u; cat /proc/self/uid_map | tr -s ' '; readlink /proc/self/ns/user; readlink /proc/self/ns/net; \
             echo $$; echo x >/dev/null",
        );
        let user = format!("/proc/{pid}/ns/user");
        let net = format!("/proc/{pid}/ns/net");
        second.push("/linux/namespaces", json!({"type": "user", "path": user}));
        second.set(
            "/linux/namespaces/1",
            json!({"type": "network", "path": net}),
        );
        let link = |path: &str| fs::read_link(path).unwrap().display().to_string();
        let expected = format!("0\n 0 100000 65536\n{}\n{}\n1", link(&user), link(&net));
        assert_eq!(second.output(), expected);
        // Maps that go with it have to be its own.
        second.set("/linux/uidMappings", map.clone());
        assert_eq!(second.output(), expected);
        second.set(
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 7, "size": 1}]),
        );
        second.is_refused(&["linux.uidMappings"]);
        // A new user namespace beside namespaces of the host that are joined.
        let mut third = Bundle::shell(bed, "readlink /proc/self/ns/ipc; id -u");
        third.push("/linux/namespaces", json!({"type": "user"}));
        third
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map);
        third.set(
            "/linux/namespaces/2",
            json!({"type": "ipc", "path": "/proc/self/ns/ipc"}),
        );
        assert_eq!(third.output(), format!("{}\n0", link("/proc/self/ns/ipc")));
        first.delete();
    });
}

#[test]
fn without_a_mount_namespace_nothing_is_mounted() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(bed, "ls /; echo x >/dev/null");
        bundle.set("/linux/namespaces", json!([{"type": "pid"}]));
        bundle.is_refused(&["mounts", "mount namespace"]);
        bundle.set("/mounts", json!([]));
        assert!(bundle.output().contains("bin\n"));
        bundle.set("/linux/maskedPaths", json!(["/proc/x"]));
        bundle.is_refused(&["linux.maskedPaths", "mount namespace"]);
    });
}

#[test]
fn wrong_namespaces_are_refused() {
    bed!(|bed| {
        for (namespace, parts) in [
            (json!({"type": "pid"}), ["linux.namespaces (pid)", "twice"]),
            (
                json!({"type": "cgroup", "path": "ns/cgroup"}),
                ["linux.namespaces (cgroup)", "absolute"],
            ),
            (
                json!({"type": "cgroup", "path": "/proc/self/ns/uts"}),
                ["linux.namespaces (cgroup)", "another kind"],
            ),
            (
                json!({"type": "cgroup", "path": "/dev/null"}),
                ["linux.namespaces (cgroup)", "no namespace"],
            ),
            (
                json!({"type": "cgroup", "path": "/missing"}),
                ["linux.namespaces (cgroup)", "/missing"],
            ),
            (json!({"type": "dream"}), ["dream", "namespaces"]),
            (
                json!({"type": "user"}),
                ["linux.uidMappings", "user namespace"],
            ),
        ] {
            let mut bundle = Bundle::new(bed, &["true"]);
            bundle.push("/linux/namespaces", namespace);
            bundle.is_refused(&parts);
        }
        let mut bundle = Bundle::new(bed, &["true"]);
        bundle.set(
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 1}]),
        );
        bundle.is_refused(&["linux.uidMappings", "user namespace"]);
        let mut bundle = Bundle::new(bed, &["true"]);
        bundle
            .set("/linux/namespaces", json!([{"type": "mount"}]))
            .set("/hostname", json!("x"));
        bundle.is_refused(&["hostname", "uts"]);
    });
}

#[test]
fn names_and_sysctls_are_the_containers() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(
            bed,
            "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward \
                                             /proc/sys/kernel/shm_rmid_forced",
        );
        bundle
            .set("/hostname", json!("inner"))
            .set("/domainname", json!("dom.example"));
        bundle.set(
            "/linux/sysctl",
            json!({"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}),
        );
        assert_eq!(bundle.output(), "inner\ndom.example\n1\n1");
        bundle.set("/linux/sysctl", json!({"vm.swappiness": "1"}));
        bundle.is_refused(&["linux.sysctl", "vm.swappiness"]);
        bundle.set("/linux/sysctl", json!({"net.ipv4.missing": "1"}));
        bundle.is_refused(&["sysctl", "net/ipv4/missing"]);
    });
}
