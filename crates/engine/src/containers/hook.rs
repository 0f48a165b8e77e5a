//! A command that runs in a container whose processes are there and do not
//! move yet.

use state::{ContainerConfig, ProcessRef};
use sys::{Context as _, Error, ErrorKind, Result};

use super::exec::launch_in;
use super::request::ExecRequest;
use super::session::{Role, Session, SessionEvent};
use crate::Engine;
use crate::runtime_spec::cgroup_path;

/// So much of what it says is told if it fails.
const OUTPUT_MAX: usize = 4096;

/// As `exec` would run it, by the container's shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) command: String,
    /// Beside the container's own.
    pub(super) env: Vec<String>,
}

impl Hook {
    /// Runs it to its end; an error unless it succeeds.
    pub(super) fn run(
        &self,
        engine: &Engine,
        config: &ContainerConfig,
        init: ProcessRef,
    ) -> Result<()> {
        self.try_run(engine, config, init)
            .context(|| format!("hook in {}", config.name))
    }

    fn try_run(&self, engine: &Engine, config: &ContainerConfig, init: ProcessRef) -> Result<()> {
        let shell = ["/bin/sh".to_owned(), "-c".to_owned()];
        let request = ExecRequest {
            command: shell.into_iter().chain([self.command.clone()]).collect(),
            env: self.env.clone(),
            ..ExecRequest::default()
        };
        let group = cgroup_path(config);
        let channel = launch_in(engine, config, (init, &group), &request, true)?;
        let session = Session::new(engine, config.id, channel, Role::Exec);
        let mut said = Vec::new();
        loop {
            match session.next_event()? {
                SessionEvent::Stdout(text) | SessionEvent::Stderr(text) => {
                    said.extend(text);
                    // The end tells the cause.
                    let surplus = said.len().saturating_sub(OUTPUT_MAX);
                    said.drain(..surplus);
                }
                SessionEvent::Exited(record) if record.status.code() == 0 => return Ok(()),
                SessionEvent::Exited(record) => {
                    let said = String::from_utf8_lossy(&said);
                    let last = said.trim_end().lines().last().unwrap_or("it said nothing");
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("it ended with {}: {last}", record.status.code()),
                    ));
                }
                SessionEvent::Suspended | SessionEvent::Closed => {
                    return Err(Error::new(ErrorKind::Internal, "its end was not seen"));
                }
            }
        }
    }
}
