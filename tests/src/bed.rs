//! The machine that a test gets: namespaces of its own (`bed.sh`), a store of its own, the real binaries.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::command::{Invocation, Outcome};
use crate::image::busybox_image;
use crate::leaks::Leaks;

/// The image that every bed holds from the start.
pub const BUSYBOX: &str = "busybox";

/// No test may take longer than this; the slow ones are split.
const LIMIT: Duration = Duration::from_mins(3);

/// One test's machine.
pub struct Bed {
    dir: PathBuf,
    root: PathBuf,
    runroot: PathBuf,
    before: Leaks,
}

/// Runs `body` in a bed: calls this test once more as a child in namespaces of its own, and there the body.
///
/// The body's machine has loopback only, an empty `/run`, and sees its own cgroup as the root of each
/// hierarchy. Afterwards nothing may be left: see [`Leaks`].
pub fn in_bed(test: &str, body: impl FnOnce(&Bed)) {
    if let Some(dir) = env::var_os("WHARF_BED") {
        let bed = Bed::enter(Path::new(&dir));
        body(&bed);
        bed.check_out();
        return;
    }
    assert!(
        rustix::process::geteuid().is_root(),
        "black-box tests need root: run them with sudo"
    );
    // `run::exit::codes::here` of crate `run` is the test `exit::codes`.
    let name = test
        .split_once("::")
        .unwrap()
        .1
        .strip_suffix("::here")
        .unwrap();
    // The closure that the test body sits in shows up as `{{closure}}` when the macro is used inside one.
    let name = name.replace("::{{closure}}", "");
    spawn_in_bed(&name);
}

