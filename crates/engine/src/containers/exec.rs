//! `exec`: one more monitor, with [`Work::Exec`].

use std::path::PathBuf;

use spec::runtime::Process;
use state::{
    Channel, ContainerConfig, ContainerId, ExecSpec, LogTarget, MonitorJob, ProcessRef,
    RestartPolicy, SandboxRecord, SeccompProfile, StdinMode, ToMonitor, Work,
};
use sys::{Error, ErrorKind, Result};

use super::Containers;
use super::attach::refuse_if_paused;
use super::observe::{self, Observed};
use super::request::ExecRequest;
use super::session::{Role, Session};
use super::stop::no_such;
use crate::Engine;
use crate::apparmor;
use crate::launch::launch;
use crate::runtime_spec;

impl Containers<'_> {
    /// Runs one more process in a running container and takes part in it.
    pub fn exec(&self, container: &str, request: &ExecRequest) -> Result<Session> {
        let (id, channel) = self.launch_exec(container, request, true)?;
        Ok(Session::new(self.engine, id, channel, Role::Exec))
    }

    /// Runs one more process in a running container, in the background.
    pub fn exec_detached(&self, container: &str, request: &ExecRequest) -> Result<()> {
        self.launch_exec(container, request, false).map(drop)
    }

    fn launch_exec(
        &self,
        container: &str,
        request: &ExecRequest,
        attach: bool,
    ) -> Result<(ContainerId, Channel)> {
        let id = self.resolve(container)?;
        let observed = observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        refuse_if_paused(self.engine, &id, container)?;
        let sandbox = sandbox(&observed).ok_or_else(|| {
            Error::new(
                ErrorKind::Conflict,
                format!("container {container} is not running"),
            )
        })?;
        let place = (sandbox.init, sandbox.cgroup.as_str());
        let channel = launch_in(self.engine, &observed.config, place, request, attach)?;
        Ok((id, channel))
    }
}

/// Runs one more process beside `init`, in its cgroup.
pub(super) fn launch_in(
    engine: &Engine,
    config: &ContainerConfig,
    (init, cgroup): (ProcessRef, &str),
    request: &ExecRequest,
    attach: bool,
) -> Result<Channel> {
    let job = MonitorJob {
        id: config.id,
        work: Work::Exec(Box::new(ExecSpec {
            target: init,
            cgroup: cgroup.to_owned(),
            process: process(config, request)?,
            seccomp: if request.privileged {
                SeccompProfile::Unconfined
            } else {
                config.confinement.seccomp.clone()
            },
            user: request
                .user
                .clone()
                .unwrap_or_else(|| config.process.user.clone()),
            groups: config.process.groups.clone(),
        })),
        // Nobody but us takes part in it: it needs no socket.
        run_dir: PathBuf::new(),
        exit_record: None,
        log: LogTarget::None,
        stdin: if request.stdin && attach {
            StdinMode::Once
        } else {
            StdinMode::Closed
        },
        restart: RestartPolicy::No,
        health: None,
        events: None,
        on_exit: Vec::new(),
        fds: Vec::new(),
    };
    let launched = launch(engine, &job, &[])?;
    launched.wait_ready()?;
    if attach {
        launched.channel().send(&ToMonitor::Attach {
            stdin: request.stdin,
        })?;
    }
    let (channel, _process) = launched.go()?;
    Ok(channel)
}

fn sandbox(observed: &Observed) -> Option<&SandboxRecord> {
    if !observed.is_running() {
        return None;
    }
    observed.facts.as_ref()?.sandbox.as_ref()
}

/// The container's process with the request's changes.
fn process(config: &ContainerConfig, request: &ExecRequest) -> Result<Process> {
    if request.command.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "no command to run"));
    }
    let mut process = runtime_spec::process(config, request.size)?;
    process.args.clone_from(&request.command);
    process.terminal = request.tty;
    process.env = runtime_spec::environment(config, request.tty, &request.env);
    if let Some(workdir) = &request.workdir {
        if !workdir.starts_with('/') {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the working directory {workdir:?} is not an absolute path"),
            ));
        }
        process.cwd.clone_from(workdir);
    }
    if request.privileged {
        process.capabilities = Some(runtime_spec::all_capabilities()?);
    } else {
        process.apparmor_profile = apparmor::prepare(&config.confinement)?;
    }
    Ok(process)
}
