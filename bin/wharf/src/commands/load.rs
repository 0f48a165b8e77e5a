//! `wharf load`.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};

use sys::{Context as _, Error, ErrorKind, Result};

use super::create::interrupted;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output;
use crate::progress::{Bytes, Verbosity};
use crate::terminal::signals::{Signals, Watch};

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let (source, total) = open(given.text("input").unwrap_or("-"))?;
    let verbosity = if given.on("quiet") {
        Verbosity::Quiet
    } else {
        Verbosity::Results
    };
    let engine = call.engine()?;
    let signals = Signals::new()?;
    let bytes = Bytes::new("Loading", total, verbosity);
    let loaded = std::thread::scope(|scope| {
        let _watch = Watch::start(scope, &signals, || {
            bytes.clear();
            interrupted("load images")
        });
        engine.images().load(source, &|so_far| bytes.at(so_far))
    });
    bytes.clear();
    for image in loaded.context(|| "load images")? {
        if image.references.is_empty() {
            output::print_line(&format!("Loaded image ID: {}", image.image.id))?;
        }
        for name in image.references {
            output::print_line(&format!("Loaded image: {}", name.familiar()))?;
        }
    }
    Ok(DONE)
}

/// A file, or stdin for `-`; with its length, if it has one.
pub(super) fn open(path: &str) -> Result<(Box<dyn Read>, Option<u64>)> {
    if path == "-" {
        if io::stdin().is_terminal() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "stdin is a terminal: name a file with -i, or redirect stdin",
            ));
        }
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let file = File::open(path).context(|| format!("open {path}"))?;
    let about = file.metadata().context(|| format!("look at {path}"))?;
    if about.is_dir() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{path} is a directory; an archive is a file"),
        ));
    }
    let total = about.is_file().then_some(about.len());
    Ok((Box::new(file), total))
}
