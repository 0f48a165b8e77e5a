//! `features`, what is supported, and `--version`.

use runtime::facts;

/// As features.md of the specification has it.
pub(super) fn features() -> serde_json::Value {
    serde_json::json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": spec::runtime::VERSION,
        "hooks": facts::hooks(),
        "mountOptions": facts::mount_options(),
        "linux": {
            "namespaces": facts::namespaces(),
            "capabilities": sys::caps::NAMES.as_slice(),
            "cgroup": {"v1": true, "v2": true, "systemd": false, "systemdUser": false,
                       "rdma": false},
            "seccomp": {
                "enabled": true,
                "actions": facts::seccomp_actions(),
                "operators": facts::seccomp_operators(),
                "archs": facts::seccomp_architectures(),
                "knownFlags": facts::seccomp_flags(),
                "supportedFlags": facts::seccomp_flags()
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": {"enabled": true},
            "memoryPolicy": {"modes": facts::memory_modes(), "flags": facts::memory_flags()}
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
