//! `wharf-runtime` by a user without any privilege, with and without subordinate ids.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::PathBuf;

use black_box_tests::{Bed, Invocation, bed, binary, eventually};
use serde_json::{Value, json};

/// Of no account on any machine.
const USER: u32 = 54_321;
const SUBORDINATE: u32 = 2_000_000;

/// A user who owns a bundle.
struct User<'a> {
    bed: &'a Bed,
    home: PathBuf,
}

/// What the user namespace holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ids {
    Own,
    Subordinate,
}

impl<'a> User<'a> {
    /// Makes the user known to newuidmap: over the host's files, in this test's mount namespace only.
    fn new(bed: &'a Bed) -> Self {
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let passwd = bed.file(
            "passwd",
            format!("{passwd}bedtest:x:{USER}:{USER}::/:/bin/sh\n"),
        );
        let granted = bed.file("subid", format!("bedtest:{SUBORDINATE}:65536\n"));
        for (file, place) in [
            (&passwd, "/etc/passwd"),
            (&granted, "/etc/subuid"),
            (&granted, "/etc/subgid"),
        ] {
            bed.host("mount", &["--bind", file, place]).ok();
        }
        let home = bed.dir().join("home");
        let bin = home.join("bundle/rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        for name in ["proc", "sys", "dev", "tmp"] {
            fs::create_dir(home.join("bundle/rootfs").join(name)).unwrap();
        }
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for name in ["sh", "cat", "id", "sleep", "ls", "grep", "touch", "stat"] {
            symlink("busybox", bin.join(name)).unwrap();
        }
        fs::copy(binary("wharf-runtime"), home.join("wharf-runtime")).unwrap();
        bed.host(
            "chown",
            &["-R", &format!("{USER}:{USER}"), home.to_str().unwrap()],
        )
        .ok();
        let mut above = Some(home.as_path());
        while let Some(directory) = above.filter(|it| it.starts_with("/var/tmp/")) {
            bed.host("chmod", &["a+x", directory.to_str().unwrap()])
                .ok();
            above = directory.parent();
        }
        Self { bed, home }
    }

