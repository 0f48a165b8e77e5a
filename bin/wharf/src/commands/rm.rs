//! `wharf rm`.

use engine::RemoveRequest;
use sys::{Context as _, Error, ErrorKind, Result};

use super::Call;
use super::each::each_at_once;
use crate::args::Given as _;

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    if call.given.on("link") {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "--link is not supported: a name from --link is no object of its own and goes with \
             its container; `wharf network disconnect` takes one off a network",
        ));
    }
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
