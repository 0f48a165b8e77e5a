//! `wharf system check`.

use std::fmt::Write as _;

use engine::check::AuditDepth;
use sys::Result;

use super::{Call, DONE, FAILED};
use crate::args::Given as _;
use crate::output;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    let mut text = String::new();
    if call.given.on("repair") {
        for sentence in engine.mend()?.done {
            let _ = writeln!(text, "{sentence}");
        }
    }
    let depth = if call.given.on("full") {
        AuditDepth::Content
    } else {
        AuditDepth::Names
    };
    let checked = engine.check(depth)?;
    for finding in &checked.findings {
        let _ = writeln!(text, "{}: {}", finding.path.display(), finding.why);
    }
    let looked_at = format!(
        "{} containers, {} images, {} volumes",
        checked.containers, checked.images, checked.volumes
    );
    if checked.findings.is_empty() {
        let _ = writeln!(
            text,
            "{looked_at}: every file is owned, every claim is backed"
        );
        output::print(&text)?;
        return Ok(DONE);
    }
    let count = checked.findings.len();
    let _ = writeln!(text, "{looked_at}: {count} things are wrong");
    output::print(&text)?;
    if !call.given.on("repair") {
        output::note("hint: wharf system check --repair heals what can be healed");
    }
    Ok(FAILED)
}
