//! `wharf diff`.

use std::fmt::Write as _;

use engine::containers::{Change, ChangeKind};
use sys::{Context as _, Result};

use super::{Call, DONE};
use crate::args::Given as _;
use crate::output;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let name = call.given.text("CONTAINER").unwrap_or_default();
    let engine = call.engine()?;
    let changes = engine
        .containers()
        .diff(name)
        .context(|| format!("diff of {name}"))?;
    print(&changes)?;
    Ok(DONE)
}

pub(super) fn print(changes: &[Change]) -> Result<()> {
    let mut text = String::new();
    for change in changes {
        let letter = match change.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'C',
            ChangeKind::Deleted => 'D',
        };
        let _ = writeln!(text, "{letter} {}", change.path.display());
    }
    output::print(&text)
}
