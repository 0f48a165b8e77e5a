//! `wharf internal cleanup`, which monitors run.

use state::ContainerId;
use sys::{Errors, Result};

use super::{Call, DONE};
use crate::args::Given as _;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    let mut errors = Errors::new();
    for text in call.given.texts("ID") {
        let cleaned = text
            .parse::<ContainerId>()
            .and_then(|id| engine.cleanup(&id));
        errors.keep(cleaned);
    }
    errors.into_result()?;
    Ok(DONE)
}
