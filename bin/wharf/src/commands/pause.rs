//! `wharf pause` and `wharf unpause`.

use sys::{Context as _, Result};

use super::Call;
use super::each::each_at_once;
use crate::args::Given as _;

pub(super) fn pause(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    each_at_once(call, &call.given.texts("CONTAINER"), |name| {
        let paused = engine.containers().pause(name);
        paused.context(|| format!("pause {name}"))?;
        Ok(Some(name.to_owned()))
    })
}

pub(super) fn unpause(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    each_at_once(call, &call.given.texts("CONTAINER"), |name| {
        let unpaused = engine.containers().unpause(name);
        unpaused.context(|| format!("unpause {name}"))?;
        Ok(Some(name.to_owned()))
    })
}
