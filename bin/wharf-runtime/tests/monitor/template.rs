//! Clones from a template: programs that judge themselves (those of
//! `tests/checkpoint`) are written down, taken into a template, and cloned.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, WaitId, WaitIdOptions};
use spec::runtime::{Capabilities, Memory, Mount, Resources};
use state::message::{CONTROL_FD, FIRST_EXTRA_FD, JOB_FD};
use state::{
    Channel, Connections, DumpJob, Frame, FromDumper, FromTemplate, MonitorJob, ProcessRef,
    RestoreSpec, StdioInodes, TemplateJob, ToClone, ToDumper, ToMonitor, ToTemplate, Work,
};
use sys::spawn::Spawn;
use sys::{Error, ErrorKind};

use crate::engine::{Monitor, Place, ends_within, eventually, is_running, process, watch};

/// Everything that takes its memory along, and what it does with it.
const PROGRAMS: [&str; 13] = [
    "dontneed",
    "memory",
    "generations",
    "threads",
    "tree",
    "shared",
    "signals",
    "timers",
    "events",
    "files",
    "waiting",
    "unix_streams",
    "memory_files",
];

#[test]
fn programs_are_cloned() {
    for name in PROGRAMS {
        let original = Subject::new(name);
        original.start();
        let image = original.dump(ToDumper::LetGo);
        let template = Template::start(&image);
        let one = template.clone_of(&original);
        let two = template.clone_of(&original);
        // The template is not needed for what lives already.
        drop(template);
        for subject in [&one, &original, &two] {
            assert_eq!(subject.verdict(), "ok", "{name}");
        }
    }
}

#[test]
fn what_an_allocator_frees_is_zero() {
    let original = Subject::with_jemalloc("heap");
    original.start();
    let image = original.dump(ToDumper::End);
    let template = Template::start(&image);
    let clones = [(); 3].map(|()| template.clone_of(&original));
    for clone in &clones {
        assert_eq!(clone.verdict(), "ok");
    }
}

#[test]
fn clones_share_what_none_of_them_writes() {
    let original = Subject::new("dontneed");
    original.start();
    let image = original.dump(ToDumper::End);
    let template = Template::start(&image);
    let size = template.size;
    assert!(size >= 64 << 20, "{size}");
    let clones = [(); 10].map(|()| template.clone_of(&original));
    let of_template = proportional(template.process.pid);
    let all: u64 = clones.iter().map(Subject::proportional).sum::<u64>() + of_template;
    assert!(all < size + size * 3 / 10, "{all} bytes for {size}");
    let charged: u64 = clones.iter().map(Subject::charged).sum();
    assert!(charged < size / 2, "{charged} bytes are charged to clones");
    // It is theirs without the template, too.
    drop(template);
    for clone in &clones {
        assert_eq!(clone.verdict(), "ok");
    }
}

#[test]
fn a_killed_template_harms_no_clone() {
    let original = Subject::new("generations");
    original.start();
    let image = original.dump(ToDumper::LetGo);
    let template = Template::start(&image);
    let clone = template.clone_of(&original);
    template.kill();
    assert!(!template.answers());
    assert_eq!(clone.verdict(), "ok");
    assert_eq!(original.verdict(), "ok");
}

#[test]
fn ends_with_whoever_started_it_or_when_told() {
    let original = Subject::new("threads");
    original.start();
    let image = original.dump(ToDumper::LetGo);
    let gone = |template: &Template| {
        assert!(ends_within(&template.pidfd, Duration::from_secs(30)));
        assert!(!template.socket().exists());
        assert!(!template.has_cgroup());
    };
    let mut template = Template::start(&image);
    template.channel = None;
    gone(&template);
    let mut template = Template::start(&image);
    let channel = template.channel.take().unwrap();
    channel.send(&ToTemplate::Keep).unwrap();
    drop(channel);
    let clone = template.clone_of(&original);
    assert!(is_running(template.process.pid));
    rustix::process::pidfd_send_signal(&template.pidfd, Signal::TERM).unwrap();
    gone(&template);
    assert_eq!(clone.verdict(), "ok");
    assert_eq!(original.verdict(), "ok");
}

