//! Real containers from real bundles, made by this process itself. Needs root
//! and /bin/busybox (static). One thread: no harness.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use runtime::{
    CgroupManager, CgroupPath, CreateRequest, ExecRequest, Gate, InitProcess, Keyring, Lifetime,
    ProcessStdio, RootSwitch, Running,
};
use spec::runtime::{
    Capabilities, Device, IdMapping, Linux, Memory, Mount, Namespace, NamespaceKind, Pids, Process,
    Resources, Root, Spec, User,
};
use state::{ExitStatus, RootFs, SeccompProfile};
use sys::{ErrorKind, Result};

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("exit codes and signals come back", exit_codes),
    (
        "a missing program is told from one that cannot run",
        not_found,
    ),
    ("only standard descriptors are inherited", descriptors),
    ("capabilities are those of the specification", capabilities),
    ("masks hide and read-only paths refuse", masks),
    ("symlinks in the image lead nowhere", symlinks),
    ("a symlink for /proc is refused", proc_symlink),
    ("a /dev of the image is not followed out", dev_symlink),
    ("limits are in force and too little memory says so", limits),
    ("devices not allowed cannot be opened", devices),
    ("a process joins, as who was asked", exec),
    ("root of a user namespace is nobody outside", user_namespace),
    ("the filter refuses", filter),
    ("init passes the code", reaper),
    ("layers are mounted out of sight, the top one wins", overlay),
    ("a working directory outside is refused", working_directory),
];

/// The little of the standard harness's command line that cargo and nextest
/// use: `--list`, `--ignored`, `--exact` and part of a name.
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // `--format` has a word of its own after it.
    let words = arguments.iter().filter(|argument| *argument != "terse");
    let filter = words.into_iter().find(|word| !word.starts_with('-'));
    let wanted = |name: &str| match filter {
        Some(filter) if has("--exact") => name == filter,
        Some(filter) => name.contains(filter.as_str()),
        None => true,
    };
    // None of these tests is ever ignored.
    let tests = TESTS.iter().filter(|_| !has("--ignored"));
    let named = tests.map(|(title, test)| (title.replace([' ', '/'], "_"), test));
    let chosen: Vec<_> = named.filter(|(name, _)| wanted(name)).collect();
    if has("--list") {
        for (name, _) in chosen {
            println!("{name}: test");
        }
        return;
    }
    if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
        eprintln!("SKIPPED: these tests need root and /bin/busybox");
        return;
    }
    for (name, test) in &chosen {
        println!("test {name} ...");
        test();
    }
    let count = chosen.len();
    // A failed test has ended the process before.
    println!("test result: ok. {count} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
}

struct Bundle {
    directory: tempfile::TempDir,
    spec: Spec,
    seccomp: SeccompProfile,
    init: InitProcess,
}

