//! What the OCI runtime withstands by itself, whoever calls it: root file systems that are traps, paths that change while
//! they are used, and processes that watch. Each test names the advisory whose attack it repeats.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use black_box_tests::{Bed, Bundle, Terminal, bed, binary, sha256};
use serde_json::json;

/// A directory of the host that no container may touch.
struct Victim {
    path: PathBuf,
    /// From the root of a file system that lies in a bundle, as a symlink would name it.
    link: String,
}

impl Victim {
    fn new(bed: &Bed) -> Self {
        let path = bed.dir().join("victim");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("secret"), "host").unwrap();
        let link = format!("../../../../../../../..{}", path.display());
        Self { path, link }
    }

    #[track_caller]
    fn is_untouched(&self) {
        let names: Vec<_> = fs::read_dir(&self.path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["secret"], "something was made on the host");
        let secret = self.path.join("secret");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "host");
        let stat = fs::metadata(&secret).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (0, 0));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(
            !mounts.contains(self.path.to_str().unwrap()),
            "something was mounted on the host: {mounts}"
        );
    }
}

/// Exchanges two paths without a pause while `body` runs.
fn while_exchanging(one: &Path, two: &Path, body: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                use rustix::fs::{CWD, RenameFlags, renameat_with};
                renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).unwrap();
            }
        });
        // The other thread ends even if an assertion of the body fails.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

/// CVE-2021-30465, CVE-2024-45310, CVE-2019-18837: a directory on the way to a mount's destination becomes a symlink.
#[test]
fn a_destination_that_is_exchanged_for_a_symlink() {
    bed!(|bed| {
        let victim = Victim::new(bed);
        let mut bundle = Bundle::new(bed, &["true"]);
        let payload = bed.dir().join("payload");
        fs::create_dir(&payload).unwrap();
        let payload = payload.to_str().unwrap();
        bundle.mount("/shared/a/deep/er", "bind", payload, &["rbind"]);
        bundle.mount("/shared/a/file", "bind", "/dev/null", &["bind"]);
        bundle.mount("/shared/a/own", "tmpfs", "tmpfs", &[]);
        let shared = bundle.root().join("shared");
        fs::create_dir_all(shared.join("a")).unwrap();
        symlink(&victim.link, shared.join("b")).unwrap();
        let (mut made, mut refused) = (0, 0);
        while_exchanging(&shared.join("a"), &shared.join("b"), || {
            for _ in 0..120 {
                if bundle.run().status.success() {
                    made += 1;
                } else {
                    refused += 1;
                }
                victim.is_untouched();
            }
        });
        assert_eq!(made + refused, 120);
        // Resolved below the root, the link leads into the root: that is no reason to refuse.
        assert!(made > 0, "no container came to life");
    });
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: /proc and /sys that lead elsewhere.
#[test]
fn proc_and_sys_that_are_symlinks() {
    bed!(|bed| {
        for name in ["proc", "sys"] {
            let mut bundle = Bundle::new(bed, &["true"]);
            if name == "sys" {
                bundle.mount("/sys", "sysfs", "sysfs", &["ro"]);
            }
            fs::remove_dir(bundle.root().join(name)).unwrap();
            symlink("tmp", bundle.root().join(name)).unwrap();
            bundle.is_refused(&[&format!("/{name}"), "symlink"]);
            // Exchanged all the time: refused, or on the directory; never where the link leads.
            fs::create_dir(bundle.root().join("other")).unwrap();
            bundle.set("/process/args", json!(["ls", "/tmp"]));
            let (link, directory) = (bundle.root().join(name), bundle.root().join("other"));
            while_exchanging(&link, &directory, || {
                for _ in 0..20 {
                    let outcome = bundle.run();
                    assert_eq!(outcome.text(), "", "{}", outcome.story());
                    let said = outcome.error();
                    assert!(
                        outcome.status.success() || said.contains("symlink"),
                        "{said}"
                    );
                }
            });
        }
    });
}

/// CVE-2019-16884, CVE-2025-52881: what is written to /proc while a volume lies over it.
#[test]
fn a_volume_over_proc_takes_no_writes_of_ours() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(
            bed,
            "cat /real/sys/net/ipv4/ip_forward; grep NoNewPrivs /real/self/status",
        );
        let fake = bed.dir().join("fake");
        for file in [
            "self/attr/exec",
            "self/attr/apparmor/exec",
            "thread-self/attr/exec",
            "sys/net/ipv4/ip_forward",
            "sysrq-trigger",
        ] {
            let file = fake.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "0").unwrap();
        }
        fs::create_dir(bundle.root().join("real")).unwrap();
        bundle.config["mounts"][0] =
            json!({"destination": "/proc", "type": "bind", "source": fake, "options": ["rbind"]});
        bundle.mount("/real", "proc", "proc", &[]);
        bundle.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
        let outcome = bundle.run();
        if outcome.status.success() {
            assert_eq!(outcome.ok(), "1\nNoNewPrivs:\t1");
        }
        for file in ["self/attr/exec", "sys/net/ipv4/ip_forward", "sysrq-trigger"] {
            assert_eq!(fs::read_to_string(fake.join(file)).unwrap(), "0", "{file}");
        }
    });
}