    /// The bundle's configuration, as `change` leaves it.
    fn bundle(&self, ids: Ids, args: &[&str], change: impl FnOnce(&mut Value)) {
        let mut map = vec![json!({"containerID": 0, "hostID": USER, "size": 1})];
        let mut pts = vec!["newinstance", "ptmxmode=0666", "mode=0620"];
        if ids == Ids::Subordinate {
            map.push(json!({"containerID": 1, "hostID": SUBORDINATE, "size": 65536}));
            pts.push("gid=5");
        }
        let kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup", "user"];
        let namespaces: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
        let caps = json!(["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]);
        let mut config = json!({
            "ociVersion": "1.2.0",
            "process": {
                "args": args, "env": ["PATH=/bin"], "cwd": "/", "user": {"uid": 0, "gid": 0},
                "capabilities": {"bounding": caps, "effective": caps, "permitted": caps}
            },
            "root": {"path": "rootfs"},
            "hostname": "rootless",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
            ],
            "linux": {
                "namespaces": namespaces, "uidMappings": map, "gidMappings": map,
                "resources": {"devices": [{"allow": false, "access": "rwm"}]},
                "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"]
            }
        });
        change(&mut config);
        let text = serde_json::to_string(&config).unwrap();
        fs::write(self.home.join("bundle/config.json"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Invocation {
        let mut invocation = Invocation::new("setpriv".as_ref());
        let words = self.words(arguments);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        invocation.arguments(&words[1..]);
        invocation
    }

    /// What leaves a process behind gets no pipe of ours to keep.
    fn background(&self, arguments: &[&str]) -> black_box_tests::Outcome {
        let script = r#""$@" </dev/null >/dev/null 2>"$0""#;
        let errors = self.home.join("errors");
        let mut words = vec!["-c", script, errors.to_str().unwrap()];
        let command = self.words(arguments);
        words.extend(command.iter().map(String::as_str));
        self.bed.host("sh", &words)
    }

    fn words(&self, arguments: &[&str]) -> Vec<String> {
        let id = USER.to_string();
        let (runtime, state) = (self.home.join("wharf-runtime"), self.home.join("state"));
        let before = [
            "setpriv",
            "--reuid",
            &id,
            "--regid",
            &id,
            "--clear-groups",
            runtime.to_str().unwrap(),
            "--root",
            state.to_str().unwrap(),
        ];
        before
            .iter()
            .chain(arguments)
            .map(|word| (*word).to_owned())
            .collect()
    }

    fn bundle_path(&self) -> String {
        self.home.join("bundle").to_str().unwrap().to_owned()
    }

    fn run(&self, id: &str) -> black_box_tests::Outcome {
        self.command(&["run", "--bundle", &self.bundle_path(), id])
            .run()
    }

    fn nothing_is_left(&self) {
        let state = fs::read_dir(self.home.join("state")).map_or(0, Iterator::count);
        assert_eq!(state, 0, "a container is left");
        let processes = eventually(10, "the user's processes to go", || {
            let all = self
                .bed
                .host("ps", &["-o", "args=", "-u", &USER.to_string()]);
            Some(all.text()).filter(String::is_empty)
        });
        assert_eq!(processes, "");
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        for place in ["/etc/passwd", "/etc/subuid", "/etc/subgid"] {
            self.bed.host("umount", &[place]);
        }
    }
}

#[test]
fn with_ones_own_id_alone() {
    bed!(|bed| {
        let user = User::new(bed);
        let script = "id; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; \
                      grep CapEff /proc/self/status; touch /made; stat -c %u /made; ls /sys/fs/cgroup";
        user.bundle(Ids::Own, &["sh", "-c", script], |_| {});
        let said = user.run("own").ok();
        let words: Vec<&str> = said.split_whitespace().collect();
        let id = USER.to_string();
        let expected = [
            "uid=0",
            "gid=0",
            "0",
            &id,
            "1",
            "0",
            &id,
            "1",
            "deny",
            "CapEff:",
            "0000000000000401",
            "0",
        ];
        assert_eq!(words[..expected.len()], expected, "{said}");
        let made = fs::metadata(user.home.join("bundle/rootfs/made")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), USER);
        user.nothing_is_left();
    });
}

#[test]
fn with_subordinate_ids_each_verb_works() {
    bed!(|bed| {
        let user = User::new(bed);
        user.bundle(Ids::Subordinate, &["sleep", "1000"], |_| {});
        let bundle = user.bundle_path();
        user.background(&["create", "--bundle", &bundle, "sub"])
            .ok();
        user.command(&["start", "sub"]).run().ok();
        let state = user.command(&["state", "sub"]).run().json();
        assert_eq!(state["status"], "running");
        let map = "cat /proc/self/uid_map /proc/self/setgroups";
        let said = user.command(&["exec", "sub", "sh", "-c", map]).run().ok();
        let words: Vec<&str> = said.split_whitespace().collect();
        let (own, first) = (USER.to_string(), SUBORDINATE.to_string());
        assert_eq!(words, ["0", &own, "1", "1", &first, "65536", "allow"]);
        let who = "id -u; id -g; cat /proc/1/comm; exit 3";
        let outcome = user
            .command(&["exec", "--user", "5:6", "sub", "sh", "-c", who])
            .run();
        assert_eq!(outcome.code(3), "5\n6\nsleep");
        user.command(&["kill", "sub", "KILL"]).run().ok();
        eventually(10, "the container to stop", || {
            let state = user.command(&["state", "sub"]).run().json();
            (state["status"] == "stopped").then_some(())
        });
        user.command(&["delete", "sub"]).run().ok();
        user.background(&["run", "--detach", "--bundle", &bundle, "again"])
            .ok();
        user.command(&["delete", "--force", "again"]).run().ok();
        user.nothing_is_left();
    });
}

#[test]
fn ids_that_nobody_granted_are_refused_with_the_file_to_look_at() {
    bed!(|bed| {
        let user = User::new(bed);
        user.bundle(Ids::Subordinate, &["id"], |config| {
            config["linux"]["gidMappings"][1]["hostID"] = json!(SUBORDINATE + 1);
        });
        user.run("stolen")
            .fails(1, &["linux.gidMappings", "newgidmap", "/etc/subgid"]);
        user.bundle(Ids::Own, &["id"], |config| {
            config["linux"]["uidMappings"][0]["hostID"] = json!(0);
        });
        user.run("root")
            .fails(1, &["linux.uidMappings", "newuidmap", "/etc/subuid"]);
        user.nothing_is_left();
    });
}

#[test]
fn limits_that_nobody_delegated_are_refused_by_name() {
    bed!(|bed| {
        let user = User::new(bed);
        user.bundle(Ids::Own, &["id"], |config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        });
        user.run("limited").fails(
            1,
            &["linux.resources.memory.limit", "no cgroup was delegated"],
        );
        user.bundle(Ids::Own, &["id"], |config| {
            config["linux"]["cgroupsPath"] = json!("/not/ours");
        });
        user.run("path")
            .fails(1, &["make cgroup", "permission denied"]);
        user.nothing_is_left();
    });
}

#[test]
fn a_users_cgroup_on_version_two_holds_limits_once_it_is_delegated() {
    bed!(|bed| {
        let root = "/sys/fs/cgroup";
        if !fs::exists(format!("{root}/cgroup.controllers")).unwrap() {
            // Nothing is delegated on version 1: see `tests/kernels/` for the other.
            return;
        }
        let user = User::new(bed);
        let group = format!("{root}/delegated");
        fs::create_dir_all(format!("{group}/shell")).unwrap();
        for name in [
            "",
            "cgroup.procs",
            "cgroup.subtree_control",
            "shell",
            "shell/cgroup.procs",
        ] {
            chown(format!("{group}/{name}"), Some(USER), Some(USER)).unwrap();
        }
        fs::write(format!("{root}/cgroup.subtree_control"), "+memory +pids").unwrap();
        user.bundle(Ids::Own, &["cat", "/sys/fs/cgroup/memory.max"], |config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        });
        fs::write(
            format!("{group}/shell/cgroup.procs"),
            std::process::id().to_string(),
        )
        .unwrap();
        let said = user.run("limited").ok();
        fs::write(
            format!("{root}/bed/cgroup.procs"),
            std::process::id().to_string(),
        )
        .unwrap();
        assert_eq!(said, (64 << 20).to_string());
        assert!(!fs::exists(format!("{group}/wharf-limited")).unwrap());
        fs::remove_dir(format!("{group}/shell")).unwrap();
        fs::remove_dir(&group).unwrap();
        user.nothing_is_left();
    });
}
