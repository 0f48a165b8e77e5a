//! `wharf export`.

use std::io::{self, BufWriter, IsTerminal as _, Write as _};

use sys::{Context as _, Error, ErrorKind, Result};

use super::create::interrupted;
use super::partial::Partial;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::PIPE_CLOSED;
use crate::terminal::signals::{Signals, Watch};

const BUFFER: usize = 256 << 10;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let name = call.given.text("CONTAINER").unwrap_or_default();
    let output = call.given.text("output").filter(|path| *path != "-");
    if output.is_none() && io::stdout().is_terminal() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "stdout is a terminal: name a file with -o, or redirect stdout",
        ));
    }
    let engine = call.engine()?;
    let signals = Signals::new()?;
    let partial = output.map(Partial::create).transpose()?;
    let act = || format!("export {name}");
    let exported = std::thread::scope(|scope| {
        let _watch = Watch::start(scope, &signals, || {
            if let Some(partial) = &partial {
                partial.remove();
            }
            interrupted(&act())
        });
        let containers = engine.containers();
        match &partial {
            Some(partial) => containers
                .export(name, BufWriter::with_capacity(BUFFER, &partial.file))
                .and_then(|mut file| Ok(file.flush()?)),
            None => containers
                .export(name, BufWriter::with_capacity(BUFFER, io::stdout()))
                .and_then(|mut stdout| Ok(stdout.flush()?)),
        }
    });
    match (exported, partial) {
        (Ok(()), Some(partial)) => partial.finish()?,
        (Ok(()), None) => {}
        (Err(error), None) if error.errno() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {
            return Ok(PIPE_CLOSED);
        }
        (Err(error), partial) => {
            if let Some(partial) = partial {
                partial.remove();
            }
            return Err(error).context(act);
        }
    }
    Ok(DONE)
}
