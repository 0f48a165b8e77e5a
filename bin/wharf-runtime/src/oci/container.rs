//! A container as this command line knows it: a directory `<root>/<id>` with
//! the facts of its creation. What state it is in is derived from them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use runtime::{Cgroup, CgroupManager, CgroupPath};
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};
use spec::runtime::{Spec, State, StateStatus};
use state::{Durability, Record, SandboxRecord};
use sys::{Context as _, Error, ErrorKind, Result};

use super::args::Global;

const RECORD: &str = "state.json";
/// The configuration as it was when the container was created.
pub(super) const CONFIG: &str = "config.json";
/// Where init listens until it is started.
pub(super) const GATE: &str = "gate.sock";

/// The facts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    #[serde(flatten)]
    pub(super) sandbox: SandboxRecord,
    pub(super) rootfs: PathBuf,
    /// Whether it has a session keyring of its own, for others to join.
    pub(super) has_keyring: bool,
}

/// One that exists.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) directory: PathBuf,
    pub(super) facts: Facts,
}

/// What `state` and `list` say of it: the specification's state, and what the
/// other runtimes add to that.
#[derive(Debug, Serialize)]
pub(super) struct Described {
    #[serde(flatten)]
    pub(super) state: State,
    pub(super) rootfs: PathBuf,
    pub(super) created: String,
    pub(super) owner: String,
}

