//! Our filters beside those of libseccomp, by way of crun: both decide the
//! same, call by call.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use spec::runtime::Seccomp;
use sys::ptrace::{self, Stop};
use sys::seccomp::Instruction;

use super::compile::tests::run;
use super::compile::{KILL_PROCESS, errno};
use super::profile::{ENOSYS, I386, X32_BIT, X86_64, custom, number};
use super::syscalls::SYSCALLS;

/// The newest call that Debian 12's libseccomp (2.5.4) knows, and one that was
/// given a number below it later.
const NEWEST: u32 = 448;
const LATER: &str = "uretprobe";
const GETPID: u32 = 39;

#[test]
fn filters_decide_as_those_of_libseccomp() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for profile in profiles() {
        let theirs = theirs(&profile);
        let parsed: Seccomp = serde_json::from_value(profile.clone()).unwrap();
        let ours = custom(&parsed).unwrap().program;
        let mut compared = 0;
        let is_named = |name: &str| profile["architectures"].to_string().contains(name);
        let foreign = [&ours, &theirs].map(|program| run(program, I386, 20, &[0; 6]));
        let ours_alone = &[X86_64][..];
        let architectures = if is_named("SCMP_ARCH_X86\"") {
            &[X86_64, I386]
        } else {
            // One ends the process, the other the thread.
            assert_eq!(foreign, [KILL_PROCESS, 0]);
            ours_alone
        };
        for architecture in architectures {
            let architecture = *architecture;
            for row in SYSCALLS.iter().filter(|row| row.0 != LATER) {
                let Some(call) = number(row, architecture).filter(|call| *call <= NEWEST) else {
                    continue;
                };
                for mut args in arguments(&profile, row.0) {
                    if architecture == I386 {
                        // The kernel gives no more of them.
                        args = args.map(|arg| arg & 0xffff_ffff);
                    }
                    let decide = |program: &[Instruction]| run(program, architecture, call, &args);
                    let (we, they) = (decide(&ours), decide(&theirs));
                    assert_eq!(
                        format!("{we:#x}"),
                        format!("{they:#x}"),
                        "{} ({architecture:#x} {call}) {args:x?} under {profile}",
                        row.0
                    );
                    compared += 1;
                }
            }
        }
        assert!(compared > 350, "{compared}");
        // Calls of x32: as those of x86-64, or none.
        let x32 = [&ours, &theirs].map(|program| run(program, X86_64, X32_BIT | GETPID, &[0; 6]));
        if is_named("X32") {
            assert_eq!(x32[0], x32[1], "under {profile}");
        } else {
            assert_eq!(x32, [errno(ENOSYS), 0], "under {profile}");
        }
    }
}

fn profiles() -> Vec<Value> {
    let arg = |index: u32, op: &str, value: u64, two: u64| json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value, "valueTwo": two});
    let rule = |names: &[&str], action: &str, args: &[Value]| json!({"names": names, "action": format!("SCMP_ACT_{action}"), "args": args});
    let mut compared: Vec<Value> = ["EQ", "NE", "LT", "LE", "GT", "GE"]
        .iter()
        .zip(["personality", "clone", "socket", "ioctl", "fcntl", "prctl"])
        .flat_map(|(op, call)| {
            let wide = arg(1, op, 0x1_0000_0005, 0);
            [
                rule(&[call], "ERRNO", &[wide]),
                rule(&["mount"], "ERRNO", &[arg(3, op, 7, 0)]),
            ]
        })
        .collect();
    compared.push(rule(
        &["unshare"],
        "ERRNO",
        &[arg(0, "MASKED_EQ", 0xff_0000_00f0, 0x12_0000_0030)],
    ));
    let masked = [
        rule(&["clone"], "ERRNO", &[arg(0, "MASKED_EQ", 0x7e02_0000, 0)]),
        rule(
            &["socket"],
            "ERRNO",
            &[arg(0, "EQ", 40, 0), arg(1, "GE", 2, 0), arg(2, "NE", 0, 0)],
        ),
    ];
    let names: Vec<&str> = SYSCALLS.iter().map(|row| row.0).collect();
    let usual: Vec<&str> = names
        .iter()
        .filter(|name| {
            ![
                "mount",
                "reboot",
                "bpf",
                "ptrace",
                "personality",
                "kexec_load",
            ]
            .contains(name)
        })
        .copied()
        .collect();
    let personality = [0, 8, 0x2_0000, 0xffff_ffff]
        .map(|value| rule(&["personality"], "ALLOW", &[arg(0, "EQ", value, 0)]));
    let mut allowing = vec![rule(&usual, "ALLOW", &[]), rule(&["reboot"], "LOG", &[])];
    allowing.extend(personality);
    let every = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    vec![
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": compared}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": masked, "architectures": every}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            rule(&["mkdir", "mkdirat"], "KILL", &[]), rule(&["chmod"], "KILL_PROCESS", &[]),
            rule(&["chown"], "TRAP", &[]), rule(&["rename"], "LOG", &[]),
            {"names": ["link"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["symlink"], "action": "SCMP_ACT_TRACE", "errnoRet": 5},
        ]}),
        json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": allowing, "architectures": every}),
    ]
}

