//! `wharf save`.

use std::io::{self, IsTerminal as _, Write as _};

use sys::{Context as _, Error, ErrorKind, Result};

use super::create::interrupted;
use super::partial::Partial;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::PIPE_CLOSED;
use crate::progress::{Bytes, Verbosity};
use crate::terminal::signals::{Signals, Watch};

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let names: Vec<String> = given
        .texts("IMAGE")
        .into_iter()
        .map(str::to_owned)
        .collect();
    let output = given.text("output").filter(|path| *path != "-");
    if output.is_none() && io::stdout().is_terminal() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "stdout is a terminal: name a file with -o, or redirect stdout",
        ));
    }
    let engine = call.engine()?;
    let signals = Signals::new()?;
    let partial = output.map(Partial::create).transpose()?;
    let bytes = Bytes::new("Saving", None, Verbosity::Messages);
    let saved = std::thread::scope(|scope| {
        let _watch = Watch::start(scope, &signals, || {
            bytes.clear();
            if let Some(partial) = &partial {
                partial.remove();
            }
            interrupted("save images")
        });
        let images = engine.images();
        let on_bytes = |so_far| bytes.at(so_far);
        match &partial {
            Some(partial) => images
                .save(&names, &partial.file, &on_bytes)
                .and_then(|mut file| Ok(file.flush()?)),
            None => images
                .save(&names, io::stdout().lock(), &on_bytes)
                .and_then(|mut stdout| Ok(stdout.flush()?)),
        }
    });
    bytes.clear();
    match (saved, partial) {
        (Ok(()), Some(partial)) => partial.finish()?,
        (Ok(()), None) => {}
        (Err(error), Some(partial)) => {
            partial.remove();
            return Err(error).context(|| "save images");
        }
        (Err(error), None) if error.errno() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {
            return Ok(PIPE_CLOSED);
        }
        (Err(error), None) => return Err(error).context(|| "save images"),
    }
    Ok(DONE)
}
