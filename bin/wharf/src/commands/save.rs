//! `wharf save`.

use sys::Result;

use super::Call;
use super::partial::Archive;
use crate::args::Given as _;
use crate::progress::{Bytes, Verbosity};

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let names: Vec<String> = given
        .texts("IMAGE")
        .into_iter()
        .map(str::to_owned)
        .collect();
    let bytes = Bytes::new("Saving", None, Verbosity::Messages);
    let archive = Archive {
        file: given.text("output"),
        name_a_file: "name a file with -o",
        act: "save images",
        progress: Some(&bytes),
    };
    archive.write(call, |engine, sink| {
        let tell = |so_far| bytes.at(so_far);
        engine.images().save(&names, sink, &tell).map(drop)
    })
}
