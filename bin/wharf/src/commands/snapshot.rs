//! `wharf snapshot`.

use engine::containers::snapshot::Running;
use serde_json::{Value, json};
use state::Timestamp;
use sys::{Context as _, Result};

use super::ps::created_at;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::list::ListFormat;
use crate::output::{self, human};

const COLUMNS: &str = "{{.Name}}\t{{.CreatedSince}}\t{{.Size}}";
const HEADERS: [(&str, &str); 4] = [
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Name", "NAME"),
    ("Size", "SIZE"),
];

pub(super) fn create(call: &Call<'_>) -> Result<u8> {
    let container = container(call);
    let engine = call.engine()?;
    let name = engine
        .containers()
        .snapshot(container, call.given.text("SNAPSHOT"), running(call))
        .context(|| format!("snapshot of {container}"))?;
    output::print_line(&name)?;
    Ok(DONE)
}

pub(super) fn ls(call: &Call<'_>) -> Result<u8> {
    let container = container(call);
    let all = call.engine()?.containers().snapshots(container)?;
    if call.given.on("quiet") {
        let names: String = all.iter().map(|one| one.name.clone() + "\n").collect();
        output::print(&names)?;
        return Ok(DONE);
    }
    let format = ListFormat::parse(call.given.text("format"), COLUMNS)?;
    let now = Timestamp::now();
    let rows: Vec<Value> = all
        .iter()
        .map(|one| {
            json!({
                "CreatedAt": created_at(one.created),
                "CreatedSince": human::ago(now.since(one.created)),
                "Name": one.name,
                "Size": human::size(one.size),
            })
        })
        .collect();
    output::print(&format.render(&rows, &HEADERS)?)?;
    Ok(DONE)
}

pub(super) fn rm(call: &Call<'_>) -> Result<u8> {
    let container = container(call);
    let engine = call.engine()?;
    for name in call.given.texts("SNAPSHOT") {
        engine
            .containers()
            .remove_snapshot(container, name)
            .context(|| format!("remove snapshot {name} of {container}"))?;
        output::print_line(name)?;
    }
    Ok(DONE)
}

pub(super) fn diff(call: &Call<'_>) -> Result<u8> {
    let container = container(call);
    let from = call.given.text("SNAPSHOT").unwrap_or_default();
    let changes = call
        .engine()?
        .containers()
        .diff_snapshots(container, from, call.given.text("OTHER"))
        .context(|| format!("diff of {container}"))?;
    super::diff::print(&changes)?;
    Ok(DONE)
}

pub(super) fn restore(call: &Call<'_>) -> Result<u8> {
    let container = container(call);
    let name = call.given.text("SNAPSHOT").unwrap_or_default();
    let engine = call.engine()?;
    engine
        .containers()
        .restore_snapshot(container, name, running(call))
        .context(|| format!("restore snapshot {name} of {container}"))?;
    output::print_line(container)?;
    Ok(DONE)
}

fn container<'a>(call: &'a Call<'_>) -> &'a str {
    call.given.text("CONTAINER").unwrap_or_default()
}

fn running(call: &Call<'_>) -> Running {
    if call.given.on("restart") {
        Running::Restart
    } else {
        Running::GoOn
    }
}
