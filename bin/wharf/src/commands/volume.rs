//! `wharf volume …`: the verbs about volumes; `inspect` and `prune` are with
//! their kin.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write as _};

use engine::VolumeRequest;
use engine::volumes::VolumeSummary;
use serde_json::{Value, json};
use sys::{Context as _, Error, ErrorKind, Result};

use super::each::each;
use super::load::open;
use super::partial::Archive;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output;
use crate::output::list::ListFormat;
use crate::output::template::LABELS_BY_NAME;
use crate::progress::{Bytes, Verbosity};

const COLUMNS: &str = "{{.Driver}}\t{{.Name}}";
const HEADERS: [(&str, &str); 9] = [
    ("Availability", "AVAILABILITY"),
    ("Driver", "DRIVER"),
    ("Group", "GROUP"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Name", "VOLUME NAME"),
    ("Scope", "SCOPE"),
    ("Size", "SIZE"),
];
const BUFFER: usize = 256 << 10;

pub(super) fn create(call: &Call<'_>) -> Result<u8> {
    if let Some(driver) = call.given.text("driver").filter(|name| !name.is_empty())
        && driver != "local"
    {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("there is no volume driver {driver:?}: the one there is, is local"),
        ));
    }
    let name = call.given.text("VOLUME").or(call.given.text("name"));
    let request = request(call, name)?;
    output::print_line(&call.engine()?.volumes().create(&request)?)?;
    Ok(DONE)
}

pub(super) fn ls(call: &Call<'_>) -> Result<u8> {
    let filters: Vec<_> = call.filters()?;
    let volumes = call.engine()?.volumes().list(&filters)?;
    if call.given.on("quiet") && call.given.text("format").is_none() {
        let names: String = volumes.iter().map(|one| one.name.clone() + "\n").collect();
        output::print(&names)?;
        return Ok(DONE);
    }
    let rows: Vec<Value> = volumes.iter().map(row).collect();
    let format = ListFormat::parse(call.given.text("format"), COLUMNS)?;
    output::print(&format.render(&rows, &HEADERS)?)?;
    Ok(DONE)
}

fn row(volume: &VolumeSummary) -> Value {
    let labels: Vec<String> = volume
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    json!({
        "Availability": "N/A",
        "Driver": "local",
        "Group": "N/A",
        "Labels": labels.join(","),
        "Links": "N/A",
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
        LABELS_BY_NAME: volume.labels,
    })
}

pub(super) fn rm(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    let force = call.given.on("force");
    each(call, &call.given.texts("VOLUME"), |name| {
        engine
            .volumes()
            .remove(name, force)
            .context(|| format!("remove {name}"))?;
        Ok(Some(name.to_owned()))
    })
}

pub(super) fn clone(call: &Call<'_>) -> Result<u8> {
    let source = call.given.text("VOLUME").unwrap_or_default();
    let request = request(call, call.given.text("NEW_VOLUME"))?;
    let name = call.engine()?.volumes().clone_of(source, &request)?;
    output::print_line(&name)?;
    Ok(DONE)
}

pub(super) fn import(call: &Call<'_>) -> Result<u8> {
    let request = request(call, call.given.text("VOLUME"))?;
    let path = call.given.text("FILE").unwrap_or("-");
    let (source, total) = open(path)?;
    let engine = call.engine()?;
    let bytes = Bytes::new("Importing", total, Verbosity::Messages);
    let mut so_far = 0;
    let counted = Counted {
        inner: source,
        count: &mut |count| {
            so_far += count;
            bytes.at(so_far);
        },
    };
    let imported = engine.volumes().import(&request, counted);
    bytes.clear();
    let name = imported.context(|| format!("import {path}"))?;
    output::print_line(&name)?;
    Ok(DONE)
}

/// Tells how many bytes are read.
struct Counted<'a, R> {
    inner: R,
    count: &'a mut dyn FnMut(u64),
}

impl<R: io::Read> io::Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        (self.count)(count as u64);
        Ok(count)
    }
}

pub(super) fn export(call: &Call<'_>) -> Result<u8> {
    let name = call.given.text("VOLUME").unwrap_or_default();
    let archive = Archive {
        file: call.given.text("output"),
        name_a_file: "name a file with -o",
        act: &format!("export {name}"),
        progress: None,
    };
    archive.write(call, |engine, sink| {
        let sink = BufWriter::with_capacity(BUFFER, sink);
        Ok(engine.volumes().export(name, sink)?.flush()?)
    })
}

/// Name, labels and options of the volume to make.
fn request(call: &Call<'_>, name: Option<&str>) -> Result<VolumeRequest> {
    let labels = call.given.texts("label");
    let mut options = BTreeMap::new();
    for text in call.given.texts("opt") {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("option {text:?} has no value: write KEY=VALUE"),
            )
        })?;
        options.insert(key.to_owned(), value.to_owned());
    }
    Ok(VolumeRequest {
        name: name.filter(|name| !name.is_empty()).map(str::to_owned),
        labels: labels
            .into_iter()
            .map(engine::parse::label)
            .collect::<Result<_>>()?,
        options,
    })
}
