//! The verbs of the OCI runtime command line, for containerd, podman, Docker
//! and people. `<root>/<id>/state.json` is the one record of a container.

use std::fs;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use runtime::{
    Cgroup, CgroupPath, CreateRequest, ExecRequest, Gate, InitProcess, Lifetime, ProcessStdio,
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use spec::runtime::{Process, Spec, State, StateStatus};
use state::{
    Durability, ExitStatus, ProcessRef, Record, RootFs, SandboxRecord, SeccompProfile, Timestamp,
};
use sys::{Context as _, Error, ErrorKind, Result};

use crate::oci_args::{self, Bring, Exec, Global, ListFormat, LogFormat, Verb};
use crate::oci_console;

const STATE: &str = "state.json";
/// Where init listens until it is started.
const GATE: &str = "gate.sock";

/// Runs a command line; the exit code of a process that was waited for.
pub(crate) fn run() -> (Option<Global>, Result<u8>) {
    let words: Result<Vec<String>> = std::env::args_os()
        .skip(1)
        .map(|word| {
            word.into_string().map_err(|word| {
                Error::new(
                    ErrorKind::InvalidInput,
                    format!("{} is not text", word.display()),
                )
            })
        })
        .collect();
    match words.and_then(oci_args::parse) {
        Ok((global, verb)) => {
            let result = perform(&global, verb);
            (Some(global), result)
        }
        Err(error) => (None, Err(error)),
    }
}

fn perform(global: &Global, verb: Verb) -> Result<u8> {
    match verb {
        Verb::Create(bring) => create(global, &bring),
        Verb::Run { bring, detach } => run_container(global, &bring, detach),
        Verb::Start { id } => start(global, &id),
        Verb::State { id } => print_json(&state_of(global, &id)?),
        Verb::Kill { id, signal, all } => kill(global, &id, signal, all),
        Verb::Delete { id, force } => delete(global, &id, force),
        Verb::Exec(exec) => run_exec(global, &exec),
        Verb::List { format, quiet } => list(global, format, quiet),
        Verb::Ps { id, format } => ps(global, &id, format),
        Verb::Pause { id } => cgroup_of(&load(global, &id)?)?.freeze().map(|()| 0),
        Verb::Resume { id } => cgroup_of(&load(global, &id)?)?.thaw().map(|()| 0),
        Verb::Spec { bundle } => {
            let text = json(&crate::oci_spec::example())?;
            let path = bundle.join("config.json");
            let mut file =
                fs::File::create_new(&path).context(|| format!("create {}", path.display()))?;
            file.write_all(&text)
                .context(|| format!("write {}", path.display()))?;
            Ok(0)
        }
        Verb::Features => print_json(&crate::oci_spec::features()),
        Verb::Version => print(&format!(
            "wharf-runtime version {}\nspec: {}\n",
            env!("CARGO_PKG_VERSION"),
            spec::runtime::VERSION
        )),
        Verb::Help => print(
            "usage: wharf-runtime [--root DIR] [--log FILE] [--log-format text|json] VERB …\n\
             verbs: create start run state kill delete exec list ps pause resume spec features\n",
        ),
    }
}

/// A bundle and what belongs to a container made from it.
struct Making {
    spec: Spec,
    bundle: PathBuf,
    directory: PathBuf,
    cgroup: CgroupPath,
}

impl Making {
    /// Reads the bundle and claims the id.
    fn begin(global: &Global, bring: &Bring) -> Result<Self> {
        let bundle = fs::canonicalize(&bring.bundle)
            .context(|| format!("open bundle {}", bring.bundle.display()))?;
        let config = bundle.join("config.json");
        let spec = runtime::read_spec(&config)?;
        let named = spec
            .linux
            .as_ref()
            .and_then(|linux| linux.cgroups_path.as_deref());
        let cgroup = match named.filter(|path| !path.is_empty()) {
            Some(path) if path.starts_with('/') => CgroupPath::parse(path)?,
            // A relative path goes where the runtime wants it.
            Some(path) => CgroupPath::parse(&format!("/wharf/{path}"))?,
            None => CgroupPath::of_container(&bring.id)?,
        };
        let directory = global.root.join(&bring.id);
        make_private_directories(&global.root)?;
        match rustix::fs::mkdir(&directory, rustix::fs::Mode::from(0o700)) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => {
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    format!("container {} already exists", bring.id),
                ));
            }
            Err(errno) => {
                return Err(Error::from(errno)).context(|| format!("make {}", directory.display()));
            }
        }
        Ok(Self {
            spec,
            bundle,
            directory,
            cgroup,
        })
    }

    fn request<'a>(
        &'a self,
        id: &'a str,
        rootfs: &'a RootFs,
        stdio: ProcessStdio,
        gate: Gate,
    ) -> CreateRequest<'a> {
        CreateRequest {
            id,
            spec: &self.spec,
            bundle: &self.bundle,
            rootfs,
            mountpoint: Path::new("/"),
            // A foreign engine says which filter it wants.
            seccomp: &SeccompProfile::Unconfined,
            cgroup: self.cgroup.clone(),
            user: "",
            groups: &[],
            stdio,
            init: InitProcess::Program,
            network: None,
            gate,
        }
    }

    fn rootfs(&self) -> Result<RootFs> {
        let root =
            self.spec.root.as_ref().ok_or_else(|| {
                Error::new(ErrorKind::InvalidInput, "root is missing in config.json")
            })?;
        Ok(RootFs::Directory(root.path.clone()))
    }

    fn record(&self, init: ProcessRef) -> Result<()> {
        let record = SandboxRecord {
            bundle: self.bundle.clone(),
            init,
            cgroup: self.cgroup.as_str().to_owned(),
            annotations: self.spec.annotations.clone(),
            created: Timestamp::now(),
        };
        Record::write(&self.directory.join(STATE), &record, Durability::Fast)
    }

    fn terminal(&self) -> Option<&Process> {
        self.spec
            .process
            .as_ref()
            .filter(|process| process.terminal)
    }
}

