//! `wharf attach`.

use engine::AttachRequest;
use sys::{Context as _, Error, ErrorKind, Result};

use super::Call;
use super::attached::{OnClosedPipe, detach_keys, take_part};
use crate::args::Given as _;
use crate::terminal;
use crate::terminal::session::{Manner, require_terminal};
use crate::terminal::signals::Signals;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let name = call.given.text("CONTAINER").unwrap_or_default();
    let act = || format!("attach to {name}");
    let engine = call.engine()?;
    let container = engine.containers().inspect(name).context(act)?;
    if !container.state.running && container.state.suspended.is_none() {
        return Err(Error::new(ErrorKind::Conflict, "it is not running")).context(act);
    }
    let manner = Manner {
        stdin: container.config.open_stdin && !call.given.on("no-stdin"),
        stdout: true,
        stderr: true,
        tty: container.config.tty,
        forward: call.given.on_or("sig-proxy", true),
        keys: detach_keys(call.given)?,
    };
    require_terminal(&manner)?;
    let signals = Signals::new()?;
    let attach = AttachRequest {
        stdin: manner.stdin,
        size: manner.tty.then(terminal::size).flatten(),
    };
    let session = engine.containers().attach(name, &attach).context(act)?;
    take_part(session, &manner, &signals, OnClosedPipe::Leave)
}