fn spawn_in_bed(name: &str) {
    let base =
        env::var_os("WHARF_TEST_DIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let dir = TestDirectory::new(&base);
    fs::write(dir.0.join("bed.sh"), include_str!("../bed.sh")).unwrap();
    let mut child = Command::new("sh")
        .arg(dir.0.join("bed.sh"))
        .arg(&dir.0)
        .arg(env::current_exe().unwrap())
        .args([
            "--exact",
            name,
            "--nocapture",
            "--test-threads=1",
            "--include-ignored",
        ])
        .env("WHARF_BED", &dir.0)
        .env_remove("NEXTEST")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > LIMIT {
            // `unshare --kill-child` takes the whole pid namespace along.
            let _ = child.kill();
            let _ = child.wait();
            panic!("{name} was not done after {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    dir.remove_groups();
    assert!(status.success(), "{name} failed in its bed, see above");
    let ran = dir.0.join("ran").exists();
    assert!(
        ran,
        "{name} was not found by its own name: the bed ran nothing"
    );
}

/// Removes itself and the test's cgroups when dropped, whatever happened.
struct TestDirectory(PathBuf);

impl TestDirectory {
    fn new(base: &Path) -> Self {
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos();
        let dir = base.join(format!(
            "wharf-bed-{}-{:x}",
            std::process::id(),
            nanos & 0xffff_ffff
        ));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn remove_groups(&self) {
        let groups = fs::read_to_string(self.0.join("groups")).unwrap_or_default();
        for group in groups.lines() {
            // The kernel needs a moment to empty the groups of a dying pid namespace.
            for _ in 0..100 {
                remove_group(Path::new(group));
                if !Path::new(group).exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        self.remove_groups();
        if env::var_os("WHARF_KEEP_BEDS").is_none() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn remove_group(group: &Path) {
    if let Ok(entries) = fs::read_dir(group) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_group(&entry.path());
            }
        }
    }
    let _ = fs::remove_dir(group);
}

impl Bed {
    fn enter(dir: &Path) -> Self {
        fs::write(dir.join("ran"), "").unwrap();
        let bed = Self {
            dir: dir.join("disk"),
            root: dir.join("disk/root"),
            runroot: PathBuf::from("/run/wharf-test"),
            before: Leaks::look(),
        };
        bed.run(&[
            "load",
            "--quiet",
            "--input",
            busybox_image(&bed.dir).to_str().unwrap(),
        ])
        .ok();
        bed
    }

    /// `wharf` with these arguments, run to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.command(arguments).run()
    }

    /// `wharf` with these arguments, to be given input, variables or a terminal first.
    pub fn command(&self, arguments: &[&str]) -> Invocation {
        let mut invocation = Invocation::new(&binary("wharf"));
        invocation.arguments(&[
            "--root",
            self.root.to_str().unwrap(),
            "--runroot",
            self.runroot.to_str().unwrap(),
        ]);
        invocation
            .arguments(arguments)
            .variable("HOME", self.dir.to_str().unwrap());
        invocation
    }

    /// Any other program, with the same limits on time and output.
    pub fn host(&self, program: &str, arguments: &[&str]) -> Outcome {
        let mut invocation = Invocation::new(Path::new(program));
        invocation.arguments(arguments);
        invocation.run()
    }

    /// Any other program, to be given input or started.
    pub fn program(&self, program: &str, arguments: &[&str]) -> Invocation {
        let mut invocation = Invocation::new(Path::new(program));
        invocation.arguments(arguments);
        invocation
    }

    /// A shell script in a container of its own, removed afterwards; without a network unless `options` name one.
    pub fn shell(&self, options: &[&str], script: &str) -> Outcome {
        let mut arguments = vec!["run", "--rm"];
        if !options
            .iter()
            .any(|option| option.starts_with("--net") || *option == "-p")
        {
            arguments.extend(["--network", "none"]);
        }
        arguments.extend(options);
        arguments.extend([BUSYBOX, "sh", "-c", script]);
        self.run(&arguments)
    }

    /// A container that runs in the background until it is stopped; gives its id.
    pub fn start(&self, options: &[&str]) -> String {
        let mut arguments = vec!["run", "-d"];
        arguments.extend(options);
        arguments.extend([BUSYBOX, "sleep", "1000"]);
        self.run(&arguments).ok()
    }

    /// What `inspect --format` says.
    pub fn inspect(&self, object: &str, format: &str) -> String {
        self.run(&["inspect", "--format", format, object]).ok()
    }

    /// A directory that the test may fill.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The store's durable directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The store's directory that a reboot empties.
    pub fn runroot(&self) -> &Path {
        &self.runroot
    }

    /// A file of the test's own; gives its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.dir.join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Asserts that no trace of any container is left on the machine *now*, containers being gone or stopped.
    pub fn nothing_runs(&self) {
        self.before.assert_only_stopped_left();
    }

    /// Removes what the test made, the way a user does, and asserts that nothing is left.
    fn check_out(&self) {
        let ids = self.run(&["ps", "-aq", "--no-trunc"]).ok();
        if !ids.is_empty() {
            let mut arguments = vec!["rm", "-f"];
            arguments.extend(ids.lines());
            self.run(&arguments).ok();
        }
        let checkpoints = self.run(&["checkpoint", "ls", "-q"]).ok();
        if !checkpoints.is_empty() {
            let mut arguments = vec!["checkpoint", "rm"];
            arguments.extend(checkpoints.lines());
            self.run(&arguments).ok();
        }
        let templates = self.run(&["template", "ls", "-q"]).ok();
        if !templates.is_empty() {
            let mut arguments = vec!["template", "rm"];
            arguments.extend(templates.lines());
            self.run(&arguments).ok();
        }
        assert_eq!(
            self.run(&["ps", "-aq"]).ok(),
            "",
            "containers are left after rm -f"
        );
        self.before.assert_nothing_left(&self.root, &self.runroot);
        // A pull that failed may have left blobs for the next try, but nothing that is strange or missing.
        self.run(&["system", "check", "--repair"]).ok();
    }
}

/// The path of one of the two binaries: `$WHARF_BIN/NAME`, or beside this test.
pub fn binary(name: &str) -> PathBuf {
    let dir = env::var_os("WHARF_BIN").map_or_else(
        // target/TRIPLE/PROFILE/deps/run-0123: two up.
        || {
            env::current_exe()
                .unwrap()
                .parent()
                .unwrap()
                .parent()
                .unwrap()
                .to_path_buf()
        },
        PathBuf::from,
    );
    let path = dir.join(name);
    assert!(
        path.exists(),
        "{} is missing: `make test` builds it, or set WHARF_BIN",
        path.display()
    );
    path
}