fn create(global: &Global, bring: &Bring) -> Result<u8> {
    let making = Making::begin(global, bring)?;
    bring_up(&making, bring).inspect_err(|_| forget(&making.directory))?;
    Ok(0)
}

/// Up to the gate.
fn bring_up(making: &Making, bring: &Bring) -> Result<ProcessRef> {
    let rootfs = making.rootfs()?;
    let gate = listen(&making.directory.join(GATE))?;
    let stdio = match making.terminal() {
        Some(process) if bring.console_socket.is_some() => ProcessStdio::Terminal {
            size: process.console_size,
        },
        Some(_) => {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "process.terminal needs --console-socket",
            ));
        }
        None => ProcessStdio::Inherit,
    };
    let mut created =
        runtime::create(making.request(&bring.id, &rootfs, stdio, Gate::Socket(gate)))?;
    created.wait_ready()?;
    warn(created.warnings());
    if let (Some(socket), Some(master)) = (&bring.console_socket, created.take_console()?) {
        oci_console::send(socket, &master)?;
    }
    let process = created.process();
    making.record(process)?;
    write_pid_file(bring.pid_file.as_deref(), process.pid)?;
    created.leave()?;
    Ok(process)
}

fn run_container(global: &Global, bring: &Bring, detach: bool) -> Result<u8> {
    let making = Making::begin(global, bring)?;
    if detach {
        let gate = making.directory.join(GATE);
        bring_up(&making, bring)
            .and_then(|_| runtime::open_gate(&gate))
            .inspect_err(|_| {
                let _ = delete(global, &bring.id, true);
                forget(&making.directory);
            })?;
        poststart(&making, bring)?;
        return Ok(0);
    }
    let code = run_attached(&making, bring);
    forget(&making.directory);
    code
}

