//! `wharf restart`.

use engine::parse;
use sys::{Context as _, Result};

use super::Call;
use super::each::each_at_once;
use crate::args::Given as _;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let timeout = call.given.text("timeout").map(parse::seconds).transpose()?;
    let signal = call.given.text("signal").map(parse::signal).transpose()?;
    let engine = call.engine()?;
    each_at_once(call, &call.given.texts("CONTAINER"), |name| {
        engine
            .containers()
            .restart(name, signal, timeout)
            .context(|| format!("restart {name}"))?;
        Ok(Some(name.to_owned()))
    })
}
