//! `wharf run`: create, start, take part, wait.

use engine::AttachRequest;
use state::{ContainerId, StdinMode};
use sys::{Context as _, Error, ErrorKind, Result};

use super::attached::{OnClosedPipe, detach_keys, take_part};
use super::{Call, DONE, create};
use crate::args::Given as _;
use crate::args::run::request;
use crate::output;
use crate::terminal::session::{Manner, require_terminal};
use crate::terminal::signals::Signals;
use crate::terminal;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let request = request(given)?;
    let streams = Streams::of(&given.texts("attach"))?;
    let detach = given.on("detach");
    if detach && streams.is_some() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "-a and -d exclude each other",
        ));
    }
    let streams = streams.unwrap_or(Streams {
        stdin: request.process.stdin != StdinMode::Closed,
        stdout: true,
        stderr: true,
    });
    let manner = Manner {
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
        tty: request.process.tty,
        forward: given.on_or("sig-proxy", true),
        keys: detach_keys(given)?,
    };
    if !detach {
        require_terminal(&manner)?;
    }
    let mut cid_file = create::CidFile::claim(given.text("cidfile"))?;
    let engine = call.engine()?;
    // From here on a signal is for the container.
    let signals = Signals::new()?;
    let created = create::create(call, &engine, &request, &signals)?;
    cid_file.write(&created.id)?;
    let id = created.id.to_string();
    call.timings.done("create");
    if detach {
        engine
            .containers()
            .start(&id)
            .context(|| act(&request, &created.id))
            .map_err(|error| clean(&engine, &id, error))?;
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
        .start_attached(&id, &attach)
        .context(|| act(&request, &created.id))
        .map_err(|error| clean(&engine, &id, error))?;
    call.timings.done("start");
    let code = take_part(session, &manner, &signals, OnClosedPipe::Kill);
    call.timings.done("run");
    code
}

/// `start web`.
fn act(request: &engine::RunRequest, id: &ContainerId) -> String {
    match &request.name {
        Some(name) => format!("start {name}"),
        None => format!("start {}", create::short(id)),
    }
}
