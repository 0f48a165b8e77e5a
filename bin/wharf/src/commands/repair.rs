//! `wharf system repair`.

use sys::Result;

use super::{Call, DONE};
use crate::output;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let repaired = call.engine()?.repair()?;
    if repaired.done.is_empty() {
        output::print_line("nothing to repair")?;
    }
    for sentence in repaired.done {
        output::print_line(&sentence)?;
    }
    Ok(DONE)
}
