//! `features`, what is supported, and `--version`.

/// As features.md of the specification has it.
pub(super) fn features() -> serde_json::Value {
    serde_json::json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": spec::runtime::VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart",
                  "poststop"],
        "mountOptions": ["async", "bind", "defaults", "dev", "diratime", "dirsync", "exec",
                         "noatime", "nodev", "nodiratime", "noexec", "nosuid", "nosymfollow",
                         "private", "rbind", "relatime", "ro", "rprivate", "rro", "rshared",
                         "rslave", "runbindable", "rw", "shared", "slave", "strictatime", "suid",
                         "symfollow", "sync", "unbindable"],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
            "capabilities": sys::caps::NAMES.as_slice(),
            "cgroup": {"v1": true, "v2": true, "systemd": false, "systemdUser": false,
                       "rdma": false},
            "seccomp": {
                "enabled": true,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL",
                            "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG",
                            "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE",
                              "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"],
                "archs": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_X32", "SCMP_ARCH_X86",
                          "SCMP_ARCH_X86_64"]
            },
            "apparmor": {"enabled": false},
            "selinux": {"enabled": false},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": false}},
            "netDevices": {"enabled": false}
        }
    })
}

/// As other runtimes print it: containerd and Docker look for the first line,
/// podman shows all of it.
pub(super) fn version() -> String {
    format!(
        "wharf-runtime version {}\nspec: {}\n+SECCOMP +CAP +CGROUPV1 +CGROUPV2 +JSON\n",
        env!("CARGO_PKG_VERSION"),
        spec::runtime::VERSION
    )
}