impl Container {
    pub(super) fn load(global: &Global, id: &str) -> Result<Self> {
        let directory = global.root.join(id);
        let facts = Record::read(&directory.join(RECORD)).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(
                ErrorKind::NotFound,
                format!("container {id} does not exist"),
            ),
            _ => error,
        })?;
        Ok(Self {
            id: id.to_owned(),
            directory,
            facts,
        })
    }

    /// All of them, by id. One that is being made or removed at this moment
    /// is not among them.
    pub(super) fn all(global: &Global) -> Result<Vec<Self>> {
        let entries = match fs::read_dir(&global.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error).context(|| format!("read {}", global.root.display()));
            }
        };
        let mut all: Vec<Self> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|id| Self::load(global, &id).ok())
            .collect();
        all.sort_by(|one, two| one.id.cmp(&two.id));
        Ok(all)
    }

    pub(super) fn write(directory: &Path, facts: &Facts) -> Result<()> {
        Record::write(&directory.join(RECORD), facts, Durability::Fast)
    }

    /// What it was created from; `update` keeps the limits in it right.
    pub(super) fn config(&self) -> Result<Spec> {
        runtime::read_spec(&self.directory.join(CONFIG))
    }

    pub(super) fn write_config(&self, config: &Spec) -> Result<()> {
        Record::write(&self.directory.join(CONFIG), config, Durability::Fast)
    }

    pub(super) fn cgroup(&self) -> Result<Cgroup> {
        let sandbox = &self.facts.sandbox;
        Cgroup::made_by(sandbox.cgroup_manager, &sandbox.cgroup)
    }

    /// Where one more process goes.
    pub(super) fn place_of_cgroup(&self) -> Result<(CgroupManager, CgroupPath)> {
        let sandbox = &self.facts.sandbox;
        if sandbox.cgroup.is_empty() {
            return Ok((CgroupManager::Disabled, CgroupPath::of_container(&self.id)?));
        }
        Ok((sandbox.cgroup_manager, CgroupPath::parse(&sandbox.cgroup)?))
    }

    /// All processes; of a container without a cgroup only init is known.
    pub(super) fn pids(&self) -> Result<Vec<i32>> {
        let cgroup = self.cgroup()?;
        if cgroup.path().is_some() {
            return cgroup.pids();
        }
        let init = self.facts.sandbox.init;
        Ok(Some(init.pid)
            .filter(|_| init.is_alive())
            .into_iter()
            .collect())
    }

    /// Kills all processes, as far as they are known.
    pub(super) fn kill_all(&self) -> Result<()> {
        let cgroup = self.cgroup()?;
        if cgroup.path().is_some() {
            // Version 1 lets nobody die who stands still.
            if cgroup.is_frozen().unwrap_or(false) {
                cgroup.thaw()?;
            }
            return cgroup.kill_all();
        }
        match self.signal(9) {
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            done => done,
        }
    }

    pub(super) fn gate(&self) -> PathBuf {
        self.directory.join(GATE)
    }

    pub(super) fn status(&self) -> StateStatus {
        if !self.facts.sandbox.init.is_alive() {
            return StateStatus::Stopped;
        }
        // Init keeps its gate until it becomes the program.
        if self.gate().exists() {
            return StateStatus::Created;
        }
        let frozen = self.cgroup().and_then(|cgroup| cgroup.is_frozen());
        if frozen.unwrap_or(false) {
            return StateStatus::Paused;
        }
        StateStatus::Running
    }

    pub(super) fn state(&self) -> State {
        self.state_as(self.status())
    }

    pub(super) fn state_as(&self, status: StateStatus) -> State {
        let sandbox = &self.facts.sandbox;
        let pid = (status != StateStatus::Stopped).then_some(sandbox.init.pid);
        let annotations: &BTreeMap<String, String> = &sandbox.annotations;
        runtime::hooks::state(&self.id, status, pid, &sandbox.bundle, annotations)
    }

    pub(super) fn described(&self) -> Described {
        Described {
            state: self.state(),
            rootfs: self.facts.rootfs.clone(),
            created: self.facts.sandbox.created.to_string(),
            owner: self.owner(),
        }
    }

    /// Whose container it is, by name if the user has one.
    fn owner(&self) -> String {
        use std::os::unix::fs::MetadataExt as _;
        let Ok(found) = fs::metadata(&self.directory) else {
            return String::new();
        };
        let uid = found.uid().to_string();
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == uid).then(|| name.to_owned())
        });
        name.unwrap_or(uid)
    }

    /// Sends a signal to init.
    pub(super) fn signal(&self, signal: i32) -> Result<()> {
        // In these words other engines know a process that is gone.
        let gone = || Error::new(ErrorKind::Conflict, "container not running");
        let init = self.facts.sandbox.init;
        let send = || -> Result<()> {
            let pid = Pid::from_raw(init.pid).ok_or_else(gone)?;
            let pidfd =
                rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
            // Only now is it certain that the pid is not somebody else's.
            if !init.is_alive() {
                return Err(gone());
            }
            sys::process::signal_pidfd(std::os::fd::AsFd::as_fd(&pidfd), signal)
        };
        send().context(|| format!("send signal {signal} to container {}", self.id))
    }

    /// Runs the hooks that follow the start of the program.
    pub(super) fn poststart(&self, config: &Spec) -> Result<()> {
        match &config.hooks {
            Some(hooks) if !hooks.poststart.is_empty() => {
                let state = self.state_as(StateStatus::Running);
                runtime::hooks::run("poststart", &hooks.poststart, &state)
            }
            _ => Ok(()),
        }
    }

    /// Runs the hooks that follow its end; what went wrong, in words.
    pub(super) fn poststop(&self, config: &Spec) -> Vec<String> {
        match &config.hooks {
            Some(hooks) if !hooks.poststop.is_empty() => {
                let state = self.state_as(StateStatus::Stopped);
                runtime::hooks::run_all("poststop", &hooks.poststop, &state)
            }
            _ => Vec::new(),
        }
    }

    /// Removes its directory; what cannot be removed is in nobody's way but
    /// its own id's.
    pub(super) fn forget(&self) {
        // Mostly there is nothing else in it.
        let known = [RECORD, CONFIG].map(|name| fs::remove_file(self.directory.join(name)));
        if known.iter().any(std::io::Result::is_err) || fs::remove_dir(&self.directory).is_err() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }

    pub(super) fn conflict(&self, what: &str) -> Error {
        Error::new(ErrorKind::Conflict, format!("container {} {what}", self.id))
    }
}