impl Bundle {
    fn new(args: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("rootfs");
        for name in ["bin", "proc", "sys", "etc"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for name in [
            "sh", "cat", "id", "ls", "sleep", "grep", "mount", "touch", "unshare",
        ] {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        let mount = |destination: &str, kind: &str| Mount {
            destination: destination.into(),
            kind: Some(kind.into()),
            source: Some(kind.into()),
            ..Mount::default()
        };
        let kinds = [
            NamespaceKind::Pid,
            NamespaceKind::Network,
            NamespaceKind::Ipc,
            NamespaceKind::Uts,
            NamespaceKind::Mount,
            NamespaceKind::Cgroup,
        ];
        let spec = Spec {
            oci_version: spec::runtime::VERSION.into(),
            process: Some(process(args)),
            root: Some(Root {
                path: "rootfs".into(),
                readonly: false,
            }),
            mounts: vec![mount("/proc", "proc"), mount("/dev", "tmpfs")],
            linux: Some(Linux {
                namespaces: kinds
                    .into_iter()
                    .map(|kind| Namespace { kind, path: None })
                    .collect(),
                ..Linux::default()
            }),
            ..Spec::default()
        };
        Self {
            directory,
            spec,
            seccomp: SeccompProfile::Builtin,
            init: InitProcess::Program,
        }
    }

    fn shell(script: &str) -> Self {
        Self::new(&["sh", "-c", script])
    }

    fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("rootfs")
    }

    fn linux(&mut self) -> &mut Linux {
        self.spec.linux.as_mut().unwrap()
    }

    fn process(&mut self) -> &mut Process {
        self.spec.process.as_mut().unwrap()
    }

    fn cgroup(&self) -> CgroupPath {
        let name = self.directory.path().file_name().unwrap().to_str().unwrap();
        CgroupPath::of_container(&format!("test{}", name.replace('.', ""))).unwrap()
    }

    fn start(&self) -> Result<(Running, OwnedFd)> {
        self.start_on(&RootFs::Directory("rootfs".into()), Path::new("/"))
    }

    fn start_on(&self, rootfs: &RootFs, mountpoint: &Path) -> Result<(Running, OwnedFd)> {
        let (reader, stdio) = output();
        let created = runtime::create(CreateRequest {
            id: "test",
            spec: &self.spec,
            bundle: self.directory.path(),
            rootfs,
            mountpoint,
            seccomp: &self.seccomp,
            cgroup: self.cgroup(),
            cgroup_manager: CgroupManager::Cgroupfs,
            user: "",
            groups: &[],
            stdio,
            preserve_fds: 0,
            keyring: Keyring::OfContainer,
            root_switch: RootSwitch::Pivot,
            init: self.init,
            network: None,
            gate: Gate::Parent,
        })?;
        Ok((created.start()?, reader))
    }

    /// How it ended and what it wrote; nothing of it is left.
    fn run(&self) -> Result<(ExitStatus, String)> {
        let (mut running, reader) = self.start()?;
        let text = read(reader);
        let status = running.reap()?;
        running.cgroup().remove()?;
        Ok((status, text))
    }

    fn output(&self) -> String {
        self.run().unwrap().1
    }
}

fn process(args: &[&str]) -> Process {
    Process {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec!["PATH=/bin".into(), "HOME=/".into()],
        cwd: "/".into(),
        user: User::default(),
        ..Process::default()
    }
}

fn output() -> (OwnedFd, ProcessStdio) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let stdio = ProcessStdio::Fds {
        stdin: fs::File::open("/dev/null").unwrap().into(),
        stdout: writer.try_clone().unwrap(),
        stderr: writer,
    };
    (reader, stdio)
}

fn read(reader: OwnedFd) -> String {
    let mut text = String::new();
    fs::File::from(reader).read_to_string(&mut text).unwrap();
    text
}

fn exit_codes() {
    assert_eq!(
        Bundle::shell("exit 7").run().unwrap().0,
        ExitStatus::Code(7)
    );
    let (mut running, _reader) = Bundle::new(&["sleep", "100"]).start().unwrap();
    running.signal(9).unwrap();
    assert_eq!(running.reap().unwrap(), ExitStatus::Signal(9));
    running.cgroup().remove().unwrap();
}

fn not_found() {
    let missing = Bundle::new(&["missing"]).run().unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::CommandNotFound);
    assert_eq!(
        missing.to_string(),
        "exec \"missing\": executable file not found in PATH"
    );
    let directory = Bundle::new(&["/bin"]).run().unwrap_err();
    assert_eq!(directory.kind(), ErrorKind::CommandNotExecutable);
}

fn descriptors() {
    // Inheritable on purpose.
    let leak = fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let text = Bundle::new(&["ls", "/proc/self/fd"]).output();
    drop(leak);
    // 3 is the directory that ls reads.
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2", "3"]
    );
}

fn capabilities() {
    let mut bundle = Bundle::new(&["grep", "Cap", "/proc/self/status"]);
    let kill = vec!["CAP_KILL".to_owned()];
    bundle.process().capabilities = Some(Capabilities {
        bounding: kill.clone(),
        effective: kill.clone(),
        permitted: kill,
        ..Capabilities::default()
    });
    let text = bundle.output();
    for (set, bits) in [
        ("Inh", 0),
        ("Prm", 0x20),
        ("Eff", 0x20),
        ("Bnd", 0x20),
        ("Amb", 0),
    ] {
        assert!(text.contains(&format!("Cap{set}:\t{bits:016x}")), "{text}");
    }
}

