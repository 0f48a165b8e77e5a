//! `wharf rename`.

use sys::{Context as _, Result};

use super::{Call, DONE};
use crate::args::Given as _;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let name = call.given.text("CONTAINER").unwrap_or_default();
    let new = call.given.text("NEW_NAME").unwrap_or_default();
    call.engine()?
        .containers()
        .rename(name, new)
        .context(|| format!("rename {name}"))?;
    Ok(DONE)
}