/// Around every value that a rule about this call names.
fn arguments(profile: &Value, name: &str) -> Vec<[u64; 6]> {
    let mut all = vec![[0; 6]];
    for rule in profile["syscalls"].as_array().unwrap() {
        let names = rule["names"].as_array().unwrap();
        if !names.iter().any(|known| known == name) {
            continue;
        }
        for arg in rule["args"].as_array().into_iter().flatten() {
            let index = usize::try_from(arg["index"].as_u64().unwrap()).unwrap();
            let value = |field: &str| arg[field].as_u64().unwrap();
            let mut wider = Vec::new();
            for base in [0, value("value"), value("valueTwo")] {
                let (less, more) = (base.wrapping_sub(1), base.wrapping_add(1));
                for value in [base, less, more, base ^ (1 << 32), base | (1 << 50), !base] {
                    for before in all.iter().take(200) {
                        let mut args = *before;
                        args[index] = value;
                        wider.push(args);
                    }
                }
            }
            all.extend(wider);
        }
    }
    all
}

/// What crun loads into a container with this profile.
fn theirs(profile: &Value) -> Vec<Instruction> {
    let bundle = tempfile::tempdir().unwrap();
    let bin = bundle.path().join("rootfs/bin");
    for directory in [&bin, &bundle.path().join("rootfs/dev")] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::copy("/bin/busybox", bin.join("sleep")).unwrap();
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/sleep", "1000"], "cwd": "/", "noNewPrivileges": true},
        "root": {"path": "rootfs"},
        "mounts": [],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}], "seccomp": profile},
    });
    fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
    crun(
        bundle.path(),
        &[
            "run",
            "--detach",
            "--bundle",
            ".",
            "--pid-file",
            "pid",
            "peer",
        ],
    );
    let pid = fs::read_to_string(bundle.path().join("pid")).unwrap();
    // It says that it runs a moment before it does.
    let name = format!("/proc/{}/comm", pid.trim());
    let runs = || fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n");
    assert!((0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        runs()
    }));
    let filters = filters(pid.trim().parse().unwrap());
    crun(bundle.path(), &["delete", "--force", "peer"]);
    let [filter] = &filters[..] else {
        panic!("{} filters", filters.len());
    };
    filter.clone()
}

/// crun refuses a host where both versions of control groups are mounted: it
/// does not see one of them, and makes no group.
fn crun(directory: &Path, arguments: &[&str]) {
    let script = "umount /sys/fs/cgroup/unified 2>/dev/null
        exec crun --root state --cgroup-manager=disabled \"$@\"";
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "crun"])
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "crun (of the package crun) {arguments:?}");
}

fn filters(pid: i32) -> Vec<Vec<Instruction>> {
    ptrace::seize(pid, 0).unwrap();
    ptrace::interrupt(pid).unwrap();
    assert_eq!(ptrace::wait(pid).unwrap(), Stop::Interrupted);
    let filters = (0..)
        .map_while(|index| ptrace::filter(pid, index).unwrap())
        .collect();
    ptrace::detach(pid, 0).unwrap();
    filters
}
