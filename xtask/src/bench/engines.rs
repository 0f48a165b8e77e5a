//! The engines that are measured: where each keeps its things, how each is called, how it is cleaned up.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::statistics::{Row, Samples};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Engine {
    Wharf,
    Crun,
    Runc,
    Docker,
    Podman,
    /// `wharf-runtime` alone, on a bundle.
    Runtime,
    Youki,
    Bubblewrap,
}

impl Engine {
    pub(crate) const ALL: [Self; 5] = [
        Self::Wharf,
        Self::Crun,
        Self::Runc,
        Self::Docker,
        Self::Podman,
    ];
    pub(crate) const WITH_IMAGES: [Self; 3] = [Self::Wharf, Self::Docker, Self::Podman];
    /// What makes a process of a bundle; bubblewrap makes one of flags.
    pub(crate) const RUNTIMES: [Self; 5] = [
        Self::Runtime,
        Self::Crun,
        Self::Runc,
        Self::Youki,
        Self::Bubblewrap,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wharf => "wharf",
            Self::Crun => "crun",
            Self::Runc => "runc",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Runtime => "wharf-runtime",
            Self::Youki => "youki",
            Self::Bubblewrap => "bwrap",
        }
    }

    /// Whether it runs bundles and knows no images.
    fn takes_bundles(self) -> bool {
        matches!(self, Self::Runtime | Self::Crun | Self::Runc | Self::Youki)
    }

    /// A process of it that stays beside each container.
    fn helper(self) -> Option<&'static str> {
        match self {
            Self::Wharf => Some("wharf-runtime"),
            Self::Docker => Some("containerd-shim"),
            Self::Podman => Some("conmon"),
            Self::Crun | Self::Runc | Self::Runtime | Self::Youki | Self::Bubblewrap => None,
        }
    }
}

/// All that are installed, each with a store of its own below one directory.
pub(crate) struct Engines {
    dir: PathBuf,
    wharf: PathBuf,
    runtime: PathBuf,
    present: Vec<Engine>,
    daemons: Vec<Child>,
    pub(crate) registry: String,
}

/// The image that short commands use.
const IMAGE: &str = "bench:busybox";

/// The same, with this program in it, which makes and takes traffic.
const TRAFFIC_IMAGE: &str = "bench:traffic";

impl Engines {
    pub(crate) fn start(dir: &Path, binaries: &Path) -> Result<Self, String> {
        let wharf = fs::canonicalize(binaries.join("wharf"))
            .map_err(|error| format!("find {}/wharf: {error}", binaries.display()))?;
        let runtime = wharf.with_file_name("wharf-runtime");
        let _ = fs::remove_dir_all(dir);
        for part in ["wharf", "docker", "podman", "run", "rootfs/bin", "registry"] {
            fs::create_dir_all(dir.join(part))
                .map_err(|error| format!("create {}: {error}", dir.display()))?;
        }
        let mut engines = Self {
            dir: dir.to_path_buf(),
            wharf,
            runtime,
            present: Vec::new(),
            daemons: Vec::new(),
            registry: "127.0.0.1:5000".to_owned(),
        };
        engines.make_root_file_system()?;
        let runtimes = Engine::RUNTIMES.into_iter();
        let alone = runtimes.filter(|engine| !Engine::ALL.contains(engine));
        for engine in Engine::ALL.into_iter().chain(alone) {
            match engines.prepare(engine) {
                Ok(()) => engines.present.push(engine),
                Err(reason) if engine == Engine::Wharf => return Err(reason),
                Err(reason) => eprintln!("bench: without {}: {reason}", engine.name()),
            }
        }
        Ok(engines)
    }

    pub(crate) fn present(&self, wanted: &[Engine]) -> Vec<Engine> {
        wanted
            .iter()
            .copied()
            .filter(|engine| self.present.contains(engine))
            .collect()
    }

    pub(crate) fn path(&self, part: &str) -> String {
        self.dir.join(part).to_string_lossy().into_owned()
    }

    /// Busybox and its names: the same tree for everybody.
    fn make_root_file_system(&self) -> Result<(), String> {
        let rootfs = self.path("rootfs");
        let script = format!(
            "set -e; cd {rootfs}; cp $(command -v busybox) bin/busybox
             for name in $(./bin/busybox --list | grep -vx busybox); do ln -sf busybox bin/$name 2>/dev/null || true; done
             mkdir -p proc sys dev etc tmp root; echo root:x:0:0:root:/root:/bin/sh > etc/passwd; echo root:x:0: > etc/group
             tar -cf {dir}/rootfs.tar .",
            dir = self.dir.display()
        );
        quietly(Command::new("sh").args(["-c", &script]))
    }

