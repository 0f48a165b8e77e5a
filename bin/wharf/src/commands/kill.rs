//! `wharf kill`.

use engine::parse;
use sys::{Context as _, Result};

use super::Call;
use super::each::each_at_once;
use crate::args::Given as _;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let signal = parse::signal(call.given.text("signal").unwrap_or("KILL"))?;
    let engine = call.engine()?;
    each_at_once(call, &call.given.texts("CONTAINER"), |name| {
        engine
            .containers()
            .kill(name, signal)
            .context(|| format!("kill {name}"))?;
        Ok(Some(name.to_owned()))
    })
}
