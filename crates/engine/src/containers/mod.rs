//! Containers: one file per verb.
//!
//! Every verb takes a name, an id or a unique prefix of an id as the user
//! wrote it, except where a [`state::ContainerId`] is asked for.
//!
//! Start reading at [`request`] (what can be asked), then `create.rs` and
//! `start.rs`.

pub mod inspect;
pub mod list;
pub mod logs;
pub mod request;
pub mod session;

use std::collections::BTreeMap;
use std::time::Duration;

use state::{ContainerId, ExitRecord};
use sys::{Error, ErrorKind, Result};

use crate::Engine;
use crate::images::PullEvent;
use inspect::ContainerInspect;
use list::{ContainerSummary, ListRequest};
use logs::LogEntry;
use request::{AttachRequest, CommitRequest, ExecRequest, LogsRequest, RemoveRequest, RunRequest};
use session::Session;

/// The containers of a store; one method is one verb.
#[derive(Clone, Copy, Debug)]
pub struct Containers<'a> {
    #[allow(dead_code)]
    engine: &'a Engine,
}

/// What `create` made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    pub id: ContainerId,
    /// What was asked for and cannot be had, in words.
    pub warnings: Vec<String>,
}

/// What happens while a container is created.
#[derive(Clone, Debug)]
pub enum CreateEvent {
    /// The image is not here; it is pulled now.
    ImageMissing {
        name: String,
    },
    Pull(PullEvent),
}

/// One changed path of a container (`diff`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub path: std::path::PathBuf,
    pub kind: ChangeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

fn later<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "not there yet"))
}

impl<'a> Containers<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine }
    }

    /// Who is meant by a name, an id or a unique prefix of an id. `NotFound`:
    /// "no such container: x".
    pub fn resolve(&self, _text: &str) -> Result<ContainerId> {
        later()
    }

    /// Creates a container; the image is pulled first if policy says so.
    pub fn create(
        &self,
        _request: &RunRequest,
        _observe: &(dyn Fn(CreateEvent) + Sync),
    ) -> Result<Created> {
        later()
    }

    /// Starts a container in the background.
    pub fn start(&self, _container: &str) -> Result<()> {
        later()
    }

    /// Starts a container and takes part in it: nothing of its output is
    /// missed. `run` is `create` and this.
    pub fn start_attached(&self, _container: &str, _attach: &AttachRequest) -> Result<Session> {
        later()
    }

    /// Takes part in a running container.
    pub fn attach(&self, _container: &str, _attach: &AttachRequest) -> Result<Session> {
        later()
    }

    /// Stops it: its stop signal, then SIGKILL after `timeout` (its own if
    /// absent). Fine if it does not run.
    pub fn stop(&self, _container: &str, _timeout: Option<Duration>) -> Result<()> {
        later()
    }

    /// Sends a signal; `Conflict` if it does not run.
    pub fn kill(&self, _container: &str, _signal: i32) -> Result<()> {
        later()
    }

    /// Removes a container with its writable layer.
    pub fn remove(&self, _container: &str, _request: RemoveRequest) -> Result<ContainerId> {
        later()
    }

    /// Waits until it does not run; at once if it does not.
    pub fn wait(&self, _container: &str) -> Result<ExitRecord> {
        later()
    }

    /// Runs one more process in a running container and takes part in it.
    pub fn exec(&self, _container: &str, _request: &ExecRequest) -> Result<Session> {
        later()
    }

    /// Runs one more process in a running container, in the background.
    pub fn exec_detached(&self, _container: &str, _request: &ExecRequest) -> Result<()> {
        later()
    }

    /// Hands over the lines of its log, oldest first, until they end (or the
    /// container does, if they are followed).
    pub fn logs(
        &self,
        _container: &str,
        _request: &LogsRequest,
        _take: &mut dyn FnMut(LogEntry) -> Result<()>,
    ) -> Result<()> {
        later()
    }

    /// What its writable layer changes, sorted by path.
    pub fn diff(&self, _container: &str) -> Result<Vec<Change>> {
        later()
    }

    /// Makes an image of it; gives the image's id.
    pub fn commit(&self, _container: &str, _request: &CommitRequest) -> Result<spec::Digest> {
        later()
    }

    /// Gives it another name.
    pub fn rename(&self, _container: &str, _name: &str) -> Result<()> {
        later()
    }

    /// Newest first.
    pub fn list(&self, _request: &ListRequest) -> Result<Vec<ContainerSummary>> {
        later()
    }

    /// Everything about it, in the shape of Docker's `inspect`.
    pub fn inspect(&self, _container: &str) -> Result<ContainerInspect> {
        later()
    }
}

#[allow(unused)]
type Labels = BTreeMap<String, String>;
