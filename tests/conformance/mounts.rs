//! `mounts`, the root file system and its propagation.

use std::fs;

use black_box_tests::{Bundle, bed};
use serde_json::json;

#[test]
fn recursive_attributes_reach_what_is_mounted_below() {
    bed!(|bed| {
        let dir = bed.dir().join("tree");
        fs::create_dir_all(dir.join("below")).unwrap();
        let below = dir.join("below").to_str().unwrap().to_owned();
        bed.host("mount", &["-t", "tmpfs", "tmpfs", &below]).ok();
        let script = "grep ' /data' /proc/self/mountinfo | cut -d' ' -f5,6 | sort";
        let mut bundle = Bundle::shell(bed, script);
        for (options, words) in [
            (vec!["rbind", "ro", "nosuid"], ["ro,nosuid", "rw"]),
            (vec!["rbind", "rro", "rnosuid"], ["ro,nosuid", "ro,nosuid"]),
            (
                vec!["rbind", "rnoexec", "rnodev", "rnoatime"],
                ["nodev,noexec,noatime", "nodev,noexec,noatime"],
            ),
            (
                vec!["rbind", "rnosymfollow", "rnodiratime"],
                ["nodiratime", "nodiratime"],
            ),
            (vec!["rbind", "rro", "rw"], ["ro", "ro"]),
        ] {
            bundle.config["mounts"].as_array_mut().unwrap().truncate(3);
            bundle.mount("/data", "bind", dir.to_str().unwrap(), &options);
            let seen = bundle.output();
            let lines: Vec<&str> = seen.lines().collect();
            assert_eq!(lines.len(), 2, "{seen}");
            for (line, words) in lines.iter().zip(words) {
                let attributes: Vec<&str> = line.split([' ', ',']).collect();
                for word in words.split(',') {
                    assert!(attributes.contains(&word), "{options:?}: {line}");
                }
            }
        }
        bed.host("umount", &[&below]).ok();
    });
}

#[test]
fn options_that_mean_nothing_are_refused_by_name() {
    bed!(|bed| {
        for (kind, options, parts) in [
            ("bind", vec!["bind", "size=1"], ["size", "bind mount"]),
            ("tmpfs", vec!["colour=blue"], ["colour", "tmpfs"]),
            ("bind", vec!["bind", "tmpcopyup"], ["tmpcopyup", "tmpfs"]),
            (
                "bind",
                vec!["bind", "src-nofollow"],
                ["src-nofollow", "supported"],
            ),
            ("cgroup", vec!["memory"], ["memory", "control groups"]),
            ("nosuchfs", vec![], ["nosuchfs", "/data"]),
            ("none", vec!["remount", "ro"], ["remount", "/data"]),
        ] {
            let mut bundle = Bundle::new(bed, &["true"]);
            bundle.mount("/data", kind, "/tmp", &options);
            fs::create_dir(bundle.root().join("data")).unwrap();
            bundle.is_refused(&parts);
        }
        let mut bundle = Bundle::new(bed, &["true"]);
        bundle.mount("/data", "bind", "/no/such/place", &["bind"]);
        bundle.is_refused(&["mounts[3]", "/no/such/place"]);
    });
}

#[test]
fn a_tmpfs_begins_with_what_was_there() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(
            bed,
            "cat /etc/deep/file; stat -c '%a %u' /etc/deep/file; readlink /etc/link; echo y >>/etc/deep/file; \
             grep -c ' /etc ' /proc/self/mountinfo",
        );
        let etc = bundle.root().join("etc");
        fs::create_dir(etc.join("deep")).unwrap();
        fs::write(etc.join("deep/file"), "x\n").unwrap();
        std::os::unix::fs::chown(etc.join("deep/file"), Some(7), Some(8)).unwrap();
        std::os::unix::fs::symlink("/outside", etc.join("link")).unwrap();
        bundle.mount("/etc", "tmpfs", "tmpfs", &["tmpcopyup", "size=1m"]);
        assert_eq!(bundle.output(), "x\n644 7\n/outside\n1");
        assert_eq!(fs::read_to_string(etc.join("deep/file")).unwrap(), "x\n");
        // More than fits is an error and no half of it.
        fs::write(etc.join("deep/large"), vec![1; 2 << 20]).unwrap();
        bundle.is_refused(&["/etc", "large"]);
    });
}

#[test]
fn a_remount_changes_what_is_mounted() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(bed, "touch /data/x; touch /data/y 2>&1");
        bundle.mount("/data", "tmpfs", "tmpfs", &[]);
        bundle.mount("/data", "none", "none", &["remount", "ro"]);
        let outcome = bundle.run();
        assert!(
            outcome.text().contains("Read-only file system"),
            "{}",
            outcome.story()
        );
    });
}

#[test]
fn propagation_is_as_asked() {
    bed!(|bed| {
        let dir = bed.dir().join("shared");
        fs::create_dir_all(dir.join("sub")).unwrap();
        let path = dir.to_str().unwrap().to_owned();
        bed.host("mount", &["-t", "tmpfs", "tmpfs", &path]).ok();
        bed.host("mount", &["--make-shared", &path]).ok();
        let tags = "grep ' /data ' /proc/self/mountinfo | grep -o 'shared\\|master\\|unbindable' | tr '\\n' ' '";
        let mut bundle = Bundle::shell(bed, tags);
        for (option, seen) in [
            ("rshared", "shared"),
            ("shared", "shared"),
            ("rslave", "master"),
            ("rprivate", ""),
            ("private", ""),
            ("unbindable", "unbindable"),
        ] {
            bundle.config["mounts"].as_array_mut().unwrap().truncate(3);
            bundle.mount("/data", "bind", &path, &["rbind", option]);
            assert_eq!(bundle.output().trim(), seen, "{option}");
        }
        bed.host("umount", &[&path]).ok();
        let root = "grep ' / / ' /proc/self/mountinfo || grep ' / ' /proc/self/mountinfo";
        let mut bundle = Bundle::shell(bed, root);
        for (value, tag) in [
            ("shared", "shared:"),
            ("rshared", "shared:"),
            ("unbindable", "unbindable"),
        ] {
            bundle.set("/linux/rootfsPropagation", json!(value));
            assert!(bundle.output().contains(tag), "{value}");
        }
        bundle.set("/linux/rootfsPropagation", json!("private"));
        let seen = bundle.output();
        assert!(
            !seen.contains("shared:") && !seen.contains("master:"),
            "{seen}"
        );
    });
}

