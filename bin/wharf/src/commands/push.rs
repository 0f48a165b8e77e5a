//! `wharf push`.

use engine::images::PushRequest;
use sys::Result;

use super::create::interrupted;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::errors::during;
use crate::output;
use crate::progress::{Progress, Verbosity};
use crate::terminal::signals::{Signals, Watch};

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let reference = super::reference(given.text("NAME").unwrap_or_default())?;
    let quiet = given.on("quiet");
    let engine = call.engine()?;
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
    let request = PushRequest {
        reference: reference.clone(),
        credentials: None,
    };
    let pushed = std::thread::scope(|scope| {
        let _watch = Watch::start(scope, &signals, || {
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
    call.timings.done("push");
    if quiet {
        output::print_line(&reference.to_string())?;
    } else {
        let tag = reference.tag().unwrap_or("latest");
        let (digest, size) = (pushed.digest, pushed.size);
        progress.line(&format!("{tag}: digest: {digest} size: {size}"));
    }
    Ok(DONE)
}