/// CVE-2026-41579, CVE-2026-47766: /dev of the image leads to the host.
#[test]
fn a_dev_that_is_a_symlink() {
    bed!(|bed| {
        let victim = Victim::new(bed);
        for link in [
            victim.link.clone(),
            victim.path.to_str().unwrap().to_owned(),
        ] {
            let mut bundle = Bundle::new(bed, &["true"]);
            // Nothing is mounted on it.
            bundle.config["mounts"].as_array_mut().unwrap().truncate(1);
            let dev = bundle.root().join("dev");
            fs::remove_dir(&dev).unwrap();
            symlink(&link, &dev).unwrap();
            bundle.set(
                "/linux/devices",
                json!([{"path": "/dev/made", "type": "c", "major": 1, "minor": 3}]),
            );
            // It may be refused; it may not reach the host.
            bundle.run();
            victim.is_untouched();
        }
    });
}

/// CVE-2026-88264, CVE-2026-88265, CVE-2025-31133: nodes of the image's /dev lead to the host.
#[test]
fn device_nodes_that_are_symlinks() {
    bed!(|bed| {
        let victim = Victim::new(bed);
        let secret = format!("{}/secret", victim.link);
        for name in ["null", "console", "ptmx", "tty", "random"] {
            for terminal in [false, true] {
                let mut bundle = Bundle::new(bed, &["sh", "-c", "echo touched; echo x >/dev/null"]);
                bundle.config["mounts"].as_array_mut().unwrap().truncate(1);
                // A process without the rights of the host's root, whom a device would be given to.
                bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
                bundle.set("/process/terminal", json!(terminal));
                bundle.set("/linux/maskedPaths", json!(["/proc/keys", "/etc/masked"]));
                symlink(&secret, bundle.root().join("dev").join(name)).unwrap();
                fs::write(bundle.root().join("etc/masked"), "hidden").unwrap();
                let arguments = [
                    "run",
                    "--bundle",
                    bundle.dir().to_str().unwrap(),
                    bundle.id(),
                ];
                if terminal {
                    Terminal::start(&mut bundle.command(&arguments), 80, 24).finish();
                } else {
                    bundle.command(&arguments).run();
                }
                victim.is_untouched();
                bundle.runtime(&["delete", "--force", bundle.id()]);
            }
        }
    });
}