fn run_attached(making: &Making, bring: &Bring) -> Result<u8> {
    let rootfs = making.rootfs()?;
    let stdio = match making.terminal() {
        Some(process) => ProcessStdio::Terminal {
            size: oci_console::size().or(process.console_size),
        },
        None => ProcessStdio::Inherit,
    };
    let mut created = runtime::create(making.request(&bring.id, &rootfs, stdio, Gate::Parent))?;
    making.record(created.process())?;
    write_pid_file(bring.pid_file.as_deref(), created.process().pid)?;
    let console = created.take_console()?;
    warn(created.warnings());
    let console = match (&bring.console_socket, console) {
        (Some(socket), Some(master)) => {
            oci_console::send(socket, &master)?;
            None
        }
        (_, console) => console,
    };
    let mut running = created.start()?;
    poststart(making, bring)?;
    let status = oci_console::wait(&mut running, console)?;
    running.cgroup().remove()?;
    if let Some(hooks) = &making.spec.hooks {
        let state = hook_state(making, &bring.id, StateStatus::Stopped, None);
        warn(&runtime::hooks::run_all(
            "poststop",
            &hooks.poststop,
            &state,
        ));
    }
    Ok(status.code())
}

fn poststart(making: &Making, bring: &Bring) -> Result<()> {
    let Some(hooks) = making.spec.hooks.as_ref() else {
        return Ok(());
    };
    if hooks.poststart.is_empty() {
        return Ok(());
    }
    let record: SandboxRecord = Record::read(&making.directory.join(STATE))?;
    let pid = Some(record.init.pid);
    let state = hook_state(making, &bring.id, StateStatus::Running, pid);
    runtime::hooks::run("poststart", &hooks.poststart, &state)
}

fn hook_state(making: &Making, id: &str, status: StateStatus, pid: Option<i32>) -> State {
    runtime::hooks::state(id, status, pid, &making.bundle, &making.spec.annotations)
}

fn start(global: &Global, id: &str) -> Result<u8> {
    let record = load(global, id)?;
    let gate = global.root.join(id).join(GATE);
    if status_of(global, id, &record) != StateStatus::Created {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("container {id} is not in state created"),
        ));
    }
    runtime::open_gate(&gate)?;
    let _ = fs::remove_file(&gate);
    let config: Spec = Record::read(&record.bundle.join("config.json"))?;
    if let Some(hooks) = config.hooks.filter(|hooks| !hooks.poststart.is_empty()) {
        let state = runtime::hooks::state(
            id,
            StateStatus::Running,
            Some(record.init.pid),
            &record.bundle,
            &record.annotations,
        );
        runtime::hooks::run("poststart", &hooks.poststart, &state)?;
    }
    Ok(0)
}

fn kill(global: &Global, id: &str, signal: i32, all: bool) -> Result<u8> {
    let record = load(global, id)?;
    if all {
        for pid in cgroup_of(&record)?.pids()? {
            let _ = sys::process::signal_pid(pid, signal);
        }
        return Ok(0);
    }
    let gone = || {
        Error::new(
            ErrorKind::Conflict,
            format!("container {id} is not running"),
        )
    };
    let pid = rustix::process::Pid::from_raw(record.init.pid).ok_or_else(gone)?;
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .map_err(|_| gone())?;
    // Only now is it certain that the pid is not somebody else's.
    if !record.init.is_alive() {
        return Err(gone());
    }
    sys::process::signal_pidfd(pidfd.as_fd(), signal)
        .context(|| format!("send signal {signal} to container {id}"))?;
    Ok(0)
}

fn delete(global: &Global, id: &str, force: bool) -> Result<u8> {
    let record = match load(global, id) {
        Err(error) if force && error.kind() == ErrorKind::NotFound => return Ok(0),
        record => record?,
    };
    match status_of(global, id, &record) {
        StateStatus::Stopped => {}
        _ if force => {}
        // Never started: nothing of it is lost.
        StateStatus::Created => {}
        status => {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("container {id} is {status:?} and not stopped; use --force").to_lowercase(),
            ));
        }
    }
    let cgroup = cgroup_of(&record)?;
    if record.init.is_alive() {
        let _ = cgroup.thaw();
        cgroup.kill_all()?;
    }
    cgroup.remove()?;
    let config: Result<Spec> = Record::read(&record.bundle.join("config.json"));
    if let Some(hooks) = config.ok().and_then(|config| config.hooks) {
        let state = runtime::hooks::state(
            id,
            StateStatus::Stopped,
            None,
            &record.bundle,
            &record.annotations,
        );
        // The container is gone whatever they say.
        warn(&runtime::hooks::run_all(
            "poststop",
            &hooks.poststop,
            &state,
        ));
    }
    forget(&global.root.join(id));
    Ok(0)
}

