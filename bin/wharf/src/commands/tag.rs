//! `wharf tag`.

use sys::{Context as _, Result};

use super::{Call, DONE};
use crate::args::Given as _;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let source = call.given.text("SOURCE_IMAGE").unwrap_or_default();
    let target = call.given.text("TARGET_IMAGE").unwrap_or_default();
    call.engine()?
        .images()
        .tag(source, target)
        .context(|| format!("tag {source}"))?;
    Ok(DONE)
}