#[test]
fn a_clone_that_cannot_be_made_leaves_the_template_whole() {
    let original = Subject::new("threads");
    original.start();
    let image = original.dump(ToDumper::LetGo);
    let template = Template::start(&image);
    // A client that says nothing, one that goes, one without a job.
    let silent = template.connect().unwrap();
    drop(template.connect().unwrap());
    template.connect().unwrap().send(&ToClone::Go).unwrap();
    // A root without the program's file.
    let mut bare = Subject::new("threads");
    fs::remove_file(bare.place.path("root/bin/programs")).unwrap();
    let error = template.launch(&mut bare).unwrap_err();
    assert!(error.to_string().contains("/bin/programs"), "{error}");
    let clone = template.clone_of(&original);
    assert_eq!(clone.verdict(), "ok");
    assert_eq!(original.verdict(), "ok");
    drop(silent);
}

#[test]
fn more_memory_than_it_may_have_is_an_error() {
    let original = Subject::new("dontneed");
    original.start();
    let image = original.dump(ToDumper::LetGo);
    let limits = Resources {
        memory: Some(Memory {
            limit: Some(16 << 20),
            ..Memory::default()
        }),
        ..Resources::default()
    };
    let template = Template::launch_with(&image, limits);
    assert!(template.is_none());
    let directory = open(&image);
    rustix::fs::unlinkat(&directory, "pages", rustix::fs::AtFlags::empty()).unwrap();
    assert!(Template::launch_with(&image, Resources::default()).is_none());
    assert_eq!(original.verdict(), "ok");
}

#[test]
fn what_the_kernel_may_drop_is_fresh() {
    let original = Subject::new("droppable");
    original.start();
    let image = original.dump(ToDumper::LetGo);
    let template = Template::start(&image);
    let clone = template.clone_of(&original);
    // Not a word of the random state of another process.
    for (subject, verdict) in [(&clone, "fresh"), (&original, "kept")] {
        let found = subject.verdict();
        assert!(found == verdict || found == "unknown", "{found}");
    }
}

#[test]
fn redis_is_cloned_ten_times_for_the_memory_of_one() {
    let original = Subject::server(&[
        "/usr/bin/redis-server",
        "--port",
        "0",
        "--unixsocket",
        "/data/socket",
        "--save",
        "",
        "--enable-debug-command",
        "yes",
    ]);
    original.run();
    original.redis("DEBUG POPULATE 400000 key 200");
    original.redis("SET whose everybody");
    let one = original.proportional();
    assert!(one > 100 << 20, "{one}");
    let image = original.dump(ToDumper::LetGo);
    let template = Template::start(&image);
    let clones = [(); 10].map(|()| template.clone_of(&original));
    for (number, clone) in clones.iter().enumerate() {
        assert_eq!(clone.redis("GET whose"), "everybody");
        clone.redis(&format!("SET whose {number}"));
        assert_eq!(clone.redis("DBSIZE"), ":400001");
    }
    let all: u64 =
        clones.iter().map(Subject::proportional).sum::<u64>() + proportional(template.process.pid);
    assert!(all < one * 13 / 10, "{all} bytes, and one has {one}");
    for (number, clone) in clones.iter().enumerate() {
        assert_eq!(clone.redis("GET whose"), number.to_string());
        assert_eq!(clone.redis("STRLEN key:399999"), ":200");
    }
    assert_eq!(original.redis("GET whose"), "everybody");
}