#[test]
fn control_groups_are_the_containers_own() {
    bed!(|bed| {
        for own_namespace in [true, false] {
            let script = "find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs | head -1 | xargs cat | head -3; \
                          grep ' /sys/fs/cgroup' /proc/self/mountinfo | cut -d' ' -f6 | tr ',' '\\n' | sort | uniq -c | \
                          grep -c -w ro";
            let mut bundle = Bundle::shell(bed, script);
            for name in ["find", "xargs", "uniq"] {
                std::os::unix::fs::symlink("busybox", bundle.root().join("bin").join(name))
                    .unwrap();
            }
            bundle.mount(
                "/sys",
                "sysfs",
                "sysfs",
                &["nosuid", "noexec", "nodev", "ro"],
            );
            bundle.mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "relatime", "ro"],
            );
            if own_namespace {
                bundle.push("/linux/namespaces", json!({"type": "cgroup"}));
            }
            let seen = bundle.output();
            // Its own processes and nobody else's, and all of it read-only.
            assert!(seen.starts_with("1\n"), "{seen}");
            assert!(seen.ends_with("\n1"), "{seen}");
        }
    });
}

#[test]
fn version_2_alone_where_the_host_has_it() {
    bed!(|bed| {
        let has = fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .contains(" - cgroup2 ");
        let mut bundle = Bundle::shell(
            bed,
            "cat /data/cgroup.procs | head -1; grep ' /data ' /proc/self/mountinfo",
        );
        bundle.push("/linux/namespaces", json!({"type": "cgroup"}));
        bundle.mount("/data", "cgroup2", "cgroup", &["ro"]);
        if has {
            let seen = bundle.output();
            assert!(
                seen.starts_with("1\n") && seen.contains(" - cgroup2 "),
                "{seen}"
            );
        } else {
            bundle.is_refused(&["cgroup2"]);
        }
    });
}

#[test]
fn mounts_show_mapped_ids() {
    bed!(|bed| {
        let dir = bed.dir().join("mapped");
        fs::create_dir_all(dir.join("below")).unwrap();
        let below = dir.join("below").to_str().unwrap().to_owned();
        bed.host("mount", &["-t", "tmpfs", "-o", "mode=755", "tmpfs", &below])
            .ok();
        for path in ["file", "below/file"] {
            fs::write(dir.join(path), "").unwrap();
            std::os::unix::fs::chown(dir.join(path), Some(1), Some(2)).unwrap();
        }
        let map = |host: u32| json!([{"containerID": 0, "hostID": host, "size": 1000}]);
        let source = dir.to_str().unwrap();
        let mut bundle = Bundle::shell(bed, "stat -c '%u %g' /data/file /data/below/file");
        for (options, seen) in [
            (vec!["rbind"], "101 202\n1 2"),
            (vec!["rbind", "idmap"], "101 202\n1 2"),
            (vec!["rbind", "ridmap"], "101 202\n101 202"),
        ] {
            bundle.config["mounts"].as_array_mut().unwrap().truncate(3);
            bundle.mount("/data", "bind", source, &options);
            bundle
                .set("/mounts/3/uidMappings", map(100))
                .set("/mounts/3/gidMappings", map(200));
            assert_eq!(bundle.output(), seen, "{options:?}");
        }
        // Without maps of its own: those of the user namespace, so that ids inside are those on the disk.
        let user = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let mut inside = Bundle::shell(bed, "stat -c '%u %g' /data/file; touch /data/new; echo $?");
        inside.push("/linux/namespaces", json!({"type": "user"}));
        inside
            .set("/linux/uidMappings", user.clone())
            .set("/linux/gidMappings", user);
        inside.mount("/data", "bind", source, &["bind", "idmap"]);
        inside.is_refused(&[
            "/data",
            "missing in the root file system",
            "permission denied",
        ]);
        fs::create_dir(inside.root().join("data")).unwrap();
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(inside.output(), "1 2\n0");
        let made = fs::metadata(dir.join("new")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 0);
        bed.host("umount", &[&below]).ok();
        // What is refused.
        for (options, maps, part) in [
            (json!(["bind", "idmap"]), json!({}), "idmap"),
            (json!(["bind"]), json!({"uidMappings": map(1)}), "together"),
            (
                json!(["bind", "idmap=uids=0-1-1"]),
                json!({}),
                "uidMappings",
            ),
            (
                json!(["bind"]),
                json!({"uidMappings": [{"containerID": 0, "hostID": 0, "size": 0}],
                                     "gidMappings": map(1)}),
                "empty",
            ),
        ] {
            let mut bundle = Bundle::new(bed, &["true"]);
            let mut mount = json!({"destination": "/data", "type": "bind", "source": source, "options": options});
            for (name, value) in maps.as_object().unwrap() {
                mount[name] = value.clone();
            }
            bundle.push("/mounts", mount);
            bundle.is_refused(&["mounts[3]", part]);
        }
    });
}