fn run_exec(global: &Global, exec: &Exec) -> Result<u8> {
    let record = load(global, &exec.id)?;
    let config: Spec = Record::read(&record.bundle.join("config.json"))?;
    let process = process_for(exec, &config)?;
    let stdio = if process.terminal {
        ProcessStdio::Terminal {
            size: oci_console::size().or(process.console_size),
        }
    } else {
        ProcessStdio::Inherit
    };
    let profile = match config
        .linux
        .as_ref()
        .and_then(|linux| linux.seccomp.as_ref())
    {
        Some(profile) => SeccompProfile::Custom(Box::new(profile.clone())),
        None => SeccompProfile::Unconfined,
    };
    let mut running = runtime::exec(ExecRequest {
        target: record.init,
        process: &process,
        container: Some(&config),
        seccomp: &profile,
        cgroup: CgroupPath::parse(&record.cgroup)?,
        user: exec.user.as_deref().unwrap_or_default(),
        groups: &[],
        stdio,
        lifetime: if exec.detach {
            Lifetime::Own
        } else {
            Lifetime::WithParent
        },
    })?;
    write_pid_file(exec.pid_file.as_deref(), running.process().pid)?;
    let console = match (&exec.console_socket, running.take_console()) {
        (Some(socket), Some(master)) => {
            oci_console::send(socket, &master)?;
            None
        }
        (_, console) => console,
    };
    if exec.detach {
        return Ok(0);
    }
    Ok(oci_console::wait(&mut running, console)?.code())
}

/// The process file, or the container's process with what was asked.
fn process_for(exec: &Exec, config: &Spec) -> Result<Process> {
    let mut process: Process = if let Some(path) = &exec.process {
        runtime::read_process(path)?
    } else {
        let mut process = config.process.clone().unwrap_or_default();
        process.terminal = exec.tty;
        process.args.clone_from(&exec.args);
        process
    };
    process.env.extend(exec.env.iter().cloned());
    if let Some(cwd) = &exec.cwd {
        process.cwd.clone_from(cwd);
    }
    if exec.no_new_privileges {
        process.no_new_privileges = true;
    }
    if !exec.caps.is_empty() {
        let caps = process.capabilities.get_or_insert_default();
        for cap in &exec.caps {
            for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
                if !set.contains(cap) {
                    set.push(cap.clone());
                }
            }
        }
    }
    Ok(process)
}

fn list(global: &Global, format: ListFormat, quiet: bool) -> Result<u8> {
    let mut all = Vec::new();
    if let Ok(entries) = fs::read_dir(&global.root) {
        for entry in entries.filter_map(std::result::Result::ok) {
            let Ok(id) = entry.file_name().into_string() else {
                continue;
            };
            // Being made or being removed at this moment.
            if let Ok(state) = state_of(global, &id) {
                all.push(state);
            }
        }
    }
    all.sort_by(|one, two| one.id.cmp(&two.id));
    match format {
        _ if quiet => print_rows("", all.iter().map(|state| state.id.clone())),
        ListFormat::Json => print_json(&all),
        ListFormat::Table => {
            let header = format!("{:<24}  {:<8}  {:<8}  BUNDLE\n", "ID", "PID", "STATUS");
            let row = |state: &State| {
                format!(
                    "{:<24}  {:<8}  {:<8}  {}",
                    state.id,
                    state.pid.unwrap_or(0),
                    format!("{:?}", state.status).to_lowercase(),
                    state.bundle.display()
                )
            };
            print_rows(&header, all.iter().map(row))
        }
    }
}