    fn prepare(&mut self, engine: Engine) -> Result<(), String> {
        match engine {
            Engine::Bubblewrap => {
                return self.check(engine, &self.run_words(engine, &[], "warm", &["true"]));
            }
            bundles if bundles.takes_bundles() => return self.write_bundles(engine),
            Engine::Docker => self.start_docker()?,
            _ => {}
        }
        let tar = self.path("rootfs.tar");
        let words = self.words(engine, &["import", &tar, IMAGE]);
        self.check(engine, &words)?;
        // Once for the caches, and to see that it works at all.
        self.check(
            engine,
            &self.run_words(engine, &["--rm", "--network", "none"], "warm", &["true"]),
        )?;
        self.check(
            engine,
            &self.run_words(engine, &["--rm"], "warm", &["true"]),
        )
    }

    /// `runc spec` with a command of ours; the others read the same.
    fn write_bundles(&self, engine: Engine) -> Result<(), String> {
        for (bundle, command) in [("true", &["true"][..]), ("sleep", &["sleep", "1000"])] {
            let dir = PathBuf::from(self.bundle(engine, bundle));
            fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
            quietly(Command::new("runc").args(["spec", "-b"]).arg(&dir))?;
            let path = dir.join("config.json");
            let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
            let mut config: serde_json::Value =
                serde_json::from_str(&text).map_err(|error| error.to_string())?;
            config["process"]["terminal"] = false.into();
            config["process"]["args"] = command.into();
            config["root"]["path"] = self.path("rootfs").into();
            fs::write(path, config.to_string()).map_err(|error| error.to_string())?;
        }
        self.check(engine, &self.run_words(engine, &[], "warm", &["true"]))
    }

    fn start_docker(&mut self) -> Result<(), String> {
        let log =
            fs::File::create(self.dir.join("dockerd.log")).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let child = Command::new("dockerd")
            .args([
                "--data-root",
                &self.path("docker"),
                "--exec-root",
                &self.path("run/docker"),
            ])
            .args([
                "--pidfile",
                &self.path("run/docker.pid"),
                "-H",
                &self.docker_socket(),
            ])
            .args([
                "--default-ulimit",
                "nofile=1000:1000",
                "--oom-score-adjust",
                "0",
                "--log-level",
                "error",
            ])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("start dockerd: {error}"))?;
        self.daemons.push(child);
        for _ in 0..300 {
            if self
                .check(Engine::Docker, &self.words(Engine::Docker, &["version"]))
                .is_ok()
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(self.dir.join("dockerd.log")).unwrap_or_default();
        Err(format!(
            "dockerd does not come up: {}",
            log.lines().last().unwrap_or_default()
        ))
    }

    fn docker_socket(&self) -> String {
        format!("unix://{}", self.path("run/docker.sock"))
    }

    /// A command line of this engine: its own options first.
    pub(crate) fn words(&self, engine: Engine, rest: &[&str]) -> Vec<String> {
        let run = |name: &str| self.path(&format!("run/{name}"));
        let mut words: Vec<String> = match engine {
            Engine::Wharf => vec![
                self.wharf.to_string_lossy().into_owned(),
                "--root".into(),
                self.path("wharf"),
                "--runroot".into(),
                run("wharf"),
            ],
            Engine::Crun | Engine::Runc | Engine::Youki => {
                vec![engine.name().into(), "--root".into(), run(engine.name())]
            }
            Engine::Runtime => vec![
                self.runtime.to_string_lossy().into_owned(),
                "--root".into(),
                run("wharf-runtime"),
            ],
            Engine::Bubblewrap => vec![engine.name().into()],
            Engine::Docker => vec!["docker".into(), "-H".into(), self.docker_socket()],
            Engine::Podman => [
                "podman",
                "--root",
                &self.path("podman"),
                "--runroot",
                &run("podman"),
                "--tmpdir",
                &run("podman-tmp"), //
                "--runtime",
                "crun",
                "--cgroup-manager",
                "cgroupfs",
                "--events-backend",
                "file",
                "--log-level",
                "error",
            ]
            .map(ToOwned::to_owned)
            .to_vec(),
        };
        words.extend(rest.iter().map(|word| (*word).to_owned()));
        words
    }

    /// Where the bundle of one runtime is that runs `command`.
    pub(crate) fn bundle(&self, engine: Engine, command: &str) -> String {
        self.path(&format!("{}-{command}", engine.name()))
    }

