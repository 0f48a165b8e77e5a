//! Archives that are written to a file: whole, or not at all.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use engine::Engine;
use sys::{Context as _, Error, ErrorKind, Result};

use super::create::interrupted;
use super::{Call, DONE};
use crate::output::PIPE_CLOSED;
use crate::progress::Bytes;
use crate::terminal::signals::{Signals, Watch};

/// An archive to write.
pub(super) struct Archive<'a> {
    /// Its file; standard output without one, or with `-`.
    pub(super) file: Option<&'a str>,
    /// How a file is named, for whoever looks at a terminal.
    pub(super) name_a_file: &'a str,
    /// `export web`.
    pub(super) act: &'a str,
    /// What is shown meanwhile.
    pub(super) progress: Option<&'a Bytes>,
}

impl Archive<'_> {
    /// Lets `write` fill it; the exit code.
    pub(super) fn write(
        &self,
        call: &Call<'_>,
        write: impl FnOnce(&Engine, &mut (dyn Write + Send)) -> Result<()>,
    ) -> Result<u8> {
        let file = self.file.filter(|path| *path != "-");
        if file.is_none() && io::stdout().is_terminal() {
            let how = self.name_a_file;
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("stdout is a terminal: {how}, or redirect stdout"),
            ));
        }
        let engine = call.engine()?;
        let signals = Signals::new()?;
        let partial = file.map(Partial::create).transpose()?;
        let clear = || self.progress.iter().for_each(|progress| progress.clear());
        let written = std::thread::scope(|scope| {
            let _watch = Watch::start(scope, &signals, || {
                clear();
                if let Some(partial) = &partial {
                    partial.remove();
                }
                interrupted(self.act)
            });
            let mut sink: Box<dyn Write + Send + '_> = match &partial {
                Some(partial) => Box::new(&partial.file),
                None => Box::new(io::stdout()),
            };
            write(&engine, &mut *sink).and_then(|()| Ok(sink.flush()?))
        });
        clear();
        match (written, partial) {
            (Ok(()), Some(partial)) => partial.finish()?,
            (Ok(()), None) => {}
            (Err(error), None) if error.errno() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {
                return Ok(PIPE_CLOSED);
            }
            (Err(error), partial) => {
                if let Some(partial) = partial {
                    partial.remove();
                }
                return Err(error).context(|| self.act);
            }
        }
        Ok(DONE)
    }
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
