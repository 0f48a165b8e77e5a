//! A bundle of the OCI runtime specification, and `wharf-runtime` on it.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bed::{Bed, binary};
use crate::command::{Invocation, Outcome};

/// What a root file system has of busybox.
const APPLETS: [&str; 30] = [
    "awk",
    "cat",
    "chmod",
    "chroot",
    "cut",
    "dd",
    "dmesg",
    "domainname",
    "echo",
    "env",
    "grep",
    "head",
    "hostname",
    "id",
    "ip",
    "ls",
    "mkdir",
    "mknod",
    "mount",
    "mv",
    "readlink",
    "sh",
    "sleep",
    "sort",
    "stat",
    "stty",
    "touch",
    "tr",
    "true",
    "uname",
];

/// A directory with `config.json` and a root file system of busybox.
pub struct Bundle<'a> {
    bed: &'a Bed,
    dir: PathBuf,
    id: String,
    /// What becomes `config.json` when the runtime is called.
    pub config: Value,
}

impl<'a> Bundle<'a> {
    /// A container that runs `args`, with namespaces and mounts as usual.
    pub fn new(bed: &'a Bed, args: &[&str]) -> Self {
        thread_local!(static COUNT: Cell<u32> = const { Cell::new(0) });
        COUNT.set(COUNT.get() + 1);
        let id = format!("c{}", COUNT.get());
        let dir = bed.dir().join(format!("bundle-{id}"));
        let root = dir.join("rootfs");
        for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for name in APPLETS {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
        let caps = [
            "CAP_SETUID",
            "CAP_SETGID",
            "CAP_KILL",
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
        ];
        let config = json!({
            "ociVersion": "1.3.0",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": args,
                "env": ["PATH=/bin"],
                "cwd": "/",
                "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
                "noNewPrivileges": true,
            },
            "root": {"path": "rootfs"},
            "mounts": [
                mount("/proc", "proc", &[]),
                mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=64k"]),
                mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666"]),
            ],
            "linux": {
                "namespaces": [
                    {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                ],
            },
        });
        Self {
            bed,
            dir,
            id,
            config,
        }
    }

    /// A container that runs a script.
    pub fn shell(bed: &'a Bed, script: &str) -> Self {
        Self::new(bed, &["sh", "-c", script])
    }

    /// The part of the configuration at a JSON pointer such as `/linux/sysctl`; made where it is missing.
    pub fn at(&mut self, pointer: &str) -> &mut Value {
        let mut value = &mut self.config;
        for name in pointer.split('/').skip(1) {
            value = match value {
                Value::Array(list) => &mut list[name.parse::<usize>().unwrap()],
                value => &mut value[name],
            };
        }
        value
    }

    /// Sets a part of the configuration.
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Self {
        *self.at(pointer) = value;
        self
    }

    /// Adds one to a list of the configuration.
    pub fn push(&mut self, pointer: &str, value: Value) -> &mut Self {
        let list = self.at(pointer);
        if list.is_null() {
            *list = json!([]);
        }
        list.as_array_mut().unwrap().push(value);
        self
    }

    /// Adds a mount.
    pub fn mount(
        &mut self,
        destination: &str,
        kind: &str,
        source: &str,
        options: &[&str],
    ) -> &mut Self {
        let mount =
            json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.push("/mounts", mount)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The bundle's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The container's root on the host.
    pub fn root(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// `wharf-runtime` with these arguments, to be given input or started.
    pub fn command(&self, arguments: &[&str]) -> Invocation {
        fs::write(self.dir.join("config.json"), self.config.to_string()).unwrap();
        let mut invocation = Invocation::new(&binary("wharf-runtime"));
        invocation
            .arguments(&["--root", "/run/oci"])
            .arguments(arguments);
        invocation
    }

    /// `wharf-runtime` with these arguments, run to its end.
    pub fn runtime(&self, arguments: &[&str]) -> Outcome {
        self.command(arguments).run()
    }

    /// `run`: from the bundle to the exit code.
    pub fn run(&self) -> Outcome {
        self.runtime(&["run", "--bundle", self.dir.to_str().unwrap(), &self.id])
    }

    /// What a successful run prints.
    #[track_caller]
    pub fn output(&self) -> String {
        self.run().ok()
    }

    /// Asserts that the container cannot be made, and that nothing of it stays.
    #[track_caller]
    pub fn is_refused(&self, parts: &[&str]) -> String {
        let said = self.run().fails(1, parts);
        self.runtime(&["state", &self.id]).fails(1, &["not exist"]);
        said
    }

    /// `create`.
    pub fn create(&self) -> Outcome {
        // Its streams become the container's: a pipe would never end.
        let mut command =
            self.command(&["create", "--bundle", self.dir.to_str().unwrap(), &self.id]);
        command.run_detached(&self.dir.join("stdio"))
    }

    /// What a created container has printed up to now.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.dir.join("stdio")).unwrap_or_default()
    }

    /// The status that `state` tells.
    pub fn status(&self) -> String {
        let state = self.runtime(&["state", &self.id]).json();
        state["status"].as_str().unwrap().to_owned()
    }

    /// Waits until the container has stopped.
    pub fn wait_stopped(&self) {
        crate::eventually(20, "the container to stop", || {
            (self.status() == "stopped").then_some(())
        });
    }

    /// `delete --force`.
    pub fn delete(&self) {
        self.runtime(&["delete", "--force", &self.id]).ok();
    }

    pub fn bed(&self) -> &Bed {
        self.bed
    }
}
