//! `wharf internal pack-log`, which monitors run when a file of a log is full.

use std::path::Path;

use sys::{Context as _, Result};

use super::{Call, DONE};
use crate::args::Given as _;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let path = Path::new(call.given.text("FILE").unwrap_or_default());
    engine::containers::logs::pack(path).context(|| format!("pack {}", path.display()))?;
    Ok(DONE)
}
