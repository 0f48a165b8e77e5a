//! The system calls of a `run`: how many there are, and what becomes of it where the kernel has not all of them.

use std::fs;
use std::path::{Path, PathBuf};

use black_box_tests::{Bed, Bundle, Outcome, bed, binary};
use serde_json::{Value, json};

/// A bundle with the configuration that `spec` writes and another program.
fn default_bundle(bed: &Bed, args: &[&str]) -> PathBuf {
    let bundle = Bundle::new(bed, args);
    let dir = bed.dir().join("default");
    fs::create_dir(&dir).unwrap();
    bundle
        .runtime(&["spec", "--bundle", dir.to_str().unwrap()])
        .ok();
    let file = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(args);
    config["root"]["path"] = json!(bundle.root());
    fs::write(&file, config.to_string()).unwrap();
    dir
}

/// `run` of the bundle under strace.
fn traced(bed: &Bed, options: &[&str], bundle: &Path) -> Outcome {
    let runtime = binary("wharf-runtime");
    let (runtime, bundle) = (runtime.to_str().unwrap(), bundle.to_str().unwrap());
    let run = [
        runtime, "--root", "/run/oci", "run", "--bundle", bundle, "traced",
    ];
    bed.host(
        "strace",
        &[&["-f", "-qq", "-e", "signal=none"], options, &run].concat(),
    )
}

/// The bound of BUDGETS.md, the program's own calls among them.
#[test]
fn a_default_run_takes_few() {
    bed!(|bed| {
        let bundle = default_bundle(bed, &["/bin/true"]);
        // The group above those of containers stays from the first run on.
        traced(bed, &["-o", "/dev/null"], &bundle).ok();
        let record = bed.dir().join("calls");
        traced(bed, &["-o", record.to_str().unwrap()], &bundle).ok();
        let record = fs::read_to_string(&record).unwrap();
        // A build with assertions looks before each close whether the descriptor is open. What two processes do at
        // a time is written in two lines.
        let is_call = |line: &&str| !line.contains("F_GETFD") && !line.contains("resumed>");
        let calls = record.lines().filter(is_call).count();
        assert!(
            (200..=350).contains(&calls),
            "{calls} system calls:\n{record}"
        );
    });
}

/// What may be missing, each with its other way: where the host's /proc is out of sight, Linux before 5.8, kernels
/// and sandboxes without keys, those who may not copy the mount of the program.
const MISSING: [&[&str]; 4] = [
    &["-e", "inject=mount:error=ENOSYS"],
    &["-e", "inject=faccessat2:error=ENOSYS"],
    &["-e", "inject=keyctl:error=ENOSYS"],
    &["-P", "/proc/self/exe", "-e", "inject=open_tree:error=EPERM"],
];

/// What a container sees of itself. Numbers of mounts and devices are never the same twice; mount(2) makes a file
/// system read-only together with its mount.
const LOOK: &str = "cut -d' ' -f4- /proc/self/mountinfo | awk '{ sub(/^r[ow]/, \"\", $NF); print }'; stat -c '%n %a %F %t:%T' /dev/* /proc/keys /proc/acpi; \
    grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; ls /sys/fs/cgroup; id; hostname; pwd";

#[test]
fn each_other_way_leads_to_the_same() {
    bed!(|bed| {
        let bundle = default_bundle(bed, &["/bin/sh", "-c", LOOK]);
        let record = bed.dir().join("calls");
        let whole = traced(bed, &["-o", "/dev/null"], &bundle).ok();
        assert!(
            whole.contains("/dev/shm") && whole.contains("/proc/acpi"),
            "{whole}"
        );
        for missing in MISSING {
            let options = [&["-o", record.to_str().unwrap()], missing].concat();
            assert_eq!(traced(bed, &options, &bundle).ok(), whole, "{missing:?}");
            let record = fs::read_to_string(&record).unwrap();
            assert!(
                record.contains("(INJECTED)"),
                "nobody asked for {missing:?}"
            );
        }
    });
}