/// CVE-2025-31133, CVE-2025-54867: a mask is the null device and nothing else, whatever the image calls /dev/null.
#[test]
fn masks_do_not_come_from_the_image() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(
            bed,
            "cat /proc/keys /link /etc/masked; echo end; echo x 2>/dev/null >/proc/keys; stat -c %t:%T /etc/masked",
        );
        bundle.config["mounts"].as_array_mut().unwrap().truncate(1);
        bundle.set(
            "/linux/maskedPaths",
            json!(["/proc/keys", "/link", "/etc/masked"]),
        );
        let root = bundle.root();
        fs::write(root.join("etc/masked"), "hidden").unwrap();
        fs::write(root.join("etc/target"), "hidden").unwrap();
        symlink("/etc/target", root.join("link")).unwrap();
        let outcome = bundle.run();
        let text = outcome.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.first(), Some(&"end"), "{}", outcome.story());
        assert_eq!(lines.last(), Some(&"1:3"), "{}", outcome.story());
        // As a mask this would show the host's setting, and take writes for it.
        let pattern = || fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        let before = pattern();
        fs::remove_file(root.join("dev/null")).unwrap();
        symlink("/proc/sys/kernel/core_pattern", root.join("dev/null")).unwrap();
        bundle.is_refused(&["null"]);
        assert_eq!(pattern(), before);
    });
}

/// CVE-2025-52565: the terminal's path becomes a symlink while it is put on /dev/console.
#[test]
fn a_console_that_is_exchanged() {
    bed!(|bed| {
        let victim = Victim::new(bed);
        let mut bundle = Bundle::shell(bed, "stat -c %F /dev/console /dev/pts/0");
        bundle.config["mounts"].as_array_mut().unwrap().truncate(1);
        bundle.set("/process/terminal", json!(true));
        let dev = bundle.root().join("dev");
        fs::create_dir(dev.join("pts")).unwrap();
        for name in ["pts/0", "console"] {
            fs::write(dev.join(name), "").unwrap();
        }
        symlink(format!("{}/secret", victim.link), dev.join("link")).unwrap();
        for name in ["pts/0", "console"] {
            while_exchanging(&dev.join(name), &dev.join("link"), || {
                for _ in 0..15 {
                    let arguments = [
                        "run",
                        "--bundle",
                        bundle.dir().to_str().unwrap(),
                        bundle.id(),
                    ];
                    Terminal::start(&mut bundle.command(&arguments), 80, 24).finish();
                    bundle.runtime(&["delete", "--force", bundle.id()]);
                    victim.is_untouched();
                }
            });
        }
    });
}

/// CVE-2024-21626: a descriptor of the host, and a working directory that leads through it.
#[test]
fn descriptors_of_the_caller_stay_outside() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(bed, "ls /proc/self/fd");
        let dir = bundle.dir().to_str().unwrap().to_owned();
        bundle.command(&["state", "nobody"]).run();
        let leak = format!(
            "exec 7</ 12</etc/passwd; exec {} --root /run/oci run --bundle {dir} {}",
            binary("wharf-runtime").display(),
            bundle.id()
        );
        // The fourth is what `ls` reads.
        assert_eq!(bed.host("bash", &["-c", &leak]).ok(), "0\n1\n2\n3");
        for number in 3..=20 {
            bundle.set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
            bundle.set("/process/args", json!(["ls", "boot"]));
            bundle.is_refused(&["/proc/self/fd"]);
        }
        bundle.set("/process/cwd", json!("/"));
        bundle.set("/process/args", json!(["sleep", "100"]));
        bundle.create().ok();
        bundle.runtime(&["start", bundle.id()]).ok();
        for number in 3..=20 {
            let cwd = format!("/proc/self/fd/{number}");
            bundle
                .runtime(&["exec", "--cwd", &cwd, bundle.id(), "ls", "boot"])
                .fails(1, &["/proc/self/fd"]);
        }
        bundle.delete();
    });
}