fn masks() {
    let mut bundle = Bundle::shell(
        "cat /proc/kcore | grep -c . ; ls /proc/scsi /hidden; echo x > /proc/sys/kernel/hostname; \
         touch /file; echo end",
    );
    fs::create_dir(bundle.root().join("hidden")).unwrap();
    fs::write(bundle.root().join("hidden/secret"), "").unwrap();
    bundle.linux().masked_paths = vec!["/proc/kcore".into(), "/hidden".into(), "/none".into()];
    bundle.linux().readonly_paths = vec!["/proc/sys".into()];
    bundle.spec.root.as_mut().unwrap().readonly = true;
    let text = bundle.output();
    assert!(text.contains("0\n") && !text.contains("secret"), "{text}");
    assert_eq!(text.matches("Read-only file system").count(), 2, "{text}");
}

fn symlinks() {
    let victim = tempfile::tempdir().unwrap();
    let mut bundle = Bundle::shell("touch /data/made && ls /data");
    let outside = victim.path().strip_prefix("/").unwrap().to_owned();
    symlink(victim.path(), bundle.root().join("data")).unwrap();
    bundle.spec.mounts.push(Mount {
        destination: "/data/deep".into(),
        kind: Some("tmpfs".into()),
        ..Mount::default()
    });
    // Followed as the container would: inside.
    fs::create_dir_all(bundle.root().join(&outside)).unwrap();
    assert_eq!(bundle.output(), "deep\nmade\n");
    assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 0);
}

fn proc_symlink() {
    let bundle = Bundle::new(&["id"]);
    fs::remove_dir(bundle.root().join("proc")).unwrap();
    symlink("etc", bundle.root().join("proc")).unwrap();
    let error = bundle.run().unwrap_err();
    assert!(error.to_string().contains("symlink"), "{error}");
}

fn dev_symlink() {
    let victim = tempfile::tempdir().unwrap();
    let mut bundle = Bundle::new(&["id"]);
    bundle.spec.mounts.truncate(1);
    symlink(victim.path(), bundle.root().join("dev")).unwrap();
    assert!(bundle.run().is_err());
    assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 0);
}

fn limits() {
    let mut bundle = Bundle::shell("sleep 1 & sleep 1 & sleep 1 & sleep 1 & echo end");
    bundle.linux().resources = Some(Resources {
        pids: Some(Pids { limit: Some(3) }),
        ..Resources::default()
    });
    let text = bundle.output();
    assert!(text.contains("can't fork"), "{text}");
    let mut bundle = Bundle::new(&["id"]);
    bundle.linux().resources = Some(Resources {
        memory: Some(Memory {
            limit: Some(4096),
            ..Memory::default()
        }),
        ..Resources::default()
    });
    let error = bundle.run().unwrap_err().to_string();
    assert!(
        error.contains("memory limit of 4 KiB is too small"),
        "{error}"
    );
}

fn devices() {
    let mut bundle = Bundle::shell("cat /dev/forbidden; cat /dev/null; echo >/dev/null; echo end");
    bundle.linux().devices = vec![Device {
        kind: "c".into(),
        path: "/dev/forbidden".into(),
        major: 1,
        minor: 11,
        file_mode: None,
        uid: None,
        gid: None,
    }];
    let text = bundle.output();
    assert_eq!(text.matches("Operation not permitted").count(), 1, "{text}");
}

fn exec() {
    let bundle = Bundle::new(&["sleep", "100"]);
    let passwd = "1000:x:0:0::/:\nweb:x:33:34::/:\n";
    fs::write(bundle.root().join("etc/passwd"), passwd).unwrap();
    fs::write(bundle.root().join("etc/group"), "log:x:4:web\n").unwrap();
    let (mut running, _reader) = bundle.start().unwrap();
    let join = |user: &str, args: &[&str]| -> Result<(ExitStatus, String)> {
        let (reader, stdio) = output();
        let mut joined = runtime::exec(ExecRequest {
            target: running.process(),
            process: &process(args),
            container: None,
            seccomp: &SeccompProfile::Builtin,
            cgroup: bundle.cgroup(),
            cgroup_manager: CgroupManager::Cgroupfs,
            sub_cgroups: &[],
            user,
            groups: &[],
            stdio,
            preserve_fds: 0,
            keyring: Some("test"),
            lifetime: Lifetime::WithParent,
        })?;
        let text = read(reader);
        Ok((joined.reap()?, text))
    };
    let (status, text) = join("web", &["sh", "-c", "id; ls /proc; exit 3"]).unwrap();
    assert_eq!(status, ExitStatus::Code(3));
    assert!(
        text.starts_with("uid=33(web) gid=34 groups=4(log)"),
        "{text}"
    );
    assert!(text.lines().any(|line| line == "1"), "{text}");
    assert!(join("1000", &["id"]).unwrap().1.starts_with("uid=1000"));
    assert!(join("+1", &["id"]).is_err());
    let missing = join("", &["missing"]).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::CommandNotFound);
    running.signal(9).unwrap();
    running.reap().unwrap();
    running.cgroup().remove().unwrap();
}

