//! `wharf push`.

use engine::Engine;
use engine::images::PushRequest;
use spec::Reference;
use sys::{Error, ErrorKind, Result};

use super::create::interrupted;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::errors::during;
use crate::output;
use crate::progress::{Progress, Verbosity};
use crate::terminal::signals::{Signals, Watch};

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let name = given.text("NAME").unwrap_or_default();
    let reference = super::reference(name)?;
    let quiet = given.on("quiet");
    let engine = call.engine()?;
    let references = if given.on("all-tags") {
        if reference.digest().is_some() || has_tag(name) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{name} names one image: leave out --all-tags or the tag"),
            ));
        }
        tags_of(&engine, &reference)?
    } else {
        vec![reference.clone()]
    };
    let signals = Signals::new()?;
    let progress = Progress::new(if quiet {
        Verbosity::Quiet
    } else {
        Verbosity::Results
    });
    progress.line(&format!(
        "The push refers to repository [{}/{}]",
        reference.registry(),
        reference.repository()
    ));
    for reference in &references {
        push(&engine, reference, &progress, &signals, quiet)?;
    }
    call.timings.done("push");
    Ok(DONE)
}

fn push(
    engine: &Engine,
    reference: &Reference,
    progress: &Progress,
    signals: &Signals,
    quiet: bool,
) -> Result<()> {
    let request = PushRequest {
        reference: reference.clone(),
        credentials: None,
    };
    let pushed = std::thread::scope(|scope| {
        let _watch = Watch::start(scope, signals, || {
            progress.clear();
            interrupted(&format!("push {}", reference.familiar()))
        });
        engine
            .images()
            .push(&request, &|event| progress.push(&event))
    });
    progress.settle();
    let pushed =
        pushed.map_err(|error| during(&format!("push {}", reference.familiar()), error))?;
    if quiet {
        return output::print_line(&reference.to_string());
    }
    let tag = reference.tag().unwrap_or("latest");
    let (digest, size) = (pushed.digest, pushed.size);
    progress.line(&format!("{tag}: digest: {digest} size: {size}"));
    Ok(())
}

/// Whether a name as written says which tag.
fn has_tag(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.contains(':')
}

fn tags_of(engine: &Engine, repository: &Reference) -> Result<Vec<Reference>> {
    let name = repository.familiar_name();
    let images = engine.images().list()?;
    let mut tags: Vec<Reference> = images
        .into_iter()
        .flat_map(|image| image.tags)
        .filter(|tag| tag.familiar_name() == name)
        .collect();
    if tags.is_empty() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("no such image: {name}"),
        ));
    }
    tags.sort();
    Ok(tags)
}
