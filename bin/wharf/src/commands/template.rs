//! `wharf template`.

use engine::templates::Template;
use serde_json::{Value, json};
use state::Timestamp;
use sys::{Context as _, Error, ErrorKind, Result};

use super::each::each;
use super::ps::created_at;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::list::ListFormat;
use crate::output::template::{Purpose, Template as Format};
use crate::output::{self, human};

const COLUMNS: &str = "{{.Name}}\t{{.Container}}\t{{.Image}}\t{{.CreatedSince}}\t{{.Memory}}\t{{.Files}}\t{{.Clones}}";
const HEADERS: [(&str, &str); 9] = [
    ("Clones", "CLONES"),
    ("Container", "CONTAINER"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Files", "FILES"),
    ("ID", "TEMPLATE ID"),
    ("Image", "IMAGE"),
    ("Memory", "MEMORY"),
    ("Name", "NAME"),
];

pub(super) fn ls(call: &Call<'_>) -> Result<u8> {
    let all = call.engine()?.templates().list()?;
    if call.given.on("quiet") {
        let names: String = all.iter().map(|one| name(one) + "\n").collect();
        output::print(&names)?;
        return Ok(DONE);
    }
    let format = ListFormat::parse(call.given.text("format"), COLUMNS)?;
    let now = Timestamp::now();
    let rows: Vec<Value> = all.iter().map(|one| row(one, now)).collect();
    output::print(&format.render(&rows, &HEADERS)?)?;
    Ok(DONE)
}

fn name(one: &Template) -> String {
    let name = one.record.name.as_ref();
    name.map(ToString::to_string).unwrap_or_default()
}

fn row(one: &Template, now: Timestamp) -> Value {
    let record = &one.record;
    json!({
        "Clones": one.users.len().to_string(),
        "Container": record.config.name.to_string(),
        "CreatedAt": created_at(record.created),
        "CreatedSince": human::ago(now.since(record.created)),
        "Files": human::size(record.files),
        "ID": one.id.short(),
        "Image": record.config.image.name,
        "Memory": human::size(record.memory.size),
        "Name": name(one),
    })
}

pub(super) fn inspect(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    let mut all = Vec::new();
    for name in call.given.texts("TEMPLATE") {
        all.push(described(&engine.templates().inspect(name)?)?);
    }
    if let Some(format) = call.given.text("format").filter(|format| *format != "json") {
        let format = Format::parse(format)?;
        for one in &all {
            output::print_line(&format.render(one, Purpose::Row)?)?;
        }
        return Ok(DONE);
    }
    let text = serde_json::to_string_pretty(&all)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    output::print_line(&text)?;
    Ok(DONE)
}

fn described(one: &Template) -> Result<Value> {
    let record = &one.record;
    let config = serde_json::to_value(&record.config)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    let clones: Vec<String> = one.users.iter().map(ToString::to_string).collect();
    Ok(json!({
        "Id": one.id.to_string(),
        "Name": name(one),
        "Created": record.created.to_string(),
        "Container": {
            "Id": record.config.id.to_string(),
            "Name": record.config.name.to_string(),
        },
        "Image": {
            "Name": record.config.image.name,
            "Id": record.config.image.id.to_string(),
            "Manifest": record.config.image.manifest.to_string(),
        },
        "Clones": clones,
        "Processes": record.memory.processes,
        "MemorySize": record.memory.size,
        "FilesSize": record.files,
        "Config": config,
    }))
}

pub(super) fn rm(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    each(call, &call.given.texts("TEMPLATE"), |name| {
        engine
            .templates()
            .remove(name)
            .context(|| format!("remove {name}"))?;
        Ok(Some(name.to_owned()))
    })
}