#[test]
fn postgres_is_cloned_with_its_buffers() {
    let directory = "/usr/lib/postgresql/15/bin";
    let mut original = Subject::server(&[
        &format!("{directory}/postgres"),
        "-D",
        "/data/pg",
        "-k",
        "/data",
        "-c",
        "listen_addresses=",
        "-c",
        "fsync=off",
        "-c",
        "shared_buffers=32MB",
    ]);
    let user = fs::read_to_string("/etc/passwd").unwrap();
    let user = user
        .lines()
        .find_map(|line| line.strip_prefix("postgres:x:"))
        .unwrap();
    let mut ids = user.split(':').map(|id| id.parse::<u32>().unwrap_or(0));
    let own = &mut process(&mut original.job).user;
    (own.uid, own.gid) = (ids.next().unwrap(), ids.next().unwrap());
    let place = original.data("pg");
    let made = Command::new("setpriv")
        .args([
            "--reuid",
            "postgres",
            "--regid",
            "postgres",
            "--clear-groups",
        ])
        .arg(format!("{directory}/initdb"))
        .args(["-U", "postgres", "--no-sync", "-A", "trust", "-D"])
        .arg(&place)
        .output();
    assert!(
        made.as_ref().is_ok_and(|made| made.status.success()),
        "{made:?}"
    );
    original.run();
    eventually("the server answers", || original.psql("select 1") == "1");
    original
        .psql("create table t as select i, repeat('x', 100) as x from generate_series(1, 50000) i");
    let count = "select count(*), sum(length(x)) from t";
    assert_eq!(original.psql(count), "50000|5000000");
    // Connections from other network namespaces are not carried.
    eventually("nobody is connected", || {
        let words = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cmdline"));
        let mut pids = original.pids().into_iter();
        !pids.any(|pid| words(pid).is_ok_and(|words| words.contains("[local]")))
    });
    let image = original.dump(ToDumper::LetGo);
    let template = Template::start(&image);
    let clones = [(); 3].map(|()| template.clone_of(&original));
    for (number, clone) in clones.iter().enumerate() {
        assert_eq!(clone.psql(count), "50000|5000000");
        clone.psql(&format!("delete from t where i <= {}", 100 * (number + 1)));
        clone.psql("checkpoint");
    }
    for (number, clone) in clones.iter().enumerate() {
        let left = (50_000 - 100 * (number + 1)).to_string();
        assert_eq!(clone.psql("select count(*) from t"), left);
    }
    assert_eq!(original.psql(count), "50000|5000000");
}

/// A container that runs one of the programs.
struct Subject {
    place: Place,
    job: MonitorJob,
    /// Which started it, unless a template did.
    monitor: std::cell::RefCell<Option<Monitor>>,
    channel: Option<Channel>,
    init: std::cell::Cell<Option<ProcessRef>>,
}

impl Subject {
    fn new(program: &str) -> Self {
        let place = Place::new();
        for name in ["data", "dev/shm"] {
            fs::create_dir_all(place.path("root").join(name)).unwrap();
        }
        let data = place.path("root/data");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
        compile(&place.path("root/bin/programs"), &["-static"]);
        let job = job(&place, program);
        Self::of(place, job)
    }

    /// One of the machine's servers.
    fn server(arguments: &[&str]) -> Self {
        let mut subject = Self::new("").with_libraries();
        // Its users are not only root.
        let directory = subject.place.path("");
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        process(&mut subject.job).args = arguments.iter().map(|it| (*it).to_owned()).collect();
        subject
    }

    fn with_jemalloc(program: &str) -> Self {
        let mut subject = Self::new(program).with_libraries();
        compile(&subject.place.path("root/bin/programs"), &[]);
        let library = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";
        assert!(Path::new(library).exists(), "install libjemalloc2");
        process(&mut subject.job)
            .env
            .push(format!("LD_PRELOAD={library}"));
        subject
    }

    /// With the machine's libraries.
    fn with_libraries(mut self) -> Self {
        let subject = &mut self;
        let root = subject.place.path("root");
        fs::create_dir_all(root.join("usr")).unwrap();
        for name in ["lib", "lib64"] {
            let link = root.join(name);
            let _ = fs::remove_dir(&link);
            std::os::unix::fs::symlink(format!("usr/{name}"), link).unwrap();
        }
        let Work::Start(start) = &mut subject.job.work else {
            panic!("no start");
        };
        for place in ["/usr", "/etc"] {
            start.spec.mounts.push(Mount {
                destination: place.into(),
                kind: Some("bind".into()),
                source: Some(place.into()),
                options: ["rbind", "ro"].map(str::to_owned).to_vec(),
                ..Mount::default()
            });
        }
        self
    }

