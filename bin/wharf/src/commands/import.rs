//! `wharf import`.

use engine::images::ImportRequest;
use sys::{Context as _, Error, ErrorKind, Result};

use super::create::interrupted;
use super::load::open;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::args::run::platform;
use crate::output;
use crate::progress::{Bytes, Verbosity};
use crate::terminal::signals::{Signals, Watch};

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let path = given.text("FILE").unwrap_or_default();
    if path.starts_with("http://") || path.starts_with("https://") {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("import does not download: fetch {path} first, or pipe it in with -"),
        ));
    }
    let request = ImportRequest {
        name: given.text("NAME").map(str::to_owned),
        message: given.text("message").map(str::to_owned),
        changes: given
            .texts("change")
            .into_iter()
            .map(str::to_owned)
            .collect(),
        platform: platform(given)?,
    };
    let (source, total) = open(path)?;
    let engine = call.engine()?;
    let signals = Signals::new()?;
    let bytes = Bytes::new("Importing", total, Verbosity::Messages);
    let image = std::thread::scope(|scope| {
        let _watch = Watch::start(scope, &signals, || {
            bytes.clear();
            interrupted(&format!("import {path}"))
        });
        engine
            .images()
            .import(&request, source, &|so_far| bytes.at(so_far))
    });
    bytes.clear();
    let image = image.context(|| format!("import {path}"))?;
    output::print_line(&image.id.to_string())?;
    Ok(DONE)
}
