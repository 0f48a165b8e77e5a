//! `wharf run`: create, start, take part, wait.

use engine::{AttachRequest, Engine, RemoveRequest, RunRequest};
use state::{ContainerId, StdinMode};
use sys::{Error, ErrorKind, Result};

use super::attached::{OnClosedPipe, detach_keys, take_part};
use super::create::{CidFile, create, short};
use super::{Call, DONE};
use crate::args::Given as _;
use crate::args::run::request;
use crate::output;
use crate::terminal;
use crate::terminal::session::{Manner, require_terminal};
use crate::terminal::signals::Signals;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let request = request(given)?;
    let detach = given.on("detach");
    let manner = manner(call, &request, detach)?;
    let mut cid_file = CidFile::claim(given.text("cidfile"))?;
    let engine = call.engine()?;
    // From here on a signal is for the container.
    let signals = Signals::new()?;
    let created = create(call, &engine, &request, &signals)?;
    call.timings.done("create");
    let id = created.id.to_string();
    let failed = |error| undo(&engine, &request, &created.id, error);
    cid_file.write(&created.id).map_err(failed)?;
    if detach {
        engine
            .containers()
            .start_telling(&id, &starts_cold)
            .map_err(failed)?;
        cid_file.keep();
        call.timings.done("start");
        output::print_line(&id)?;
        return Ok(DONE);
    }
    let attach = AttachRequest {
        stdin: manner.stdin,
        size: manner.tty.then(terminal::size).flatten(),
    };
    let session = engine
        .containers()
        .start_attached(&id, &attach, &starts_cold)
        .map_err(failed)?;
    cid_file.keep();
    call.timings.done("start");
    let code = take_part(session, &manner, &signals, OnClosedPipe::Kill);
    call.timings.done("run and clean up");
    code
}

/// Its image is warm, and yet it has to begin from the beginning.
pub(super) fn starts_cold(why: &Error) {
    output::note(&format!("it starts cold: {why}"));
}

fn manner(call: &Call<'_>, request: &RunRequest, detach: bool) -> Result<Manner> {
    let given = call.given;
    let named = given.texts("attach");
    if detach && !named.is_empty() {
        return Err(invalid("-a and -d exclude each other"));
    }
    let streams: Vec<String> = named.iter().map(|name| name.to_lowercase()).collect();
    let known = ["stdin", "stdout", "stderr"];
    if let Some(other) = streams.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(invalid(&format!(
            "-a takes stdin, stdout or stderr, not {other:?}"
        )));
    }
    let all = streams.is_empty();
    let has = |name: &str| streams.iter().any(|stream| stream == name);
    let manner = Manner {
        stdin: (all || has("stdin")) && request.process.stdin != StdinMode::Closed,
        stdout: all || has("stdout"),
        stderr: all || has("stderr"),
        tty: request.process.tty,
        forward: given.on_or("sig-proxy", true),
        keys: detach_keys(given)?,
    };
    if !detach {
        require_terminal(&manner)?;
    }
    Ok(manner)
}

/// What could not be started leaves nothing, with or without `--rm`: nobody has
/// seen it, and its name must be free for the next try. Docker keeps it.
fn undo(engine: &Engine, request: &RunRequest, id: &ContainerId, error: Error) -> Error {
    let named = match &request.name {
        Some(name) => format!("start {name}"),
        None => format!("start {}", short(id)),
    };
    let error = error.wrap(named);
    let remove = RemoveRequest {
        force: true,
        volumes: true,
    };
    match engine.containers().remove(&id.to_string(), remove) {
        Err(second) if second.kind() != ErrorKind::NotFound => {
            error.wrap(format!("and its removal failed ({second})"))
        }
        _ => error,
    }
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}