    /// `run OPTIONS IMAGE COMMAND`, or for a bare runtime the run of the bundle that does the same.
    pub(crate) fn run_words(
        &self,
        engine: Engine,
        options: &[&str],
        name: &str,
        command: &[&str],
    ) -> Vec<String> {
        if engine == Engine::Bubblewrap {
            let root = self.path("rootfs");
            let mut words = vec!["--unshare-all", "--ro-bind", &root, "/", "--proc", "/proc"];
            words.extend(["--dev", "/dev", "--die-with-parent"]);
            words.extend(command);
            return self.words(engine, &words);
        }
        if engine.takes_bundles() {
            let bundle = self.bundle(engine, command[0]);
            let mut words = vec!["run"];
            if options.contains(&"-d") {
                words.push("-d");
            }
            words.extend(["-b", &bundle, name]);
            return self.words(engine, &words);
        }
        let mut words = vec!["run", "--name", name];
        words.extend(options);
        if engine == Engine::Podman {
            // Its defaults are more than this machine may allow.
            words.extend([
                "--ulimit",
                "nofile=1000:1000",
                "--ulimit",
                "nproc=1000:1000",
            ]);
        }
        words.push(IMAGE);
        words.extend(command);
        self.words(engine, &words)
    }

    /// Runs a command and gives how long it took.
    pub(crate) fn timed(&self, engine: Engine, words: &[String]) -> Result<Duration, String> {
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env("HOME", &self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let start = Instant::now();
        let status = command
            .status()
            .map_err(|error| format!("start {}: {error}", words[0]))?;
        let took = start.elapsed();
        if status.success() {
            Ok(took)
        } else {
            self.check(engine, words).map(|()| took)
        }
    }

    /// Runs a command for its effect.
    pub(crate) fn check(&self, engine: Engine, words: &[String]) -> Result<(), String> {
        self.output(engine, words).map(|_| ())
    }

    /// Each engine once, then each again: what slows the machine down slows all of them.
    pub(crate) fn interleave(
        &self,
        what: &str,
        rounds: usize,
        wanted: &[Engine],
        mut measure: impl FnMut(Engine, usize) -> Result<Duration, String>,
    ) -> Result<Row, String> {
        eprintln!("bench: {what}");
        let mut row = Row(self
            .present(wanted)
            .into_iter()
            .map(|engine| (engine, Samples::default()))
            .collect());
        for round in 0..rounds {
            let count = row.0.len();
            for turn in 0..count {
                // Another one first each time.
                let (engine, samples) = &mut row.0[(turn + round) % count];
                samples.add(measure(*engine, round)?);
            }
        }
        Ok(row)
    }

    pub(crate) fn start_sleeper(
        &self,
        engine: Engine,
        name: &str,
        options: &[&str],
    ) -> Result<(), String> {
        let mut all = vec!["-d"];
        all.extend(options);
        let words = self.run_words(engine, &all, name, &["sleep", "1000"]);
        // A detached container keeps our pipes open with some of them: no pipes.
        self.timed(engine, &words).map(|_| ())
    }

    /// Makes the image with this program in it.
    pub(crate) fn import_traffic(&self, engine: Engine) -> Result<(), String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let tar = self.path("traffic.tar");
        let program = self.path("rootfs/bin/traffic");
        if !Path::new(&tar).exists() {
            fs::copy(&own, &program).map_err(|error| format!("copy {}: {error}", own.display()))?;
            quietly(Command::new("tar").args(["-C", &self.path("rootfs"), "-cf", &tar, "."]))?;
            fs::remove_file(&program).map_err(|error| format!("remove {program}: {error}"))?;
        }
        self.check(
            engine,
            &self.words(engine, &["import", &tar, TRAFFIC_IMAGE]),
        )
    }

    /// A detached container that runs `traffic`.
    pub(crate) fn start_traffic(
        &self,
        engine: Engine,
        name: &str,
        options: &[&str],
        words: &[&str],
    ) -> Result<(), String> {
        let mut all = vec!["-d"];
        all.extend(options);
        let command: Vec<&str> = ["traffic", "traffic"]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        let mut words = self.run_words(engine, &all, name, &command);
        let image = words.iter_mut().find(|word| *word == IMAGE);
        image
            .ok_or("no image to run")?
            .replace_range(.., TRAFFIC_IMAGE);
        self.timed(engine, &words).map(|_| ())
    }

