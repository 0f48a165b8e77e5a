//! `wharf pull`.

use engine::Engine;
use engine::images::{PullRequest, PullStatus};
use spec::Reference;
use sys::{Context as _, Error, ErrorKind, Result};

use super::create::interrupted;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::args::run::platform;
use crate::errors::during;
use crate::output;
use crate::progress::{Progress, Verbosity};
use crate::terminal::signals::{Signals, Watch};

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let name = given.text("NAME").unwrap_or_default();
    let reference = super::reference(name)?;
    let engine = call.engine()?;
    let signals = Signals::new()?;
    let progress = Progress::new(if given.on("quiet") {
        Verbosity::Quiet
    } else {
        Verbosity::Results
    });
    if given.on("all-tags") {
        if reference.digest().is_some() || name_has_tag(name) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a tag or digest cannot be used with --all-tags",
            ));
        }
        let act = || format!("pull all tags of {}", reference.familiar_name());
        for tag in engine.images().tags(&reference, None).context(act)? {
            // The registry's word: it may be anything.
            let reference = reference
                .with_tag(&tag)
                .map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))
                .context(act)?;
            pull(call, &engine, &reference, &progress, &signals)?;
        }
        progress.settle();
        return Ok(DONE);
    }
    if reference.digest().is_none() && !name_has_tag(name) {
        progress.line("Using default tag: latest");
    }
    pull(call, &engine, &reference, &progress, &signals)
}

fn pull(
    call: &Call<'_>,
    engine: &Engine,
    reference: &Reference,
    progress: &Progress,
    signals: &Signals,
) -> Result<u8> {
    let request = PullRequest {
        platform: platform(call.given)?,
        ..PullRequest::new(reference.clone())
    };
    let pulled = std::thread::scope(|scope| {
        let _watch = Watch::start(scope, signals, || {
            progress.clear();
            interrupted(&format!("pull {}", reference.familiar()))
        });
        engine
            .images()
            .pull(&request, &|event| progress.pull(&event))
    });
    progress.settle();
    let pulled =
        pulled.map_err(|error| during(&format!("pull {}", reference.familiar()), error))?;
    call.timings.done("pull");
    let familiar = reference.familiar();
    progress.line(&format!("Digest: {}", pulled.digest));
    progress.line(&match pulled.status {
        PullStatus::UpToDate => format!("Status: Image is up to date for {familiar}"),
        PullStatus::Downloaded => format!("Status: Downloaded newer image for {familiar}"),
    });
    output::print_line(&reference.to_string())?;
    Ok(DONE)
}

/// Whether a tag was written, which the parsed reference does not tell.
fn name_has_tag(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.contains(':')
}
