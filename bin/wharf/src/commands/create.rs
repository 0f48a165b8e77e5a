//! `wharf create`, and the creation that `run` begins with.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use engine::{CreateEvent, Created, Engine, RunRequest};
use state::ContainerId;
use sys::{Context as _, Error, ErrorKind, Result};

use super::{Call, DONE};
use crate::args::Given as _;
use crate::args::run::request;
use crate::output;
use crate::progress::{Progress, Verbosity};
use crate::terminal::signals::{Signals, Watch};

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let request = request(call.given)?;
    let mut cid_file = CidFile::claim(call.given.text("cidfile"))?;
    let engine = call.engine()?;
    let signals = Signals::new()?;
    let created = create(call, &engine, &request, &signals)?;
    cid_file.write(&created.id)?;
    cid_file.keep();
    call.timings.done("create");
    output::print_line(&created.id.to_string())?;
    Ok(DONE)
}

/// Creates a container and tells what happens meanwhile. While an image is
/// pulled, a signal ends the program.
pub(super) fn create(
    call: &Call<'_>,
    engine: &Engine,
    request: &RunRequest,
    signals: &Signals,
) -> Result<Created> {
    let verbosity = if call.given.on("quiet") {
        Verbosity::Quiet
    } else {
        Verbosity::Messages
    };
    // Neither progress nor thread unless something is pulled.
    let progress = OnceLock::new();
    let watch = OnceLock::new();
    let created = std::thread::scope(|scope| {
        let created = engine.containers().create(request, &|event| {
            let progress = progress.get_or_init(|| Progress::new(verbosity));
            watch.get_or_init(|| {
                Watch::start(scope, signals, || {
                    progress.clear();
                    interrupted(&format!("pull {}", request.image))
                })
            });
            match event {
                CreateEvent::ImageMissing { name } => {
                    progress.line(&format!("Unable to find image '{name}' locally"));
                }
                CreateEvent::Pull(event) => progress.pull(&event),
            }
        });
        // Ends the watching thread.
        drop(watch);
        created
    });
    if let Some(progress) = progress.into_inner() {
        progress.settle();
    }
    let created = created?;
    for warning in &created.warnings {
        output::note(&format!("WARNING: {warning}"));
    }
    Ok(created)
}

/// The user ended a long act.
pub(super) fn interrupted(act: &str) -> ! {
    crate::terminal::raw::restore();
    let error = Error::new(ErrorKind::Interrupted, format!("{act}: interrupted"));
    output::note(&crate::errors::message(&error, false));
    std::process::exit(crate::errors::INTERRUPTED.into());
}

/// The first 12 digits.
pub(super) fn short(id: &ContainerId) -> String {
    id.to_string().chars().take(12).collect()
}

/// `--cidfile`: made before the container, so that a file which is there is
/// said in time; gone again if there is no container.
#[derive(Debug)]
pub(super) struct CidFile {
    file: Option<(File, PathBuf)>,
}

impl CidFile {
    pub(super) fn claim(path: Option<&str>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self { file: None });
        };
        let path = PathBuf::from(path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .context(|| format!("make the file for the container's id {}", path.display()))?;
        Ok(Self {
            file: Some((file, path)),
        })
    }

    pub(super) fn write(&mut self, id: &ContainerId) -> Result<()> {
        let Some((file, path)) = &mut self.file else {
            return Ok(());
        };
        file.write_all(id.to_string().as_bytes())
            .context(|| format!("write {}", path.display()))
    }

    /// The container is there to stay, and so is its file.
    pub(super) fn keep(mut self) {
        self.file = None;
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.file {
            // The failure that brought us here is what is told.
            let _ = std::fs::remove_file(path);
        }
    }
}
