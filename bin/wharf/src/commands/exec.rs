//! `wharf exec`.

use engine::ExecRequest;
use sys::{Context as _, Error, ErrorKind, Result};

use super::attached::{OnClosedPipe, detach_keys, take_part};
use super::{Call, DONE};
use crate::args::Given as _;
use crate::args::run::environment_of;
use crate::terminal;
use crate::terminal::session::{Manner, require_terminal};
use crate::terminal::signals::Signals;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let mut words = given.texts("CONTAINER").into_iter();
    let name = words.next().unwrap_or_default();
    let command: Vec<String> = words.map(str::to_owned).collect();
    if command.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "an argument is missing: the command to execute",
        ));
    }
    let detach = given.on("detach");
    let manner = Manner {
        stdin: given.on("interactive") && !detach,
        stdout: true,
        stderr: true,
        tty: given.on("tty"),
        forward: true,
        keys: detach_keys(given)?,
    };
    require_terminal(&manner)?;
    let request = ExecRequest {
        command,
        env: environment_of(given)?,
        workdir: given.text("workdir").map(str::to_owned),
        user: given.text("user").map(str::to_owned),
        tty: manner.tty,
        stdin: manner.stdin,
        privileged: given.on("privileged"),
        size: (manner.tty && !detach).then(terminal::size).flatten(),
    };
    let act = || format!("exec in {name}");
    let engine = call.engine()?;
    if detach {
        engine
            .containers()
            .exec_detached(name, &request)
            .context(act)?;
        return Ok(DONE);
    }
    let signals = Signals::new()?;
    let session = engine.containers().exec(name, &request).context(act)?;
    call.timings.done("start");
    let code = take_part(session, &manner, &signals, OnClosedPipe::Kill).context(act);
    call.timings.done("run");
    code
}