/// CVE-2019-5736: the runtime's own file, run from inside and opened for writing.
#[test]
fn the_runtime_cannot_be_overwritten() {
    bed!(|bed| {
        let sum = || sha256(&fs::read(binary("wharf-runtime")).unwrap());
        let before = sum();
        let script = "while :; do for exe in /proc/[0-9]*/exe; do ( echo evil >>$exe ) 2>/dev/null && echo won >/won; done; done";
        let mut bundle = Bundle::shell(bed, script);
        let caps = json!([
            "CAP_SYS_PTRACE",
            "CAP_DAC_OVERRIDE",
            "CAP_SETUID",
            "CAP_SETGID"
        ]);
        for set in ["bounding", "effective", "permitted"] {
            bundle.set(&format!("/process/capabilities/{set}"), caps.clone());
        }
        fs::write(bundle.root().join("evil"), "#!/proc/self/exe\n").unwrap();
        fs::set_permissions(
            bundle.root().join("evil"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        bundle.create().ok();
        bundle.runtime(&["start", bundle.id()]).ok();
        for _ in 0..25 {
            for program in ["/evil", "/proc/self/exe", "/bin/true"] {
                bundle.runtime(&["exec", bundle.id(), program]);
            }
        }
        bundle.delete();
        // The loop may have written to busybox, which is its own.
        assert_eq!(sum(), before);
    });
}

/// CVE-2016-9962: a process that joins is looked at before it became the program.
#[test]
fn who_joins_cannot_be_looked_at() {
    bed!(|bed| {
        let script = "while :; do for fd in /proc/[0-9]*/fd/*; do case $fd in /proc/1/*|/proc/self/*|/proc/thread*) continue;; esac; l=$(readlink $fd) || continue; case $l in /bin/*|/proc/*|/dev/null|pipe:*|/|*deleted*) ;; *) echo $fd $l >>/seen;; esac; done; done 2>/dev/null";
        let bundle = Bundle::shell(bed, script);
        bundle.create().ok();
        bundle.runtime(&["start", bundle.id()]).ok();
        for _ in 0..40 {
            bundle.runtime(&["exec", bundle.id(), "/bin/true"]).ok();
        }
        bundle.delete();
        let seen = fs::read_to_string(bundle.root().join("seen")).unwrap_or_default();
        assert_eq!(seen, "", "descriptors of the runtime were seen");
    });
}

/// CVE-2021-43784, CVE-2024-40635: numbers and lists that are too large.
#[test]
fn numbers_that_overflow() {
    bed!(|bed| {
        for uid in [
            json!(4_294_967_296_u64),
            json!(-1),
            json!("0"),
            json!(18_446_744_073_709_551_615_u64),
        ] {
            let mut bundle = Bundle::new(bed, &["id", "-u"]);
            bundle.set("/process/user/uid", uid);
            bundle.is_refused(&["uid"]);
        }
        let mut bundle = Bundle::new(bed, &["id", "-u"]);
        bundle.push("/linux/namespaces", json!({"type": "user"}));
        bundle.set(
            "/linux/gidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 1000}]),
        );
        // More lines than the kernel takes: an error, not a mapping cut off at a length that wrapped around.
        let many: Vec<_> = (0..20_000)
            .map(|id| json!({"containerID": id, "hostID": id, "size": 1}))
            .collect();
        bundle.set("/linux/uidMappings", json!(many));
        bundle.is_refused(&["uid"]);
        let mut bundle = Bundle::new(bed, &["true"]);
        let long = "x".repeat(70_000);
        bundle.mount("/data", "bind", &format!("/{long}"), &["rbind"]);
        bundle.is_refused(&["too long"]);
        let mut bundle = Bundle::new(bed, &["true"]);
        bundle.set("/process/cwd", json!(format!("/{long}")));
        bundle.is_refused(&["too long"]);
    });
}

/// CVE-2016-3697, CVE-2026-30892, CVE-2026-46680: digits are an id, and what is neither id nor name is nobody.
#[test]
fn users_of_exec() {
    bed!(|bed| {
        let bundle = Bundle::new(bed, &["sleep", "100"]);
        let etc = bundle.root().join("etc");
        fs::write(
            etc.join("passwd"),
            "root:x:0:0::/:/bin/sh\n1000:x:0:0::/:/bin/sh\n1abc:x:0:0::/:/bin/sh\n",
        )
        .unwrap();
        fs::write(etc.join("group"), "root:x:0:\n1000:x:0:\n").unwrap();
        bundle.create().ok();
        bundle.runtime(&["start", bundle.id()]).ok();
        let id = |user: &str| bundle.runtime(&["exec", "--user", user, bundle.id(), "id", "-u"]);
        assert_eq!(id("1000").ok(), "1000");
        assert_eq!(id("7:1000").ok(), "7");
        assert_eq!(id("1:").ok(), "1");
        for bad in [
            "+1",
            " 1",
            "-1",
            "0x1",
            "4294967296",
            "99999999999999999999",
            ":",
            "1:-1",
        ] {
            let outcome = id(bad);
            assert!(
                !outcome.status.success(),
                "{bad:?} became {}",
                outcome.text()
            );
        }
        bundle.delete();
    });
}

/// CVE-2022-24769, CVE-2022-29162, CVE-2022-27650: capabilities that a program would inherit.
#[test]
fn nothing_is_inheritable() {
    bed!(|bed| {
        let bundle = Bundle::new(bed, &["sleep", "100"]);
        bundle.create().ok();
        bundle.runtime(&["start", bundle.id()]).ok();
        let read = ["grep", "CapInh", "/proc/self/status"];
        for options in [
            &[][..],
            &["--cap", "CAP_NET_RAW"],
            &["--user", "1000", "--cap", "CAP_KILL"],
        ] {
            let words = [&["exec"], options, &[bundle.id()], &read[..]].concat();
            let line = bundle.runtime(&words).ok();
            assert_eq!(line, "CapInh:\t0000000000000000", "{options:?}");
        }
        bundle.delete();
    });
}

/// CVE-2024-9676, CVE-2026-47262: account files that never end or never begin.
#[test]
fn account_files_that_are_traps() {
    bed!(|bed| {
        let bundle = Bundle::new(bed, &["sleep", "100"]);
        bundle.create().ok();
        bundle.runtime(&["start", bundle.id()]).ok();
        for name in ["passwd", "group"] {
            let file = bundle.root().join("etc").join(name);
            let exec = || {
                let user = if name == "passwd" { "app" } else { "7:app" };
                bundle
                    .command(&["exec", "--user", user, bundle.id(), "id", "-u"])
                    .limit(20)
                    .run()
            };
            bed.host("mkfifo", &[file.to_str().unwrap()]).ok();
            assert!(!exec().status.success());
            fs::remove_file(&file).unwrap();
            fs::File::create(&file).unwrap().set_len(1 << 36).unwrap();
            assert!(!exec().status.success());
            fs::remove_file(&file).unwrap();
            for target in ["/dev/zero", "/proc/self/mem", "/etc"] {
                symlink(target, &file).unwrap();
                assert!(!exec().status.success(), "{target}");
                fs::remove_file(&file).unwrap();
            }
        }
        bundle.delete();
    });
}

/// What hooks of the host run with is what the configuration says, not what the container's process has.
#[test]
fn hooks_get_no_environment_of_the_container() {
    bed!(|bed| {
        let mut bundle = Bundle::new(bed, &["true"]);
        let out = bed.dir().join("environment");
        bundle.push("/process/env", json!("LD_PRELOAD=/evil.so"));
        bundle.push("/process/env", json!("BASH_ENV=/evil.sh"));
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("env >>{}; pwd", out.display())], "env": ["GIVEN=1"]}]);
        for name in ["createRuntime", "poststart", "poststop"] {
            bundle.set(&format!("/hooks/{name}"), hook.clone());
        }
        bundle.run().ok();
        let seen = fs::read_to_string(&out).unwrap();
        assert_eq!(seen.matches("GIVEN=1").count(), 3, "{seen}");
        for name in ["LD_PRELOAD", "BASH_ENV", "PATH=/bin\n"] {
            assert!(!seen.contains(name), "{seen}");
        }
    });
}