    /// What a command printed, without the space around it.
    pub(crate) fn output(&self, engine: Engine, words: &[String]) -> Result<String, String> {
        let output = Command::new(&words[0])
            .args(&words[1..])
            .env("HOME", &self.dir)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("start {}: {error}", words[0]))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let reason = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "{} {}: {}",
            engine.name(),
            words[1..].join(" "),
            reason.trim()
        ))
    }

    /// Starts those with these numbers, a few at a time; gives how long all of it took.
    pub(crate) fn start_many(
        &self,
        engine: Engine,
        numbers: Range<u32>,
        workers: usize,
        options: &[&str],
    ) -> Result<Duration, String> {
        let next = AtomicU32::new(numbers.start);
        let start = Instant::now();
        std::thread::scope(|scope| {
            let started: Vec<_> = (0..workers)
                .map(|_| {
                    scope.spawn(|| {
                        loop {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            if number >= numbers.end {
                                return Ok::<(), String>(());
                            }
                            self.start_sleeper(engine, &format!("many-{number}"), options)?;
                        }
                    })
                })
                .collect();
            started
                .into_iter()
                .try_for_each(|worker| worker.join().map_err(|_| "a worker died".to_owned())?)
        })?;
        Ok(start.elapsed())
    }

    pub(crate) fn remove_all(&self, engine: Engine) {
        if engine == Engine::Bubblewrap {
            return;
        }
        if engine.takes_bundles() {
            let _ = self.check(engine, &self.words(engine, &["delete", "-f", "sleeper"]));
            return;
        }
        let words = self.words(engine, &["ps", "-aq"]);
        let Ok(output) = Command::new(&words[0])
            .args(&words[1..])
            .env("HOME", &self.dir)
            .output()
        else {
            return;
        };
        let ids = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut rest = vec!["rm", "-f"];
        if engine == Engine::Podman {
            rest.extend(["-t", "0"]);
        }
        rest.extend(ids.split_whitespace());
        if ids.split_whitespace().next().is_some()
            && let Err(reason) = self.check(engine, &self.words(engine, &rest))
        {
            eprintln!("bench: {reason}");
        }
    }

    /// Bytes on disk in the engine's store and its run-time directory.
    pub(crate) fn disk(&self, engine: Engine) -> u64 {
        let (store, run) = (
            self.path(engine.name()),
            self.path(&format!("run/{}", engine.name())),
        );
        let output = Command::new("du")
            .args(["-scx", "--block-size=1", &store, &run])
            .stderr(Stdio::null())
            .output();
        let text = output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        text.lines()
            .last()
            .and_then(|line| line.split_whitespace().next())
            .and_then(|bytes| bytes.parse().ok())
            .unwrap_or(0)
    }

    /// Bytes of memory (Pss) that the engine's processes beside its containers take, without its daemon.
    pub(crate) fn helper_memory(engine: Engine) -> Option<u64> {
        let helper = engine.helper()?;
        let mut kilobytes = 0;
        for process in fs::read_dir("/proc").ok()?.flatten() {
            let Ok(words) = fs::read(process.path().join("cmdline")) else {
                continue;
            };
            let program = words.split(|byte| *byte == 0).next().unwrap_or_default();
            let program = String::from_utf8_lossy(program).into_owned();
            if !program
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .starts_with(helper)
            {
                continue;
            }
            let Ok(rollup) = fs::read_to_string(process.path().join("smaps_rollup")) else {
                continue;
            };
            let pss = rollup
                .lines()
                .find_map(|line| line.strip_prefix("Pss:"))
                .unwrap_or_default();
            kilobytes += pss
                .split_whitespace()
                .next()
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap_or(0);
        }
        Some(kilobytes << 10)
    }

    /// An empty registry, in place of the one before.
    pub(crate) fn fresh_registry(&self, running: Option<Child>) -> Result<Child, String> {
        stop(running);
        let data = self.path("registry/data");
        let _ = fs::remove_dir_all(&data);
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {data}}}}}\nhttp: {{addr: \"{}\"}}\n",
            self.registry
        );
        let path = self.path("registry/config.yml");
        fs::write(&path, config).map_err(|error| error.to_string())?;
        let child = Command::new("docker-registry")
            .args(["serve", &path])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("start docker-registry: {error}"))?;
        for _ in 0..100 {
            if std::net::TcpStream::connect(&self.registry).is_ok() {
                return Ok(child);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("docker-registry does not answer".to_owned())
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        for engine in self.present.clone() {
            self.remove_all(engine);
        }
        for daemon in self.daemons.drain(..) {
            let _ = Command::new("kill").arg(daemon.id().to_string()).status();
            stop_softly(daemon);
        }
        let _ = Command::new("sh")
            .args([
                "-c",
                &format!(
                    "awk -v dir={}/ 'index($5, dir) == 1 {{ print $5 }}' /proc/self/mountinfo | sort -r | xargs -r umount -l",
                    self.dir.display()
                ),
            ])
            .status();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(crate) fn stop(child: Option<Child>) {
    if let Some(mut child) = child {
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn stop_softly(mut child: Child) {
    for _ in 0..100 {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    stop(Some(child));
}

fn quietly(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("start {}: {error}", command.get_program().display()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
