//! `wharf wait`.

use sys::{Context as _, Result};

use super::Call;
use super::each::each;
use crate::args::Given as _;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    each(call, &call.given.texts("CONTAINER"), |name| {
        let exit = engine
            .containers()
            .wait(name)
            .context(|| format!("wait for {name}"))?;
        Ok(Some(exit.status.code().to_string()))
    })
}