fn user_namespace() {
    let mut bundle = Bundle::shell("id; touch /file; cat /proc/self/uid_map; echo >/dev/null");
    let map = vec![IdMapping {
        container_id: 0,
        host_id: 200_000,
        size: 1000,
    }];
    let root = bundle.root();
    for path in [bundle.directory.path(), &root, &root.join("etc")] {
        rustix::fs::chown(path, Some(rustix::fs::Uid::from_raw(200_000)), None).unwrap();
    }
    let linux = bundle.linux();
    linux.uid_mappings.clone_from(&map);
    linux.gid_mappings = map;
    linux.namespaces.push(Namespace {
        kind: NamespaceKind::User,
        path: None,
    });
    let text = bundle.output();
    assert!(
        text.contains("200000") && text.starts_with("uid=0"),
        "{text}"
    );
    let stat = rustix::fs::stat(root.join("file")).unwrap();
    assert_eq!(stat.st_uid, 200_000);
}

fn filter() {
    let mut bundle = Bundle::shell("unshare -U true; mount -t tmpfs x /etc; echo end");
    let text = bundle.output();
    let refused = text.matches("not permitted").count() + text.matches("denied").count();
    assert_eq!(refused, 2, "{text}");
    bundle.seccomp = SeccompProfile::Custom(Box::new(spec::runtime::Seccomp {
        default_action: "SCMP_ACT_ALLOW".into(),
        syscalls: vec![spec::runtime::SyscallRule {
            names: vec!["getuid".into(), "geteuid".into()],
            action: "SCMP_ACT_KILL_PROCESS".into(),
            ..spec::runtime::SyscallRule::default()
        }],
        ..spec::runtime::Seccomp::default()
    }));
    bundle.process().args = vec!["id".into()];
    assert_eq!(bundle.run().unwrap().0, ExitStatus::Signal(31));
}

fn reaper() {
    let mut bundle = Bundle::shell("(sleep 0.1 &) ; exit 9");
    bundle.init = InitProcess::Reaper;
    assert_eq!(bundle.run().unwrap().0, ExitStatus::Code(9));
}

fn overlay() {
    let bundle = Bundle::shell("cat /name; touch /made; grep ' / ' /proc/self/mountinfo");
    let layers = tempfile::tempdir().unwrap();
    let at = |name: &str| layers.path().join(name);
    for name in ["top", "upper", "work", "root"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(bundle.root().join("name"), "bottom\n").unwrap();
    fs::write(at("top/name"), "top\n").unwrap();
    let rootfs = RootFs::Overlay(state::OverlayRoot {
        lower: vec![at("top"), bundle.root()],
        upper: at("upper"),
        work: at("work"),
    });
    let (mut running, reader) = bundle.start_on(&rootfs, &at("root")).unwrap();
    let text = read(reader);
    running.reap().unwrap();
    running.cgroup().remove().unwrap();
    assert!(
        text.starts_with("top\n") && text.contains("overlay"),
        "{text}"
    );
    assert!(at("upper/made").exists());
    assert_eq!(fs::read_dir(at("root")).unwrap().count(), 0);
}

fn working_directory() {
    for number in 3..12 {
        let mut bundle = Bundle::new(&["id"]);
        bundle.process().cwd = format!("/proc/self/fd/{number}");
        assert!(bundle.run().is_err(), "descriptor {number}");
    }
}
