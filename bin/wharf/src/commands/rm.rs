//! `wharf rm`.

use engine::RemoveRequest;
use sys::{Context as _, ErrorKind, Result};

use super::Call;
use super::each::each_at_once;
use crate::args::Given as _;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let request = RemoveRequest {
        force: call.given.on("force"),
        volumes: call.given.on("volumes"),
    };
    let engine = call.engine()?;
    each_at_once(call, &call.given.texts("CONTAINER"), |name| {
        match engine.containers().remove(name, request) {
            // As rm(1): what is not there needs no force.
            Err(error) if request.force && error.kind() == ErrorKind::NotFound => Ok(None),
            removed => {
                removed.context(|| format!("remove {name}"))?;
                Ok(Some(name.to_owned()))
            }
        }
    })
}