fn ps(global: &Global, id: &str, format: ListFormat) -> Result<u8> {
    let pids = cgroup_of(&load(global, id)?)?.pids()?;
    match format {
        ListFormat::Json => print_json(&pids),
        ListFormat::Table => {
            let row = |pid: &i32| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                format!("{pid:<8}  {}", name.trim())
            };
            print_rows(&format!("{:<8}  COMMAND\n", "PID"), pids.iter().map(row))
        }
    }
}

fn state_of(global: &Global, id: &str) -> Result<State> {
    let record = load(global, id)?;
    let status = status_of(global, id, &record);
    let pid = (status != StateStatus::Stopped).then_some(record.init.pid);
    Ok(runtime::hooks::state(
        id,
        status,
        pid,
        &record.bundle,
        &record.annotations,
    ))
}

fn status_of(global: &Global, id: &str, record: &SandboxRecord) -> StateStatus {
    if !record.init.is_alive() {
        return StateStatus::Stopped;
    }
    // Init keeps its gate until it becomes the program.
    if global.root.join(id).join(GATE).exists() {
        return StateStatus::Created;
    }
    let frozen = cgroup_of(record).and_then(|cgroup| cgroup.is_frozen());
    if frozen.unwrap_or(false) {
        return StateStatus::Paused;
    }
    StateStatus::Running
}

fn load(global: &Global, id: &str) -> Result<SandboxRecord> {
    Record::read(&global.root.join(id).join(STATE)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::new(
            ErrorKind::NotFound,
            format!("container {id} does not exist"),
        ),
        _ => error,
    })
}

fn cgroup_of(record: &SandboxRecord) -> Result<Cgroup> {
    Cgroup::open(CgroupPath::parse(&record.cgroup)?)
}

fn listen(path: &Path) -> Result<OwnedFd> {
    let bind = || -> Result<OwnedFd> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, 4)?;
        Ok(socket)
    };
    bind().context(|| format!("listen on {}", path.display()))
}

fn make_private_directories(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .context(|| format!("make {}", path.display()))
}

/// Removes a container's directory; what cannot be removed is in nobody's way
/// but its own id's.
fn forget(directory: &Path) {
    let _ = fs::remove_dir_all(directory);
}

fn write_pid_file(path: Option<&Path>, pid: i32) -> Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    state::record::replace(path, pid.to_string().as_bytes(), Durability::Fast)
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

fn print_json(value: &impl serde::Serialize) -> Result<u8> {
    print(&String::from_utf8_lossy(&json(value)?))
}

fn print_rows(header: &str, rows: impl Iterator<Item = String>) -> Result<u8> {
    let mut text = header.to_owned();
    for row in rows {
        text.push_str(&row);
        text.push('\n');
    }
    print(&text)
}

fn print(text: &str) -> Result<u8> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context(|| "write to standard output")?;
    Ok(0)
}

#[allow(clippy::print_stderr)] // The command line is where printing belongs.
fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("wharf-runtime: warning: {warning}");
    }
}

/// Says what went wrong, on standard error and in the log that was asked for.
#[allow(clippy::print_stderr)]
pub(crate) fn report(global: Option<&Global>, error: &Error) {
    eprintln!("wharf-runtime: {error}");
    let Some((global, log)) = global.and_then(|global| Some((global, global.log.as_ref()?))) else {
        return;
    };
    let line = match global.log_format {
        LogFormat::Json => serde_json::json!({
            "level": "error",
            "msg": error.to_string(),
            "time": Timestamp::now().to_string(),
        })
        .to_string(),
        LogFormat::Text => format!("level=error msg={:?}", error.to_string()),
    };
    let file = fs::OpenOptions::new().create(true).append(true).open(log);
    // There is nobody left to tell that the log cannot be written.
    let _ = file.and_then(|mut file| writeln!(file, "{line}"));
}

/// Exit code of a failure: 127 and 126 as shells have them.
pub(crate) fn code_of(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::CommandNotFound => 127,
        ErrorKind::CommandNotExecutable => 126,
        _ => 1,
    }
}

/// What a wait ends with.
pub(crate) type Ended = ExitStatus;
