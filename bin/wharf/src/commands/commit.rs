//! `wharf commit`.

use engine::{CommitCompression, CommitRequest};
use sys::{Context as _, Result};

use super::suspend::DumpBar;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let name = given.text("CONTAINER").unwrap_or_default();
    let request = CommitRequest {
        name: given.text("NAME").map(str::to_owned),
        author: given.text("author").map(str::to_owned),
        message: given.text("message").map(str::to_owned),
        changes: given
            .texts("change")
            .into_iter()
            .map(str::to_owned)
            .collect(),
        pause: given.on_or("pause", true),
        compression: match given.text("compression") {
            Some("zstd") => CommitCompression::Zstd,
            _ => CommitCompression::Gzip,
        },
    };
    let engine = call.engine()?;
    let containers = engine.containers();
    let committed = if given.on("memory") {
        let progress = DumpBar::new("Writing");
        let committed = containers.commit_warm(name, &request, &|at| progress.at(at));
        progress.clear();
        committed
    } else {
        containers.commit(name, &request)
    };
    let id = committed.context(|| format!("commit {name}"))?;
    output::print_line(&id.to_string())?;
    Ok(DONE)
}
