//! `wharf export`.

use std::io::{BufWriter, Write as _};

use sys::Result;

use super::Call;
use super::partial::Archive;
use crate::args::Given as _;

const BUFFER: usize = 256 << 10;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let name = call.given.text("CONTAINER").unwrap_or_default();
    let archive = Archive {
        file: call.given.text("output"),
        name_a_file: "name a file with -o",
        act: &format!("export {name}"),
        progress: None,
    };
    archive.write(call, |engine, sink| {
        let sink = BufWriter::with_capacity(BUFFER, sink);
        Ok(engine.containers().export(name, sink)?.flush()?)
    })
}
