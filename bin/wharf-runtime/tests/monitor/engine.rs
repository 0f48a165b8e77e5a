//! What an engine does to run a container, without an engine.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use spec::runtime::{Linux, Mount, Namespace, NamespaceKind, Process, Root, Spec};
use state::message::{CONTROL_FD, FIRST_EXTRA_FD, JOB_FD};
use state::{
    Channel, ContainerId, ExitRecord, ExitStatus, Facts, FdRole, Frame, FromMonitor, LogTarget,
    MonitorJob, ProcessRef, Record, RestartPolicy, RootFs, SeccompProfile, StartSpec, StdinMode,
    ToMonitor, Work,
};
use sys::spawn::Spawn;

/// Where a container and its records live; gone when dropped.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    pub(crate) id: ContainerId,
}

impl Place {
    /// With a root file system that holds nothing but busybox.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut random = [0u8; 32];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).unwrap();
        let (high, low) = random.split_at(16);
        let number = |half: &[u8]| u128::from_ne_bytes(half.try_into().unwrap());
        let hex = format!("{:032x}{:032x}", number(high), number(low));
        let place = Self {
            directory,
            id: hex.parse().unwrap(),
        };
        for name in [
            "run",
            "root/bin",
            "root/proc",
            "root/dev",
            "root/tmp",
            "root/etc",
            "mountpoint",
        ] {
            std::fs::create_dir_all(place.path(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", place.path("root/bin/busybox")).unwrap();
        for name in [
            "sh", "cat", "echo", "sleep", "head", "yes", "seq", "stty", "true", "kill", "tail",
        ] {
            symlink("busybox", place.path("root/bin").join(name)).unwrap();
        }
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.path("run")
    }

    pub(crate) fn exit_record(&self) -> Option<ExitRecord> {
        Record::read_if_exists(&self.path("exit.json")).unwrap()
    }

    pub(crate) fn facts(&self) -> Facts {
        Record::read(&self.path("run/facts.json")).unwrap()
    }

    /// What one stream of all log files says.
    pub(crate) fn log(&self, stream: &str) -> String {
        let mut files: Vec<PathBuf> = (1..1000)
            .map(|number| self.path(&format!("log.{number}")))
            .take_while(|path| path.exists())
            .collect();
        files.reverse();
        files.push(self.path("log"));
        let mut all = String::new();
        for file in files {
            for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
                let entry: serde_json::Value = serde_json::from_str(line).unwrap();
                if entry["stream"] == stream {
                    all.push_str(entry["log"].as_str().unwrap());
                }
            }
        }
        all
    }

    /// A job that runs a shell script.
    pub(crate) fn job(&self, script: &str) -> MonitorJob {
        let start = StartSpec {
            spec: spec(&self.path("root"), &["/bin/sh", "-c", script]),
            rootfs: RootFs::Directory(self.path("root")),
            seccomp: SeccompProfile::Unconfined,
            user: String::new(),
            groups: Vec::new(),
            init: false,
            mountpoint: self.path("mountpoint"),
        };
        MonitorJob {
            id: self.id,
            work: Work::Start(Box::new(start)),
            run_dir: self.run_dir(),
            exit_record: Some(self.path("exit.json")),
            log: LogTarget::JsonFile {
                path: self.path("log"),
                max_size: 0,
                max_files: 1,
                attributes: std::collections::BTreeMap::new(),
            },
            stdin: StdinMode::Closed,
            restart: RestartPolicy::No,
            health: None,
            events: Some(self.path("events")),
            on_exit: vec![
                "/bin/sh".to_owned(),
                "-c".to_owned(),
                format!("echo done >> {}", self.path("cleaned").display()),
            ],
            fds: Vec::new(),
        }
    }

    /// How often the clean-up command ran.
    pub(crate) fn cleanups(&self) -> usize {
        std::fs::read_to_string(self.path("cleaned"))
            .unwrap_or_default()
            .lines()
            .count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The engine's part of the clean-up.
        let path = runtime::CgroupPath::of_container(&self.id.to_string());
        if let Ok(cgroup) = path.and_then(runtime::Cgroup::open) {
            let _ = cgroup.kill_all();
            let _ = cgroup.remove();
        }
        // Monitors, and what they run at their end, still write here, and what
        // appears while a directory is being removed stops that.
        for _ in 0..500 {
            match std::fs::remove_dir_all(self.directory.path()) {
                Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

fn spec(root: &Path, args: &[&str]) -> Spec {
    let kinds = [
        NamespaceKind::Pid,
        NamespaceKind::Mount,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Network,
    ];
    Spec {
        oci_version: "1.2.0".to_owned(),
        process: Some(Process {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: vec!["PATH=/bin".to_owned()],
            cwd: "/".to_owned(),
            ..Process::default()
        }),
        root: Some(Root {
            path: root.to_owned(),
            readonly: false,
        }),
        mounts: [
            ("/proc", "proc", [].as_slice()),
            ("/dev", "tmpfs", &["mode=755"]),
            (
                "/dev/pts",
                "devpts",
                &["newinstance", "ptmxmode=0666", "mode=0620"],
            ),
        ]
        .into_iter()
        .map(|(destination, kind, options)| Mount {
            destination: destination.into(),
            kind: Some(kind.to_owned()),
            source: Some(kind.into()),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            ..Mount::default()
        })
        .collect(),
        linux: Some(Linux {
            namespaces: kinds
                .into_iter()
                .map(|kind| Namespace { kind, path: None })
                .collect(),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

/// The process of a job, for a change before the launch.
pub(crate) fn process(job: &mut MonitorJob) -> &mut Process {
    match &mut job.work {
        Work::Start(start) => start.spec.process.as_mut().unwrap(),
        Work::Restore(restore) => restore.start.spec.process.as_mut().unwrap(),
        Work::Exec(exec) => &mut exec.process,
    }
}

/// A monitor and our end of its launch channel.
pub(crate) struct Monitor {
    pub(crate) pid: i32,
    pidfd: OwnedFd,
    pub(crate) channel: Option<Channel>,
}

impl Monitor {
    pub(crate) fn launch(job: &MonitorJob) -> Self {
        Self::launch_with(job, &[])
    }

    pub(crate) fn launch_with(job: &MonitorJob, fds: &[OwnedFd]) -> Self {
        let text = serde_json::to_vec(job).unwrap();
        let memfd = sys::memfd::sealed("job", &text).unwrap();
        let (ours, theirs) = Channel::pair().unwrap();
        let mut spawn = Spawn::new(Path::new(env!("CARGO_BIN_EXE_wharf-runtime")))
            .arg("monitor")
            .fd(memfd.as_fd(), JOB_FD)
            .fd(theirs.as_fd(), CONTROL_FD);
        for (number, fd) in (FIRST_EXTRA_FD..).zip(fds) {
            spawn = spawn.fd(fd.as_fd(), number);
        }
        assert_eq!(fds.len(), job.fds.len());
        let child = spawn.start().unwrap();
        Self {
            pid: child.pid,
            pidfd: child.pidfd,
            channel: Some(ours),
        }
    }

    /// Launches and says go; the process runs when this returns.
    pub(crate) fn start(job: &MonitorJob) -> (Self, ProcessRef) {
        let monitor = Self::launch(job);
        monitor.send(&ToMonitor::Attach { stdin: true });
        monitor.send(&ToMonitor::Go);
        let init = monitor.started().unwrap();
        (monitor, init)
    }

    pub(crate) fn channel(&self) -> &Channel {
        self.channel.as_ref().unwrap()
    }

    pub(crate) fn send(&self, message: &ToMonitor) {
        self.channel().send(message).unwrap();
    }

    pub(crate) fn ready(&self) {
        match next(self.channel()) {
            Some(Frame::Message(FromMonitor::Ready)) => {}
            other => panic!("{other:?}"),
        }
    }

    /// What the start gave.
    pub(crate) fn started(&self) -> sys::Result<ProcessRef> {
        loop {
            match next(self.channel()) {
                Some(Frame::Message(FromMonitor::Ready)) => {}
                Some(Frame::Message(FromMonitor::Started { init })) => return Ok(init),
                Some(Frame::Message(FromMonitor::Failed(error))) => return Err(error),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Closes our end: the clean-up lease is given up.
    pub(crate) fn leave(&mut self) {
        self.channel = None;
    }

    pub(crate) fn kill(&self, signal: Signal) {
        rustix::process::pidfd_send_signal(&self.pidfd, signal).unwrap();
    }

    /// Waits for the monitor's own end.
    pub(crate) fn wait(mut self) {
        self.leave();
        assert!(
            ends_within(&self.pidfd, Duration::from_secs(30)),
            "the monitor stays"
        );
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.channel = None;
        if !ends_within(&self.pidfd, Duration::ZERO) {
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

pub(crate) fn ends_within(pidfd: &OwnedFd, time: Duration) -> bool {
    let mut fds = [rustix::event::PollFd::new(
        pidfd,
        rustix::event::PollFlags::IN,
    )];
    let time = rustix::event::Timespec {
        tv_sec: time.as_secs().cast_signed(),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    rustix::event::poll(&mut fds, Some(&time)).unwrap() > 0
}

/// The next frame, with a limit so that a broken monitor does not hang tests.
pub(crate) fn next(channel: &Channel) -> Option<Frame<FromMonitor>> {
    assert!(
        channel.wait_readable(Some(Duration::from_mins(1))).unwrap(),
        "the monitor says nothing"
    );
    channel.receive().unwrap().map(|(frame, _)| frame)
}

/// What a client saw until the end.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) exit: Option<ExitRecord>,
}

impl Seen {
    pub(crate) fn status(&self) -> ExitStatus {
        self.exit.as_ref().expect("no word of the exit").status
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
}

/// Reads to the end.
pub(crate) fn watch(channel: &Channel) -> Seen {
    let mut seen = Seen::default();
    while let Some(frame) = next(channel) {
        match frame {
            Frame::Stdout(data) => seen.stdout.extend(data),
            Frame::Stderr(data) => seen.stderr.extend(data),
            Frame::Message(FromMonitor::Exited(record)) => {
                seen.exit = Some(record);
                return seen;
            }
            Frame::Message(FromMonitor::Ready | FromMonitor::Started { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    seen
}

/// Reads output until it holds `text`.
pub(crate) fn watch_for(channel: &Channel, text: &str) -> String {
    let mut all = String::new();
    while !all.contains(text) {
        match next(channel) {
            Some(Frame::Stdout(data) | Frame::Stderr(data)) => {
                all.push_str(&String::from_utf8_lossy(&data));
            }
            Some(Frame::Message(FromMonitor::Ready | FromMonitor::Started { .. })) => {}
            other => panic!("{other:?} after {all:?}"),
        }
    }
    all
}

/// What `seq 1 LAST` prints.
pub(crate) fn numbers(last: u32) -> String {
    (1..=last).fold(String::new(), |text, number| {
        text + &number.to_string() + "\n"
    })
}

/// Tries until it is true.
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if check() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("never: {what}");
}

pub(crate) fn is_running(pid: i32) -> bool {
    rustix::process::test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
        && ProcessRef::of(pid).is_ok_and(|process| process.is_alive())
}

/// A descriptor list for a job.
pub(crate) fn roles(job: &mut MonitorJob, roles: &[FdRole]) {
    job.fds = roles.to_vec();
}
