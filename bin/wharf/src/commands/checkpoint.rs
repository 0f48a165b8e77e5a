//! `wharf checkpoint` and `wharf restore`.

use engine::checkpoints::{Checkpoint, ExportRequest, ImportRequest};
use engine::containers::{CheckpointRequest, RestoreRequest};
use serde_json::{Value, json};
use state::{Connections, Timestamp};
use sys::{Context as _, Error, ErrorKind, Result};

use super::each::each;
use super::load::open;
use super::partial::Archive;
use super::ps::created_at;
use super::suspend::DumpBar;
use super::{Call, DONE, FAILED};
use crate::args::Given as _;
use crate::output::list::ListFormat;
use crate::output::template::{Purpose, Template};
use crate::output::{self, human};
use crate::progress::{Bytes, Verbosity};

const COLUMNS: &str =
    "{{.Name}}\t{{.Container}}\t{{.Image}}\t{{.CreatedSince}}\t{{.Memory}}\t{{.Files}}";
const HEADERS: [(&str, &str); 8] = [
    ("Container", "CONTAINER"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Files", "FILES"),
    ("Image", "IMAGE"),
    ("Memory", "MEMORY"),
    ("Name", "NAME"),
    ("Processes", "PROCESSES"),
];

pub(super) fn create(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let container = given.text("CONTAINER").unwrap_or_default();
    let connections = if given.on("tcp-established") {
        Connections::Keep
    } else if given.on("tcp-close") {
        Connections::Close
    } else {
        Connections::Refuse
    };
    if given.on("check") {
        return check(call, container, connections);
    }
    let Some(name) = given.text("NAME") else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "an argument is missing: NAME, which the checkpoint gets",
        ));
    };
    let request = CheckpointRequest {
        leave_running: given.on("leave-running"),
        connections,
    };
    let engine = call.engine()?;
    let progress = DumpBar::new("Writing");
    let made = engine
        .containers()
        .checkpoint(container, name, request, &|at| progress.at(at));
    progress.clear();
    made.context(|| format!("checkpoint {container}"))?;
    output::print_line(name)?;
    Ok(DONE)
}

/// A line for each thing that would not survive; the exit code says whether
/// there is one.
fn check(call: &Call<'_>, container: &str, connections: Connections) -> Result<u8> {
    let engine = call.engine()?;
    let found = engine
        .containers()
        .check_checkpoint(container, connections)
        .context(|| format!("check {container}"))?;
    for line in &found {
        output::print_line(line)?;
    }
    Ok(if found.is_empty() { DONE } else { FAILED })
}

pub(super) fn ls(call: &Call<'_>) -> Result<u8> {
    let all = call.engine()?.checkpoints().list()?;
    if call.given.on("quiet") {
        let names: String = all.iter().map(|one| one.name.to_string() + "\n").collect();
        output::print(&names)?;
        return Ok(DONE);
    }
    let format = ListFormat::parse(call.given.text("format"), COLUMNS)?;
    let now = Timestamp::now();
    let rows: Vec<Value> = all.iter().map(|one| row(one, now)).collect();
    output::print(&format.render(&rows, &HEADERS)?)?;
    Ok(DONE)
}

fn row(one: &Checkpoint, now: Timestamp) -> Value {
    let record = &one.record;
    json!({
        "Container": record.config.name.to_string(),
        "CreatedAt": created_at(record.created),
        "CreatedSince": human::ago(now.since(record.created)),
        "Files": human::size(record.files),
        "Image": record.config.image.name,
        "Memory": human::size(record.memory.size),
        "Name": one.name.to_string(),
        "Processes": record.memory.processes.to_string(),
    })
}

pub(super) fn inspect(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    let mut all = Vec::new();
    for name in call.given.texts("CHECKPOINT") {
        let checkpoint = engine.checkpoints().inspect(name)?;
        all.push(described(&checkpoint)?);
    }
    if let Some(format) = call.given.text("format").filter(|format| *format != "json") {
        let template = Template::parse(format)?;
        for one in &all {
            output::print_line(&template.render(one, Purpose::Row)?)?;
        }
        return Ok(DONE);
    }
    let text = serde_json::to_string_pretty(&all)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    output::print_line(&text)?;
    Ok(DONE)
}

fn described(one: &Checkpoint) -> Result<Value> {
    let record = &one.record;
    let config = serde_json::to_value(&record.config)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    Ok(json!({
        "Name": one.name.to_string(),
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
        "LeftRunning": record.left_running,
        "Processes": record.memory.processes,
        "MemorySize": record.memory.size,
        "FilesSize": record.files,
        "Config": config,
    }))
}

pub(super) fn rm(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    each(call, &call.given.texts("CHECKPOINT"), |name| {
        engine
            .checkpoints()
            .remove(name)
            .context(|| format!("remove {name}"))?;
        Ok(Some(name.to_owned()))
    })
}

pub(super) fn export(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let name = given.text("CHECKPOINT").unwrap_or_default();
    let request = ExportRequest {
        zstd: given.on("zstd"),
    };
    let bytes = Bytes::new("Exporting", None, Verbosity::Messages);
    let archive = Archive {
        file: given.text("FILE"),
        name_a_file: "name a file",
        act: &format!("export {name}"),
        progress: Some(&bytes),
    };
    archive.write(call, |engine, sink| {
        let tell = |so_far| bytes.at(so_far);
        let checkpoints = engine.checkpoints();
        checkpoints.export(name, request, sink, &tell).map(drop)
    })
}

pub(super) fn import(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let path = given.text("FILE").unwrap_or("-");
    let (source, total) = open(path)?;
    let request = ImportRequest {
        name: given.text("NAME").map(str::parse).transpose()?,
        trust: given.on("trust"),
    };
    let engine = call.engine()?;
    let bytes = Bytes::new("Importing", total, Verbosity::Messages);
    // A signal that ends us leaves what the next repair takes away.
    let imported = engine
        .checkpoints()
        .import(source, &request, &|so_far| bytes.at(so_far));
    bytes.clear();
    let checkpoint = imported.context(|| match path {
        "-" => "import a checkpoint".to_owned(),
        path => format!("import {path}"),
    })?;
    output::print_line(checkpoint.name.as_str())?;
    Ok(DONE)
}

pub(super) fn restore(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let name = given.text("CHECKPOINT").unwrap_or_default();
    let ports = given.texts("publish");
    let request = RestoreRequest {
        name: given.text("name").map(str::parse).transpose()?,
        ports: if ports.is_empty() {
            None
        } else {
            Some(
                ports
                    .into_iter()
                    .map(str::parse)
                    .collect::<Result<Vec<_>>>()?,
            )
        },
        auto_remove: given.on("rm"),
    };
    let id = call
        .engine()?
        .containers()
        .restore(name, &request)
        .context(|| format!("restore {name}"))?;
    output::print_line(&id.to_string())?;
    Ok(DONE)
}