    fn of(place: Place, job: MonitorJob) -> Self {
        Self {
            place,
            job,
            monitor: None.into(),
            channel: None,
            init: None.into(),
        }
    }

    fn run(&self) {
        let (monitor, init) = Monitor::start(&self.job);
        *self.monitor.borrow_mut() = Some(monitor);
        self.init.set(Some(init));
    }

    /// Runs it until it has set everything up.
    fn start(&self) {
        self.run();
        eventually("the program is ready", || {
            let verdict = fs::read_to_string(self.data("verdict"));
            assert!(verdict.is_err(), "{verdict:?}");
            self.data("ready").exists()
        });
    }

    fn data(&self, name: &str) -> PathBuf {
        self.place.path("root/data").join(name)
    }

    /// Writes it down; the image's directory.
    fn dump(&self, then: ToDumper) -> PathBuf {
        let image = self.place.path("image");
        fs::create_dir(&image).unwrap();
        let job = DumpJob {
            init: self.init.get().unwrap(),
            stdio: StdioInodes::default(),
            cgroup: format!("/wharf/{}", self.place.id),
            connections: Connections::Close,
            goes_on: matches!(then, ToDumper::LetGo),
            is_exact: false,
            only_check: false,
        };
        let memfd = sys::memfd::sealed("job", &serde_json::to_vec(&job).unwrap()).unwrap();
        let (ours, theirs) = Channel::pair().unwrap();
        let directory = open(&image);
        let child = runtime("dump", [memfd.as_fd(), theirs.as_fd(), directory.as_fd()]);
        drop(theirs);
        // Once more if it had to be tried again.
        assert_eq!(answer::<FromDumper>(&ours), FromDumper::Stand);
        loop {
            match answer(&ours) {
                FromDumper::Stand => {}
                FromDumper::Dumped(_) => break ours.send(&then).unwrap(),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(answer::<FromDumper>(&ours), FromDumper::Done);
        let id = WaitId::PidFd(child.pidfd.as_fd());
        rustix::process::waitid(id, WaitIdOptions::EXITED).unwrap();
        if then == ToDumper::End {
            // Its place is another's from here on.
            let monitor = self.monitor.borrow_mut().take().unwrap();
            watch(monitor.channel());
            monitor.wait();
        }
        image
    }

    /// Lets the program look at what it has and say what it thinks of it.
    fn verdict(&self) -> String {
        fs::write(self.data("go"), "").unwrap();
        let mut verdict = String::new();
        eventually("the verdict", || {
            verdict = fs::read_to_string(self.data("verdict")).unwrap_or_default();
            !verdict.is_empty()
        });
        verdict
    }

    /// Asks a Redis; its answer, a number with its colon.
    fn redis(&self, words: &str) -> String {
        let mut socket = None;
        eventually("redis listens", || {
            socket = UnixStream::connect(self.data("socket")).ok();
            socket.is_some()
        });
        let mut socket = socket.unwrap();
        socket.write_all(format!("{words}\r\n").as_bytes()).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let mut lines = answer.lines();
        let first = lines.next().unwrap();
        if first.starts_with('$') {
            return lines.next().unwrap_or_default().to_owned();
        }
        assert!(!first.starts_with('-'), "{answer}");
        first.to_owned()
    }

    /// Asks a PostgreSQL; nothing if it does not answer.
    fn psql(&self, words: &str) -> String {
        let asked = Command::new("psql")
            .args(["-U", "postgres", "-qAtX", "-c", words, "-h"])
            .arg(self.place.path("root/data"))
            .output()
            .unwrap();
        String::from_utf8(asked.stdout).unwrap().trim().to_owned()
    }

    fn pids(&self) -> Vec<i32> {
        let path = runtime::CgroupPath::of_container(&self.place.id.to_string()).unwrap();
        runtime::Cgroup::open(path).unwrap().pids().unwrap()
    }

    fn proportional(&self) -> u64 {
        self.pids().into_iter().map(proportional).sum()
    }

    fn charged(&self) -> u64 {
        for file in [
            "/sys/fs/cgroup/memory/wharf/ID/memory.usage_in_bytes",
            "/sys/fs/cgroup/wharf/ID/memory.current",
        ] {
            let file = file.replace("ID", &self.place.id.to_string());
            if let Ok(text) = fs::read_to_string(file) {
                return text.trim().parse().unwrap();
            }
        }
        panic!("nobody counts memory");
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Some(channel) = self.channel.take() {
            let _ = channel.send(&ToMonitor::Signal(9));
            if !std::thread::panicking() {
                watch(&channel);
            }
        }
    }
}

/// A process that clones are made from.
struct Template {
    process: ProcessRef,
    size: u64,
    pidfd: OwnedFd,
    channel: Option<Channel>,
    place: Place,
    image: PathBuf,
}

impl Template {
    fn start(image: &Path) -> Self {
        Self::launch_with(image, Resources::default()).expect("no template")
    }

    /// `None` if it failed, of which nothing may be left.
    fn launch_with(image: &Path, resources: Resources) -> Option<Self> {
        let place = Place::new();
        let job = TemplateJob {
            socket: place.path("run/template.sock"),
            cgroup: format!("/wharf/{}", place.id),
            resources,
            copies: 2,
        };
        let memfd = sys::memfd::sealed("job", &serde_json::to_vec(&job).unwrap()).unwrap();
        let (ours, theirs) = Channel::pair().unwrap();
        let directory = open(image);
        let child = runtime(
            "template",
            [memfd.as_fd(), theirs.as_fd(), directory.as_fd()],
        );
        drop(theirs);
        let frame = ours.receive::<FromTemplate>().unwrap();
        let Some((Frame::Message(FromTemplate::Ready { process, size }), _)) = frame else {
            let id = WaitId::PidFd(child.pidfd.as_fd());
            rustix::process::waitid(id, WaitIdOptions::EXITED).unwrap();
            assert!(!job.socket.exists());
            return None;
        };
        assert_eq!(process.pid, child.pid);
        Some(Self {
            process,
            size,
            pidfd: child.pidfd,
            channel: Some(ours),
            place,
            image: image.to_owned(),
        })
    }

    fn socket(&self) -> PathBuf {
        self.place.path("run/template.sock")
    }

    fn connect(&self) -> sys::Result<Channel> {
        Channel::connect(&self.socket())
    }

    fn answers(&self) -> bool {
        self.connect().is_ok()
    }

    fn has_cgroup(&self) -> bool {
        [
            "/sys/fs/cgroup/memory",
            "/sys/fs/cgroup/freezer",
            "/sys/fs/cgroup",
        ]
        .iter()
        .any(|root| {
            Path::new(root)
                .join("wharf")
                .join(self.place.id.to_string())
                .exists()
        })
    }

    /// One more of what `original` was, with a copy of its files.
    fn clone_of(&self, original: &Subject) -> Subject {
        let place = Place::new();
        let (from, to) = (original.place.path("root"), place.path("root"));
        fs::remove_dir_all(&to).unwrap();
        let copied = Command::new("cp").arg("-a").args([&from, &to]).status();
        assert!(copied.unwrap().success());
        let mut job = original.job.clone();
        let mut text = serde_json::to_string(&job).unwrap();
        let root = |place: &Place| place.path("").to_str().unwrap().to_owned();
        text = text.replace(&root(&original.place), &root(&place));
        job = serde_json::from_str(&text).unwrap();
        job.id = place.id;
        let mut subject = Subject::of(place, job);
        self.launch(&mut subject).unwrap();
        assert!(self.image.exists());
        subject
    }

    /// As an engine does it.
    fn launch(&self, subject: &mut Subject) -> Result<(), Error> {
        let Work::Start(start) = subject.job.work.clone() else {
            panic!("no start");
        };
        let mut job = subject.job.clone();
        job.work = Work::Restore(Box::new(RestoreSpec {
            start: *start,
            record: None,
            asks: false,
        }));
        let memfd = sys::memfd::sealed("job", &serde_json::to_vec(&job).unwrap()).unwrap();
        let (ours, theirs) = Channel::pair().unwrap();
        let client = self.connect()?;
        client.send_with_fds(&ToClone::Descriptors, &[memfd.as_fd()])?;
        client.send_with_fds(&ToClone::Go, &[theirs.as_fd()])?;
        drop(theirs);
        ours.send(&ToMonitor::Go)?;
        loop {
            match crate::engine::next(&ours) {
                Some(Frame::Message(state::FromMonitor::Ready)) => {}
                Some(Frame::Message(state::FromMonitor::Started { init })) => {
                    subject.init.set(Some(init));
                    break;
                }
                Some(Frame::Message(state::FromMonitor::Failed(error))) => return Err(error),
                Some(other) => panic!("{other:?}"),
                None => return Err(Error::new(ErrorKind::Internal, "the monitor is gone")),
            }
        }
        subject.channel = Some(ours);
        Ok(())
    }

    fn kill(&self) {
        rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL).unwrap();
        assert!(ends_within(&self.pidfd, Duration::from_secs(30)));
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        self.channel = None;
        if !ends_within(&self.pidfd, Duration::from_secs(30)) {
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

fn job(place: &Place, program: &str) -> MonitorJob {
    let mut job = place.job("");
    let rights = ["CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE", "CAP_KILL"];
    let rights = rights.map(str::to_owned).to_vec();
    let of_it = process(&mut job);
    of_it.args = vec!["/bin/programs".to_owned(), program.to_owned()];
    of_it.capabilities = Some(Capabilities {
        bounding: rights.clone(),
        effective: rights.clone(),
        permitted: rights,
        ..Capabilities::default()
    });
    let Work::Start(start) = &mut job.work else {
        panic!("no start");
    };
    for destination in ["/tmp", "/dev/shm"] {
        start.spec.mounts.push(Mount {
            destination: destination.into(),
            kind: Some("tmpfs".into()),
            source: Some("tmpfs".into()),
            options: ["nosuid", "nodev", "mode=1777"].map(str::to_owned).to_vec(),
            ..Mount::default()
        });
    }
    job
}

fn compile(to: &Path, options: &[&str]) {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/checkpoint");
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let sources = entries.filter(|path| path.extension().is_some_and(|it| it == "c"));
    let done = Command::new("cc")
        .args(sources)
        .args(["-O1", "-pthread", "-o"])
        .arg(to)
        .args(options)
        .status();
    assert!(done.unwrap().success());
}

fn runtime(verb: &str, fds: [std::os::fd::BorrowedFd<'_>; 3]) -> sys::clone::Child {
    let [job, control, directory] = fds;
    Spawn::new(Path::new(env!("CARGO_BIN_EXE_wharf-runtime")))
        .arg(verb)
        .new_session()
        .fd(job, JOB_FD)
        .fd(control, CONTROL_FD)
        .fd(directory, FIRST_EXTRA_FD)
        .start()
        .unwrap()
}

fn open(directory: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty()).unwrap()
}

fn answer<T: serde::de::DeserializeOwned>(channel: &Channel) -> T {
    assert!(channel.wait_readable(Some(Duration::from_mins(1))).unwrap());
    match channel.receive::<T>().unwrap() {
        Some((Frame::Message(message), _)) => message,
        _ => panic!("no answer"),
    }
}

/// Bytes of memory, those that are shared by parts.
fn proportional(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.strip_prefix("Pss:"));
    lines
        .filter_map(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
        .sum::<u64>()
        << 10
}
