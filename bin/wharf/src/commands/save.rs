//! `wharf save`.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use sys::{Context as _, Error, ErrorKind, Result};

use super::create::interrupted;
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

/// The file under another name until it is whole, so that a failure neither
/// leaves half an archive nor harms the one that is there.
struct Partial {
    file: File,
    path: PathBuf,
    /// Absent if the target is no regular file (`/dev/null`, a pipe).
    target: Option<PathBuf>,
}

impl Partial {
    fn create(target: &str) -> Result<Self> {
        let target = Path::new(target);
        let named = || format!("write {}", target.display());
        let special = target
            .metadata()
            .is_ok_and(|about| !about.is_file() && !about.is_dir());
        if special {
            return Ok(Self {
                file: File::options().write(true).open(target).context(named)?,
                path: target.to_owned(),
                target: None,
            });
        }
        let Some(name) = target.file_name().filter(|_| !target.is_dir()) else {
            return Err(Error::new(ErrorKind::InvalidInput, "it is a directory")).context(named);
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let path = target.with_file_name(hidden);
        Ok(Self {
            file: File::create_new(&path).context(named)?,
            path,
            target: Some(target.to_owned()),
        })
    }

    fn finish(self) -> Result<()> {
        match &self.target {
            Some(target) => std::fs::rename(&self.path, target)
                .context(|| format!("write {}", target.display())),
            None => Ok(()),
        }
    }

    fn remove(&self) {
        if self.target.is_some() {
            // What failed before is what is told.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
